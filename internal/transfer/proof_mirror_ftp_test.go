package transfer_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A ftpMirror copies from vsftpd, over two connections, to S3.
type ftpMirror struct {
	errand
	known map[string]bool
	last  map[string]content // of the edition before
}

// A content of a big file, and its hash.
type content struct {
	of   int // the edition that it was made for
	data []byte
	sum  string
}

const mirrorBig = 11 << 20 // three parts of S3

func newFTPMirror(t *testing.T) *ftpMirror {
	server := ftptest.VSFTPD(t)
	root := server.Folder(t)
	return &ftpMirror{known: map[string]bool{}, errand: errand{
		Op: "mirror", Remote: ends["s3"](t)(t), Repo: t.TempDir(),
		From: end{Kind: "ftp", Folder: filepath.Join(server.Dir, root), Login: login{Host: server.Addr, Root: root, Connections: 2}},
		// What a killed process had copied and not noted yet is somebody else's by the time
		// that the source has another edition.
		Merge: transfer.MergeOverwrite,
	}}
}

func (m *ftpMirror) source() side { return side{folder: m.From.Folder} }
func (m *ftpMirror) target() side { return side{folder: m.Remote.Folder} }

// publish writes edition n: big files of several parts each, of which half change from
// one to the next, and small ones. Servers tell times to the second, so that each
// edition gets one of its own.
func (m *ftpMirror) publish(t *testing.T, n int) {
	all := map[string]content{}
	publish := func(key string, of int, seed uint64, size int) {
		if all[key] = m.last[key]; all[key].data == nil || all[key].of != of {
			data := noise(seed, size)
			all[key] = content{of, data, hash(data)}
		}
	}
	for i := range 4 {
		of := n - (n+i)%2
		publish(fmt.Sprintf("big/%d.bin", i), of, uint64(10*of+i), mirrorBig+i)
	}
	for i := range 6 {
		publish(fmt.Sprintf("d%d/%d.bin", i%2, i), n, uint64(10*n+4+i), 1000*i)
	}
	m.last = all
	old, files := m.source().visible(t), map[string][]byte{}
	for key, c := range all {
		m.known[key+" "+c.sum] = true
		if old[key] != c.sum {
			files[key] = c.data
		}
	}
	m.source().write(t, files)
	when := time.Date(2020, 1, 1, 0, 0, n, 0, time.UTC)
	for key := range maps.Keys(files) {
		require.NoError(t, os.Chtimes(filepath.Join(m.From.Folder, filepath.FromSlash(key)), when, when))
	}
}

// whole: every file that anybody can see is one that was published.
func (m *ftpMirror) whole(t *testing.T, after string) {
	t.Helper()
	for key, sum := range m.target().visible(t) {
		require.True(t, m.known[key+" "+sum], "torn after %s: %s", after, key)
	}
}

// TestKillMirrorFTP kills a mirror at any instant: nothing torn is seen, the next run
// converges, and the one after it moves nothing, also when the source has changed in
// between.
func TestKillMirrorFTP(t *testing.T) {
	m := newFTPMirror(t)
	from := faultproxy.Start(t, "")
	m.From.Via = from.Addr
	killed := 0
	for n := range rounds(6, 300) {
		m.publish(t, n)
		// Every edition has two big files that are new.
		if m.killedAfter(t, from.Moved, from.Moved()+rand.Int64N(2*mirrorBig-(2<<20))) {
			killed++
		}
		m.whole(t, "a kill")
		if n%2 == 1 { // else what was begun goes on with another edition
			m.converges(t, m.source(), m.target())
		}
	}
	require.GreaterOrEqual(t, killed, rounds(6, 300)/3)
}

// TestFaultMirrorFTP breaks the connections to the source and those to the target, in every way.
func TestFaultMirrorFTP(t *testing.T) {
	m := newFTPMirror(t)
	direct := m.errand
	from := faultproxy.Start(t, "")
	to := faultproxy.Start(t, m.Remote.S3.Endpoint[len("http://"):])
	m.From.Via, m.Remote.S3.Endpoint = from.Addr, "http://"+to.Addr
	n := 0
	for seed := range uint64(rounds(1, 10)) {
		for _, f := range tcpFaults(seed + 1) {
			if f.blind || f.slow() {
				continue // one byte nobody can know of, and one that only takes time
			}
			for name, set := range map[string]func(func(int) faultproxy.Fault){"source": from.Set, "target": to.Set} {
				if n++; n%rounds(2, 1) != 0 {
					continue
				}
				m.publish(t, n)
				set(func(n int) faultproxy.Fault {
					if f.hits(n) {
						return *f.tcp
					}
					return faultproxy.Fault{}
				})
				ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond) // what stalls is given up
				start := time.Now()
				_, err := m.do(ctx)
				cancel()
				require.Less(t, time.Since(start), matrixBound, "%s of the %s", f.name, name)
				m.whole(t, f.name)
				if err == nil {
					require.Equal(t, m.source().visible(t), m.target().visible(t), "%s of the %s", f.name, name)
				}
				set(nil)
				healed := direct
				healed.converges(t, m.source(), m.target())
			}
		}
	}
}
