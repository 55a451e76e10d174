package d6tpipe_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
)

// A party is one user of a shared catalogue: an API with a file repo of its own.
type party struct {
	t   *testing.T
	api d6tpipe.API
	cfg d6tpipe.Config
}

// parties returns users of one catalogue file.
func parties(t *testing.T, names ...string) (all []party) {
	t.Helper()
	home := t.TempDir()
	for _, name := range names {
		cfg, err := d6tpipe.InitConfig(t.Context(), name, d6tpipe.InitOptions{File: filepath.Join(home, "cfg.json"),
			Settings: d6tpipe.ConfigSettings{FileRepo: filepath.Join(home, name), Catalog: filepath.Join(home, "catalogue.json")}})
		require.NoError(t, err)
		api, err := d6tpipe.NewAPILocal(cfg)
		require.NoError(t, err)
		all = append(all, party{t, api, cfg})
	}
	return all
}

func (p party) open(name string) *d6tpipe.Pipe {
	p.t.Helper()
	pipe, err := d6tpipe.OpenPipe(p.t.Context(), p.api, name, d6tpipe.OpenOptions{})
	require.NoError(p.t, err)
	return pipe
}

// remotes are the storages on which the tests of pipes run: each makes a remote
// called "warehouse".
var remotes = map[string]func(t *testing.T, api d6tpipe.API){
	"dir": func(t *testing.T, api d6tpipe.API) { addDir(t, api) },
	"s3":  addS3,
}

func addDir(t *testing.T, api d6tpipe.API) (folder string) {
	t.Helper()
	folder = t.TempDir()
	_, err := api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{
		Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: folder})
	require.NoError(t, err)
	return folder
}

func addS3(t *testing.T, api d6tpipe.API) {
	t.Helper()
	gateway := s3test.Start(t)
	keys := d6tpipe.Credentials{"aws_access_key_id": gateway.AccessKey, "aws_secret_access_key": gateway.SecretKey,
		"endpoint_url": gateway.Endpoint, "region_name": gateway.Region}
	_, err := api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{
		Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: gateway.Bucket(t), ReadCredentials: keys, WriteCredentials: keys})
	require.NoError(t, err)
}

func addPipe(t *testing.T, api d6tpipe.API, p d6tpipe.PipeSettings) {
	t.Helper()
	if p.Remote == "" && p.Parent == "" {
		p.Remote = "warehouse"
	}
	_, err := api.Pipes().Create(t.Context(), p)
	require.NoError(t, err)
}

// write puts a file into a pipe's folder.
func write(t *testing.T, pipe interface{ Dir() string }, key, content string) {
	t.Helper()
	path := filepath.Join(pipe.Dir(), filepath.FromSlash(key))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

func content(t *testing.T, pipe interface{ Dir() string }, key string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(pipe.Dir(), filepath.FromSlash(key)))
	require.NoError(t, err)
	return string(data)
}

// tree returns the files below a folder with their content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	return files
}

func keys(report d6tpipe.Report) (moved []string) {
	for _, f := range report.Files {
		if f.Moved() {
			moved = append(moved, f.Key)
		}
	}
	return moved
}

func push(t *testing.T, pipe *d6tpipe.Pipe) []string {
	t.Helper()
	report, err := pipe.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	return keys(report)
}

func pull(t *testing.T, pipe *d6tpipe.Pipe) []string {
	t.Helper()
	report, err := pipe.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	return keys(report)
}

func TestPipe(t *testing.T) {
	for storage, add := range remotes {
		t.Run(storage, func(t *testing.T) {
			for name, test := range pipeTests {
				t.Run(name, func(t *testing.T) {
					both := parties(t, "vendor", "client")
					add(t, both[0].api)
					test(t, both[0], both[1])
				})
			}
		})
	}
}

// pipeTests are what pipes must do on every storage. The vendor and the client
// share a catalogue that has a remote "warehouse".
var pipeTests = map[string]func(t *testing.T, vendor, client party){
	"a push arrives with a pull, and then there is nothing to do": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales", Options: d6tpipe.PipeOptions{Dir: "a/b"}})
		v, c := vendor.open("sales"), client.open("sales")
		write(t, v, "1.csv", "one")
		write(t, v, "deep/er/2.csv", "two")
		write(t, v, "empty", "")
		require.Equal(t, []string{"1.csv", "deep/er/2.csv", "empty"}, push(t, v))
		require.Equal(t, []string{"1.csv", "deep/er/2.csv", "empty"}, pull(t, c))
		require.Equal(t, tree(t, v.Dir()), tree(t, c.Dir()))
		require.Empty(t, push(t, v))
		require.Empty(t, pull(t, c))
		require.Empty(t, pull(t, v))
		for _, p := range []*d6tpipe.Pipe{v, c} {
			same, err := p.InSync(t.Context())
			require.NoError(t, err)
			require.True(t, same)
		}
	},
	"a plan is for its pipe": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales"})
		v, c := vendor.open("sales"), client.open("sales")
		write(t, v, "1.csv", "one")
		plan, err := v.PlanPush(t.Context(), d6tpipe.PushOptions{})
		require.NoError(t, err)
		raw, err := json.Marshal(plan)
		require.NoError(t, err)
		var read d6tpipe.Plan
		require.NoError(t, json.Unmarshal(raw, &read))
		require.Empty(t, read.Conflicts())
		require.False(t, read.Empty())
		for _, bad := range []*d6tpipe.Plan{nil, {}, &read} {
			_, err = v.Apply(t.Context(), bad)
			require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		}
		_, err = c.Apply(t.Context(), plan)
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		_, err = vendor.open("sales").Apply(t.Context(), plan)
		require.NoError(t, err)
	},
	"an edit moves alone": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales"})
		v, c := vendor.open("sales"), client.open("sales")
		write(t, v, "1.csv", "one")
		write(t, v, "2.csv", "two")
		push(t, v)
		pull(t, c)
		write(t, v, "2.csv", "TWO")
		same, err := v.InSync(t.Context())
		require.NoError(t, err)
		require.False(t, same)
		require.Equal(t, []string{"2.csv"}, push(t, v))
		require.Equal(t, []string{"2.csv"}, pull(t, c))
		require.Equal(t, "TWO", content(t, c, "2.csv"))
	},
	"edits on both sides are refused, kept or overwritten": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales"})
		v, c := vendor.open("sales"), client.open("sales")
		write(t, v, "1.csv", "one")
		write(t, v, "2.csv", "two")
		push(t, v)
		pull(t, c)
		write(t, v, "1.csv", "vendor's")
		write(t, v, "2.csv", "vendor's too")
		push(t, v)
		write(t, c, "1.csv", "client's")

		report, err := c.Pull(t.Context(), d6tpipe.PullOptions{})
		require.ErrorIs(t, err, d6tpipe.ErrConflict)
		require.ErrorContains(t, err, `"1.csv"`)
		require.Equal(t, []string{"1.csv"}, report.Conflicts)
		require.Equal(t, "two", content(t, c, "2.csv"), "nothing moved")

		_, err = c.Push(t.Context(), d6tpipe.PushOptions{})
		require.ErrorIs(t, err, d6tpipe.ErrConflict)

		report, err = c.Pull(t.Context(), d6tpipe.PullOptions{Merge: d6tpipe.MergeKeep})
		require.NoError(t, err)
		require.Equal(t, []string{"2.csv"}, keys(report))
		require.Equal(t, "client's", content(t, c, "1.csv"))

		report, err = c.Pull(t.Context(), d6tpipe.PullOptions{Merge: d6tpipe.MergeOverwrite})
		require.NoError(t, err)
		require.Equal(t, []string{"1.csv"}, keys(report))
		require.Equal(t, "vendor's", content(t, c, "1.csv"))
	},
	"filters of the pipe, its parent and the call all apply": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "all"})
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "tables", Options: d6tpipe.PipeOptions{Include: "*.csv|*.tsv", Exclude: "private*"}})
		v, c := vendor.open("all"), client.open("tables")
		for _, key := range []string{"1.csv", "2.tsv", "3.json", "private.csv", "sub/4.csv"} {
			write(t, v, key, key)
		}
		push(t, v)
		report, err := c.Pull(t.Context(), d6tpipe.PullOptions{Exclude: "2*"})
		require.NoError(t, err)
		require.Equal(t, []string{"1.csv", "sub/4.csv"}, keys(report))
		require.Equal(t, []string{"2.tsv"}, pull(t, c))
	},
	"modes, files and recent": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales"})
		v, c := vendor.open("sales"), client.open("sales")
		write(t, v, "1.csv", "one")
		write(t, v, "2.csv", "two")
		push(t, v)
		report, err := c.Pull(t.Context(), d6tpipe.PullOptions{Files: []string{"2.csv", "9.csv"}})
		require.ErrorIs(t, err, d6tpipe.ErrPartial)
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		require.Equal(t, []string{"2.csv"}, keys(report))
		require.Equal(t, []string{"9.csv"}, report.Missing)
		write(t, v, "2.csv", "TWO")
		write(t, v, "3.csv", "three")
		push(t, v)
		for _, row := range []struct {
			o    d6tpipe.PullOptions
			want []string
		}{
			{d6tpipe.PullOptions{Mode: d6tpipe.ModeNew, Files: nil, Include: "1*|3*"}, []string{"1.csv", "3.csv"}},
			{d6tpipe.PullOptions{Mode: d6tpipe.ModeMod}, []string{"2.csv"}},
			{d6tpipe.PullOptions{Mode: d6tpipe.ModeAll}, []string{"1.csv", "2.csv", "3.csv"}},
		} {
			report, err := c.Pull(t.Context(), row.o)
			require.NoError(t, err)
			require.Equal(t, row.want, keys(report), "%+v", row.o)
		}
		stamp := time.Now()
		require.NoError(t, os.Chtimes(filepath.Join(v.Dir(), "1.csv"), stamp, stamp.Add(time.Hour)))
		require.NoError(t, os.Chtimes(filepath.Join(v.Dir(), "3.csv"), stamp, stamp.Add(-time.Hour)))
		for recent, want := range map[int][]string{1: {"1.csv"}, -1: {"3.csv"}, 9: {"1.csv", "2.csv", "3.csv"}} {
			plan, err := v.PlanPush(t.Context(), d6tpipe.PushOptions{Mode: d6tpipe.ModeAll, Recent: recent})
			require.NoError(t, err)
			var got []string
			for _, s := range plan.Steps {
				got = append(got, s.Key)
			}
			require.Equal(t, want, got, "recent %d", recent)
		}
		_, err = c.Pull(t.Context(), d6tpipe.PullOptions{Mode: "sometimes"})
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		_, err = c.Pull(t.Context(), d6tpipe.PullOptions{Files: []string{"../x"}})
		require.ErrorIs(t, err, d6tpipe.ErrRefused)
	},
	"a plan is a preview that can be applied": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales"})
		v, c := vendor.open("sales"), client.open("sales")
		write(t, v, "1.csv", "one")
		plan, err := v.PlanPush(t.Context(), d6tpipe.PushOptions{})
		require.NoError(t, err)
		require.Equal(t, []d6tpipe.Step{{Key: "1.csv", Action: d6tpipe.ActionUpload, Reason: "new", Size: 3}}, plan.Steps)
		require.Equal(t, []any{1, int64(3), false}, []any{plan.Files, plan.Bytes, plan.Empty()})
		found, err := c.ScanRemote(t.Context(), d6tpipe.ListOptions{})
		require.NoError(t, err)
		require.Empty(t, found, "a preview moves nothing")
		report, err := v.Apply(t.Context(), plan)
		require.NoError(t, err)
		require.Equal(t, []string{"1.csv"}, keys(report))
	},
	"README and LICENSE come back when they were pulled": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales"})
		v, c := vendor.open("sales"), client.open("sales")
		write(t, v, "README.md", "read me")
		write(t, v, "LICENSE.md", "yours")
		push(t, v)
		report, err := c.Pull(t.Context(), d6tpipe.PullOptions{})
		require.NoError(t, err)
		require.Equal(t, []string{"read me", "yours"}, []string{report.Readme, report.License})
		report, err = c.Pull(t.Context(), d6tpipe.PullOptions{})
		require.NoError(t, err)
		require.Empty(t, report.Readme, "nothing was pulled")
	},
	"orphans go when told, and only from complete knowledge": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales"})
		v, c := vendor.open("sales"), client.open("sales")
		write(t, v, "1.csv", "one")
		write(t, v, "2.csv", "two")
		push(t, v)
		pull(t, c)
		require.NoError(t, os.Remove(filepath.Join(v.Dir(), "2.csv")))

		found, err := v.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Where: d6tpipe.OrphansRemote})
		require.NoError(t, err)
		require.Equal(t, []d6tpipe.Orphan{{Key: "2.csv", Size: 3}}, found.Remote)
		require.False(t, found.Removed, "a dry run is the default")
		found, err = v.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Where: d6tpipe.OrphansRemote, Remove: true})
		require.NoError(t, err)
		require.True(t, found.Removed)

		found, err = c.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Remove: true})
		require.NoError(t, err)
		require.Equal(t, []d6tpipe.Orphan{{Key: "2.csv", Size: 3, Removed: true}}, found.Local)
		require.Equal(t, map[string]string{"1.csv": "one"}, tree(t, c.Dir()))
	},
	"delete and reset": func(t *testing.T, vendor, client party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales"})
		v, c := vendor.open("sales"), client.open("sales")
		write(t, v, "1.csv", "one")
		write(t, v, "2.csv", "two")
		push(t, v)
		pull(t, c)
		write(t, c, "own.csv", "never synced")
		require.NoError(t, c.DeleteLocal(t.Context(), d6tpipe.DeleteOptions{Synced: true}))
		require.Equal(t, map[string]string{"own.csv": "never synced"}, tree(t, c.Dir()))
		_, err := c.Reset(t.Context(), d6tpipe.ResetOptions{})
		require.NoError(t, err)
		require.Equal(t, map[string]string{"1.csv": "one", "2.csv": "two", "own.csv": "never synced"}, tree(t, c.Dir()))
		require.NoError(t, v.DeleteRemote(t.Context(), d6tpipe.DeleteOptions{Files: []string{"1.csv"}}))
		remote, err := v.ScanRemote(t.Context(), d6tpipe.ListOptions{})
		require.NoError(t, err)
		require.Len(t, remote, 1)
		require.ErrorIs(t, v.DeleteRemote(t.Context(), d6tpipe.DeleteOptions{}), d6tpipe.ErrInvalid, "nothing named, nothing deleted")
	},
	"a cancelled call says so": func(t *testing.T, vendor, _ party) {
		addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales"})
		v := vendor.open("sales")
		write(t, v, "1.csv", "one")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := v.Push(ctx, d6tpipe.PushOptions{})
		require.ErrorIs(t, err, context.Canceled)
	},
}

// What was never pulled may be the only copy.
func TestDeleteSyncedKeepsWhatOthersPushed(t *testing.T) {
	both := parties(t, "vendor", "client")
	folder := addDir(t, both[0].api)
	addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "sales"})
	v, c := both[0].open("sales"), both[1].open("sales")
	write(t, v, "a.csv", "1")
	push(t, v)
	pull(t, c)
	write(t, v, "never-pulled.csv", "only copy")
	push(t, v)
	require.NoError(t, c.Delete(t.Context(), d6tpipe.DeleteOptions{Synced: true}))
	require.NoFileExists(t, filepath.Join(folder, "a.csv"))
	require.FileExists(t, filepath.Join(folder, "never-pulled.csv"))
}

// A folder of the remote that was moved away lists nothing, and without an error.
func TestResetDeletesNothingThatCannotComeBack(t *testing.T) {
	p := parties(t, "client")[0]
	folder := addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales", Options: d6tpipe.PipeOptions{Dir: "sales"}})
	c := p.open("sales")
	write(t, c, "a.csv", "1")
	push(t, c)
	require.NoError(t, os.Rename(filepath.Join(folder, "sales"), filepath.Join(folder, "moved")))
	_, err := c.Reset(t.Context(), d6tpipe.ResetOptions{Delete: true})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	require.Equal(t, map[string]string{"a.csv": "1"}, tree(t, c.Dir()))
}

// What an address with a mistake in it costs is an error, not the memory of the
// last sync.
func TestForgetsNothingForARemoteThatIsNotThere(t *testing.T) {
	for name, do := range map[string]func(c *d6tpipe.Pipe) error{
		"orphans": func(c *d6tpipe.Pipe) error {
			_, err := c.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Remove: true})
			return err
		},
		"delete": func(c *d6tpipe.Pipe) error {
			return c.DeleteRemote(t.Context(), d6tpipe.DeleteOptions{Files: []string{"a.csv"}})
		},
		"pull": func(c *d6tpipe.Pipe) error {
			_, err := c.Pull(t.Context(), d6tpipe.PullOptions{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := parties(t, "client")[0]
			folder := addDir(t, p.api)
			addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
			c := p.open("sales")
			write(t, c, "a.csv", "1")
			push(t, c)
			moveRemote(t, p.api, filepath.Join(folder, "typo"))
			require.Error(t, do(c))
			moveRemote(t, p.api, folder)
			write(t, c, "a.csv", "edited")
			require.Equal(t, []string{"a.csv"}, push(t, c), "an edit of what was synced is no conflict")
		})
	}
}

// moveRemote gives the remote "warehouse" another folder.
func moveRemote(t *testing.T, api d6tpipe.API, folder string) {
	t.Helper()
	_, err := api.Remotes().Update(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Location: folder})
	require.NoError(t, err)
}

// What was synced with one remote says nothing of the files on another.
func TestDeleteSyncedOnAnotherRemote(t *testing.T) {
	p := parties(t, "client")[0]
	folder, other := addDir(t, p.api), t.TempDir()
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	c := p.open("sales")
	write(t, c, "a.csv", "1")
	push(t, c)
	info, err := os.Stat(filepath.Join(folder, "a.csv"))
	require.NoError(t, err)
	theirs := filepath.Join(other, "a.csv")
	require.NoError(t, os.WriteFile(theirs, []byte("2"), 0o644))
	require.NoError(t, os.Chtimes(theirs, info.ModTime(), info.ModTime())) // the same tag
	moveRemote(t, p.api, other)
	require.NoError(t, c.DeleteRemote(t.Context(), d6tpipe.DeleteOptions{Synced: true}))
	require.Equal(t, "2", readText(t, theirs))
	require.NoError(t, c.Delete(t.Context(), d6tpipe.DeleteOptions{Synced: true}))
	require.Equal(t, "1", content(t, c, "a.csv"))
}

func TestResetWithDamagedMemory(t *testing.T) {
	client, c := pulled(t)
	write(t, c, "a.csv", "edited")
	manifest := filepath.Join(client.cfg.FileRepo, ".d6tpipe", "sales", "manifest")
	for _, remove := range []bool{false, true} {
		require.NoError(t, os.WriteFile(manifest, []byte("this is no manifest"), 0o600))
		_, err := c.Pull(t.Context(), d6tpipe.PullOptions{})
		require.ErrorIs(t, err, d6tpipe.ErrDamaged)
		_, err = c.Reset(t.Context(), d6tpipe.ResetOptions{Delete: remove, Merge: d6tpipe.MergeKeep})
		require.NoError(t, err)
		require.Equal(t, map[bool]string{false: "edited", true: "1"}[remove], content(t, c, "a.csv"))
	}
}

func TestInSyncWithEqualFilesThatWereNeverSynced(t *testing.T) {
	both := parties(t, "vendor", "client")
	addDir(t, both[0].api)
	addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "sales"})
	v, c := both[0].open("sales"), both[1].open("sales")
	write(t, v, "a.csv", "1")
	push(t, v)
	for text, want := range map[string]bool{"1": true, "2": false} {
		write(t, c, "a.csv", text)
		same, err := c.InSync(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, same, text)
	}
}

// A report that says nothing was removed must be true.
func TestOrphanReportAfterAFailure(t *testing.T) {
	p := parties(t, "vendor")[0]
	folder := addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	v := p.open("sales")
	for _, key := range []string{"a.csv", "b.csv", "c.csv"} {
		write(t, v, key, "1")
	}
	push(t, v)
	require.NoError(t, os.Remove(filepath.Join(folder, "a.csv")))
	require.NoError(t, os.Remove(filepath.Join(folder, "b.csv")))
	ctx := &hookCtx{Context: t.Context()}
	ctx.do = func(int64) { // b.csv is edited once a.csv is gone
		if _, err := os.Stat(filepath.Join(v.Dir(), "a.csv")); err != nil {
			write(t, v, "b.csv", "edited")
		}
	}
	report, err := v.RemoveOrphans(ctx, d6tpipe.OrphanOptions{Remove: true})
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, []d6tpipe.Orphan{{Key: "a.csv", Size: 1, Removed: true}, {Key: "b.csv", Size: 1}}, report.Local)
	require.True(t, report.Removed)
}

// A folder of a remote that nobody has written to yet lists nothing, without an
// error.
func TestForgetsNothingForAnEmptyFolder(t *testing.T) {
	p := parties(t, "client")[0]
	addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales", Remote: "warehouse", Options: d6tpipe.PipeOptions{Dir: "sales"}})
	c := p.open("sales")
	write(t, c, "a.csv", "1")
	push(t, c)
	folder := func(name string) {
		require.NoError(t, c.UpdateSettings(t.Context(), d6tpipe.PipeSettings{Remote: "warehouse", Options: d6tpipe.PipeOptions{Dir: name}}))
	}
	folder("slaes")
	require.Empty(t, pull(t, c))
	folder("sales")
	write(t, c, "a.csv", "edited")
	require.Equal(t, []string{"a.csv"}, push(t, c), "an edit of what was synced is no conflict")
}

// The endpoint stands in the credentials of each role.
func TestRolesThatSpellTheEndpointInTheirOwnWay(t *testing.T) {
	p := parties(t, "client")[0]
	addS3(t, p.api)
	remote, err := p.api.Remotes().Get(t.Context(), "warehouse")
	require.NoError(t, err)
	remote.WriteCredentials["endpoint_url"] = string(remote.WriteCredentials.Value("endpoint_url")) + "/"
	_, err = p.api.Remotes().Replace(t.Context(), remote)
	require.NoError(t, err)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	c := p.open("sales")
	write(t, c, "a.csv", "one")
	push(t, c)
	write(t, c, "b.csv", "b")
	_, err = c.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Remove: true}) // with the read credentials
	require.NoError(t, err)
	write(t, c, "a.csv", "two")
	require.Equal(t, []string{"a.csv", "b.csv"}, push(t, c))
	report, err := c.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	require.Empty(t, keys(report))
}
