package transfer_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// written returns a plan as a file.
func written(t *testing.T, p *transfer.Plan) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, transfer.WritePlan(&b, p, "sales"))
	return b.String()
}

// reread returns a plan that was in a file.
func reread(t *testing.T, p *transfer.Plan) *transfer.Plan {
	t.Helper()
	again, name, err := transfer.ReadPlan(strings.NewReader(written(t, p)))
	require.NoError(t, err)
	require.Equal(t, "sales", name)
	require.Equal(t, written(t, p), written(t, again), "nothing is lost")
	return again
}

// everyStep is a pipe of which a pull and a push have steps of every kind.
func everyStep(t *testing.T) (*pipe, *mem.Store) {
	store := remote(many(6))
	p := newPipe(t, store)
	p.must(pull, 6)
	for _, key := range []string{"dir1/file0001.csv", "dir2/file0002.csv"} {
		backdate(t, p, key)
	}
	store.Plant("new.csv", []byte("new"))
	store.Plant("dir1/file0001.csv", []byte("edited there"))
	p.write("dir2/file0002.csv", "edited here")
	p.write("same.csv", "same")
	store.Plant("same.csv", []byte("same"))
	require.NoError(t, os.Remove(filepath.Join(p.dir, "dir3", "file0003.csv")))
	require.NoError(t, store.Remove(t.Context(), "dir4/file0004.csv"))
	return p, store
}

func TestPlanFile(t *testing.T) {
	p, store := everyStep(t)
	plan := p.plan(transfer.Request{Direction: transfer.Pull, Merge: transfer.MergeKeep})
	require.Len(t, plan.Steps, 6)
	report, err := p.Apply(t.Context(), reread(t, plan))
	require.NoError(t, err)
	require.Equal(t, 3, report.Files)
	require.Equal(t, "edited there", p.read("dir1/file0001.csv"))
	p.must(transfer.Request{Direction: transfer.Pull, Merge: transfer.MergeKeep}, 0)

	plan = p.plan(transfer.Request{Direction: transfer.Push, Merge: transfer.MergeKeep})
	_, err = p.Apply(t.Context(), reread(t, plan))
	require.NoError(t, err)
	require.Equal(t, "edited here", stored(t, store, "dir2/file0002.csv"))
}

// Whatever has changed since the plan was made is left alone, and the rest is done.
func TestPlanFileThatIsOutOfDate(t *testing.T) {
	for name, c := range map[string]struct {
		direction transfer.Direction
		change    func(p *pipe, store *mem.Store)
		conflicts []string
	}{
		"nothing":              {transfer.Pull, func(*pipe, *mem.Store) {}, nil},
		"edited here":          {transfer.Pull, func(p *pipe, _ *mem.Store) { p.write("dir1/file0001.csv", "mine") }, []string{"dir1/file0001.csv"}},
		"edited there":         {transfer.Pull, func(_ *pipe, s *mem.Store) { s.Plant("new.csv", []byte("newer")) }, []string{"new.csv"}},
		"gone there":           {transfer.Pull, func(_ *pipe, s *mem.Store) { _ = s.Remove(t.Context(), "new.csv") }, []string{"new.csv"}},
		"no longer equal here": {transfer.Pull, func(p *pipe, _ *mem.Store) { sameAge(p, "same.csv", []byte("SAME")) }, []string{"same.csv"}},
		"no longer equal":      {transfer.Pull, func(_ *pipe, s *mem.Store) { s.Plant("same.csv", []byte("SAME")) }, []string{"same.csv"}},
		"synced meanwhile":     {transfer.Pull, func(p *pipe, s *mem.Store) { s.Plant("dir1/file0001.csv", []byte("v3")); p.mustPull() }, []string{"dir1/file0001.csv"}},
		"forgotten":            {transfer.Pull, func(p *pipe, _ *mem.Store) { require.NoError(p.t, p.Reset(p.t.Context())) }, []string{"dir1/file0001.csv", "dir3/file0003.csv"}},
		"push, edited there":   {transfer.Push, func(_ *pipe, s *mem.Store) { s.Plant("dir2/file0002.csv", []byte("theirs")) }, []string{"dir2/file0002.csv"}},
		"push, edited here":    {transfer.Push, func(p *pipe, _ *mem.Store) { p.write("dir2/file0002.csv", "again") }, []string{"dir2/file0002.csv"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, store := everyStep(t)
			plan := reread(t, p.plan(transfer.Request{Direction: c.direction, Merge: transfer.MergeKeep}))
			c.change(p, store)
			report, err := p.Apply(t.Context(), plan)
			require.Equal(t, c.conflicts, report.Keys(transfer.StatusConflict))
			require.Empty(t, report.Keys(transfer.StatusFailed))
			if c.conflicts == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, transfer.ErrConflict)
			}
		})
	}
}

func (p *pipe) mustPull() {
	_, err := p.sync(transfer.Request{Direction: transfer.Pull, Merge: transfer.MergeKeep})
	require.NoError(p.t, err)
}

// A file that is no whole plan, or says what no planner would, is refused.
func TestPlanFileIsNotBelieved(t *testing.T) {
	p, _ := everyStep(t)
	good := written(t, p.plan(transfer.Request{Direction: transfer.Pull, Merge: transfer.MergeKeep}))
	lines := strings.SplitAfter(good, "\n")
	replace := func(old, with string) string {
		require.Contains(t, good, old)
		return strings.Replace(good, old, with, 1)
	}
	for name, text := range map[string]string{
		"empty":             "",
		"head only":         lines[0],
		"no end":            strings.Join(lines[:len(lines)-2], ""),
		"a line is missing": strings.Join(append(append([]string{}, lines[:2]...), lines[3:]...), ""),
		"a line twice":      strings.Join(append(append([]string{}, lines[:2]...), lines[1:]...), ""),
		"other order":       lines[0] + lines[2] + lines[1] + strings.Join(lines[3:], ""),
		"more":              good + "{}\n",
		"another format":    replace(`"d6tpipe-plan"`, `"plan"`),
		"newer":             replace(`"version":1`, `"version":2`),
		"unknown field":     replace(`"unchanged"`, `"x":1,"unchanged"`),
		"unknown mode":      replace(`"merge":"keep"`, `"merge":"what"`),
		"mirror":            replace(`"direction":"pull"`, `"direction":"mirror"`),
		"hostile key":       strings.ReplaceAll(good, `"new.csv"`, `"../new.csv"`),
		"other action":      replace(`"action":"skip"`, `"action":"download"`),
		"other size":        replace(`"size":3`, `"size":4`),
		"not JSON":          strings.Replace(good, `{"step"`, `{step`, 1),
		"too long":          strings.Replace(good, `"new.csv"`, `"`+strings.Repeat("a", transfer.MaxPlanLine)+`"`, 1),
		"cut":               good[:len(good)-3],
	} {
		_, _, err := transfer.ReadPlan(strings.NewReader(text))
		require.ErrorIs(t, err, transfer.ErrPlan, name)
		require.ErrorContains(t, err, "line ", name)
	}
}

func FuzzReadPlan(f *testing.F) {
	var b bytes.Buffer
	if err := transfer.WritePlan(&b, &transfer.Plan{Direction: transfer.Pull, Place: "here"}, "sales"); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add(`{"format":"d6tpipe-plan","version":1,"name":"a","direction":"push","place":"","unchanged":0}` + "\n" +
		`{"step":{"key":"a","action":"upload","reason":"new","size":3,"local":{"key":"a","size":3,"mod_time":"2026-11-23T10:00:00Z"}}}` + "\n" +
		`{"end":{"steps":1,"refused":0,"missing":0,"files":1,"bytes":3}}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, name, err := transfer.ReadPlan(strings.NewReader(text))
		if err != nil {
			return
		}
		var first, second bytes.Buffer
		if err := transfer.WritePlan(&first, p, name); err != nil {
			t.Fatal(err)
		}
		again, name, err := transfer.ReadPlan(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatalf("%v\n%s", err, first.String())
		}
		if err := transfer.WritePlan(&second, again, name); err != nil || first.String() != second.String() {
			t.Fatalf("%v\n%s\n%s", err, first.String(), second.String())
		}
	})
}
