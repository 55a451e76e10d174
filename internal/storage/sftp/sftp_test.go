package sftp_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp/sftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// overSSHD are the options for a new folder of an sshd.
func overSSHD(t *testing.T, s *sftptest.Server) sftp.Options {
	return sftp.Options{Host: s.Host, User: s.User, Key: s.Key, Fingerprint: s.Fingerprint, Root: newRoot(t, s.Dir)}
}

func overLocal(t *testing.T, l *sftptest.Local) sftp.Options {
	return sftp.Options{Host: l.Host, User: "me", Password: l.Password, Fingerprint: l.Fingerprint(), Root: newRoot(t, l.Dir)}
}

func newRoot(t *testing.T, dir string) string {
	root, err := os.MkdirTemp(dir, "root")
	require.NoError(t, err)
	return root
}

func open(t testing.TB, opts sftp.Options) *sftp.Store {
	t.Helper()
	store, err := sftp.New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func TestStore(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	storagetest.Run(t, func(t *testing.T) storage.Store { return fresh(t, overSSHD(t, s)) })
}

func TestStoreLocal(t *testing.T) {
	t.Parallel()
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	storagetest.Run(t, func(t *testing.T) storage.Store { return fresh(t, overLocal(t, l)) })
}

func TestDecorated(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	storagetest.Run(t, func(t *testing.T) storage.Store {
		store, err := storage.Prefix(storage.Retry(fresh(t, overSSHD(t, s)), storage.RetryPolicy{}), "a b/é")
		require.NoError(t, err)
		return store
	})
}

// fresh opens a store that leaves nothing of its own behind.
func fresh(t *testing.T, opts sftp.Options) storage.Store {
	t.Cleanup(func() { requireNoTemps(t, opts.Root) })
	opts.PartSize = 4 << 20 // which is faster
	return open(t, opts)
}

func requireNoTemps(t *testing.T, root string) {
	t.Helper()
	if strings.Contains(t.Name(), "Multipart") || strings.Contains(t.Name(), "fail") {
		return // uploads that were begun and left
	}
	require.Eventually(t, func() bool { // who has canceled does not wait until it is done
		return filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			if err == nil && strings.Contains(path, ".d6tpipe-") {
				err = fs.ErrExist
			}
			return err
		}) == nil
	}, time.Minute, time.Millisecond, "a file of ours is left")
}

func TestMissing(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	opts := overSSHD(t, s)
	opts.Root = filepath.Join(s.Dir, "not", "there")
	storagetest.Missing(t, open(t, opts))
	require.NoDirExists(t, filepath.Dir(opts.Root))

	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	opts = overLocal(t, l)
	opts.Root = filepath.Join(l.Dir, "not", "there")
	storagetest.Missing(t, open(t, opts))
	require.NoDirExists(t, filepath.Dir(opts.Root))
}

func TestHostile(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	plantHostile(t, overSSHD(t, s))
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	plantHostile(t, overLocal(t, l))
}

func plantHostile(t *testing.T, opts sftp.Options) {
	planted := storagetest.Hostile(t, open(t, opts), func(key string) error {
		if key == "" || strings.ContainsAny(key, "/\x00") && filepath.ToSlash(filepath.Clean(key)) != key || !filepath.IsLocal(key) {
			return errors.New("no name below a folder")
		}
		if strings.HasPrefix(filepath.Base(key), ".d6tpipe-tmp-") {
			return errors.New("is ignored, not refused")
		}
		path := filepath.Join(opts.Root, key)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("evil"), 0o644))
	})
	require.GreaterOrEqual(t, planted, 80)
}
