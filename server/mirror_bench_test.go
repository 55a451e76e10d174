package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/server"
)

// BenchmarkMirror mirrors files from FTP to managed storage, S3, and reports the
// throughput as a part of that of a pull of the same files, from the FTP server alone to
// this machine, by the SDK right before; and as a part of that of a push of them to managed
// storage. The FTP server is at the end of a line of a gigabit a second and 10 ms, there and
// back; or on the same machine and as fast as it can be, where it is the processors that all
// share which say how fast a mirror can be.
func BenchmarkMirror(b *testing.B) {
	for _, where := range []string{"line", "machine"} {
		for _, set := range []struct{ files, size int }{{2000, 10 << 10}, {200, 1 << 20}, {3, 128 << 20}} {
			b.Run(fmt.Sprintf("%s/%dx%dKiB", where, set.files, set.size>>10), func(b *testing.B) {
				benchMirrors(b, where == "line", set.files, set.size)
			})
		}
	}
}

func benchMirrors(b *testing.B, distant bool, files, size int) {
	owner := benchOwner(b)
	var ftp *ftptest.Server
	var location string
	if distant {
		ftp, location = distantFTP(b, 1e9/8, 5*time.Millisecond)
	} else {
		ftp = ftptest.VSFTPD(b)
		location = ftp.Addr
	}
	folder := ftp.Folder(b)
	random, content := rand.NewChaCha8([32]byte{}), make([]byte, size)
	for i := range files {
		_, _ = random.Read(content) // it never fails
		require.NoError(b, os.WriteFile(filepath.Join(ftp.Dir, folder, fmt.Sprintf("%05d.bin", i)), content, 0o644))
	}
	_, err := owner.Pipes().Create(b.Context(), d6tpipe.PipeSettings{Name: "vendor", Protocol: d6tpipe.ProtocolFTP, Location: location, Options: d6tpipe.PipeOptions{Dir: folder}})
	require.NoError(b, err)
	var pulled, pushed, mirrored time.Duration
	for n := 0; b.Loop(); n++ {
		pull, push := benchPull(b, owner, fmt.Sprint("pushed-", n), files)
		pulled, pushed = pulled+pull, pushed+push
		mirrored += benchMirror(b, owner, fmt.Sprint("copies-", n), files)
	}
	b.ReportMetric(pulled.Seconds()/mirrored.Seconds(), "of-a-pull")
	b.ReportMetric(pushed.Seconds()/mirrored.Seconds(), "of-a-push")
	b.ReportMetric(max(pulled, pushed).Seconds()/mirrored.Seconds(), "of-the-slower")
	b.ReportMetric(float64(b.N*files*size)/(1<<20)/mirrored.Seconds(), "MiB/s")
}

// benchOwner is a user of a new server.
func benchOwner(b *testing.B) *d6tpipe.APIClient {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	srv, err := server.New(b.Context(), server.Config{Data: filepath.Join(b.TempDir(), "data"), KeyFile: filepath.Join(b.TempDir(), "key"), AllowDial: loopback, ListingAge: -1})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-done)
		require.NoError(b, srv.Close())
	})
	owner, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "p", Server: "http://" + l.Addr().String(), FileRepo: b.TempDir(), Tokens: d6tpipe.MemoryTokens()})
	require.NoError(b, err)
	b.Cleanup(owner.CloseIdleConnections)
	_, err = owner.Register(b.Context(), "owner", "owner@example.com", "canary-password")
	require.NoError(b, err)
	return owner
}

// benchPull pulls all files into a new folder, and pushes them from there.
func benchPull(b *testing.B, owner *d6tpipe.APIClient, target string, files int) (pull, push time.Duration) {
	cfg := owner.Config()
	cfg.FileRepo = b.TempDir()
	api, err := d6tpipe.NewAPIClient(cfg)
	require.NoError(b, err)
	defer api.CloseIdleConnections()
	_, err = api.Pipes().Create(b.Context(), d6tpipe.PipeSettings{Name: target})
	require.NoError(b, err)
	open := func(name string) *d6tpipe.Pipe {
		p, err := d6tpipe.OpenPipe(b.Context(), api, name, d6tpipe.OpenOptions{})
		require.NoError(b, err)
		return p
	}
	from, to := open("vendor"), open(target)
	begin := time.Now()
	report, err := from.Pull(b.Context(), d6tpipe.PullOptions{})
	pull = time.Since(begin)
	require.NoError(b, err)
	require.Equal(b, files, report.Moved)
	require.NoError(b, os.Rename(from.Dir(), to.Dir()))
	begin = time.Now()
	report, err = to.Push(b.Context(), d6tpipe.PushOptions{})
	push = time.Since(begin)
	require.NoError(b, err)
	require.Equal(b, files, report.Moved)
	require.NoError(b, os.RemoveAll(cfg.FileRepo))
	return pull, push
}

// benchMirror mirrors all files to a new pipe.
func benchMirror(b *testing.B, owner *d6tpipe.APIClient, target string, files int) time.Duration {
	_, err := owner.Pipes().Create(b.Context(), d6tpipe.PipeSettings{Name: target})
	require.NoError(b, err)
	_, err = owner.Mirrors().Create(b.Context(), d6tpipe.MirrorSettings{Name: target, Source: "vendor", Target: target})
	require.NoError(b, err)
	_, err = owner.RunMirror(b.Context(), target, d6tpipe.MirrorRunOptions{})
	require.NoError(b, err)
	for {
		m, err := owner.Mirrors().Get(b.Context(), target)
		require.NoError(b, err)
		if m.Last == nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		require.Equal(b, d6tpipe.RunDone, m.Last.State, m.Last.Error)
		require.Contains(b, string(m.Last.Detail), fmt.Sprintf(`"copied":%d,`, files))
		return m.Last.Ended.Sub(*m.Last.Began)
	}
}
