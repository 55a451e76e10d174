package transfer_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// TestMain also is the process that the crash tests kill.
func TestMain(m *testing.M) {
	if errand := os.Getenv("D6TPIPE_TRANSFER_ERRAND"); errand != "" {
		os.Exit(runErrand(errand))
	}
	if job := os.Getenv("D6TPIPE_TRANSFER_JOB"); job != "" {
		os.Exit(runJob(job))
	}
	leaktest.Main(m)
}

// a pipe is a folder and a remote.
type pipe struct {
	*transfer.Sync
	t     *testing.T
	dir   string
	state string
	store storage.Store
}

// newPipe opens a new folder on store.
func newPipe(t *testing.T, store storage.Store, change ...func(*transfer.Config)) *pipe {
	repo := t.TempDir()
	p := &pipe{t: t, dir: filepath.Join(repo, "pipe"), state: filepath.Join(repo, ".d6tpipe", "pipe"), store: store}
	cfg := transfer.Config{Store: store, Dir: p.dir, State: p.state}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	p.Sync, err = transfer.Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// write makes a local file. Its time is set apart from the one before, so that an
// edit is one even where clocks are coarse.
func (p *pipe) write(key, content string) {
	p.t.Helper()
	path := filepath.Join(p.dir, filepath.FromSlash(key))
	require.NoError(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(p.t, os.WriteFile(path, []byte(content), 0o644))
}

func (p *pipe) read(key string) string {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, filepath.FromSlash(key)))
	require.NoError(p.t, err)
	return string(data)
}

func (p *pipe) plan(req transfer.Request) *transfer.Plan {
	p.t.Helper()
	plan, err := p.Plan(p.t.Context(), req)
	require.NoError(p.t, err)
	return plan
}

func (p *pipe) sync(req transfer.Request) (*transfer.Report, error) {
	p.t.Helper()
	return p.Apply(p.t.Context(), p.plan(req))
}

// must syncs and expects so many files to be moved.
func (p *pipe) must(req transfer.Request, files int) *transfer.Report {
	p.t.Helper()
	report, err := p.sync(req)
	require.NoError(p.t, err)
	require.Equal(p.t, files, report.Files, "files moved: %+v", report.Results)
	return report
}

var (
	pull = transfer.Request{Direction: transfer.Pull}
	push = transfer.Request{Direction: transfer.Push}
)

// remote puts objects into a new store.
func remote(files map[string]string) *mem.Store {
	store := mem.New()
	for key, content := range files {
		store.Plant(key, []byte(content))
	}
	return store
}

// stored returns what the remote has under key.
func stored(t *testing.T, store storage.Store, key string) string {
	t.Helper()
	r, err := store.Open(t.Context(), storage.Object{Key: key}, 0, -1)
	require.NoError(t, err)
	defer r.Close()
	var b bytes.Buffer
	if o, err := store.Stat(t.Context(), key); err == nil {
		b.Grow(int(o.Size) + bytes.MinRead)
	}
	_, err = b.ReadFrom(r)
	require.NoError(t, err)
	return b.String()
}

func many(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("dir%d/file%04d.csv", i%7, i)] = fmt.Sprintf("content %d", i)
	}
	return files
}

// actions are the steps of a plan, by key.
func actions(p *transfer.Plan) map[string]transfer.Action {
	got := map[string]transfer.Action{}
	for _, s := range p.Steps {
		got[s.Key] = s.Action
	}
	return got
}

// settleClock waits until files written before no longer count as just written.
func backdate(t *testing.T, p *pipe, keys ...string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	for _, key := range keys {
		require.NoError(t, os.Chtimes(filepath.Join(p.dir, filepath.FromSlash(key)), old, old))
	}
}
