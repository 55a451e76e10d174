package s3_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func options(t *testing.T, g s3test.Gateway) s3.Options {
	return s3.Options{
		Endpoint: g.Endpoint, Region: g.Region, Bucket: g.Bucket(t), AccessKey: g.AccessKey, SecretKey: g.SecretKey,
		PartSize: 5 << 20,
	}
}

func open(t *testing.T, opts s3.Options) *s3.Store {
	t.Helper()
	store, err := s3.New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func TestStore(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	storagetest.Run(t, func(t *testing.T) storage.Store { return open(t, options(t, g)) })
}

func TestChecksums(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	storagetest.Run(t, func(t *testing.T) storage.Store {
		opts := options(t, g)
		opts.Checksums = true
		return open(t, opts)
	})
}

func TestDecorated(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	storagetest.Run(t, func(t *testing.T) storage.Store {
		store, err := storage.Prefix(storage.Retry(open(t, options(t, g)), storage.RetryPolicy{}), "a b/é")
		require.NoError(t, err)
		return store
	})
}

func TestMissing(t *testing.T) {
	g := s3test.Start(t)
	opts := options(t, g)
	opts.Bucket = "no-such-bucket"
	storagetest.Missing(t, open(t, opts))
}

// TestHostileFiles plants names behind the gateway's back.
func TestHostileFiles(t *testing.T) {
	g := s3test.Start(t)
	opts := options(t, g)
	planted := storagetest.Hostile(t, open(t, opts), func(key string) error {
		if !utf8.ValidString(key) || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\t\r\n", r) }) {
			return errors.New("the gateway's XML cannot hold it")
		}
		if key == "" || !filepath.IsLocal(key) || filepath.Clean(key) != key {
			return errors.New("no name below a folder")
		}
		path := filepath.Join(g.Dir, opts.Bucket, key)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("evil"), 0o644))
	})
	require.GreaterOrEqual(t, planted, 60)
}
