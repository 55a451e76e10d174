package transfer_test

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// a mirror is two remotes and a Sync between them.
type mirror struct {
	*transfer.Sync
	t        *testing.T
	from, to *mem.Store
	state    string
}

func newMirror(t *testing.T, wrapFrom, wrapTo func(storage.Store) storage.Store) *mirror {
	m := &mirror{t: t, from: mem.New(), to: mem.New(), state: filepath.Join(t.TempDir(), "mirror")}
	cfg := transfer.Config{From: m.from, Store: m.to, State: m.state, Range: 4 * block, Workers: 4, Retry: storage.RetryPolicy{Attempts: 1}}
	if wrapFrom != nil {
		cfg.From = wrapFrom(m.from)
	}
	if wrapTo != nil {
		cfg.Store = wrapTo(m.to)
	}
	var err error
	m.Sync, err = transfer.Open(cfg)
	require.NoError(t, err)
	return m
}

func (m *mirror) run(opt transfer.MirrorOptions, copied int) *transfer.Report {
	m.t.Helper()
	_, report, _, err := m.Mirror(m.t.Context(), opt)
	require.NoError(m.t, err)
	require.Equal(m.t, copied, report.Files, "%+v", report.Results)
	return report
}

func (m *mirror) content(s storage.Store) map[string]string {
	all := map[string]string{}
	for _, key := range storagetest.Keys(storagetest.List(m.t, s, "")) {
		all[key] = stored(m.t, s, key)
	}
	return all
}

func TestMirror(t *testing.T) {
	m := newMirror(t, nil, nil)
	for key, content := range many(20) {
		m.from.Plant(key, []byte(content))
	}
	m.from.Plant("big.bin", bigFile(1))
	m.to.Plant("theirs.csv", []byte("was here"))
	m.run(transfer.MirrorOptions{}, 21)
	require.Equal(t, "was here", stored(t, m.to, "theirs.csv"))
	require.NoError(t, m.to.Remove(t.Context(), "theirs.csv"))
	require.Equal(t, m.content(m.from), m.content(m.to))
	m.run(transfer.MirrorOptions{}, 0)

	m.from.Plant("big.bin", bigFile(2))
	m.from.Plant("new.csv", []byte("new"))
	require.NoError(t, m.to.Remove(t.Context(), "dir1/file0001.csv"))
	m.run(transfer.MirrorOptions{}, 3)
	require.Equal(t, m.content(m.from), m.content(m.to))
	require.Zero(t, m.to.Uploads())
}

// The table in mirror.go, one line each.
func TestMirrorTable(t *testing.T) {
	type cell struct{ source, target string } // after both were "old"; "" is a file that is not there
	for c, want := range map[cell][3]string{
		{"old", "old"}:       {"old", "old", "old"},
		{"old", "edited"}:    {"conflict", "edited", "old"},
		{"old", ""}:          {"old", "old", "old"},
		{"edited", "old"}:    {"edited", "edited", "edited"},
		{"edited", "other"}:  {"conflict", "other", "edited"},
		{"edited", "edited"}: {"edited", "edited", "edited"},
		{"edited", ""}:       {"edited", "edited", "edited"},
		{"", "old"}:          {"old", "old", "old"},
		{"", "edited"}:       {"edited", "edited", "edited"},
		{"", ""}:             {"", "", ""},
	} {
		for i, merge := range []transfer.Merge{transfer.MergeFail, transfer.MergeKeep, transfer.MergeOverwrite} {
			for _, del := range []bool{false, true} {
				m := newMirror(t, nil, nil)
				m.from.Plant("other", []byte("stays"))
				m.from.Plant("f", []byte("old"))
				m.run(transfer.MirrorOptions{}, 2)
				set(t, m.from, c.source)
				set(t, m.to, c.target)
				_, _, _, err := m.Mirror(t.Context(), transfer.MirrorOptions{Merge: merge, Delete: del})
				got := ""
				if o, err := m.to.Stat(t.Context(), "f"); err == nil {
					got = string(storagetest.Get(t, m.to, o))
				}
				expected := want[i]
				if c.source == "" && c.target == "old" && del {
					expected = ""
				}
				if expected == "conflict" {
					require.ErrorIs(t, err, transfer.ErrConflict, "%v %s", c, merge)
					require.Equal(t, c.target, got)
					continue
				}
				require.NoError(t, err, "%v %s", c, merge)
				require.Equal(t, expected, got, "%v merge=%q delete=%v", c, merge, del)
			}
		}
	}
}

func set(t *testing.T, s *mem.Store, content string) {
	if content == "" {
		require.NoError(t, s.Remove(t.Context(), "f"))
		return
	}
	s.Plant("f", []byte(content))
}

func TestMirrorDeletesUnderGuards(t *testing.T) {
	fill := func(t *testing.T, n int) *mirror {
		m := newMirror(t, nil, nil)
		for key, content := range many(n) {
			m.from.Plant(key, []byte(content))
		}
		m.run(transfer.MirrorOptions{}, n)
		return m
	}
	drop := func(m *mirror, n int) {
		for _, key := range storagetest.Keys(storagetest.List(t, m.from, ""))[:n] {
			require.NoError(t, m.from.Remove(t.Context(), key))
		}
	}
	t.Run("some", func(t *testing.T) {
		m := fill(t, 30)
		drop(m, 12)
		_, _, orphans, err := m.Mirror(t.Context(), transfer.MirrorOptions{Delete: true})
		require.NoError(t, err)
		require.Len(t, orphans, 12)
		require.Equal(t, m.content(m.from), m.content(m.to))
	})
	t.Run("dry", func(t *testing.T) {
		m := fill(t, 30)
		drop(m, 3)
		plan, report, orphans, err := m.Mirror(t.Context(), transfer.MirrorOptions{Delete: true, Dry: true})
		require.NoError(t, err)
		require.Nil(t, report)
		require.Len(t, orphans, 3)
		require.Zero(t, plan.Files)
		require.Len(t, m.content(m.to), 30)
	})
	t.Run("too many", func(t *testing.T) {
		m := fill(t, 30)
		drop(m, 16)
		_, _, _, err := m.Mirror(t.Context(), transfer.MirrorOptions{Delete: true})
		require.ErrorIs(t, err, transfer.ErrRefused)
		require.Len(t, m.content(m.to), 30)
		_, _, _, err = m.Mirror(t.Context(), transfer.MirrorOptions{Delete: true, Force: true})
		require.NoError(t, err)
		require.Len(t, m.content(m.to), 14)
	})
	t.Run("empty source", func(t *testing.T) {
		m := fill(t, 3)
		drop(m, 3)
		_, _, _, err := m.Mirror(t.Context(), transfer.MirrorOptions{Delete: true})
		require.ErrorIs(t, err, transfer.ErrRefused)
		require.Len(t, m.content(m.to), 3)
	})
	t.Run("edited at the target", func(t *testing.T) {
		m := fill(t, 30)
		key := storagetest.Keys(storagetest.List(t, m.from, ""))[0]
		drop(m, 1)
		m.to.Plant(key, []byte("edited"))
		_, _, orphans, err := m.Mirror(t.Context(), transfer.MirrorOptions{Delete: true})
		require.NoError(t, err)
		require.Equal(t, transfer.Modified, orphans[0].Kept)
		require.Equal(t, "edited", stored(t, m.to, key))
	})
}

// What both remotes hold already is not copied.
func TestMirrorAdopts(t *testing.T) {
	m := newMirror(t, nil, nil)
	for key, content := range many(5) {
		m.from.Plant(key, []byte(content))
		m.to.Plant(key, []byte(content))
	}
	m.run(transfer.MirrorOptions{}, 0)
	m.to.Plant("dir1/file0001.csv", []byte("edited"))
	_, _, _, err := m.Mirror(t.Context(), transfer.MirrorOptions{})
	require.ErrorIs(t, err, transfer.ErrConflict)
}

func TestMirrorGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		sum    string
		serial bool
	}{
		"md5":            {},
		"crc64nvme":      {sum: "crc64nvme:" + transfer.CRCHex(bigFile(1))},
		"sha256":         {sum: "sha256:" + hash(bigFile(1))},
		"crc, serial":    {sum: "crc64nvme:" + transfer.CRCHex(bigFile(1)), serial: true},
		"sha256, serial": {sum: "sha256:" + hash(bigFile(1)), serial: true},
	} {
		t.Run(name, func(t *testing.T) {
			var from, to *breaking
			var bytes *meter
			m := newMirror(t, func(s storage.Store) storage.Store {
				from = newBreaking(s, 1<<40)
				from.sum, from.serial = c.sum, c.serial
				return from
			}, func(s storage.Store) storage.Store {
				to = newBreaking(s, 0)
				to.serial = c.serial
				watched, b := metered(to)
				bytes = b
				return watched
			})
			m.from.Plant("big.bin", bigFile(1))
			tries := 0
			for ; ; tries++ {
				require.Less(t, tries, 20)
				to.left.Store(12 * block)
				_, _, _, err := m.Mirror(t.Context(), transfer.MirrorOptions{})
				if err == nil {
					break
				}
				require.ErrorIs(t, err, errBroken)
				requireAbsent(t, m.to, "big.bin")
			}
			require.GreaterOrEqual(t, tries, 3)
			require.Equal(t, string(bigFile(1)), stored(t, m.to, "big.bin"))
			require.LessOrEqual(t, bytes.written.Load(), int64(bigSize+4*block*tries))
			require.Zero(t, m.to.Uploads())
			m.run(transfer.MirrorOptions{}, 0)
		})
	}
}

// Bytes that are damaged between the remotes never appear at the target.
func TestMirrorVerifies(t *testing.T) {
	for _, size := range []int{1000, bigSize} {
		for _, sum := range []string{"", "crc64nvme:", "sha256:"} {
			for _, times := range []int{1, 2} {
				data := bigFile(1)[:size]
				var damage atomic.Int64
				m := newMirror(t, func(s storage.Store) storage.Store {
					b := newBreaking(s, 1<<40)
					switch sum {
					case "crc64nvme:":
						b.sum = sum + transfer.CRCHex(data)
					case "sha256:":
						b.sum = sum + hash(data)
					}
					b.wrong = func(p []byte) {
						if len(p) > 500 && damage.Add(1) <= int64(times) {
							p[len(p)/2] ^= 4
						}
					}
					return b
				}, nil)
				m.from.Plant("f", data)
				_, _, _, err := m.Mirror(t.Context(), transfer.MirrorOptions{})
				if err != nil {
					require.ErrorIs(t, err, transfer.ErrCorrupt)
					requireAbsent(t, m.to, "f")
					_, _, _, err = m.Mirror(t.Context(), transfer.MirrorOptions{})
					require.NoError(t, err)
				} else if size == 1000 { // of a big one, each part may be copied twice
					require.Equal(t, 1, times, "sum %q", sum)
				}
				require.Equal(t, string(data), stored(t, m.to, "f"))
				require.Zero(t, m.to.Uploads())
			}
		}
	}
}
