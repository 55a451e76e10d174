package transfer_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A counted remote is reached through a proxy that counts bytes.
type counted struct {
	end
	direct end
	moved  func() int64
}

// countedEnds put proxies in front of servers.
var countedEnds = map[string]func(t *testing.T, direct end) counted{
	"s3": func(t *testing.T, direct end) counted {
		p := faultproxy.Start(t, strings.TrimPrefix(direct.S3.Endpoint, "http://"))
		c := counted{direct, direct, p.Moved}
		c.S3.Endpoint = "http://" + p.Addr
		return c
	},
	"sftp": func(t *testing.T, direct end) counted {
		p := faultproxy.Start(t, direct.Login.Host)
		c := counted{direct, direct, p.Moved}
		c.Login.Host = p.Addr
		return c
	},
	"ftp": func(t *testing.T, direct end) counted {
		p := faultproxy.Start(t, "")
		c := counted{direct, direct, p.Moved}
		c.Via = p.Addr
		return c
	},
}

// What a kill may cost in bytes: what four workers had not finished. A pull notes each
// block, and sockets hold some more; a push can go on only behind whole parts, of which
// FTP sends one at a time.
func lostByKill(op, kind string) int64 {
	switch {
	case op == "pull":
		return 4 * (4 << 20)
	case kind == "ftp":
		return 32 << 20
	case kind == "sftp":
		return 4 * (16 << 20)
	}
	return 4 * (5 << 20)
}

// TestResend kills the transfer of one file again and again, in the middle, and
// counts what goes over the network until it is there. To start over each time would
// move at least 85 % of the file more.
func TestResend(t *testing.T) {
	kills := rounds(2, 10)
	for kind, through := range countedEnds {
		t.Run(kind, func(t *testing.T) {
			remote := ends[kind](t)
			for _, op := range []string{"pull", "push"} {
				t.Run(op, func(t *testing.T) {
					size := int64(rounds(64<<20, 1<<30))
					if op == "push" && kind != "s3" {
						size = max(size, 192<<20) // of less, most is in flight
					}
					c := through(t, remote(t))
					e := errand{Op: op, Remote: c.end, Repo: t.TempDir(), Range: 16 << 20}
					here, there := filepath.Join(e.local(), "big.bin"), filepath.Join(c.Folder, "big.bin")
					require.NoError(t, os.MkdirAll(e.local(), 0o755))
					plant(t, op, c, here, size)
					killed := 0
					for n := range kills {
						if e.killedAfter(t, c.moved, size/2+size*35/100*int64(n)/int64(kills-1)+rand.Int64N(size/100)) {
							killed++
						}
					}
					require.Positive(t, killed)
					_, err := e.do(t.Context())
					require.NoError(t, err)
					require.Equal(t, sumOf(t, here), sumOf(t, there))
					over := c.moved() - size
					t.Logf("%d kills of %d MiB: %.1f MiB more", kills, size>>20, float64(over)/(1<<20))
					require.LessOrEqual(t, over, int64(kills)*lostByKill(op, kind)+size/50+(1<<20))
				})
			}
		})
	}
}

// plant puts the file where it is taken from.
func plant(t *testing.T, op string, c counted, here string, size int64) {
	t.Helper()
	f, err := os.Create(here)
	require.NoError(t, err)
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), size)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	if op == "push" {
		return
	}
	store, err := c.direct.open()
	require.NoError(t, err)
	defer store.Close()
	f, err = os.Open(here)
	require.NoError(t, err)
	defer f.Close()
	_, err = store.Put(t.Context(), "big.bin", f, size, storage.Cond{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(here))
}

func sumOf(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return string(h.Sum(nil))
}

// killedAfter starts the errand in a process of its own and kills it when so many
// bytes were moved in all. It reports false when that came too late.
func (e errand) killedAfter(t *testing.T, moved func() int64, at int64) bool {
	t.Helper()
	spec, err := json.Marshal(e)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "D6TPIPE_TRANSFER_ERRAND="+string(spec))
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for moved() < at {
		select {
		case err := <-ended:
			require.GreaterOrEqual(t, moved(), at, "it ended by itself: %v %s", err, stderr.String())
			ended <- err
		case <-tick.C:
		}
	}
	_ = cmd.Process.Kill() // it may be done
	err = <-ended
	require.True(t, err == nil || cmd.ProcessState.ExitCode() == -1, "%v %s", err, stderr.String())
	return err != nil
}
