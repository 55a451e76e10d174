package d6tpipe_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/internal/wire/wiretest"
)

// What a server stores itself stays there, and so do its short-lived keys.
func TestCopyCatalogLeavesManagedStorage(t *testing.T) {
	server := httptest.NewServer(wire.New(wiretest.New(localAPI(t).Backend()), wire.Options{}))
	t.Cleanup(server.Close)
	src := dialAs(t, server.URL)
	_, err := src.Register(t.Context(), "alice", "alice@example.com", "secret")
	require.NoError(t, err)
	for _, p := range []d6tpipe.PipeSettings{{Name: "free"}, {Name: "child", Parent: "free", Options: d6tpipe.PipeOptions{Dir: "x"}}} {
		_, err := src.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
	dst, path := local(t)
	report, err := d6tpipe.CopyCatalog(t.Context(), dst, src, d6tpipe.CopyOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, 2, report.Count(d6tpipe.RecordFailed), "%+v", report)
	require.NoFileExists(t, path)
}

// The first generation's managed remotes are folders of the server's bucket.
func TestStorageOfAManagedRemote(t *testing.T) {
	server := httptest.NewServer(wire.New(wiretest.New(localAPI(t).Backend()), wire.Options{}))
	t.Cleanup(server.Close)
	api := dialAs(t, server.URL)
	_, err := api.Register(t.Context(), "alice", "alice@example.com", "secret")
	require.NoError(t, err)
	_, err = api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "free", Protocol: d6tpipe.ProtocolManaged})
	require.NoError(t, err)
	_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "free", Remote: "free", Settings: json.RawMessage(`{"remotedir":"a/"}`)})
	require.NoError(t, err)
	s, err := api.Storage(t.Context(), "free", d6tpipe.RoleWrite, false)
	require.NoError(t, err)
	require.Equal(t, "managed", s.Location)
	require.Equal(t, "alice/free/a", s.Dir)
}

// One record that is too large for a server does not hold up the others.
func TestCopyCatalogGoesOnAfterALargeRecord(t *testing.T) {
	src, _ := local(t)
	for _, name := range []string{"a", "b", "c"} {
		p := s3pipe(name)
		if name == "b" {
			p.Schema = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
		}
		_, err := src.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
	server := httptest.NewServer(wire.Handler(localAPI(t).Backend()))
	t.Cleanup(server.Close)
	dst := dialAs(t, server.URL)
	report, err := d6tpipe.CopyCatalog(t.Context(), dst, src, d6tpipe.CopyOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, 2, report.Count(d6tpipe.RecordCreated), "%+v", report)
}

// Users start in local mode, switch to a server, and may want to come back.
func TestCopyCatalogToAServerAndBack(t *testing.T) {
	all := parties(t, "here", "unused")
	here := all[0].api
	keys := d6tpipe.Credentials{"aws_access_key_id": "READ", "aws_secret_access_key": "SECRET"}
	_, err := here.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: "bucket",
		ReadCredentials: keys, WriteCredentials: keys, Settings: json.RawMessage(`{"region_name":"eu-west-1"}`)})
	require.NoError(t, err)
	for _, p := range []d6tpipe.PipeSettings{
		{Name: "z-parent", Protocol: d6tpipe.ProtocolS3, Location: "other", Options: d6tpipe.PipeOptions{Dir: "a"}, Credentials: keys,
			Schema: json.RawMessage(`{"n":12345678901234567890}`)},
		{Name: "child", Parent: "z-parent", Options: d6tpipe.PipeOptions{Dir: "b", Include: "*.csv"}},
		{Name: "first", Remote: "warehouse", Settings: json.RawMessage(`{"remotedir":"x"}`)},
	} {
		_, err := here.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
	server := served(t, parties(t, "server")[0].api)
	back := parties(t, "back")[0].api

	for _, hop := range []struct{ dst, src d6tpipe.API }{{server, here}, {back, server}} {
		report, err := d6tpipe.CopyCatalog(t.Context(), hop.dst, hop.src, d6tpipe.CopyOptions{})
		require.NoError(t, err)
		require.Equal(t, 4, report.Count(d6tpipe.RecordCreated), "%+v", report)
		report, err = d6tpipe.CopyCatalog(t.Context(), hop.dst, hop.src, d6tpipe.CopyOptions{})
		require.NoError(t, err)
		require.Equal(t, 4, report.Count(d6tpipe.RecordSame), "a second copy finds nothing to do: %+v", report)
	}
	for _, pipe := range []string{"z-parent", "child", "first"} {
		for _, role := range []d6tpipe.Role{d6tpipe.RoleRead, d6tpipe.RoleWrite} {
			want, err := here.Storage(t.Context(), pipe, role, false)
			require.NoError(t, err)
			got, err := back.Storage(t.Context(), pipe, role, false)
			require.NoError(t, err)
			require.Equal(t, want, got, pipe)
			require.EqualValues(t, "SECRET", got.Credentials.Value("aws_secret_access_key"))
		}
	}
	schema, err := back.Pipes().Get(t.Context(), "z-parent")
	require.NoError(t, err)
	require.Contains(t, string(schema.Schema), "12345678901234567890")
}
