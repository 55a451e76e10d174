package transfer_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// seen goes through all changes and returns them as "kind key".
func (p *pipe) seen(opt transfer.ChangesOptions) (all []string) {
	p.t.Helper()
	for c, err := range p.Changes(p.t.Context(), opt) {
		require.NoError(p.t, err)
		all = append(all, string(c.Kind)+" "+c.Key)
	}
	return all
}

var anybody = transfer.ChangesOptions{Consumer: "default"}

func TestChanges(t *testing.T) {
	store := remote(map[string]string{"a": "1", "b": "2", "c": "3"})
	p := newPipe(t, store)
	require.Equal(t, []string{"new a", "new b", "new c"}, p.seen(anybody))
	require.Empty(t, p.seen(anybody))
	store.Plant("b", []byte("22"))
	store.Plant("d", []byte("4"))
	require.NoError(t, store.Remove(t.Context(), "a"))
	for c, err := range p.Changes(t.Context(), anybody) {
		require.NoError(t, err)
		if c.Key == "b" {
			require.EqualValues(t, 2, c.Object.Size)
			require.EqualValues(t, 1, c.Before.Size)
			break // b is not acknowledged, a is
		}
	}
	require.Equal(t, []string{"modified b", "new d"}, p.seen(anybody))
	require.Empty(t, p.seen(anybody))
	require.Equal(t, []string{"new b", "new c", "new d"}, p.seen(transfer.ChangesOptions{Consumer: "another"}))

	store.Plant("x.log", []byte("5"))
	store.Plant("y.csv", []byte("6"))
	csv := transfer.ChangesOptions{Consumer: "default", Match: func(key string) bool { return strings.HasSuffix(key, ".csv") }}
	require.Equal(t, []string{"new y.csv"}, p.seen(csv))
	require.Equal(t, []string{"new x.log"}, p.seen(anybody), "what a filter left out is not acknowledged")
	require.NoDirExists(t, p.dir)
}

// Whatever keeps a change from being acknowledged brings it again.
func TestChangesComeAgain(t *testing.T) {
	store := remote(map[string]string{"a": "1", "b": "2"})
	p := newPipe(t, store)
	require.Panics(t, func() {
		for c := range p.Changes(t.Context(), anybody) {
			if c.Key == "b" {
				panic("the body fails")
			}
		}
	})
	require.Equal(t, []string{"new b"}, p.seen(anybody))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store.Plant("a", []byte("11"))
	store.Plant("b", []byte("22"))
	var err error
	for c, e := range p.Changes(ctx, anybody) {
		if err = e; c.Key == "a" {
			cancel()
		}
	}
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"modified b"}, p.seen(anybody))
}

func TestChangesAreGoneOnlyForSure(t *testing.T) {
	store := remote(map[string]string{"a": "1", "b": "2"})
	broken := newFailingList(store)
	p := newPipe(t, broken, func(c *transfer.Config) { c.Retry.Attempts = 1 })
	p.seen(anybody)
	broken.after = 1
	n := 0
	for _, err := range p.Changes(t.Context(), anybody) {
		require.ErrorIs(t, err, errBroken)
		n++
	}
	require.Equal(t, 1, n, "half a listing tells nothing")
	broken.after = -1
	for _, key := range []string{"a", "b"} {
		require.NoError(t, store.Remove(t.Context(), key))
	}
	for _, err := range p.Changes(t.Context(), anybody) {
		require.ErrorIs(t, err, transfer.ErrRefused)
	}
	require.Equal(t, []string{"gone a", "gone b"}, p.seen(transfer.ChangesOptions{Consumer: "default", Force: true}))

	store.Plant("c", []byte("1"))
	p.seen(anybody)
	store.Plant("C", []byte("1")) // the two cannot lie in one folder everywhere: both are refused now
	for c, err := range p.Changes(t.Context(), anybody) {
		require.ErrorIs(t, err, transfer.ErrPartial, "%v", c)
	}
}

// Another remote has nothing to do with what was known of the last one.
func TestChangesOfAnotherRemote(t *testing.T) {
	p := newPipe(t, remote(map[string]string{"a": "1"}), func(c *transfer.Config) { c.Place = "one" })
	require.Equal(t, []string{"new a"}, p.seen(anybody))
	other, err := transfer.Open(transfer.Config{Store: remote(map[string]string{"b": "1"}), Dir: p.dir, State: p.state, Place: "two"})
	require.NoError(t, err)
	p.Sync = other
	require.Equal(t, []string{"new b"}, p.seen(anybody))
}

// A consumer that is killed at any instant sees every change at least once.
func TestKillChanges(t *testing.T) {
	folder, repo, log := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "log")
	store, err := dir.New(folder)
	require.NoError(t, err)
	defer store.Close()
	for n := range rounds(10, 2000) {
		for i := range 30 {
			require.NoError(t, os.WriteFile(filepath.Join(folder, fmt.Sprintf("f%02d", (n*7+i)%90)), fmt.Appendf(nil, "version %d", n), 0o644))
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("D6TPIPE_TRANSFER_JOB=changes %s %s %s", folder, repo, log))
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(n%40) * time.Millisecond) // when to kill is the point of the test
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	require.NoError(t, consume(store, repo, log))
	want := map[string]bool{}
	for key, obj := range listed(t, store) {
		want[key+" "+obj] = true
	}
	data, err := os.ReadFile(log)
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		delete(want, strings.TrimSuffix(line, "\n"))
	}
	require.Empty(t, slices.Collect(maps.Keys(want)), "never seen")
	size := len(data)
	require.NoError(t, consume(store, repo, log))
	data, err = os.ReadFile(log)
	require.NoError(t, err)
	require.Len(t, data, size, "nothing is pending")
}

// consume notes each change with its version, and only then asks for the next.
func consume(store *dir.Store, repo, log string) error {
	s, err := transfer.Open(config(store, repo))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for c, err := range s.Changes(context.Background(), anybody) {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(f, "%s %s\n", c.Key, c.Object.Tag); err != nil {
			return err
		}
	}
	return nil
}

func listed(t *testing.T, store *dir.Store) map[string]string {
	tags := map[string]string{}
	for obj, err := range store.List(t.Context(), "") {
		require.NoError(t, err)
		tags[obj.Key] = obj.Tag
	}
	return tags
}

// failingList is a remote whose listing breaks off after so many objects.
type failingList struct {
	*mem.Store
	after int
}

func newFailingList(store *mem.Store) *failingList { return &failingList{store, -1} }

func (f *failingList) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		n := 0
		for obj, err := range f.Store.List(ctx, prefix) {
			if n++; f.after >= 0 && n > f.after {
				yield(storage.Object{}, errBroken)
				return
			}
			if !yield(obj, err) {
				return
			}
		}
	}
}
