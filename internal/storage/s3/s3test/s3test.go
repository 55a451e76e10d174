// Package s3test starts a real S3 server for tests: versitygw on loopback, with
// its data in a temporary folder. Only _test files may import it.
package s3test

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/d6t/d6tpipe-go/internal/freeport"
)

// The server, as tools/gateway pins it.
const (
	version = "1.8.0"
	program = "github.com/versity/versitygw/cmd/versitygw"
	module  = "github.com/d6t/d6tpipe-go"
)

// A Gateway is a running server.
type Gateway struct {
	Endpoint  string // "http://127.0.0.1:12345"
	AccessKey string
	SecretKey string
	Region    string
	Dir       string // where the buckets lie, each a folder of files
}

// Start starts a server that runs until the test ends. The first call on a machine
// builds it, which takes a minute or two.
func Start(t testing.TB) Gateway {
	t.Helper()
	bin := binary(t)
	g := Gateway{AccessKey: "d6tpipe-test", SecretKey: rand.Text(), Region: "us-east-1", Dir: t.TempDir()}
	for range 3 { // elsewhere than on Linux another process may take the free port first
		addr := freeport.Loopback(t)
		if g.run(t, bin, addr) {
			g.Endpoint = "http://" + addr
			return g
		}
	}
	t.Fatal("s3test: the gateway does not start")
	return g
}

// Bucket makes a new, empty bucket and returns its name.
func (g Gateway) Bucket(t testing.TB) string {
	t.Helper()
	client, err := minio.New(strings.TrimPrefix(g.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(g.AccessKey, g.SecretKey, ""), Region: g.Region,
	})
	if err != nil {
		t.Fatal("s3test:", err)
	}
	name := "test-" + strings.ToLower(rand.Text()[:12])
	if err := client.MakeBucket(context.Background(), name, minio.MakeBucketOptions{Region: g.Region}); err != nil {
		t.Fatal("s3test:", err)
	}
	return name
}

// run starts the server and waits until it answers.
func (g Gateway) run(t testing.TB, bin, addr string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, "--quiet", "--keep-alive", "--region", g.Region, "--port", addr, "posix", g.Dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+g.AccessKey, "ROOT_SECRET_KEY="+g.SecretKey)
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal("s3test:", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be gone
		<-ended
	})
	return answers(t, addr, ended)
}

func answers(t testing.TB, addr string, ended <-chan struct{}) bool {
	for range 1200 {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr); err == nil {
			return conn.Close() == nil
		}
		select {
		case <-ended:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

// binary returns the path of the server, built once per machine and version.
func binary(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "d6tpipe-test")
	bin := filepath.Join(dir, "versitygw-"+version)
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal("s3test:", err)
	}
	lock := flock.New(bin + ".lock")
	if err := lock.Lock(); err != nil {
		t.Fatal("s3test:", err)
	}
	defer func() { _ = lock.Close() }()     // it dies with the process at the latest
	if _, err := os.Stat(bin); err != nil { // the lock's last holder built it otherwise
		build(t, bin)
	}
	return bin
}

func build(t testing.TB, bin string) {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal("s3test: where is the module?", err)
	}
	tools := filepath.Join(strings.TrimSpace(string(root)), "tools", "gateway")
	temp := bin + ".new"
	cmd := exec.CommandContext(t.Context(), "go", "build", "-C", tools, "-o", temp, program)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("s3test: cannot build %s: %v\n%s", program, err, out)
	}
	if err := os.Rename(temp, bin); err != nil {
		t.Fatal("s3test:", err)
	}
}
