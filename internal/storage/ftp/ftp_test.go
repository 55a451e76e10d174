package ftp_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// partSize is smaller than users have it, and tests are faster.
const partSize = 4 << 20

func open(t *testing.T, opts ftp.Options) *ftp.Store {
	t.Helper()
	if opts.PartSize == 0 {
		opts.PartSize = partSize
	}
	store, err := ftp.New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func TestStore(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	storagetest.Run(t, func(t *testing.T) storage.Store {
		return open(t, ftp.Options{Host: server.Addr, Root: server.Folder(t)})
	})
}

func TestMissing(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	for _, root := range []string{"/nothing", server.Folder(t) + "/not/there"} {
		storagetest.Missing(t, open(t, ftp.Options{Host: server.Addr, Root: root}))
		require.NoDirExists(t, filepath.Join(server.Dir, root))
	}
}

// plant places files behind the server's back, where its listing can show them.
func plant(dir string) func(key string) error {
	return func(key string) error {
		if key == "" || !filepath.IsLocal(key) || filepath.Clean(key) != key {
			return errors.New("no name below a folder")
		}
		if strings.ContainsAny(key, "\n\r") {
			return errors.New("makes two lines of one")
		}
		if strings.HasPrefix(filepath.Base(key), ".d6tpipe-tmp-") {
			return errors.New("is ignored, not refused")
		}
		path := filepath.Join(dir, key)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("evil"), 0o644))
	}
}

func TestHostile(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	root := server.Folder(t)
	planted := storagetest.Hostile(t, open(t, ftp.Options{Host: server.Addr, Root: root}), plant(filepath.Join(server.Dir, root)))
	require.GreaterOrEqual(t, planted, 75)
}

func tlsOptions(server *ftptest.Server, cert ftptest.Certificate) ftp.Options {
	return ftp.Options{Host: server.Addr, User: ftptest.User, Password: ftptest.Password, TLS: ftp.Explicit, CA: cert.CA}
}

func TestFTPS(t *testing.T) {
	t.Parallel()
	cert := ftptest.NewCertificate(t, "127.0.0.1")
	server := ftptest.FTPS(t, cert)
	storagetest.Run(t, func(t *testing.T) storage.Store {
		opts := tlsOptions(server, cert)
		opts.Root = server.Folder(t)
		return open(t, opts)
	})
	opts := tlsOptions(server, cert)
	opts.Root = "/nothing"
	storagetest.Missing(t, open(t, opts))
	opts.Root = server.Folder(t)
	planted := storagetest.Hostile(t, open(t, opts), plant(filepath.Join(server.Dir, opts.Root)))
	require.GreaterOrEqual(t, planted, 75)
}

// TestVSFTPDOverTLS: vsftpd wants the session of the control connection on each data
// connection.
func TestVSFTPDOverTLS(t *testing.T) {
	t.Parallel()
	cert := ftptest.NewCertificate(t, "127.0.0.1")
	for mode, lines := range map[ftp.TLSMode][]string{ftp.Explicit: nil, ftp.Implicit: {"implicit_ssl=YES"}} {
		server := ftptest.VSFTPD(t, append(cert.Files(t), lines...)...)
		opts := ftp.Options{Host: server.Addr, TLS: mode, CA: cert.CA}
		storagetest.Run(t, func(t *testing.T) storage.Store {
			opts.Root = server.Folder(t)
			return open(t, opts)
		})
		opts.Root = "/nothing"
		storagetest.Missing(t, open(t, opts))
		opts.Root = server.Folder(t)
		planted := storagetest.Hostile(t, open(t, opts), plant(filepath.Join(server.Dir, opts.Root)))
		require.GreaterOrEqual(t, planted, 75)
	}
}
