package transfer_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// unlisted is a remote that nobody may list.
type unlisted struct{ storage.Store }

var errListed = errors.New("the remote was listed")

func (unlisted) List(context.Context, string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) { yield(storage.Object{}, errListed) }
}

// snapshot is what a scan of the remote sees now.
func snapshot(t *testing.T, store storage.Store) *storage.Listing {
	t.Helper()
	l, err := storage.Recall(store.List(t.Context(), ""))
	require.NoError(t, err)
	return &l
}

// seen is a pull by a listing of the past.
func seen(l *storage.Listing) transfer.Request {
	return transfer.Request{Direction: transfer.Pull, Seen: l}
}

// TestSeen: a pull by a listing asks the remote for files only.
func TestSeen(t *testing.T) {
	store := remote(many(20))
	p := newPipe(t, unlisted{store})
	p.must(seen(snapshot(t, store)), 20)
	p.must(seen(snapshot(t, store)), 0)
	store.Plant("new.csv", []byte("new"))
	p.must(seen(snapshot(t, store)), 1)
	require.Equal(t, "new", p.read("new.csv"))
	_, err := p.Plan(t.Context(), pull)
	require.ErrorIs(t, err, errListed)
	_, err = p.RemoveOrphans(t.Context(), transfer.OrphanOptions{})
	require.ErrorIs(t, err, errListed, "what may be deleted, the remote itself must say")
	for _, d := range []transfer.Direction{transfer.Push, transfer.Mirror} {
		_, err = p.Plan(t.Context(), transfer.Request{Direction: d, Seen: snapshot(t, store)})
		require.Error(t, err)
	}
}

// TestSeenWithoutAStore: whether there is something to do is found out without the
// remote; whether two edits are the same is not.
func TestSeenWithoutAStore(t *testing.T) {
	store := remote(many(5))
	p := newPipe(t, store)
	p.must(pull, 5)
	alone := func() *transfer.Plan {
		s, err := transfer.Open(transfer.Config{Dir: p.dir, State: p.state})
		require.NoError(t, err)
		plan, err := s.Plan(t.Context(), seen(snapshot(t, store)))
		require.NoError(t, err)
		if len(plan.Steps) == 0 {
			_, err = s.Apply(t.Context(), plan)
			require.NoError(t, err)
		}
		return plan
	}
	require.Empty(t, alone().Steps)
	p.write("both.csv", "the same")
	store.Plant("both.csv", []byte("the same"))
	require.Equal(t, []string{"both.csv"}, alone().Conflicts())
	p.must(seen(snapshot(t, store)), 0)
	require.Empty(t, alone().Steps)
}

// TestSeenIsOld: the remote has moved on since the listing. Nothing is lost, nothing
// is forgotten, and what is listed and not there any more is an error of that file.
func TestSeenIsOld(t *testing.T) {
	store := remote(map[string]string{"a": "a", "b": "b", "c": "c", "d": "d"})
	p := newPipe(t, unlisted{store})
	old := snapshot(t, store)
	p.must(seen(old), 4)

	store.Plant("e", []byte("pushed by somebody"))
	store.Plant("a", []byte("changed"))
	require.NoError(t, store.Remove(t.Context(), "b"))
	p.must(seen(old), 0)
	now := snapshot(t, store)
	p.must(seen(now), 2)

	require.NoError(t, os.Remove(filepath.Join(p.dir, "e"))) // gone here, and not in the old listing
	require.NoError(t, os.Remove(filepath.Join(p.dir, "b")))
	plan := p.plan(seen(old))
	require.Equal(t, map[string]transfer.Action{"a": transfer.Download, "b": transfer.Download}, actions(plan))
	report, err := p.Apply(t.Context(), plan)
	require.ErrorIs(t, err, storage.ErrChanged, "a is of a version that is no more")
	require.Zero(t, report.Files)
	require.Equal(t, "changed", p.read("a"))
	entries, err := p.Files(t.Context())
	require.NoError(t, err)
	require.Len(t, entries, 5, "what is gone on both sides, by an old listing, is not forgotten")
	p.must(seen(now), 1)
	require.Equal(t, "pushed by somebody", p.read("e"))
}

// TestSeenNothing: by an empty listing nothing is done.
func TestSeenNothing(t *testing.T) {
	store := remote(many(20))
	p := newPipe(t, unlisted{store})
	p.must(seen(snapshot(t, store)), 20)
	before := tree(t, p.dir)
	p.must(seen(snapshot(t, mem.New())), 0)
	require.Equal(t, before, tree(t, p.dir))
	p.must(seen(snapshot(t, store)), 0)
}

// TestCompareLooksOnce: to say what is to be pulled takes one look at the remote. What
// looks like an edit on both sides is looked at again, while nobody else moves files.
func TestCompareLooksOnce(t *testing.T) {
	store := remote(many(3))
	looks := &looks{Store: store}
	p := newPipe(t, looks)
	p.must(pull, 3)
	store.Plant("dir1/file0001.csv", []byte("theirs"))
	store.Plant("new", []byte("new"))
	looks.n = 0
	toPull, toPush, err := p.Compare(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, toPull.Files)
	require.Equal(t, []string{"dir1/file0001.csv", "new"}, toPush.Conflicts())
	require.Equal(t, 1, looks.n)

	p.write("dir1/file0001.csv", "mine")
	looks.n = 0
	toPull, toPush, err = p.Compare(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"dir1/file0001.csv"}, toPull.Conflicts())
	require.Equal(t, []string{"dir1/file0001.csv", "new"}, toPush.Conflicts())
	require.Equal(t, 2, looks.n)
	looks.n = 0
	require.Len(t, p.plan(push).Conflicts(), 2)
	require.Equal(t, 2, looks.n)
}

// looks counts listings.
type looks struct {
	storage.Store
	n int
}

func (l *looks) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	l.n++
	return l.Store.List(ctx, prefix)
}
