package apitest

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// sameJSON compares JSON with all digits of numbers.
func sameJSON(t *testing.T, want, got string) {
	t.Helper()
	require.Equal(t, canonical(t, want), canonical(t, got))
}

func canonical(t *testing.T, text string) string {
	t.Helper()
	var v any
	dec := json.NewDecoder(bytesReader(text))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&v), "%s", text)
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return string(out)
}

var pipeCases = []testCase{
	{"every field comes back", func(t *testing.T, api d6tpipe.API) {
		in := d6tpipe.PipeSettings{
			Name: "p", Protocol: d6tpipe.ProtocolSFTP, Location: "files.example.com",
			Options: d6tpipe.PipeOptions{Dir: "a/b", Include: "*.csv|*.md", Exclude: "x*", Encrypted: true},
			Schema:  raw(`{"pandas":{"sep":",","id":9007199254740993}}`),
		}
		_, err := api.Pipes().Create(t.Context(), in)
		require.NoError(t, err)
		got, err := api.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		sameJSON(t, string(in.Schema), string(got.Schema))
		require.Equal(t, "/a/b/", got.Options.RemotePath)
		got.Options.RemotePath = ""
		require.Equal(t, in.Options, got.Options)
		require.Equal(t, in.Location, got.Location)
		require.Equal(t, in.Protocol, got.Protocol)
		require.NotEqual(t, d6tpipe.RoleRead, got.Role)
	}},
	{"create returns what get returns", func(t *testing.T, api d6tpipe.API) {
		created, err := api.Pipes().Create(t.Context(), pipe("p", "1"))
		require.NoError(t, err)
		got, err := api.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, got, created)
	}},
	{"lists show what get shows", func(t *testing.T, api d6tpipe.API) {
		family(t, api)
		for p, err := range api.Pipes().All(t.Context()) {
			require.NoError(t, err)
			got, err := api.Pipes().Get(t.Context(), p.Name)
			require.NoError(t, err)
			require.Equal(t, got, p)
		}
	}},
	{"unknown fields survive get and replace", func(t *testing.T, api d6tpipe.API) {
		body := `{"name":"p","protocol":"s3","location":"b","x-new":{"deep":[1,{"n":9007199254740993}]},"options":{"dir":"d","x-opt":"é<"}}`
		_, err := backend(t, api).Do(t.Context(), catalog.Create, catalog.Pipes, "", raw(body))
		require.NoError(t, err)
		p, err := api.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		p.ReadParams = raw("2")
		_, err = api.Pipes().Replace(t.Context(), p)
		require.NoError(t, err)
		p, err = api.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		sameJSON(t, `{"deep":[1,{"n":9007199254740993}]}`, string(p.Extra["x-new"]))
		sameJSON(t, `"é<"`, string(p.Options.Extra["x-opt"]))
		require.Equal(t, "2", string(p.ReadParams))
	}},
	{"what get returned can be sent back", func(t *testing.T, api d6tpipe.API) {
		family(t, api)
		for _, name := range []string{"root", "child", "grandchild"} {
			before, err := api.Pipes().Get(t.Context(), name)
			require.NoError(t, err)
			_, err = api.Pipes().Update(t.Context(), before)
			require.NoError(t, err)
			_, err = api.Pipes().Replace(t.Context(), before)
			require.NoError(t, err)
			after, err := api.Pipes().Get(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, before, after)
		}
		_, err := api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "root", Location: "moved"})
		require.NoError(t, err)
		p, err := api.Pipes().Get(t.Context(), "grandchild")
		require.NoError(t, err)
		require.Equal(t, "s3://moved/a/b/c/", p.Options.RemotePath, "what was inherited became the child's own")
		s, err := api.Storage(t.Context(), "grandchild", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Equal(t, d6tpipe.Secret("id"), s.Credentials.Value("aws_access_key_id"), "credentials were lost")
	}},
	{"options are replaced whole, other fields stay", func(t *testing.T, api d6tpipe.API) {
		p := pipe("p", "1")
		p.Options = d6tpipe.PipeOptions{Dir: "d", Include: "*.csv"}
		_, err := api.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
		_, err = api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "p", Options: d6tpipe.PipeOptions{Dir: "e"}})
		require.NoError(t, err)
		got, err := api.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, d6tpipe.PipeOptions{Dir: "e", RemotePath: "s3://bucket/e/"}, got.Options)
		require.Equal(t, "1", string(got.ReadParams))
	}},
	{"malformed dirs", func(t *testing.T, api d6tpipe.API) {
		for _, dir := range []string{`C:\x`, `a\b`, "..", "a/../b", "./a", "a//b", "a/./b", "c:x", "/C:/x", "a\x00b", "a\nb", "a*", "${x}", "//"} {
			p := pipe("p", "1")
			p.Options.Dir = dir
			_, err := api.Pipes().Create(t.Context(), p)
			require.Contains(t, field(t, err, "options", d6tpipe.ErrInvalid).Reason, "Paths", "%q", dir)
			body, err := json.Marshal(map[string]any{"name": "p", "protocol": "s3", "location": "b", "options": map[string]string{"dir": dir}})
			require.NoError(t, err)
			_, err = backend(t, api).Do(t.Context(), catalog.Create, catalog.Pipes, "", body)
			require.ErrorIs(t, err, d6tpipe.ErrInvalid, "%q past the client", dir)
			require.ErrorContains(t, err, "Paths")
		}
	}},
	{"a malformed dir in an update", func(t *testing.T, api d6tpipe.API) {
		require.NoError(t, pipes.create(t.Context(), api, "p", "1"))
		_, err := api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "p", Options: d6tpipe.PipeOptions{Dir: "a/../b"}})
		field(t, err, "options", d6tpipe.ErrInvalid)
		p, err := api.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		require.Empty(t, p.Options.Dir)
	}},
	{"an unknown protocol", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Protocol: "gopher", Location: "x"})
		field(t, err, "protocol", d6tpipe.ErrInvalid)
	}},
	{"an unknown parent", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Parent: "nobody"})
		require.Contains(t, field(t, err, "parent", d6tpipe.ErrInvalid).Reason, "does not exist")
	}},
	{"an unknown remote", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Remote: "nowhere"})
		require.Contains(t, field(t, err, "remote", d6tpipe.ErrInvalid).Reason, "does not exist")
	}},
	{"a parent and a remote", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Remote: "r", Parent: "q"})
		field(t, err, "parent", d6tpipe.ErrInvalid)
	}},
	{"its own ancestor", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Parent: "p"})
		field(t, err, "parent", d6tpipe.ErrInvalid)
		family(t, api)
		_, err = api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "root", Parent: "grandchild"})
		field(t, err, "parent", d6tpipe.ErrInvalid)
		p, err := api.Pipes().Get(t.Context(), "grandchild")
		require.NoError(t, err)
		require.Equal(t, "root", p.Root)
	}},
	{"parents and grandchildren", func(t *testing.T, api d6tpipe.API) {
		family(t, api)
		for name, want := range map[string]struct{ parent, root, path string }{
			"root":       {"", "", "s3://bucket/a/"},
			"child":      {"root", "root", "s3://bucket/a/b/"},
			"grandchild": {"child", "root", "s3://bucket/a/b/c/"},
			"filter":     {"child", "root", "s3://bucket/a/b/"},
		} {
			p, err := api.Pipes().Get(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, want.parent, p.Parent, name)
			require.Equal(t, want.root, p.Root, name)
			require.Equal(t, want.path, p.Options.RemotePath, name)
			require.Equal(t, d6tpipe.ProtocolS3, p.Protocol, name)
			require.Equal(t, "bucket", p.Location, name)
			require.Empty(t, p.Credentials, name)
		}
	}},
	{"remote paths by protocol", func(t *testing.T, api d6tpipe.API) {
		for i, want := range []struct {
			protocol  d6tpipe.Protocol
			dir, path string
		}{
			{d6tpipe.ProtocolS3, "", "s3://place/"}, {d6tpipe.ProtocolS3, "vendorX/", "s3://place/vendorX/"}, {d6tpipe.ProtocolS3, "/vendorX", "s3://place/vendorX/"},
			{d6tpipe.ProtocolSFTP, "", "/"}, {d6tpipe.ProtocolSFTP, "/home/x/vendorX", "/home/x/vendorX/"},
			{d6tpipe.ProtocolFTP, "utest", "/utest/"}, {d6tpipe.ProtocolFTP, "", "/"},
		} {
			name := "p" + string(rune('a'+i))
			_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: name, Protocol: want.protocol, Location: "place", Options: d6tpipe.PipeOptions{Dir: want.dir}})
			require.NoError(t, err)
			p, err := api.Pipes().Get(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, want.path, p.Options.RemotePath)
		}
	}},
	{"a schema and options are always there", func(t *testing.T, api d6tpipe.API) {
		require.NoError(t, pipes.create(t.Context(), api, "p", "1"))
		body, err := backend(t, api).Do(t.Context(), catalog.Get, catalog.Pipes, "p", nil)
		require.NoError(t, err)
		var rec map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &rec))
		require.Equal(t, "{}", string(rec["schema"]))
		require.JSONEq(t, `{"remotepath":"s3://bucket/"}`, string(rec["options"]))
		for _, hidden := range []string{"credentials", "parent", "parent-ultimate", "settings", "remote", "cache"} {
			require.NotContains(t, rec, hidden)
		}
	}},
	{"a pipe on a remote stays as posted", func(t *testing.T, api d6tpipe.API) {
		require.NoError(t, remotes.create(t.Context(), api, "r", "1"))
		settings := `{"remotedir":"a/","pipedir":"b","include":"*.csv","n":9007199254740993}`
		_, err := backend(t, api).Do(t.Context(), catalog.Create, catalog.Pipes, "", raw(`{"name":"p","remote":"r","settings":`+settings+`}`))
		require.NoError(t, err)
		body, err := backend(t, api).Do(t.Context(), catalog.Get, catalog.Pipes, "p", nil)
		require.NoError(t, err)
		var rec map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &rec))
		sameJSON(t, settings, string(rec["settings"]))
		require.Equal(t, `"r"`, string(rec["remote"]))
		require.NotContains(t, rec, "protocol")
		require.NotContains(t, string(body), "null")
	}},
	{"null means absent", func(t *testing.T, api d6tpipe.API) {
		require.NoError(t, remotes.create(t.Context(), api, "r", "1"))
		_, err := backend(t, api).Do(t.Context(), catalog.Create, catalog.Pipes, "", raw(`{"name":"p","remote":"r","settings":null,"readParams":null,"schema":null,"options":null,"parent":null}`))
		require.NoError(t, err)
		body, err := backend(t, api).Do(t.Context(), catalog.Get, catalog.Pipes, "p", nil)
		require.NoError(t, err)
		require.NotContains(t, string(body), "null")
	}},
	{"delete of a parent leaves the children", func(t *testing.T, api d6tpipe.API) {
		family(t, api)
		require.NoError(t, api.Pipes().Delete(t.Context(), "child"))
		names, err := api.Pipes().Names(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"filter", "grandchild", "root"}, names)
		_, err = api.Storage(t.Context(), "grandchild", d6tpipe.RoleRead, false)
		require.Error(t, err, "where the files lie is unknown now")
	}},
}

// family makes root, child, grandchild, each with a dir, and filter, a child of
// child that only has filters.
func family(t *testing.T, api d6tpipe.API) {
	t.Helper()
	for _, p := range []d6tpipe.PipeSettings{
		{Name: "root", Protocol: d6tpipe.ProtocolS3, Location: "bucket", Options: d6tpipe.PipeOptions{Dir: "a"}, Credentials: d6tpipe.Credentials{"aws_access_key_id": "id", "aws_secret_access_key": "canary-secret"}},
		{Name: "child", Parent: "root", Options: d6tpipe.PipeOptions{Dir: "b/", Include: "c/*"}},
		{Name: "grandchild", Parent: "child", Options: d6tpipe.PipeOptions{Dir: "c"}},
		{Name: "filter", Parent: "child", Options: d6tpipe.PipeOptions{Include: "*.csv"}},
	} {
		_, err := api.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
}
