package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A table says what a sync does: by direction and states of the file ("pull: same,
// edited"), mode, and merge.
type table map[string][4][3]string

// docTable reads the table from the package doc, as a reader of it would.
func docTable(t *testing.T) table {
	doc, err := os.ReadFile("transfer.go")
	require.NoError(t, err)
	columns := regexp.MustCompile(`\s{2,}`)
	all, direction := table{}, ""
	for line := range strings.Lines(string(doc)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "//\t")
		row := columns.Split(strings.TrimSpace(line), -1)
		if !ok || len(row) != 5 {
			continue
		}
		if head, _, ok := strings.Cut(row[0], ":"); ok {
			direction = head
			continue
		}
		var cells [4][3]string
		for mode := range cells {
			for merge := range cells[mode] {
				choices := strings.Split(row[1+mode], "/")
				cells[mode][merge] = choices[merge%len(choices)]
			}
		}
		all[direction+": "+row[0]] = cells
	}
	require.Len(t, all, 26+2, "rows in the package doc")
	return all
}

// beliefs are what the model believes there is: contents by key, "" for none.
type beliefs struct{ base, remote, local map[string]string }

func (w beliefs) clone() beliefs {
	return beliefs{maps.Clone(w.base), maps.Clone(w.remote), maps.Clone(w.local)}
}

func (w beliefs) keys() []string {
	all := maps.Clone(w.base)
	maps.Copy(all, w.remote)
	maps.Copy(all, w.local)
	return slices.Sorted(maps.Keys(all))
}

// state is the one of a side, in the words of the doc.
func state(base, now string) string {
	switch {
	case base == "" && now == "":
		return "absent"
	case base == "":
		return "new"
	case now == "":
		return "deleted"
	case now == base:
		return "same"
	}
	return "edited"
}

var (
	tableModes  = []transfer.Mode{transfer.ModeDefault, transfer.ModeNew, transfer.ModeMod, transfer.ModeAll}
	tableMerges = []transfer.Merge{transfer.MergeFail, transfer.MergeKeep, transfer.MergeOverwrite}
)

// does says what is done with a file.
func (w beliefs) does(all table, req transfer.Request, key string) string {
	local, remote := state(w.base[key], w.local[key]), state(w.base[key], w.remote[key])
	row := string(req.Direction) + ": " + local + ", " + remote
	if local == remote && (local == "edited" || local == "new") && w.local[key] == w.remote[key] {
		row += " equal"
	}
	mode := slices.Index(tableModes, req.Mode)
	if req.Keys != nil {
		mode = slices.Index(tableModes, transfer.ModeAll)
	}
	cells, ok := all[row]
	if !ok {
		return "no row " + row
	}
	return cells[mode][slices.Index(tableMerges, req.Merge)]
}

// do carries out what was decided for a file.
func (w beliefs) do(what, key string) {
	switch what {
	case "download":
		w.local[key], w.base[key] = w.remote[key], w.remote[key]
	case "upload":
		w.remote[key], w.base[key] = w.local[key], w.local[key]
	case "adopt":
		w.base[key] = w.local[key]
	}
}

// A player plays one sequence on a real Sync and on the model.
type player struct {
	t     *testing.T
	seed  uint64
	rnd   *rand.Rand
	table table
	world beliefs
	store *moody
	sync  *transfer.Sync
	dir   string
	log   []string
}

// moody is a store that fails for some keys, and can call somebody before it works.
type moody struct {
	*mem.Store
	fail   map[string]bool
	before func()
	mu     sync.Mutex
}

var errMood = fmt.Errorf("mood: %w", fs.ErrPermission)

func (m *moody) mood(key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.before != nil {
		m.before()
	}
	if m.fail[key] {
		return errMood
	}
	return nil
}

func (m *moody) Open(ctx context.Context, o storage.Object, off, n int64) (io.ReadCloser, error) {
	if err := m.mood(o.Key); err != nil {
		return nil, err
	}
	return m.Store.Open(ctx, o, off, n)
}

func (m *moody) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := m.mood(key); err != nil {
		return storage.Object{}, err
	}
	return m.Store.Put(ctx, key, r, size, cond)
}

var modelKeys = []string{"a", "b", "c", "d/e", "d/f", "d/g/h", "i", "j"}

// TestModel plays random sequences of everything that can happen, and compares each
// step with what the package doc says.
func TestModel(t *testing.T) {
	rules := docTable(t)
	const batches = 4
	sequences := rounds(100, 10_000)
	var wait sync.WaitGroup
	defer wait.Wait()
	for batch := range batches {
		wait.Go(func() {
			t.Run(fmt.Sprint(batch), func(t *testing.T) {
				for seed := batch; seed < sequences; seed += batches {
					play(t, rules, uint64(seed))
				}
			})
		})
	}
}

func play(t *testing.T, rules table, seed uint64) {
	repo := t.TempDir()
	p := &player{
		t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 5)), table: rules, dir: filepath.Join(repo, "pipe"),
		world: beliefs{map[string]string{}, map[string]string{}, map[string]string{}}, store: &moody{Store: mem.New()},
	}
	var err error
	p.sync, err = transfer.Open(transfer.Config{Store: p.store, Dir: p.dir, State: filepath.Join(repo, "state"), Workers: 3})
	p.must(err)
	for range 50 {
		p.step()
		p.agree()
	}
	p.must(os.RemoveAll(repo))
}

func (p *player) must(err error) {
	if err != nil {
		p.wrong("%v", err)
	}
}

// wrong ends the test with all that it takes to play it again.
func (p *player) wrong(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("seed %d: %s\n%s", p.seed, fmt.Sprintf(format, args...), strings.Join(p.log, "\n"))
}

func (p *player) note(format string, args ...any) {
	p.log = append(p.log, fmt.Sprintf(format, args...))
}

func (p *player) key() string { return modelKeys[p.rnd.IntN(len(modelKeys))] }

// content is one of a few, most of one size, so that the same comes back.
func (p *player) content() string {
	return strings.Repeat("x", p.rnd.IntN(2)) + fmt.Sprint("v", p.rnd.IntN(5))
}

func (p *player) step() {
	switch n := p.rnd.IntN(20); {
	case n < 9:
		p.change()
	case n < 15:
		p.transfer()
	case n < 16:
		p.interrupted()
	case n < 17:
		p.edited()
	case n < 19:
		p.orphans()
	default:
		p.note("reset")
		p.must(p.sync.Reset(p.t.Context()))
		clear(p.world.base)
	}
}

// change is done by somebody else, here or there.
func (p *player) change() {
	key, file := p.key(), ""
	file = filepath.Join(p.dir, filepath.FromSlash(key))
	switch p.rnd.IntN(6) {
	case 0, 1:
		p.world.local[key] = p.content()
		p.note("write %s = %s here", key, p.world.local[key])
		p.must(os.MkdirAll(filepath.Dir(file), 0o755))
		p.must(os.WriteFile(file, []byte(p.world.local[key]), 0o644))
	case 2:
		p.note("remove %s here", key)
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			p.must(err)
		}
		delete(p.world.local, key)
	case 3:
		to := p.key()
		if p.world.local[key] == "" || to == key {
			return
		}
		p.note("rename %s to %s here", key, to)
		target := filepath.Join(p.dir, filepath.FromSlash(to))
		p.must(os.MkdirAll(filepath.Dir(target), 0o755))
		p.must(os.Rename(file, target))
		p.world.local[to] = p.world.local[key]
		delete(p.world.local, key)
	case 4:
		p.world.remote[key] = p.content()
		p.note("write %s = %s there", key, p.world.remote[key])
		p.store.Plant(key, []byte(p.world.remote[key]))
	case 5:
		p.note("remove %s there", key)
		p.must(p.store.Remove(p.t.Context(), key))
		delete(p.world.remote, key)
	}
}

func (p *player) request() transfer.Request {
	req := transfer.Request{Direction: transfer.Pull, Mode: tableModes[p.rnd.IntN(4)], Merge: tableMerges[p.rnd.IntN(3)]}
	if p.rnd.IntN(2) == 0 {
		req.Direction = transfer.Push
	}
	what := "all"
	switch p.rnd.IntN(6) {
	case 0:
		req.Match = func(key string) bool { return path.Dir(key) == "d" }
		what = "only in d"
	case 1:
		req.Keys = []string{p.key(), p.key()}
		what = fmt.Sprint("only ", req.Keys)
	}
	p.note("%s mode=%q merge=%q %s", req.Direction, req.Mode, req.Merge, what)
	return req
}

// An outcome is what the model expects of a request.
type outcome struct {
	does     map[string]string // by key
	conflict bool
	missing  []string
}

func (p *player) expect(req transfer.Request) (o outcome) {
	o.does = map[string]string{}
	for _, key := range p.world.keys() {
		if req.Match != nil && !req.Match(key) || req.Keys != nil && !slices.Contains(req.Keys, key) {
			continue
		}
		o.does[key] = p.world.does(p.table, req, key)
		o.conflict = o.conflict || o.does[key] == "conflict"
	}
	sends := p.world.remote
	if req.Direction == transfer.Push {
		sends = p.world.local
	}
	for _, key := range slices.Compact(slices.Sorted(slices.Values(req.Keys))) {
		if sends[key] == "" {
			o.missing = append(o.missing, key)
		}
	}
	return o
}

// plan plans and compares.
func (p *player) plan() (outcome, *transfer.Plan) {
	req := p.request()
	want := p.expect(req)
	plan, err := p.sync.Plan(p.t.Context(), req)
	p.must(err)
	got := actions(plan)
	for key, what := range want.does {
		if what == "-" {
			what = ""
		}
		if string(got[key]) != what {
			p.wrong("%s: planned %q, the doc says %q", key, got[key], what)
		}
		delete(got, key)
	}
	if len(got) > 0 || !slices.Equal(plan.Missing, want.missing) {
		p.wrong("also planned: %v, missing %v and not %v", got, plan.Missing, want.missing)
	}
	p.forgets()
	return want, plan
}

// forgets: a plan may let go of what is gone on both sides.
func (p *player) forgets() {
	files, err := p.sync.Files(p.t.Context())
	p.must(err)
	for key := range p.world.base {
		known := slices.ContainsFunc(files, func(e transfer.Entry) bool { return e.Key == key })
		if !known && p.world.local[key] == "" && p.world.remote[key] == "" {
			delete(p.world.base, key)
		}
	}
}

// transfer plans and applies; now and then some keys fail.
func (p *player) transfer() {
	p.store.fail = map[string]bool{}
	if p.rnd.IntN(4) == 0 {
		p.store.fail[p.key()] = true
	}
	before := p.world.clone()
	fails := p.store.fail
	p.store.fail = nil // a plan may have to read
	want, plan := p.plan()
	p.store.fail = fails
	if p.rnd.IntN(5) == 0 {
		p.note("  only planned")
		p.store.fail = nil
		return
	}
	report, err := p.sync.Apply(p.t.Context(), plan)
	p.store.fail = nil
	if want.conflict {
		if !errors.Is(err, transfer.ErrConflict) {
			p.wrong("a conflict was applied: %v", err)
		}
		return
	}
	failed := len(want.missing) > 0
	for key, what := range want.does {
		if fails[key] && (what == "download" || what == "upload") {
			p.note("  %s fails", key)
			failed = true
			continue
		}
		p.world.do(what, key)
	}
	if failed != (err != nil) || failed && !errors.Is(err, transfer.ErrPartial) {
		p.wrong("failed %t, but the error is %v, report %+v, before %+v", failed, err, report.Results, before)
	}
}

// interrupted applies a plan until somebody cancels.
func (p *player) interrupted() {
	want, plan := p.plan()
	ctx, cancel := context.WithCancel(p.t.Context())
	defer cancel()
	left := p.rnd.IntN(4)
	p.note("  cancelled after %d calls", left)
	p.store.before = func() {
		if left--; left < 0 {
			cancel()
		}
	}
	report, err := p.sync.Apply(ctx, plan)
	p.store.before = nil
	if want.conflict {
		return
	}
	p.reconcile(want.does, report, nil)
	if err == nil && len(report.Keys(transfer.StatusStopped)) > 0 {
		p.wrong("stopped, and no error: %+v", report.Results)
	}
}

// edited changes something between the plan and its execution.
func (p *player) edited() {
	want, plan := p.plan()
	old := p.world.clone()
	for range 1 + p.rnd.IntN(2) {
		p.change()
	}
	p.note("  applied after that")
	report, err := p.sync.Apply(p.t.Context(), plan)
	if want.conflict {
		if !errors.Is(err, transfer.ErrConflict) {
			p.wrong("a conflict was applied: %v", err)
		}
		return
	}
	touched := map[string]bool{}
	for _, key := range modelKeys {
		touched[key] = old.local[key] != p.world.local[key] || old.remote[key] != p.world.remote[key]
	}
	p.reconcile(want.does, report, touched)
	if err == nil && len(report.Keys(transfer.StatusFailed)) > 0 {
		p.wrong("failed, and no error: %+v", report.Results)
	}
}

// reconcile lets the model follow what was done of a plan: each file either wholly or
// not at all, and what was changed after the plan is not lost.
func (p *player) reconcile(does map[string]string, report *transfer.Report, touched map[string]bool) {
	local, remote := p.look()
	done := map[string]bool{}
	for _, res := range report.Results {
		done[res.Key] = res.Status == transfer.StatusDone
	}
	files, err := p.sync.Files(p.t.Context())
	p.must(err)
	known := map[string]transfer.Entry{}
	for _, e := range files {
		known[e.Key] = e
	}
	for _, key := range modelKeys {
		after := p.world.clone()
		after.do(does[key], key)
		switch e, recorded := known[key]; {
		case touched[key]:
			p.follow(key, does[key], local, remote, done[key])
		case local[key] == after.local[key] && remote[key] == after.remote[key] && (after.base[key] == "" || recorded && e.Sum.SHA256() == hash([]byte(after.base[key]))):
			p.world.do(does[key], key)
		case done[key]:
			p.wrong("%s is reported as done, and is not", key)
		case local[key] == after.local[key] && remote[key] == after.remote[key]: // it was cancelled before it was recorded
			base, known := p.world.base[key]
			p.world.do(does[key], key)
			if p.world.base[key] = base; !known {
				delete(p.world.base, key)
			}
		}
	}
}

// follow checks a file that changed after the plan.
func (p *player) follow(key, does string, local, remote map[string]string, done bool) {
	switch {
	case does == "download" && local[key] != p.world.local[key]:
		if local[key] != p.world.remote[key] {
			p.wrong("%s is %q here, which is on no side", key, local[key])
		}
		p.world.local[key] = local[key]
		p.world.base[key] = local[key]
	case does == "upload" && remote[key] != p.world.remote[key]:
		if remote[key] != p.world.local[key] {
			p.wrong("%s is %q there, which is on no side", key, remote[key])
		}
		p.world.remote[key] = remote[key]
		p.world.base[key] = remote[key]
	case done && does == "upload":
		p.world.base[key] = remote[key]
	case done:
		p.world.base[key] = local[key]
	}
}

func (p *player) orphans() {
	where := []transfer.Side{transfer.Local, transfer.Remote, transfer.Both}[p.rnd.IntN(3)]
	opt := transfer.OrphanOptions{Side: where, Apply: p.rnd.IntN(3) > 0, Force: p.rnd.IntN(4) == 0}
	p.note("orphans %+v", opt)
	type orphan struct {
		Side transfer.Side
		Kept bool
	}
	want, w := map[string]orphan{}, p.world
	gone := map[transfer.Side]int{}
	for _, key := range w.keys() {
		switch {
		case w.remote[key] == "" && w.local[key] != "" && where != transfer.Remote:
			want[key] = orphan{transfer.Local, w.local[key] != w.base[key]}
		case w.local[key] == "" && w.remote[key] != "" && where != transfer.Local:
			want[key] = orphan{transfer.Remote, w.remote[key] != w.base[key]}
		default:
			continue
		}
		if !want[key].Kept {
			gone[want[key].Side]++
		}
	}
	refused := opt.Apply && !opt.Force && len(w.base) > 0 &&
		(gone[transfer.Local] > 0 && len(w.remote) == 0 || gone[transfer.Remote] > 0 && len(w.local) == 0)
	found, err := p.sync.RemoveOrphans(p.t.Context(), opt)
	if refused != errors.Is(err, transfer.ErrRefused) || !refused && err != nil {
		p.wrong("refused should be %t: %v", refused, err)
	}
	got := map[string]orphan{}
	for _, o := range found {
		got[o.Key] = orphan{o.Side, o.Kept != ""}
	}
	if !maps.Equal(want, got) {
		p.wrong("orphans %v, should be %v", got, want)
	}
	if refused || !opt.Apply {
		return
	}
	for key, o := range want {
		if o.Kept && !opt.Force {
			continue
		}
		delete(w.local, key)
		delete(w.remote, key)
		delete(w.base, key)
	}
}

// look reads both sides.
func (p *player) look() (local, remote map[string]string) {
	local, remote = map[string]string{}, map[string]string{}
	err := filepath.WalkDir(p.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(p.dir, name)
		local[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		p.must(err)
	}
	for o, err := range p.store.List(p.t.Context(), "") {
		p.must(err)
		remote[o.Key] = stored(p.t, p.store.Store, o.Key)
	}
	return local, remote
}

// agree compares all three states.
func (p *player) agree() {
	local, remote := p.look()
	if !maps.Equal(local, p.world.local) || !maps.Equal(remote, p.world.remote) {
		p.wrong("here %v\nshould be %v\nthere %v\nshould be %v", local, p.world.local, remote, p.world.remote)
	}
	p.forgets()
	files, err := p.sync.Files(p.t.Context())
	p.must(err)
	known := map[string]string{}
	for _, e := range files {
		known[e.Key] = e.Sum.SHA256()
	}
	for key, content := range p.world.base {
		if known[key] != hash([]byte(content)) {
			p.wrong("%s is remembered as %q, should be %q", key, known[key], content)
		}
		delete(known, key)
	}
	if len(known) > 0 {
		p.wrong("also remembered: %v", known)
	}
}
