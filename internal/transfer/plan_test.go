package transfer_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

const sixHours = transfer.Stamp(6 * time.Hour)

// cell makes the three states of one row of the table.
func cell(t *testing.T, local, remote string) (in transfer.States) {
	t.Helper()
	const key = "data.csv"
	remote, equal := strings.CutSuffix(remote, " equal")
	base := transfer.Entry{Key: key, Tag: "t1", Size: 10, ModTime: sixHours, Sum: transfer.Hash{1}, Checked: 2 * sixHours, Synced: 2 * sixHours}
	if local != "new" && local != "absent" {
		in.Base = append(in.Base, base)
	}
	file := transfer.LocalFile{Key: key, Size: 10, ModTime: sixHours, Equal: equal}
	switch local {
	case "edited", "new":
		file.ModTime, file.Sum = 3*sixHours, transfer.Hash{2}
		in.Local = append(in.Local, file)
	case "same":
		in.Local = append(in.Local, file)
	}
	object := storage.Object{Key: key, Size: 10, Tag: "t1"}
	switch remote {
	case "edited", "new":
		object.Tag = "t2"
		in.Remote = append(in.Remote, object)
	case "same":
		in.Remote = append(in.Remote, object)
	}
	return in
}

// TestTable checks every cell of testdata/table.txt, which was written by hand
// from the rules and not by running the planner.
func TestTable(t *testing.T) {
	table, err := os.ReadFile("testdata/table.txt")
	require.NoError(t, err)
	modes := []transfer.Mode{transfer.ModeDefault, transfer.ModeNew, transfer.ModeMod, transfer.ModeAll}
	merges := []transfer.Merge{transfer.MergeFail, transfer.MergeKeep, transfer.MergeOverwrite}
	columns := regexp.MustCompile(`\s{2,}`)
	var direction transfer.Direction
	cells := 0
	for line := range strings.Lines(string(table)) {
		row := columns.Split(strings.TrimSpace(line), -1)
		if head, _, ok := strings.Cut(row[0], ":"); ok || len(row) != 5 {
			direction = transfer.Direction(head)
			continue
		}
		local, remote, _ := strings.Cut(row[0], ", ")
		for m, mode := range modes {
			want := strings.Split(row[m+1], "/")
			for i, merge := range merges {
				cells++
				name := fmt.Sprintf("%s %s/%s mode %q merge %q", direction, local, remote, mode, merge)
				p := transfer.PlanOf(cell(t, local, remote), transfer.Request{Direction: direction, Mode: mode, Merge: merge})
				got := "-"
				if len(p.Steps) > 0 {
					got = string(p.Steps[0].Action)
					require.NotEmpty(t, p.Steps[0].Reason, name)
				}
				require.Equal(t, want[min(i, len(want)-1)], got, name)
				require.Equal(t, got == "download" || got == "upload", p.Files == 1 && p.Bytes == 10, name)
			}
		}
	}
	require.Equal(t, 14*4*3*2, cells)
}

// TestTableIsDocumented keeps the package doc and the table the same.
func TestTableIsDocumented(t *testing.T) {
	table, err := os.ReadFile("testdata/table.txt")
	require.NoError(t, err)
	source, err := os.ReadFile("transfer.go")
	require.NoError(t, err)
	for line := range strings.Lines(string(table)) {
		if line = strings.TrimSpace(line); line != "" {
			require.Contains(t, string(source), "//\t"+line+"\n")
		}
	}
}

func TestLocalChange(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*transfer.Entry, *transfer.LocalFile)
		want   string
	}{
		"size and time":              {func(*transfer.Entry, *transfer.LocalFile) {}, "-"},
		"other size":                 {func(_ *transfer.Entry, f *transfer.LocalFile) { f.Size++ }, "upload"},
		"other time":                 {func(_ *transfer.Entry, f *transfer.LocalFile) { f.ModTime++ }, "upload"},
		"older time":                 {func(_ *transfer.Entry, f *transfer.LocalFile) { f.ModTime-- }, "upload"},
		"other time, same content":   {func(_ *transfer.Entry, f *transfer.LocalFile) { f.ModTime, f.Sum = 1, transfer.Hash{1} }, "-"},
		"same time, other content":   {func(_ *transfer.Entry, f *transfer.LocalFile) { f.Sum = transfer.Hash{2} }, "upload"},
		"racy, not read":             {func(e *transfer.Entry, _ *transfer.LocalFile) { e.Checked = e.ModTime + 1 }, "upload"},
		"racy, read, same content":   {func(e *transfer.Entry, f *transfer.LocalFile) { e.Checked, f.Sum = e.ModTime, transfer.Hash{1} }, "-"},
		"no longer racy":             {func(e *transfer.Entry, _ *transfer.LocalFile) { e.Checked = e.ModTime + transfer.Stamp(2*time.Second) }, "-"},
		"symbolic link in its place": {func(_ *transfer.Entry, f *transfer.LocalFile) { f.Irregular = true }, "skip"},
	} {
		in := cell(t, "same", "same")
		c.change(&in.Base[0], &in.Local[0])
		p := transfer.PlanOf(in, push)
		got := "-"
		if len(p.Steps) > 0 {
			got = string(p.Steps[0].Action)
		}
		require.Equal(t, c.want, got, name)
	}
}

func TestRemoteWithoutTags(t *testing.T) {
	in := cell(t, "same", "same")
	in.Base[0].Tag, in.Remote[0].Tag = "", ""
	in.Base[0].RemoteTime = sixHours
	in.Remote[0].ModTime = sixHours.Time()
	require.True(t, transfer.PlanOf(in, pull).Empty())
	in.Remote[0].ModTime = (sixHours + 1).Time()
	require.False(t, transfer.PlanOf(in, pull).Empty())
}

func TestRecentAndKeys(t *testing.T) {
	var in transfer.States
	for i, key := range []string{"a.csv", "b.csv", "c.txt", "d.csv"} {
		in.Remote = append(in.Remote, storage.Object{Key: key, Tag: "t", ModTime: (sixHours * transfer.Stamp(10-i)).Time()})
	}
	csv := func(key string) bool { return strings.HasSuffix(key, ".csv") }
	keys := func(req transfer.Request) (keys []string) {
		for _, s := range transfer.PlanOf(in, req).Steps {
			keys = append(keys, s.Key)
		}
		return keys
	}
	require.Equal(t, []string{"a.csv", "b.csv"}, keys(transfer.Request{Direction: transfer.Pull, Recent: 2}))
	require.Equal(t, []string{"b.csv", "d.csv"}, keys(transfer.Request{Direction: transfer.Pull, Recent: -2, Match: csv}))
	require.Len(t, keys(transfer.Request{Direction: transfer.Pull, Recent: 9}), 4)
	require.Equal(t, []string{"d.csv"}, keys(transfer.Request{Direction: transfer.Pull, Keys: []string{"d.csv", "x.csv"}}))
	require.Equal(t, []string{"x.csv"}, transfer.PlanOf(in, transfer.Request{Direction: transfer.Pull, Keys: []string{"d.csv", "x.csv", "x.csv"}}).Missing)
	require.Empty(t, keys(transfer.Request{Direction: transfer.Pull, Keys: []string{}}), "no keys are none, not all")
}

func TestPushRefusesCollidingNames(t *testing.T) {
	in := transfer.States{
		Remote:  []storage.Object{{Key: "Data.csv", Tag: "t"}},
		Local:   []transfer.LocalFile{{Key: "Data.csv/x"}, {Key: "data.csv"}, {Key: "good.csv"}, {Key: "old.csv"}},
		Refused: []*storage.KeyError{{Key: "../x", Reason: "r"}, {Key: "OLD.csv", Reason: "r"}, {Key: "Old.csv", Reason: "r"}},
	}
	p := transfer.PlanOf(in, transfer.Request{Direction: transfer.Push, Merge: transfer.MergeKeep})
	require.Equal(t, map[string]transfer.Action{"Data.csv": transfer.Skip, "good.csv": transfer.Upload}, actions(p))
	var refused []string
	for _, e := range p.Refused {
		refused = append(refused, e.Key)
	}
	require.Equal(t, []string{"../x", "Data.csv/x", "OLD.csv", "Old.csv", "data.csv", "old.csv"}, refused)
}
