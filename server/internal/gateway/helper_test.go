package gateway_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

const bucket = "managed"

// patience is how long what must come may take on a busy machine.
const patience = time.Minute

// A world is an embedded storage behind a server of net/http, as it is in use: other
// routes beside it.
type world struct {
	*gateway.Embedded
	dir string
	url string
	log *logBuffer
}

func start(t testing.TB, change ...func(*gateway.EmbeddedConfig)) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), log: &logBuffer{}}
	cfg := gateway.EmbeddedConfig{
		Dir: w.dir, Master: bytes.Repeat([]byte("m"), 32), Log: slog.New(slog.NewTextHandler(w.log, nil)),
		PublicURL: func(context.Context) string { return w.url },
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	w.Embedded, err = gateway.NewEmbedded(cfg)
	require.NoError(t, err)
	storage := w.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			io.WriteString(rw, "the API")
			return
		}
		storage.ServeHTTP(rw, r)
	}))
	w.url = server.URL
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, w.Close())
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	return w
}

// keys are those of one grant.
type keys struct{ access, secret, token string }

func (w *world) keys(t testing.TB, g gateway.Grant) keys {
	t.Helper()
	c, err := w.Credentials(t.Context(), g)
	require.NoError(t, err)
	return keysOf(c)
}

func keysOf(c gateway.Credentials) keys {
	return keys{c.Values["aws_access_key_id"].(string), c.Values["aws_secret_access_key"].(string), c.Values["aws_session_token"].(string)}
}

// client is minio's, for a grant.
func (w *world) client(t testing.TB, g gateway.Grant) *minio.Core {
	t.Helper()
	return w.clientWith(t, w.keys(t, g))
}

func (w *world) clientWith(t testing.TB, k keys) *minio.Core {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	c, err := minio.NewCore(strings.TrimPrefix(w.url, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(k.access, k.secret, k.token), Region: "us-east-1", Transport: transport, MaxRetries: 1,
	})
	require.NoError(t, err)
	return c
}

func read(prefix string, filters ...d6tpipe.Filter) gateway.Grant {
	return gateway.Grant{Prefix: prefix, Role: d6tpipe.RoleRead, Filters: filters}
}

func write(prefix string, filters ...d6tpipe.Filter) gateway.Grant {
	return gateway.Grant{Prefix: prefix, Role: d6tpipe.RoleWrite, Filters: filters}
}

func put(t testing.TB, c *minio.Core, key, body string) {
	t.Helper()
	_, err := c.Client.PutObject(t.Context(), bucket, key, strings.NewReader(body), int64(len(body)), minio.PutObjectOptions{})
	require.NoError(t, err, key)
}

func get(t testing.TB, c *minio.Core, key string) (string, error) {
	t.Helper()
	r, _, _, err := c.GetObject(t.Context(), bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return "", err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	return string(body), err
}

func keysIn(t testing.TB, c *minio.Core, opts minio.ListObjectsOptions) (all []string) {
	t.Helper()
	for o := range c.ListObjectsIter(t.Context(), bucket, opts) {
		require.NoError(t, o.Err)
		all = append(all, o.Key)
	}
	return all
}

// code is the S3 protocol's name of an error.
func code(err error) string { return minio.ToErrorResponse(err).Code }

// file is where a key lies on disk.
func (w *world) file(key string) string {
	return filepath.Join(w.dir, "buckets", bucket, filepath.FromSlash(key))
}

func (w *world) requireNoFile(t testing.TB, key string) {
	t.Helper()
	_, err := os.Lstat(w.file(key))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func (w *world) requireReady(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool { return w.Healthy(t.Context()) == nil }, patience, 5*time.Millisecond)
}

// A logBuffer keeps what was logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
