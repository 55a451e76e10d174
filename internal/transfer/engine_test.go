package transfer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

func TestPullPushPull(t *testing.T) {
	store := remote(many(100))
	a, b := newPipe(t, store), newPipe(t, store)
	a.must(pull, 100)
	a.must(pull, 0)
	b.must(pull, 100)
	a.write("dir1/file0001.csv", "edited by a")
	a.write("fresh/new.csv", "new")
	report := a.must(push, 2)
	require.EqualValues(t, len("edited by a")+len("new"), report.Bytes)
	require.Equal(t, "edited by a", stored(t, store, "dir1/file0001.csv"))
	a.must(push, 0)
	b.must(pull, 2)
	require.Equal(t, "edited by a", b.read("dir1/file0001.csv"))
	require.Equal(t, "new", b.read("fresh/new.csv"))
	files, err := b.Files(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 101)
}

func TestPullFetchesWhatWasDeletedHere(t *testing.T) {
	p := newPipe(t, remote(many(3)))
	p.must(pull, 3)
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "dir1")))
	p.must(push, 0)
	p.must(pull, 1)
	require.Equal(t, "content 1", p.read("dir1/file0001.csv"))
}

func TestPullConflict(t *testing.T) {
	setup := func(t *testing.T) (*pipe, *mem.Store) {
		store := remote(many(3))
		p := newPipe(t, store)
		p.must(pull, 3)
		p.write("dir1/file0001.csv", "mine")
		store.Plant("dir1/file0001.csv", []byte("theirs"))
		store.Plant("dir2/other.csv", []byte("other"))
		return p, store
	}
	t.Run("fail", func(t *testing.T) {
		p, _ := setup(t)
		report, err := p.sync(pull)
		var conflict *transfer.ConflictError
		require.ErrorAs(t, err, &conflict)
		require.ErrorIs(t, err, transfer.ErrConflict)
		require.Equal(t, []string{"dir1/file0001.csv"}, conflict.Keys)
		require.Equal(t, conflict.Keys, report.Keys(transfer.StatusConflict))
		require.NoFileExists(t, filepath.Join(p.dir, "dir2/other.csv"), "no byte moves")
		require.Equal(t, "mine", p.read("dir1/file0001.csv"))
	})
	t.Run("keep", func(t *testing.T) {
		p, _ := setup(t)
		p.must(transfer.Request{Direction: transfer.Pull, Merge: transfer.MergeKeep}, 1)
		require.Equal(t, "mine", p.read("dir1/file0001.csv"))
		_, err := p.sync(pull)
		require.ErrorIs(t, err, transfer.ErrConflict, "what was skipped is not recorded")
	})
	t.Run("overwrite", func(t *testing.T) {
		p, _ := setup(t)
		p.must(transfer.Request{Direction: transfer.Pull, Merge: transfer.MergeOverwrite}, 2)
		require.Equal(t, "theirs", p.read("dir1/file0001.csv"))
		p.must(pull, 0)
	})
	t.Run("push", func(t *testing.T) {
		p, store := setup(t)
		_, err := p.sync(push)
		require.ErrorIs(t, err, transfer.ErrConflict)
		require.ErrorContains(t, err, "pull first")
		require.Equal(t, "theirs", stored(t, store, "dir1/file0001.csv"))
		p.must(transfer.Request{Direction: transfer.Push, Merge: transfer.MergeKeep}, 0)
		p.must(transfer.Request{Direction: transfer.Push, Merge: transfer.MergeOverwrite}, 1)
		require.Equal(t, "mine", stored(t, store, "dir1/file0001.csv"))
	})
}

func TestAdopt(t *testing.T) {
	for name, sum := range map[string]bool{"by sum": true, "by reading the remote": false} {
		t.Run(name, func(t *testing.T) {
			store := &faulty{Store: remote(map[string]string{"a": "same", "b": "here"}), noSum: !sum}
			p := newPipe(t, store)
			p.write("a", "same")
			p.write("b", "else")
			plan := p.plan(pull)
			require.Equal(t, map[string]transfer.Action{"a": transfer.Adopt, "b": transfer.Conflict}, actions(plan))
			p.must(transfer.Request{Direction: transfer.Pull, Merge: transfer.MergeKeep}, 0)
			files, err := p.Files(t.Context())
			require.NoError(t, err)
			require.Len(t, files, 1)
			require.Equal(t, "a", files[0].Key)
			require.Equal(t, hash([]byte("same")), files[0].Sum.String())
		})
	}
}

func TestTouchedFileIsReadOnceAndNotPushed(t *testing.T) {
	p := newPipe(t, remote(map[string]string{"a": "content"}))
	p.must(pull, 1)
	backdate(t, p, "a")
	require.Empty(t, p.plan(push).Steps)
	files, err := p.Files(t.Context())
	require.NoError(t, err)
	require.Less(t, time.Since(files[0].Checked.Time()), time.Minute)
	require.Greater(t, time.Since(files[0].ModTime.Time()), time.Minute, "the manifest has learned the new time")
	require.NoError(t, os.Chmod(p.dir, 0o755))
}

func TestEditOfSameSizeAndTime(t *testing.T) {
	p := newPipe(t, remote(map[string]string{"a": "content"}))
	p.must(pull, 1)
	path := filepath.Join(p.dir, "a")
	info, err := os.Stat(path)
	require.NoError(t, err)
	p.write("a", "CONTENT")
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	require.Equal(t, map[string]transfer.Action{"a": transfer.Upload}, actions(p.plan(push)))
}

func TestLocalEditAfterThePlan(t *testing.T) {
	store := remote(map[string]string{"a": "1", "b": "1", "c": "1", "new": "1"})
	p := newPipe(t, store)
	p.must(transfer.Request{Direction: transfer.Pull, Keys: []string{"a", "b", "c"}}, 3)
	for _, key := range []string{"a", "b", "c"} {
		store.Plant(key, []byte("two"))
	}
	plan := p.plan(pull)
	p.write("a", "my edit")
	require.NoError(t, os.Remove(filepath.Join(p.dir, "b")))
	p.write("new", "mine")
	report, err := p.Apply(t.Context(), plan)
	require.ErrorIs(t, err, transfer.ErrPartial)
	require.ErrorIs(t, err, transfer.ErrConflict)
	require.Equal(t, []string{"a", "b", "new"}, report.Keys(transfer.StatusConflict))
	require.Equal(t, []string{"c"}, report.Keys(transfer.StatusDone))
	require.Equal(t, "my edit", p.read("a"))
	require.Equal(t, "mine", p.read("new"))
	require.NoFileExists(t, filepath.Join(p.dir, "b"))
}

func TestLocalEditDuringTheDownload(t *testing.T) {
	store := &faulty{Store: remote(map[string]string{"a": "1", "b": "1"})}
	p := newPipe(t, store)
	p.must(transfer.Request{Direction: transfer.Pull, Keys: []string{"a"}}, 1)
	store.Store.(*mem.Store).Plant("a", []byte("two"))
	plan := p.plan(pull)
	store.beforeOpen = func(key string) { p.write(key, "my edit") }
	report, err := p.Apply(t.Context(), plan)
	require.ErrorIs(t, err, transfer.ErrConflict)
	require.ErrorIs(t, err, transfer.ErrEdited)
	require.Equal(t, []string{"a", "b"}, report.Keys(transfer.StatusConflict))
	require.Equal(t, "my edit", p.read("a"))
	require.Equal(t, "my edit", p.read("b"))
	requireNoParts(t, p)
}

func TestStrayPartFilesAreSwept(t *testing.T) {
	p := newPipe(t, remote(many(1)))
	dead := filepath.Join(p.state, "parts", ".d6tpipe-tmp-999999999-1")
	living := filepath.Join(p.state, "parts", fmt.Sprintf(".d6tpipe-tmp-%d-1", os.Getppid()))
	require.NoError(t, os.WriteFile(dead, []byte("part"), 0o600))
	require.NoError(t, os.WriteFile(living, []byte("part"), 0o600))
	p.must(pull, 1)
	require.NoFileExists(t, dead)
	require.FileExists(t, living, "the file system has no locks, it seems")
	old := time.Now().Add(-25 * time.Hour)
	require.NoError(t, os.Chtimes(living, old, old))
	p.must(pull, 0)
	require.NoFileExists(t, living)
}

func TestApplyWaitsForTheLock(t *testing.T) {
	store := &faulty{Store: remote(many(1))}
	p := newPipe(t, store)
	other, err := transfer.Open(transfer.Config{Store: store, Dir: p.dir, State: p.state})
	require.NoError(t, err)
	inside, release := make(chan struct{}), make(chan struct{})
	store.beforeOpen = func(string) { close(inside); <-release }
	plan, late := p.plan(pull), p.plan(pull)
	first := make(chan error, 1)
	go func() { _, err := p.Apply(t.Context(), plan); first <- err }()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = other.Apply(ctx, late)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(release)
	require.NoError(t, <-first)
	report, err := other.Apply(t.Context(), late)
	require.NoError(t, err, "done by another process is no conflict")
	require.Equal(t, transfer.DoneElsewhere, report.Results[0].Reason)
}

func TestTwoPushers(t *testing.T) {
	store := remote(map[string]string{"a": "1"})
	one, two := newPipe(t, store), newPipe(t, store)
	one.must(pull, 1)
	two.must(pull, 1)
	one.write("a", "by one")
	one.write("new", "by one")
	two.write("a", "by two!")
	two.write("new", "by two!")
	late := one.plan(push)
	two.must(push, 2)
	report, err := one.Apply(t.Context(), late)
	require.ErrorIs(t, err, transfer.ErrConflict)
	require.ErrorIs(t, err, storage.ErrChanged)
	require.Equal(t, []string{"a", "new"}, report.Keys(transfer.StatusConflict), "%+v", report.Results)
	require.Equal(t, "by two!", stored(t, store, "a"))
	require.Equal(t, "by two!", stored(t, store, "new"))
}

func TestFailuresDoNotStopTheOthers(t *testing.T) {
	store := &faulty{Store: remote(many(20)), fail: map[string]error{"dir3/file0003.csv": fs.ErrPermission}}
	p := newPipe(t, store)
	report, err := p.sync(pull)
	var partial *transfer.PartialError
	require.ErrorAs(t, err, &partial)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.Equal(t, 19, partial.Succeeded)
	require.Equal(t, []string{"dir3/file0003.csv"}, report.Keys(transfer.StatusFailed))
	store.fail = nil
	p.must(pull, 1)
}

func TestCorruptDownload(t *testing.T) {
	store := &faulty{Store: remote(map[string]string{"a": "right", "b": "right"}), corrupt: map[string]int{"a": 1, "b": 2}}
	p := newPipe(t, store)
	report, err := p.sync(pull)
	var bad *transfer.VerifyError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, "b", bad.Key)
	require.Equal(t, "md5", bad.What)
	require.NotEqual(t, bad.Want, bad.Got)
	require.Equal(t, []string{"a"}, report.Keys(transfer.StatusDone), "one wrong answer is asked again")
	require.NoFileExists(t, filepath.Join(p.dir, "b"))
	requireNoParts(t, p)
}

func TestShortAndLongDownloads(t *testing.T) {
	store := &faulty{Store: remote(map[string]string{"short": "12345", "long": "12345"}), noSum: true,
		cut: map[string]string{"short": "1234", "long": strings.Repeat("x", 1<<20)}}
	p := newPipe(t, store)
	report, err := p.sync(pull)
	require.ErrorIs(t, err, transfer.ErrCorrupt)
	require.Equal(t, []string{"long", "short"}, report.Keys(transfer.StatusFailed))
	require.Empty(t, tree(t, p.dir))
	requireNoParts(t, p)
}

func requireNoParts(t *testing.T, p *pipe) {
	t.Helper()
	parts, err := os.ReadDir(filepath.Join(p.state, "parts"))
	require.NoError(t, err)
	require.Empty(t, parts)
}

func TestFileChangesWhileItIsSent(t *testing.T) {
	store := &faulty{Store: mem.New()}
	p := newPipe(t, store)
	p.write("a", strings.Repeat("1", 1<<20))
	p.write("b", "b")
	store.beforePut = func(key string) {
		if key == "a" {
			p.write("a", strings.Repeat("2", 1<<20))
		}
	}
	report, err := p.sync(push)
	require.ErrorIs(t, err, transfer.ErrEdited)
	require.Equal(t, []string{"a"}, report.Keys(transfer.StatusFailed))
	_, err = store.Stat(t.Context(), "a")
	require.ErrorIs(t, err, fs.ErrNotExist, "a mixture of versions was stored")
	store.beforePut = nil
	p.must(push, 1)
}

func TestCancel(t *testing.T) {
	store := &faulty{Store: remote(many(200)), slow: 5 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	moved := 0
	p := newPipe(t, store, func(c *transfer.Config) {
		c.Workers = 4
		c.Progress = func(e transfer.Event) {
			if e.Kind != transfer.Moved {
				return
			}
			if moved++; moved == 50 {
				cancel()
			}
		}
	})
	plan := p.plan(pull)
	report, err := p.Apply(ctx, plan)
	require.ErrorIs(t, err, context.Canceled)
	finished := report.Keys(transfer.StatusDone)
	require.NotEmpty(t, finished)
	require.Less(t, len(finished), 60, "no file is begun after it")
	files, err := p.Files(t.Context())
	require.NoError(t, err)
	require.Len(t, files, len(finished), "what is done is recorded")
	require.Len(t, tree(t, p.dir), len(finished))
	requireNoParts(t, p)
	p.must(pull, 200-len(finished))
}

func TestCancelWhileTheStoreHangs(t *testing.T) {
	store := &faulty{Store: remote(many(8)), slow: time.Hour}
	p := newPipe(t, store)
	plan := p.plan(pull)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := p.Apply(ctx, plan)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestMissingRemoteFolderIsAnError(t *testing.T) {
	store := &faulty{Store: mem.New(), listErr: fs.ErrNotExist}
	p := newPipe(t, store)
	_, err := p.Plan(t.Context(), pull)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestRequestedKeys(t *testing.T) {
	p := newPipe(t, remote(many(5)), func(c *transfer.Config) { c.Match = func(k string) bool { return k != "dir4/file0004.csv" } })
	p.must(pull, 4)
	req := transfer.Request{Direction: transfer.Pull, Keys: []string{"dir1/file0001.csv"}}
	p.must(req, 1)
	req.Keys = []string{"dir4/file0004.csv", "dir2/file0002.csv", "nowhere"}
	report, err := p.sync(req)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, []string{"dir4/file0004.csv", "nowhere"}, report.Keys(transfer.StatusFailed))
	require.Equal(t, []string{"dir2/file0002.csv"}, report.Keys(transfer.StatusDone))
}

func TestPlanSurvivesJSON(t *testing.T) {
	p := newPipe(t, remote(many(5)))
	p.write("mine", "1")
	data, err := json.Marshal(p.plan(pull))
	require.NoError(t, err)
	var plan transfer.Plan
	require.NoError(t, json.Unmarshal(data, &plan))
	report, err := p.Apply(t.Context(), &plan)
	require.NoError(t, err)
	require.Equal(t, 5, report.Files)
	p.must(pull, 0)
}

func TestHostilePlan(t *testing.T) {
	p := newPipe(t, remote(many(1)))
	object := storage.Object{Key: "../evil"}
	file := transfer.LocalFile{Key: "x"}
	plan := &transfer.Plan{Direction: transfer.Pull, Steps: []transfer.Step{
		{Key: "../evil", Action: transfer.Download, Remote: &object},
		{Key: "a", Action: transfer.Download},
		{Key: "b", Action: transfer.Upload},
		{Key: "c", Action: transfer.Adopt},
		{Key: "d", Action: transfer.Upload, Local: &file},
	}}
	report, err := p.Apply(t.Context(), plan)
	require.ErrorIs(t, err, transfer.ErrPartial)
	require.ErrorIs(t, err, storage.ErrKey)
	require.Len(t, report.Keys(transfer.StatusFailed), 5)
	require.NoFileExists(t, filepath.Join(p.dir, "../evil"))
}

func TestProgress(t *testing.T) {
	var mu sync.Mutex
	count := map[transfer.EventKind]int{}
	var moved, planned int64
	store := &faulty{Store: remote(many(30)), fail: map[string]error{"dir0/file0000.csv": fs.ErrPermission}}
	p := newPipe(t, store, func(c *transfer.Config) {
		c.Progress = func(e transfer.Event) {
			if !mu.TryLock() {
				t.Error("events overlap")
			}
			defer mu.Unlock()
			count[e.Kind]++
			switch e.Kind {
			case transfer.Moved:
				moved += e.Bytes
			case transfer.Planned:
				planned = e.Bytes
			}
		}
	})
	_, err := p.sync(pull)
	require.Error(t, err)
	require.Equal(t, planned-int64(len("content 0")), moved)
	delete(count, transfer.Moved)
	require.Equal(t, map[transfer.EventKind]int{transfer.Planned: 1, transfer.Started: 30, transfer.Done: 29, transfer.Failed: 1, transfer.Finished: 1}, count)
}

func TestMemoryIsBoundedByThePool(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 4<<20) // 64 MiB
	store := &faulty{Store: remote(map[string]string{"a": big, "b": big}), noSum: true}
	p := newPipe(t, store)
	plan := p.plan(pull)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := p.Apply(t.Context(), plan)
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
}

func TestConfig(t *testing.T) {
	root := t.TempDir()
	for name, cfg := range map[string]transfer.Config{
		"no folder":        {State: root},
		"no state":         {Dir: root},
		"state inside":     {Dir: root, State: filepath.Join(root, "state")},
		"the same":         {Dir: root, State: root},
		"negative workers": {Dir: filepath.Join(root, "a"), State: filepath.Join(root, "b"), Workers: -1},
	} {
		_, err := transfer.Open(cfg)
		require.Error(t, err, name)
	}
	p := newPipe(t, nil)
	_, err := p.Plan(t.Context(), pull)
	require.Error(t, err)
	_, err = p.Plan(t.Context(), transfer.Request{})
	require.Error(t, err)
	_, err = p.Plan(t.Context(), transfer.Request{Direction: transfer.Pull, Mode: "x"})
	require.Error(t, err)
	_, err = p.Plan(t.Context(), transfer.Request{Direction: transfer.Pull, Merge: "x"})
	require.Error(t, err)
	l, err := p.ScanLocal(t.Context())
	require.NoError(t, err, "a folder that is missing has no files")
	require.Empty(t, l.Files)
}

// faulty is a store that misbehaves as told.
type faulty struct {
	storage.Store
	noSum      bool             // vouches for nothing
	fail       map[string]error // Open and Put
	listErr    error            // at the end of a listing
	lists      int              // further listings that fail with ErrTemporary
	slow       time.Duration    // every Open and Put
	cut        map[string]string
	beforePut  func(key string)
	beforeOpen func(key string)

	mu      sync.Mutex
	corrupt map[string]int // so many wrong answers
}

func (f *faulty) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for o, err := range f.Store.List(ctx, prefix) {
			if f.noSum {
				o.Sum = ""
			}
			if !yield(o, err) {
				return
			}
		}
		if f.listErr != nil {
			yield(storage.Object{}, f.listErr)
		} else if f.lists--; f.lists >= 0 {
			yield(storage.Object{}, storage.ErrTemporary)
		}
	}
}

func (f *faulty) wait(ctx context.Context, key string) error {
	if f.slow > 0 {
		timer := time.NewTimer(f.slow)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	return f.fail[key]
}

func (f *faulty) Open(ctx context.Context, o storage.Object, off, n int64) (io.ReadCloser, error) {
	if f.beforeOpen != nil {
		f.beforeOpen(o.Key)
	}
	if err := f.wait(ctx, o.Key); err != nil {
		return nil, err
	}
	if text, ok := f.cut[o.Key]; ok {
		return io.NopCloser(strings.NewReader(text)), nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.corrupt[o.Key] > 0 {
		f.corrupt[o.Key]--
		return io.NopCloser(strings.NewReader("wrong")), nil
	}
	return f.Store.Open(ctx, o, off, n)
}

func (f *faulty) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := f.wait(ctx, key); err != nil {
		return storage.Object{}, err
	}
	if f.beforePut != nil {
		f.beforePut(key)
	}
	return f.Store.Put(ctx, key, r, size, cond)
}

// A file that is to be recorded as equal may be replaced by one of the same size and
// time before the plan is applied.
func TestAdoptLooksAgain(t *testing.T) {
	store := remote(map[string]string{"b": "v4"})
	p := newPipe(t, store)
	p.write("b", "v4")
	p.write("c", "v0")
	at := time.Now().Add(-time.Hour)
	for _, key := range []string{"b", "c"} {
		require.NoError(t, os.Chtimes(filepath.Join(p.dir, key), at, at))
	}
	plan := p.plan(push)
	require.NoError(t, os.Rename(filepath.Join(p.dir, "c"), filepath.Join(p.dir, "b")))
	_, err := p.Apply(t.Context(), plan)
	if runtime.GOOS != "linux" {
		return // nothing tells
	}
	require.ErrorIs(t, err, transfer.ErrConflict)
	_, err = p.sync(push)
	require.ErrorIs(t, err, transfer.ErrConflict, "it is still an edit of ours")
	require.Equal(t, "v0", p.read("b"))
	require.Equal(t, "v4", stored(t, store, "b"))
}
