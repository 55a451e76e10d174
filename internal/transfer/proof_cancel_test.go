package transfer_test

import (
	"cmp"
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// cancelBound is within what a sync returns once it is cancelled. The promise is a
// second; a machine that is busy with other tests needs more.
func cancelBound() time.Duration {
	return time.Duration(rounds(5, 1)) * time.Second
}

// cancelWires are those of the fault matrix, and an FTP server that is slow: its data do
// not come through the proxy.
func cancelWires() map[string]func(t *testing.T) func(t *testing.T) wire {
	wires := map[string]func(t *testing.T) func(t *testing.T) wire{
		"ftp": func(t *testing.T) func(t *testing.T) wire {
			server := ftptest.VSFTPD(t, "anon_max_rate=500000")
			return func(t *testing.T) wire {
				root := server.Folder(t)
				w := wire{direct: end{Kind: "ftp", Folder: filepath.Join(server.Dir, root), Login: login{Host: server.Addr, Root: root}}}
				w.faulty = w.direct
				w.through(faultproxy.Start(t, server.Addr))
				return w
			}
		},
	}
	for kind, start := range matrixWires {
		wires[kind] = func(t *testing.T) func(t *testing.T) wire {
			remote := start(t)
			return func(t *testing.T) wire { return remote(t, false) }
		}
	}
	return wires
}

// TestCancelMidFile cancels syncs of every kind while the network stands still in the
// middle of a file.
func TestCancelMidFile(t *testing.T) {
	for kind, start := range cancelWires() {
		t.Run(kind, func(t *testing.T) {
			remote := start(t)
			for _, op := range []string{"pull", "push", "mirror"} {
				for name, size := range map[string]int{"in pieces": killBig, "whole": 900 << 10} {
					t.Run(op+"/"+name, func(t *testing.T) {
						w := remote(t)
						e := errand{Op: op, Remote: w.faulty, Repo: t.TempDir(), From: end{Kind: "dir", Folder: t.TempDir()}}
						folder := map[string]string{"pull": w.direct.Folder, "push": e.local(), "mirror": e.From.Folder}[op]
						side{folder: folder}.write(t, map[string][]byte{"f.bin": noise(1, size)})
						e.cancelled(t, w)
					})
				}
			}
		})
	}
}

// cancelled runs the errand until it is in the middle of the file, and cancels it.
func (e errand) cancelled(t *testing.T, w wire) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	at := make(chan time.Time, 1)
	w.set(fault{tcp: &faultproxy.Fault{Kind: faultproxy.Stall, Up: e.Op != "pull", At: 600 << 10}})
	begun := false
	_, err := e.do(ctx, func(ev transfer.Event) {
		if ev.Kind == transfer.Moved && !begun {
			begun = true
			time.AfterFunc(500*time.Millisecond, func() { // by then it stands still, as a rule
				at <- time.Now()
				cancel()
			})
		}
	})
	took := time.Since(<-at)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, took, cancelBound())
	t.Logf("%v after the cancel", took.Round(time.Microsecond))
	to := map[string]string{"pull": e.local()}[e.Op]
	require.NoFileExists(t, filepath.Join(cmp.Or(to, e.Remote.Folder), "f.bin"))
}
