package d6tpipe_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// pulled is a pipe "sales" on a folder with three files that the client has.
func pulled(t *testing.T) (client party, pipe *d6tpipe.Pipe) {
	t.Helper()
	both := parties(t, "vendor", "client")
	addDir(t, both[0].api)
	addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "sales", Schema: []byte(`{"pandas":{"sep":","}}`),
		Options: d6tpipe.PipeOptions{Include: "*.csv"}})
	vendor := both[0].open("sales")
	write(t, vendor, "b.csv", "12345")
	write(t, vendor, "a.csv", "1")
	write(t, vendor, "deep/c.csv", "123")
	push(t, vendor)
	pipe = both[1].open("sales")
	pull(t, pipe)
	return both[1], pipe
}

func names(files []d6tpipe.File) (all []string) {
	for _, f := range files {
		all = append(all, f.Key)
	}
	return all
}

func TestOpenLocalPipe(t *testing.T) {
	client, pipe := pulled(t)
	require.NoError(t, os.Remove(client.cfg.Catalog), "from here on there is no repo API")
	local, err := d6tpipe.OpenLocalPipe(client.cfg, "sales")
	require.NoError(t, err)
	require.Equal(t, pipe.Dir(), local.Dir())
	require.JSONEq(t, `{"pandas":{"sep":","}}`, string(local.Schema()))
	require.Equal(t, "*.csv", local.Settings().Options.Include)

	write(t, local, "new.csv", "")
	write(t, local, "ignored.txt", "")
	files, err := local.Files(t.Context(), d6tpipe.ListOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"a.csv", "b.csv", "deep/c.csv"}, names(files), "what was synced")
	require.Len(t, files[0].SHA256, 64)
	files, err = local.ScanLocal(t.Context(), d6tpipe.ListOptions{Sort: d6tpipe.SortSize})
	require.NoError(t, err)
	require.Equal(t, []string{"new.csv", "a.csv", "deep/c.csv", "b.csv"}, names(files), "what is there")

	require.NoError(t, os.Remove(filepath.Join(local.Dir(), "a.csv")))
	paths, err := local.FilePaths(t.Context(), d6tpipe.ListOptions{Exclude: "deep/*"})
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(local.Dir(), "b.csv")}, paths)

	pipes, err := client.cfg.LocalPipes()
	require.NoError(t, err)
	require.Equal(t, []string{"sales"}, pipes)
}

func TestOpenLocalPipeThatWasNeverOpened(t *testing.T) {
	client, _ := pulled(t)
	_, err := d6tpipe.OpenLocalPipe(client.cfg, "other")
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	_, err = d6tpipe.OpenLocalPipe(client.cfg, "../sales")
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
}

func TestOpenLocalPipeWithDamagedSettings(t *testing.T) {
	client, _ := pulled(t)
	file := filepath.Join(client.cfg.FileRepo, ".d6tpipe", "sales", "pipe.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"name":`), 0o600))
	_, err := d6tpipe.OpenLocalPipe(client.cfg, "sales")
	require.ErrorIs(t, err, d6tpipe.ErrDamaged)
	client.open("sales")
	_, err = d6tpipe.OpenLocalPipe(client.cfg, "sales")
	require.NoError(t, err, "opening the pipe with its repo API mends it")
}

// An import replaces an edit that was not pushed, or refuses to as a whole.
func TestImportKeepsEdits(t *testing.T) {
	_, pipe := pulled(t)
	outside := t.TempDir()
	sources := func(a, b, c string) (paths []string) {
		for name, text := range map[string]string{"a.csv": a, "b.csv": b, "c.csv": c} {
			path := filepath.Join(outside, name)
			require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
			paths = append(paths, path)
		}
		return paths
	}
	here := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(pipe.Dir(), name), []byte(text), 0o644))
	}
	keep := d6tpipe.ImportOptions{KeepEdits: true}
	here("b.csv", "edited")
	here("c.csv", "new") // a.csv is as it was pulled
	_, err := pipe.Import(t.Context(), sources("one", "two", "three"), keep)
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	var edits *d6tpipe.EditsError
	require.ErrorAs(t, err, &edits)
	require.Equal(t, []string{"b.csv", "c.csv"}, edits.Keys)
	require.Equal(t, "1", content(t, pipe, "a.csv"), "nothing was copied")
	_, err = pipe.Import(t.Context(), sources("one", "edited", "nez"), keep)
	require.ErrorAs(t, err, &edits)
	require.Equal(t, []string{"c.csv"}, edits.Keys, "the same content is no loss, the same size is")

	var events []d6tpipe.Event
	keep.Progress = func(e d6tpipe.Event) { events = append(events, e) }
	imported, err := pipe.Import(t.Context(), sources("one", "edited", "new"), keep)
	require.NoError(t, err, "a file that is as it was pulled may be replaced")
	require.Equal(t, []string{"a.csv", "b.csv", "c.csv"}, imported)
	require.Equal(t, "one", content(t, pipe, "a.csv"))
	require.Equal(t, d6tpipe.Event{Kind: d6tpipe.EventPlanned, Action: d6tpipe.ActionImport, Files: 3, Bytes: 12}, events[0])
	require.Equal(t, d6tpipe.Event{Kind: d6tpipe.EventStarted, Action: d6tpipe.ActionImport, Key: "a.csv", Bytes: 3}, events[1])
	require.Equal(t, d6tpipe.Event{Kind: d6tpipe.EventMoved, Action: d6tpipe.ActionImport, Key: "a.csv", Bytes: 3}, events[2])
	require.Equal(t, d6tpipe.Event{Kind: d6tpipe.EventFinished, Action: d6tpipe.ActionImport, Files: 3, Bytes: 12}, events[len(events)-1])

	require.NoError(t, pipe.ImportFiles(t.Context(), sources("1", "2", "3"), d6tpipe.ImportOptions{}), "as in Python")
	require.Equal(t, "2", content(t, pipe, "b.csv"))
}

func TestImport(t *testing.T) {
	_, pipe := pulled(t)
	outside := t.TempDir()
	for name, text := range map[string]string{"x.csv": "x", "sub/y.csv": "y", "sub/x.csv": "other", ".d6tpipe-tmp-1": "stray"} {
		path := filepath.Join(outside, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	x, y, otherX := filepath.Join(outside, "x.csv"), filepath.Join(outside, "sub/y.csv"), filepath.Join(outside, "sub/x.csv")

	require.NoError(t, pipe.ImportFiles(t.Context(), []string{x, y}, d6tpipe.ImportOptions{Dir: "in", Move: true}))
	require.Equal(t, "x", content(t, pipe, "in/x.csv"))
	require.NoFileExists(t, x)
	require.NoFileExists(t, y)

	require.NoError(t, pipe.ImportDir(t.Context(), outside, d6tpipe.ImportOptions{}))
	require.Equal(t, "other", content(t, pipe, "sub/x.csv"))
	require.FileExists(t, otherX)

	err := pipe.ImportFiles(t.Context(), []string{otherX, filepath.Join(outside, "x.csv")}, d6tpipe.ImportOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrExists, "two of one name")
	err = pipe.ImportFiles(t.Context(), []string{filepath.Join(pipe.Dir(), "a.csv")}, d6tpipe.ImportOptions{Move: true})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid, "onto itself")
	require.Equal(t, "1", content(t, pipe, "a.csv"))
	err = pipe.ImportFiles(t.Context(), []string{outside}, d6tpipe.ImportOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid, "no regular file")
	err = pipe.ImportFiles(t.Context(), []string{otherX}, d6tpipe.ImportOptions{Dir: "../out"})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	err = pipe.ImportFiles(t.Context(), []string{filepath.Join(outside, "missing")}, d6tpipe.ImportOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)

	require.NoError(t, os.WriteFile(x, []byte("again"), 0o644))
	_, err = pipe.Import(t.Context(), []string{x, outside}, d6tpipe.ImportOptions{Dir: "all"})
	require.ErrorIs(t, err, d6tpipe.ErrExists, "x.csv twice")
	require.NoDirExists(t, filepath.Join(pipe.Dir(), "all"), "checked before anything is copied")
	imported, err := pipe.Import(t.Context(), []string{filepath.Join(outside, "sub"), y}, d6tpipe.ImportOptions{Dir: "all"})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	require.Empty(t, imported)
	require.NoError(t, os.Rename(x, filepath.Join(outside, "z.csv")))
	imported, err = pipe.Import(t.Context(), []string{filepath.Join(outside, "z.csv"), filepath.Join(outside, "sub")}, d6tpipe.ImportOptions{Dir: "all"})
	require.NoError(t, err)
	require.Equal(t, []string{"all/x.csv", "all/z.csv"}, imported)
	require.Equal(t, "again", content(t, pipe, "all/z.csv"))
	for key := range tree(t, pipe.Dir()) {
		require.NotContains(t, key, ".d6tpipe", "nothing half-written stays")
	}
}

// An import takes its turn with pulls and pushes.
func TestImportWaits(t *testing.T) {
	client, pipe := pulled(t)
	file := filepath.Join(t.TempDir(), "x.csv")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o644))
	unlock, err := atomicfile.Lock(t.Context(), filepath.Join(client.cfg.FileRepo, ".d6tpipe", "sales", "manifest"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = pipe.ImportFiles(ctx, []string{file}, d6tpipe.ImportOptions{Move: true})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.FileExists(t, file)
	require.NoError(t, unlock())
	require.NoError(t, pipe.ImportFiles(t.Context(), []string{file}, d6tpipe.ImportOptions{Move: true}))
	require.Equal(t, "x", content(t, pipe, "x.csv"))
}

func TestDeleteLocalKeepsWhatIsNotNamed(t *testing.T) {
	_, pipe := pulled(t)
	write(t, pipe, "a.csv", "edited here")
	require.ErrorIs(t, pipe.DeleteLocal(t.Context(), d6tpipe.DeleteOptions{}), d6tpipe.ErrInvalid)
	require.ErrorIs(t, pipe.DeleteLocal(t.Context(), d6tpipe.DeleteOptions{Files: []string{"../../x"}}), d6tpipe.ErrRefused)
	require.NoError(t, pipe.DeleteLocal(t.Context(), d6tpipe.DeleteOptions{Synced: true}))
	require.Equal(t, map[string]string{"a.csv": "edited here"}, tree(t, pipe.Dir()))
	require.NoError(t, pipe.DeleteLocal(t.Context(), d6tpipe.DeleteOptions{All: true}))
	require.Empty(t, tree(t, pipe.Dir()))
}

// Between the look at the files and their removal another sync can take its time.
func TestDeleteSyncedWhileWaiting(t *testing.T) {
	client, pipe := pulled(t)
	unlock, err := atomicfile.Lock(t.Context(), filepath.Join(client.cfg.FileRepo, ".d6tpipe", "sales", "manifest"))
	require.NoError(t, err)
	done := make(chan error, 1)
	ctx := &waitingCtx{Context: t.Context(), waits: make(chan struct{})}
	go func() { done <- pipe.DeleteLocal(ctx, d6tpipe.DeleteOptions{Synced: true}) }()
	<-ctx.waits
	write(t, pipe, "a.csv", "my precious edit")
	require.NoError(t, unlock())
	require.NoError(t, <-done)
	require.Equal(t, map[string]string{"a.csv": "my precious edit"}, tree(t, pipe.Dir()))
}

// waitingCtx closes waits when it was asked so often whether it has ended as only who
// waits for a lock does it.
type waitingCtx struct {
	context.Context
	n     atomic.Int64
	waits chan struct{}
}

func (w *waitingCtx) Done() <-chan struct{} {
	if w.n.Add(1) == 20 {
		close(w.waits)
	}
	return w.Context.Done()
}

func TestDeleteSyncedRacy(t *testing.T) {
	_, pipe := pulled(t)
	p := filepath.Join(pipe.Dir(), "a.csv")
	info, err := os.Stat(p)
	require.NoError(t, err)
	write(t, pipe, "a.csv", "2")
	require.NoError(t, os.Chtimes(p, info.ModTime(), info.ModTime())) // same tick of a coarse clock
	require.NoError(t, pipe.DeleteLocal(t.Context(), d6tpipe.DeleteOptions{Synced: true}))
	require.Equal(t, map[string]string{"a.csv": "2"}, tree(t, pipe.Dir()))
}

// hookCtx calls do whenever it is asked whether it has ended.
type hookCtx struct {
	context.Context
	n  atomic.Int64
	do func(n int64)
}

func (h *hookCtx) Err() error { h.do(h.n.Add(1)); return h.Context.Err() }

func TestImportMoveChanging(t *testing.T) {
	_, pipe := pulled(t)
	src := filepath.Join(t.TempDir(), "log.csv")
	require.NoError(t, os.WriteFile(src, make([]byte, 1<<20), 0o644))
	ctx := &hookCtx{Context: t.Context()}
	ctx.do = func(n int64) {
		if n == 5 { // an editor saves in place, at the beginning
			f, err := os.OpenFile(src, os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("EDIT"), 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
	err := pipe.ImportFiles(ctx, []string{src}, d6tpipe.ImportOptions{Move: true})
	require.ErrorIs(t, err, d6tpipe.ErrConflict)
	require.Equal(t, "EDIT", readText(t, src)[:4], "the source stays")
}

func TestImportDirOverlap(t *testing.T) {
	_, pipe := pulled(t)
	write(t, pipe, "sub/y.csv", "original y")
	write(t, pipe, "sub/sub/y.csv", "nested y")
	err := pipe.ImportDir(t.Context(), filepath.Join(pipe.Dir(), "sub"), d6tpipe.ImportOptions{Move: true})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	require.ErrorIs(t, pipe.ImportDir(t.Context(), filepath.Dir(pipe.Dir()), d6tpipe.ImportOptions{}), d6tpipe.ErrInvalid)
	require.Equal(t, "original y", content(t, pipe, "sub/y.csv"))
}
