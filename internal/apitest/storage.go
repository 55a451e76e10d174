package apitest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

var storageCases = []testCase{
	{"a pipe of its own", func(t *testing.T, api d6tpipe.API) {
		p := pipe("p", "1")
		p.Options = d6tpipe.PipeOptions{Dir: "d", Include: "*.csv", Exclude: "x*"}
		p.Credentials = d6tpipe.Credentials{"aws_access_key_id": "id", "aws_secret_access_key": "s"}
		_, err := api.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
		for _, role := range []d6tpipe.Role{d6tpipe.RoleRead, d6tpipe.RoleWrite} {
			s, err := api.Storage(t.Context(), "p", role, false)
			require.NoError(t, err)
			require.Equal(t, d6tpipe.ProtocolS3, s.Protocol)
			require.Equal(t, "bucket", s.Location)
			require.Equal(t, "d", s.Dir)
			require.Equal(t, []d6tpipe.Filter{{Include: "*.csv", Exclude: "x*"}}, s.Filters)
			require.Equal(t, d6tpipe.Credentials{"aws_access_key_id": "id", "aws_secret_access_key": "s"}, s.Credentials)
		}
	}},
	{"read and write credentials", func(t *testing.T, api d6tpipe.API) {
		p := pipe("p", "1")
		p.Credentials = d6tpipe.Credentials{"read": map[string]any{"aws_access_key_id": "r"}, "write": map[string]any{"aws_access_key_id": "w"}}
		_, err := api.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
		keyID(t, api, "p", d6tpipe.RoleRead, "r")
		keyID(t, api, "p", d6tpipe.RoleWrite, "w")
	}},
	{"inherited credentials", func(t *testing.T, api d6tpipe.API) {
		family(t, api)
		for _, name := range []string{"root", "child", "grandchild", "filter"} {
			keyID(t, api, name, d6tpipe.RoleRead, "id")
			keyID(t, api, name, d6tpipe.RoleWrite, "id")
		}
	}},
	{"credentials under short names", func(t *testing.T, api d6tpipe.API) {
		p := pipe("p", "1")
		p.Credentials = d6tpipe.Credentials{"key": "k", "secret": "s"}
		_, err := api.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
		s, err := api.Storage(t.Context(), "p", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Equal(t, d6tpipe.Secret("k"), s.Credentials.Value("aws_access_key_id"))
		require.Equal(t, d6tpipe.Secret("s"), s.Credentials.Value("aws_secret_access_key"))
	}},
	{"no credentials", func(t *testing.T, api d6tpipe.API) {
		require.NoError(t, pipes.create(t.Context(), api, "p", "1"))
		s, err := api.Storage(t.Context(), "p", d6tpipe.RoleWrite, true)
		require.NoError(t, err)
		require.Empty(t, s.Credentials)
	}},
	{"an update keeps credentials", func(t *testing.T, api d6tpipe.API) {
		family(t, api)
		_, err := api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "root", Schema: raw(`{"a":1}`)})
		require.NoError(t, err)
		keyID(t, api, "root", d6tpipe.RoleRead, "id")
		_, err = api.Pipes().Replace(t.Context(), d6tpipe.PipeSettings{Name: "root", Protocol: d6tpipe.ProtocolS3, Location: "b"})
		require.NoError(t, err)
		keyID(t, api, "root", d6tpipe.RoleRead, "id")
	}},
	{"dirs and filters of a family", func(t *testing.T, api d6tpipe.API) {
		family(t, api)
		s, err := api.Storage(t.Context(), "grandchild", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Equal(t, "bucket", s.Location)
		require.Equal(t, "a/b/c", s.Dir)
		require.Equal(t, []d6tpipe.Filter{{Prefix: "c", Include: "c/*"}}, s.Filters)
		s, err = api.Storage(t.Context(), "filter", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Equal(t, "a/b", s.Dir)
		require.Equal(t, []d6tpipe.Filter{{Include: "*.csv"}, {Include: "c/*"}}, s.Filters)
	}},
	{"a pipe on a remote", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Remotes().Create(t.Context(), firstGen())
		require.NoError(t, err)
		_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Remote: "r", Settings: raw(`{"remotedir":"x","pipedir":"y","include":"*.csv"}`)})
		require.NoError(t, err)
		s, err := api.Storage(t.Context(), "p", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Equal(t, d6tpipe.ProtocolS3, s.Protocol)
		require.Equal(t, "bucket", s.Location)
		require.Equal(t, "base/x/y", s.Dir)
		require.Equal(t, []d6tpipe.Filter{{Include: "*.csv"}}, s.Filters)
		sameJSON(t, string(firstGen().Settings), string(s.Options))
		keyID(t, api, "p", d6tpipe.RoleRead, "read-id")
		keyID(t, api, "p", d6tpipe.RoleWrite, "write-id")
	}},
	{"a folder or a filter that is no string", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Remotes().Create(t.Context(), firstGen())
		require.NoError(t, err)
		for _, settings := range []string{`{"remotedir":"a","include":["*.csv"]}`, `{"remotedir":"../x","exclude":false}`, `{"pipedir":1}`} {
			_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Remote: "r", Settings: raw(settings)})
			field(t, err, "settings", d6tpipe.ErrInvalid)
			_, err = backend(t, api).Do(t.Context(), catalog.Create, catalog.Pipes, "", raw(`{"name":"p","remote":"r","settings":`+settings+`}`))
			require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		}
	}},
	{"options on a remote", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Remotes().Create(t.Context(), firstGen())
		require.NoError(t, err)
		_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Remote: "r", Options: d6tpipe.PipeOptions{Dir: "sales", Include: "*.csv"}})
		require.NoError(t, err)
		s, err := api.Storage(t.Context(), "p", d6tpipe.RoleWrite, false)
		require.NoError(t, err)
		require.Equal(t, "base/sales", s.Dir)
		require.Equal(t, []d6tpipe.Filter{{Include: "*.csv"}}, s.Filters)
	}},
	{"a pipe on a managed remote", func(t *testing.T, api d6tpipe.API) {
		remote := firstGen() // as a server shows it, with its folder behind the bucket
		remote.Location = "bucket/user/r"
		_, err := api.Remotes().Create(t.Context(), remote)
		require.NoError(t, err)
		_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Remote: "r", Options: d6tpipe.PipeOptions{Dir: "sales"}})
		require.NoError(t, err)
		s, err := api.Storage(t.Context(), "p", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Equal(t, "bucket", s.Location)
		require.Equal(t, "user/r/base/sales", s.Dir)
	}},
	{"a folder and a host", func(t *testing.T, api d6tpipe.API) {
		for _, p := range []d6tpipe.PipeSettings{
			{Name: "folder", Protocol: d6tpipe.ProtocolDir, Location: "/srv/data", Options: d6tpipe.PipeOptions{Dir: "d"}},
			{Name: "host", Protocol: d6tpipe.ProtocolSFTP, Location: "files.example.com", Options: d6tpipe.PipeOptions{Dir: "/home/x"}},
		} {
			_, err := api.Pipes().Create(t.Context(), p)
			require.NoError(t, err)
		}
		s, err := api.Storage(t.Context(), "folder", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Equal(t, "/srv/data", s.Location)
		require.Equal(t, "d", s.Dir)
		s, err = api.Storage(t.Context(), "host", d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Equal(t, "files.example.com", s.Location)
		require.Equal(t, "/home/x", s.Dir)
	}},
	{"a missing pipe, a missing remote", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Storage(t.Context(), "missing", d6tpipe.RoleRead, false)
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		require.NoError(t, remotes.create(t.Context(), api, "r", "1"))
		_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Remote: "r"})
		require.NoError(t, err)
		require.NoError(t, api.Remotes().Delete(t.Context(), "r"))
		_, err = api.Storage(t.Context(), "p", d6tpipe.RoleRead, false)
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		named(t, err)
	}},
	{"a cancelled context", func(t *testing.T, api d6tpipe.API) {
		require.NoError(t, pipes.create(t.Context(), api, "p", "1"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := api.Storage(ctx, "p", d6tpipe.RoleRead, false)
		require.ErrorIs(t, err, context.Canceled)
	}},
}

func keyID(t *testing.T, api d6tpipe.API, name string, role d6tpipe.Role, want d6tpipe.Secret) {
	t.Helper()
	s, err := api.Storage(t.Context(), name, role, false)
	require.NoError(t, err)
	require.Equal(t, want, s.Credentials.Value("aws_access_key_id"))
}
