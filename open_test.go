package d6tpipe_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/wire"
)

// served returns a client of a server whose catalogue is local's.
func served(t *testing.T, local d6tpipe.API) d6tpipe.API {
	t.Helper()
	server := httptest.NewServer(wire.Handler(local.(*d6tpipe.APILocal).Backend()))
	t.Cleanup(server.Close)
	cfg := local.Config()
	cfg.Server, cfg.FileRepo, cfg.Tokens = server.URL, filepath.Join(t.TempDir(), "files"), d6tpipe.MemoryTokens()
	api, err := d6tpipe.NewAPIClient(cfg)
	require.NoError(t, err)
	t.Cleanup(api.CloseIdleConnections)
	return api
}

// A pipe with a location and credentials of its own, a child of it, and a pipe on
// a remote with a role's own keys all lead to the same bucket, by a server as by
// a file.
func TestStorageOfS3(t *testing.T) {
	gateway := s3test.Start(t)
	bucket := gateway.Bucket(t)
	local := parties(t, "local")[0].api
	both := d6tpipe.Credentials{"key": gateway.AccessKey, "secret": gateway.SecretKey}
	endpoint, err := json.Marshal(map[string]any{"endpoint_url": gateway.Endpoint, "path_style": true})
	require.NoError(t, err)
	_, err = local.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "flat", Protocol: d6tpipe.ProtocolS3, Location: bucket, Settings: endpoint,
		Options: d6tpipe.PipeOptions{Dir: "data"}, Credentials: d6tpipe.Credentials{"read": map[string]any(both), "write": map[string]any(both)}})
	require.NoError(t, err)
	_, err = local.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "child", Parent: "flat",
		Options: d6tpipe.PipeOptions{Dir: "sub", Include: "*.csv"}})
	require.NoError(t, err)
	_, err = local.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: bucket,
		ReadCredentials: both, WriteCredentials: both, Settings: endpoint})
	require.NoError(t, err)
	_, err = local.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "first", Remote: "warehouse",
		Settings: json.RawMessage(`{"remotedir":"data","pipedir":"sub","include":"*.csv"}`)})
	require.NoError(t, err)

	for name, api := range map[string]d6tpipe.API{"file": local, "server": served(t, local)} {
		t.Run(name, func(t *testing.T) {
			open := func(pipe string) *d6tpipe.Pipe {
				p, err := d6tpipe.OpenPipe(t.Context(), api, pipe, d6tpipe.OpenOptions{})
				require.NoError(t, err)
				return p
			}
			flat, child, first := open("flat"), open("child"), open("first")
			write(t, flat, "sub/"+name+".csv", name)
			write(t, flat, "sub/"+name+".txt", name)
			_, err := flat.Push(t.Context(), d6tpipe.PushOptions{Merge: d6tpipe.MergeKeep})
			require.NoError(t, err)
			for _, p := range []*d6tpipe.Pipe{child, first} {
				pull(t, p)
				require.Equal(t, name, content(t, p, name+".csv"))
				require.NotContains(t, tree(t, p.Dir()), name+".txt", "the filter holds")
			}
		})
	}
}

// A push without write credentials goes nowhere, least of all to Amazon because
// the endpoint stands in the read credentials, and what was synced stays known.
func TestPushWithoutWriteCredentials(t *testing.T) {
	gateway := s3test.Start(t)
	bucket := gateway.Bucket(t)
	local := parties(t, "local")[0].api
	read := d6tpipe.Credentials{"key": gateway.AccessKey, "secret": gateway.SecretKey, "endpoint_url": gateway.Endpoint}
	_, err := local.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "own", Protocol: d6tpipe.ProtocolS3, Location: bucket,
		Credentials: d6tpipe.Credentials{"read": map[string]any(read)}})
	require.NoError(t, err)
	_, err = local.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: bucket,
		ReadCredentials: read})
	require.NoError(t, err)
	_, err = local.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "on-remote", Remote: "warehouse"})
	require.NoError(t, err)
	_, err = local.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "given", Protocol: d6tpipe.ProtocolS3, Location: bucket})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(gateway.Dir, bucket, "a.csv"), []byte("1"), 0o644))

	for name, api := range map[string]d6tpipe.API{"file": local, "server": served(t, local)} {
		for pipe, o := range map[string]d6tpipe.OpenOptions{"own": {}, "on-remote": {},
			"given": {Credentials: d6tpipe.Credentials{"read": map[string]any(read)}}} {
			t.Run(name+"/"+pipe, func(t *testing.T) {
				p, err := d6tpipe.OpenPipe(t.Context(), api, pipe, o)
				require.NoError(t, err)
				pull(t, p)
				_, err = p.PlanPush(t.Context(), d6tpipe.PushOptions{})
				require.ErrorIs(t, err, d6tpipe.ErrPermission)
				require.ErrorContains(t, err, "none to write")
				files, err := p.Files(t.Context(), d6tpipe.ListOptions{})
				require.NoError(t, err)
				require.Len(t, files, 1)
			})
		}
	}
}

func TestServerCannotNameLocalFolders(t *testing.T) {
	local := parties(t, "local")[0].api
	folder := addDir(t, local)
	addPipe(t, local, d6tpipe.PipeSettings{Name: "sales"})
	api := served(t, local)
	pipe, err := d6tpipe.OpenPipe(t.Context(), api, "sales", d6tpipe.OpenOptions{})
	require.NoError(t, err)
	_, err = pipe.Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	pipe, err = d6tpipe.OpenPipe(t.Context(), api, "sales", d6tpipe.OpenOptions{LocalFolders: []string{filepath.Dir(folder)}})
	require.NoError(t, err)
	_, err = pipe.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
}

func TestErrorsNameTheThing(t *testing.T) {
	p := parties(t, "local")[0]
	addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	_, err := d6tpipe.OpenPipe(t.Context(), p.api, "sales", d6tpipe.OpenOptions{Workers: -1})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	_, err = d6tpipe.ImportTinyDB(t.Context(), p.api, filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	var named *d6tpipe.Error
	_, err = d6tpipe.NewAPILocal(d6tpipe.Config{Profile: "p"})
	require.ErrorAs(t, err, &named)
	file := filepath.Join(t.TempDir(), "cfg.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"default":{"server":7}}`), 0o600))
	_, err = d6tpipe.LoadConfigFile(file, "")
	require.ErrorIs(t, err, d6tpipe.ErrDamaged)
	require.ErrorContains(t, err, file)
}

func TestOpenPipeErrors(t *testing.T) {
	p := parties(t, "local")[0]
	for _, r := range []d6tpipe.RemoteSettings{
		{Name: "gone", Protocol: d6tpipe.ProtocolDir, Location: filepath.Join(t.TempDir(), "gone")},
		{Name: "half", Protocol: d6tpipe.ProtocolS3, Location: "bucket", ReadCredentials: d6tpipe.Credentials{"key": "CANARY"}},
		{Name: "clear", Protocol: d6tpipe.ProtocolS3, Location: "bucket", Settings: json.RawMessage(`{"endpoint_url":"http://s3.example.com"}`)},
	} {
		_, err := p.api.Remotes().Create(t.Context(), r)
		require.NoError(t, err)
		addPipe(t, p.api, d6tpipe.PipeSettings{Name: r.Name, Remote: r.Name})
	}
	for name, want := range map[string]error{
		"gone": d6tpipe.ErrNotFound, "half": d6tpipe.ErrInvalid,
		"clear": d6tpipe.ErrInvalid,
	} {
		_, err := p.open(name).Pull(t.Context(), d6tpipe.PullOptions{})
		require.ErrorIs(t, err, want, name)
		require.ErrorContains(t, err, name, "the error names the pipe")
		require.NotContains(t, err.Error(), "CANARY")
	}
	_, err := d6tpipe.OpenPipe(t.Context(), p.api, "none", d6tpipe.OpenOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
}

// A remote that vanishes is an error and never a reason to delete.
func TestVanishedRemoteDeletesNothing(t *testing.T) {
	both := parties(t, "vendor", "client")
	folder := addDir(t, both[0].api)
	addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "sales"})
	pipe := both[0].open("sales")
	write(t, pipe, "1.csv", "one")
	push(t, pipe)
	require.NoError(t, os.Remove(filepath.Join(folder, "1.csv")))

	_, err := pipe.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Remove: true})
	require.ErrorIs(t, err, d6tpipe.ErrRefused, "an empty remote")
	require.NoError(t, os.RemoveAll(folder))
	_, err = pipe.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Remove: true, Force: true})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound, "no remote")
	_, err = pipe.Reset(t.Context(), d6tpipe.ResetOptions{Delete: true})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	require.Equal(t, "one", content(t, pipe, "1.csv"))
}

// A pipe that is pointed elsewhere does not take the new place's files, or their
// absence, for changes of the old one's.
func TestPipeThatMoves(t *testing.T) {
	p := parties(t, "vendor")[0]
	addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	pipe := p.open("sales")
	write(t, pipe, "1.csv", "one")
	write(t, pipe, "2.csv", "two")
	push(t, pipe)

	before, err := pipe.Files(t.Context(), d6tpipe.ListOptions{})
	require.NoError(t, err)
	_, err = p.api.Remotes().Update(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Location: filepath.Join(t.TempDir(), "mistyped")})
	require.NoError(t, err)
	_, err = pipe.Push(t.Context(), d6tpipe.PushOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	after, err := pipe.Files(t.Context(), d6tpipe.ListOptions{})
	require.NoError(t, err)
	require.Equal(t, before, after, "a place that is not there changes nothing")

	elsewhere := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, "2.csv"), []byte("two"), 0o644))
	_, err = p.api.Remotes().Update(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Location: elsewhere})
	require.NoError(t, err)
	require.Equal(t, []string{"1.csv"}, push(t, pipe), "2.csv is there already")
	require.Equal(t, map[string]string{"1.csv": "one", "2.csv": "two"}, tree(t, elsewhere))
}

func TestRemoteIsNotThePipesFolder(t *testing.T) {
	p := parties(t, "client")[0]
	require.NoError(t, os.MkdirAll(filepath.Join(p.cfg.FileRepo, "sales"), 0o755))
	_, err := p.api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: p.cfg.FileRepo})
	require.NoError(t, err)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales", Options: d6tpipe.PipeOptions{Dir: "sales"}})
	c := p.open("sales")
	write(t, c, "a.csv", "only copy")
	_, err = c.Push(t.Context(), d6tpipe.PushOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	_, err = c.Reset(t.Context(), d6tpipe.ResetOptions{Delete: true})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	require.Equal(t, map[string]string{"a.csv": "only copy"}, tree(t, c.Dir()))
}

func TestServerCannotGoThroughLinks(t *testing.T) {
	local := parties(t, "local")[0].api
	allowed, secret := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(secret, "id_rsa"), []byte("key"), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(allowed, "link")))
	_, err := local.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: filepath.Join(allowed, "link")})
	require.NoError(t, err)
	addPipe(t, local, d6tpipe.PipeSettings{Name: "sales"})
	pipe, err := d6tpipe.OpenPipe(t.Context(), served(t, local), "sales", d6tpipe.OpenOptions{LocalFolders: []string{allowed}})
	require.NoError(t, err)
	_, err = pipe.Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
}

// A step that adopts says that both sides are equal, and of the new storage it is
// not known.
func TestApplyAfterRepoint(t *testing.T) {
	p := parties(t, "client")[0]
	folder := addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	c := p.open("sales")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "a.csv"), []byte("1"), 0o644))
	write(t, c, "a.csv", "1")
	plan, err := c.PlanPush(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "z.csv"), []byte("z"), 0o644))
	_, err = p.api.Remotes().Update(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Location: other})
	require.NoError(t, err)
	_, err = c.Apply(t.Context(), plan)
	require.ErrorIs(t, err, d6tpipe.ErrConflict)
	pull(t, c)
	push(t, c)
	_, err = c.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Remove: true})
	require.NoError(t, err)
	require.Equal(t, "1", tree(t, c.Dir())["a.csv"])
	require.FileExists(t, filepath.Join(other, "a.csv"))
}

func TestPullFromAStalledStorage(t *testing.T) {
	stop := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("list-type") != "" {
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a.csv</Key><Size>100</Size><ETag>"abc"</ETag><LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>`)
			return
		}
		w.Header().Set("ETag", `"abc"`)
		w.Header().Set("Content-Length", "100")
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.(http.Flusher).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(stop)
	p := parties(t, "client")[0]
	_, err := p.api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: "bucket",
		Settings: []byte(`{"endpoint_url":"` + srv.URL + `"}`)})
	require.NoError(t, err)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	c, err := d6tpipe.OpenPipe(t.Context(), p.api, "sales", d6tpipe.OpenOptions{IdleTimeout: 50 * time.Millisecond})
	require.NoError(t, err)
	_, err = c.Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrUnavailable)
	require.Empty(t, tree(t, c.Dir()))
}

// Settings are shown and kept in plain files; keys are taken from credentials
// only, so that nobody gets used to keep them there.
func TestKeysInSettingsAreNotUsed(t *testing.T) {
	gateway := s3test.Start(t)
	p := parties(t, "client")[0]
	settings, err := json.Marshal(map[string]string{"endpoint_url": gateway.Endpoint,
		"aws_access_key_id": gateway.AccessKey, "aws_secret_access_key": gateway.SecretKey})
	require.NoError(t, err)
	_, err = p.api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolS3,
		Location: gateway.Bucket(t), Settings: settings})
	require.NoError(t, err)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	_, err = p.open("sales").Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
}

// Another folder of the same remote is another place.
func TestPipeThatMovesToAnotherFolder(t *testing.T) {
	p := parties(t, "vendor")[0]
	folder := addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales", Options: d6tpipe.PipeOptions{Dir: "old"}})
	pipe := p.open("sales")
	write(t, pipe, "1.csv", "one")
	push(t, pipe)
	require.NoError(t, pipe.UpdateSettings(t.Context(), d6tpipe.PipeSettings{Options: d6tpipe.PipeOptions{Dir: "new"}}))
	require.Equal(t, []string{"1.csv"}, push(t, pipe))
	require.Equal(t, map[string]string{"old/1.csv": "one", "new/1.csv": "one"}, tree(t, folder))
}
