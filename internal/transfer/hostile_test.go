package transfer_test

import (
	"context"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

func TestHostileKeys(t *testing.T) {
	store := remote(many(10))
	hostile := append(storagetest.HostileKeys(), "Twin.csv", "twin.csv", "f", "f/x", "e\u0301", "\u00e9")
	for _, key := range hostile {
		store.Plant(key, []byte("evil"))
	}
	p := newPipe(t, store)
	outside := filepath.Join(filepath.Dir(p.dir), "victim")
	require.NoError(t, os.Mkdir(outside, 0o755))
	report, err := p.sync(pull)
	require.ErrorIs(t, err, transfer.ErrPartial)
	require.ErrorIs(t, err, storage.ErrKey)
	require.Equal(t, 10, report.Files)
	require.Len(t, tree(t, p.dir), 10)

	var refused []string
	for _, e := range report.Refused {
		require.NotEmpty(t, e.Reason)
		refused = append(refused, e.Key)
	}
	slices.Sort(hostile)
	require.Equal(t, slices.Compact(hostile), refused, "each is named once")
	require.Greater(t, len(refused), 100)

	entries, err := os.ReadDir(filepath.Dir(p.dir))
	require.NoError(t, err)
	require.Len(t, entries, 3, "the pipe, its state, the victim")
	require.Empty(t, tree(t, outside))
	require.NoFileExists(t, "/tmp/d6tpipe-evil")
	requireNoParts(t, p)
}

func TestStrangeKeys(t *testing.T) {
	store := remote(nil)
	for _, key := range storagetest.StrangeKeys() {
		store.Plant(key, []byte("odd"))
	}
	a, b := newPipe(t, store), newPipe(t, remote(nil))
	a.must(pull, len(storagetest.StrangeKeys()))
	require.NoError(t, os.Rename(a.dir, b.dir))
	b.must(push, len(storagetest.StrangeKeys()))
	b.must(pull, 0)
}

func TestLocalNamesThatNobodyElseCanHave(t *testing.T) {
	p := newPipe(t, remote(nil))
	p.write("good.csv", "1")
	p.write("bad\nname", "1")
	p.write("nul/x.csv", "1")
	p.write("A.csv", "1")
	p.write("a.csv", "2")
	p.write(".d6tpipe-tmp-1-2", "ours")
	p.write("sub/.d6tpipe/x", "ours")
	report, err := p.sync(push)
	require.ErrorIs(t, err, storage.ErrKey)
	require.Equal(t, 1, report.Files)
	var refused []string
	for _, e := range report.Refused {
		refused = append(refused, e.Key)
	}
	require.Equal(t, []string{"A.csv", "a.csv", "bad\nname", "nul"}, refused)
}

// plant makes links inside the folder that lead elsewhere.
func TestSymbolicLinks(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))

	t.Run("are not pushed", func(t *testing.T) {
		store := remote(nil)
		p := newPipe(t, store)
		p.write("a", "1")
		require.NoError(t, os.Symlink(secret, filepath.Join(p.dir, "link")))
		require.NoError(t, os.Symlink(filepath.Dir(secret), filepath.Join(p.dir, "folder")))
		report := p.must(push, 1)
		require.Equal(t, []string{"folder", "link"}, report.Keys(transfer.StatusSkipped))
		require.Equal(t, transfer.Irregular, report.Results[1].Reason)
	})
	for name, target := range map[string]string{"outside": filepath.Dir(secret), "inside": "other"} {
		t.Run("to a folder "+name+" is not written through", func(t *testing.T) {
			p := newPipe(t, remote(map[string]string{"sub/secret": "evil", "good": "1", "other/x": "1"}))
			plan := p.plan(pull)
			p.write("other/secret", "mine")
			require.NoError(t, os.Symlink(target, filepath.Join(p.dir, "sub")))
			report, err := p.Apply(t.Context(), plan)
			require.ErrorIs(t, err, transfer.ErrPartial)
			require.Equal(t, []string{"sub/secret"}, report.Keys(transfer.StatusFailed))
			require.Equal(t, 2, report.Files)
			require.Equal(t, "mine", p.read("other/secret"))
			data, err := os.ReadFile(secret)
			require.NoError(t, err)
			require.Equal(t, "secret", string(data))
		})
	}
	t.Run("in the place of a file is a conflict", func(t *testing.T) {
		p := newPipe(t, remote(map[string]string{"a": "new"}))
		plan := p.plan(pull)
		require.NoError(t, os.MkdirAll(p.dir, 0o755))
		require.NoError(t, os.Symlink(secret, filepath.Join(p.dir, "a")))
		_, err := p.Apply(t.Context(), plan)
		require.ErrorIs(t, err, transfer.ErrConflict)
		_, err = p.sync(pull)
		require.ErrorIs(t, err, transfer.ErrConflict)
		p.must(transfer.Request{Direction: transfer.Pull, Merge: transfer.MergeOverwrite}, 1)
		require.Equal(t, "new", p.read("a"))
		data, err := os.ReadFile(secret)
		require.NoError(t, err)
		require.Equal(t, "secret", string(data), "the link was replaced, not followed")
	})
}

// TestLinkRace swaps a folder for a link to the outside while files are pulled
// into it.
func TestLinkRace(t *testing.T) {
	files := map[string]string{}
	for _, key := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		files["sub/"+key] = "evil"
	}
	store := remote(files)
	p := newPipe(t, store)
	outside := t.TempDir()
	sub, link := filepath.Join(p.dir, "sub"), filepath.Join(p.dir, "link")
	require.NoError(t, os.MkdirAll(p.dir, 0o755))
	require.NoError(t, os.Symlink(outside, link))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default: // folder, link, nothing, in turn
				_ = os.Rename(sub, sub+".away")
				_ = os.Rename(link, sub)
				_ = os.Rename(sub, link)
				_ = os.Rename(sub+".away", sub)
			}
		}
	}()
	req := transfer.Request{Direction: transfer.Pull, Mode: transfer.ModeAll, Merge: transfer.MergeOverwrite}
	deadline := time.Now().Add(time.Duration(rounds(1, 20)) * time.Second)
	for time.Now().Before(deadline) {
		plan, err := p.Plan(t.Context(), req)
		if err == nil {
			_, _ = p.Apply(t.Context(), plan)
		}
	}
	close(stop)
	<-stopped
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestFileWhereAFolderMustBe(t *testing.T) {
	p := newPipe(t, remote(map[string]string{"a/b": "1", "c": "1"}))
	p.write("a", "mine")
	require.NoError(t, os.MkdirAll(filepath.Join(p.dir, "c"), 0o755))
	report, err := p.sync(pull)
	require.Error(t, err)
	require.Zero(t, report.Files)
	require.Equal(t, "mine", p.read("a"))
	require.True(t, strings.Contains(err.Error(), "a/b"))
}

// A boaster claims another size of big.bin than it has.
type boaster struct {
	storage.Store
	size int64
}

func (b boaster) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for o, err := range b.Store.List(ctx, prefix) {
			if o.Key == "big.bin" {
				o.Size = b.size
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// A size that a listing claims costs neither memory nor room on the disk, and the
// other files arrive.
func TestClaimedSizes(t *testing.T) {
	for _, size := range []int64{math.MaxInt64, 1 << 50, 1 << 44, bigSize + 1} {
		for _, serial := range []bool{false, true} {
			t.Run(fmt.Sprint(size, serial), func(t *testing.T) {
				store := remote(map[string]string{"big.bin": "tiny", "small.csv": "small"})
				from := newBreaking(boaster{store, size}, 1<<40)
				from.serial = serial
				p := newPipe(t, from, inPieces)
				report, err := p.sync(pull)
				require.ErrorIs(t, err, transfer.ErrPartial)
				require.Equal(t, []string{"big.bin"}, report.Keys(transfer.StatusFailed))
				require.Equal(t, map[string]string{"small.csv": hash([]byte("small"))}, tree(t, p.dir))
				requireNothingLeft(t, p)

				to := mem.New()
				target := newBreaking(to, math.MaxInt64)
				target.serial = serial
				m := newPipe(t, target, inPieces, func(c *transfer.Config) { c.Dir, c.From = "", from })
				_, report, _, err = m.Mirror(t.Context(), transfer.MirrorOptions{})
				require.ErrorIs(t, err, transfer.ErrPartial)
				require.Equal(t, []string{"big.bin"}, report.Keys(transfer.StatusFailed))
				require.Equal(t, "small", stored(t, to, "small.csv"))
				requireAbsent(t, to, "big.bin")
			})
		}
	}
}
