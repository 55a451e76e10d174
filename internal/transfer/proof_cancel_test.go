package transfer_test

import (
	"cmp"
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// cancelBound is within what a sync returns once it is cancelled. The promise is a
// second; a machine that is busy with other tests needs more, and a hang has no end.
func cancelBound() time.Duration {
	return time.Duration(rounds(60, 1)) * time.Second
}

// TestCancelMidFile cancels syncs of every kind while the network stands still in the
// middle of a file.
func TestCancelMidFile(t *testing.T) {
	for kind, start := range matrixWires {
		t.Run(kind, func(t *testing.T) {
			remote := start(t)
			ops := []string{"pull", "push", "mirror"}
			if kind == "http" {
				ops = ops[:1]
			}
			for _, op := range ops {
				for name, size := range map[string]int{"in pieces": killBig, "whole": 900 << 10} {
					t.Run(op+"/"+name, func(t *testing.T) {
						w := remote(t, fault{})
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
	_, err := e.announced(ctx, func(ev transfer.Event) {
		if ev.Kind == transfer.Moved && !begun {
			begun = true
			time.AfterFunc(500*time.Millisecond, func() { // by then it stands still, as a rule
				at <- time.Now()
				cancel()
			})
		}
	})
	require.True(t, begun, "%v", err)
	took := time.Since(<-at)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, took, cancelBound())
	t.Logf("%v after the cancel", took.Round(time.Microsecond))
	to := map[string]string{"pull": e.local()}[e.Op]
	require.NoFileExists(t, filepath.Join(cmp.Or(to, e.Remote.Folder), "f.bin"))
}
