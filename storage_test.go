package d6tpipe_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// Where the files of a pipe lie, for each way in which a pipe can say so.
func TestStoragePlace(t *testing.T) {
	api := parties(t, "local")[0].api
	for _, r := range []d6tpipe.RemoteSettings{
		{Name: "bucket", Protocol: d6tpipe.ProtocolS3, Location: "b"},
		{Name: "below", Protocol: d6tpipe.ProtocolS3, Location: "b/user/below", Settings: json.RawMessage(`{"dir":"r"}`)},
		{Name: "ftp", Protocol: d6tpipe.ProtocolFTP, Location: "host"},
		{Name: "folder", Protocol: d6tpipe.ProtocolDir, Location: "/data"},
	} {
		_, err := api.Remotes().Create(t.Context(), r)
		require.NoError(t, err)
	}
	type place struct{ location, dir string }
	for _, row := range []struct {
		pipe d6tpipe.PipeSettings
		want place
	}{
		{d6tpipe.PipeSettings{Name: "a", Remote: "bucket"}, place{"b", ""}},
		{d6tpipe.PipeSettings{Name: "b", Remote: "bucket", Options: d6tpipe.PipeOptions{Dir: "x/y"}}, place{"b", "x/y"}},
		{d6tpipe.PipeSettings{Name: "c", Remote: "below", Options: d6tpipe.PipeOptions{Dir: "x"}}, place{"b", "user/below/r/x"}},
		{d6tpipe.PipeSettings{Name: "d", Remote: "bucket", Settings: json.RawMessage(`{"remotedir":"m","pipedir":"n"}`)}, place{"b", "m/n"}},
		{d6tpipe.PipeSettings{Name: "e", Remote: "ftp"}, place{"host", "/"}},
		{d6tpipe.PipeSettings{Name: "f", Remote: "ftp", Options: d6tpipe.PipeOptions{Dir: "/home/x"}}, place{"host", "/home/x"}},
		{d6tpipe.PipeSettings{Name: "g", Remote: "folder", Options: d6tpipe.PipeOptions{Dir: "x/"}}, place{"/data", "x"}},
		{d6tpipe.PipeSettings{Name: "h", Protocol: d6tpipe.ProtocolS3, Location: "own", Options: d6tpipe.PipeOptions{Dir: "p"}}, place{"own", "p"}},
		{d6tpipe.PipeSettings{Name: "i", Parent: "h", Options: d6tpipe.PipeOptions{Dir: "q"}}, place{"own", "p/q"}},
		{d6tpipe.PipeSettings{Name: "j", Parent: "i", Options: d6tpipe.PipeOptions{Include: "*.csv"}}, place{"own", "p/q"}},
		{d6tpipe.PipeSettings{Name: "k", Protocol: d6tpipe.ProtocolDir, Location: "/data/", Options: d6tpipe.PipeOptions{Dir: "x"}}, place{"/data/", "x"}},
		{d6tpipe.PipeSettings{Name: "l", Protocol: d6tpipe.ProtocolSFTP, Location: "host", Options: d6tpipe.PipeOptions{Dir: "x"}}, place{"host", "/x"}},
	} {
		_, err := api.Pipes().Create(t.Context(), row.pipe)
		require.NoError(t, err)
		s, err := api.Storage(t.Context(), row.pipe.Name, d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.Equal(t, row.want, place{s.Location, s.Dir}, row.pipe.Name)
	}
}

// A parent's filter sees keys as the parent has them.
func TestFiltersOfParents(t *testing.T) {
	api := parties(t, "local")[0].api
	for _, p := range []d6tpipe.PipeSettings{
		{Name: "root", Protocol: d6tpipe.ProtocolS3, Location: "b", Options: d6tpipe.PipeOptions{Include: "in/*"}},
		{Name: "child", Parent: "root", Options: d6tpipe.PipeOptions{Dir: "in", Exclude: "*.txt"}},
		{Name: "outside", Parent: "root", Options: d6tpipe.PipeOptions{Dir: "out"}},
	} {
		_, err := api.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
	for pipe, want := range map[string]map[string]bool{
		"root":    {"in/a.csv": true, "out/a.csv": false},
		"child":   {"a.csv": true, "a.txt": false},
		"outside": {"a.csv": false},
	} {
		s, err := api.Storage(t.Context(), pipe, d6tpipe.RoleRead, false)
		require.NoError(t, err)
		for key, pass := range want {
			got := true
			for _, f := range s.Filters {
				got = got && f.Matcher()(key)
			}
			require.Equal(t, pass, got, "%s %s", pipe, key)
		}
	}
}

func TestEncryptedPipeIsNotOpened(t *testing.T) {
	api := parties(t, "local")[0].api
	_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "secret", Protocol: d6tpipe.ProtocolS3, Location: "b",
		Options: d6tpipe.PipeOptions{Encrypted: true}})
	require.NoError(t, err)
	_, err = api.Storage(t.Context(), "secret", d6tpipe.RoleRead, false)
	require.ErrorIs(t, err, d6tpipe.ErrUnsupported)
}

func TestLocations(t *testing.T) {
	for _, row := range []struct {
		protocol d6tpipe.Protocol
		location string
		good     bool
	}{
		{d6tpipe.ProtocolDir, "/data", true},
		{d6tpipe.ProtocolDir, `C:\data`, true},
		{d6tpipe.ProtocolDir, `\\server\share`, true},
		{d6tpipe.ProtocolDir, "data", false},
		{d6tpipe.ProtocolDir, "./data", false},
		{d6tpipe.ProtocolS3, "bucket", true},
		{d6tpipe.ProtocolS3, "bucket/user/remote", true},
		{d6tpipe.ProtocolS3, "s3://bucket", false},
		{d6tpipe.ProtocolSFTP, "host\r\nDELE x", false},
		{d6tpipe.ProtocolSFTP, "host", true},
		{d6tpipe.ProtocolSFTP, "host.example.com:2222", true},
		{d6tpipe.ProtocolFTP, "2001:db8::1", true},
		{d6tpipe.ProtocolFTP, "[2001:db8::1]:21", true},
		{d6tpipe.ProtocolFTP, "[2001:db8::1]", true},
		{d6tpipe.ProtocolSFTP, "sftp://host", false},
		{d6tpipe.ProtocolSFTP, "me@host", false},
		{d6tpipe.ProtocolFTPS, "host/folder", false},
		{d6tpipe.ProtocolFTPS, "host:", false},
		{d6tpipe.ProtocolFTP, "host:99999", false},
		{d6tpipe.ProtocolFTP, ":21", false},
		{d6tpipe.ProtocolFTP, "a:b:c", false},
		{d6tpipe.ProtocolHTTPS, "https://example.com/data", true},
		{d6tpipe.ProtocolHTTP, "https://example.com/data?x=y", true},
		{d6tpipe.ProtocolHTTP, "example.com/data", false},
		{d6tpipe.ProtocolHTTP, "file:///etc/passwd", false},
		{d6tpipe.ProtocolHTTPS, "http://example.com/data", false},
		{d6tpipe.ProtocolHTTPS, "https://me:secret@example.com/data", false},
	} {
		for _, err := range []error{
			d6tpipe.RemoteSettings{Name: "r", Protocol: row.protocol, Location: row.location}.Validate(),
			d6tpipe.PipeSettings{Name: "p", Protocol: row.protocol, Location: row.location}.Validate(),
		} {
			if row.good {
				require.NoError(t, err, row.location)
				continue
			}
			var field *d6tpipe.FieldError
			require.ErrorAs(t, err, &field, row.location)
			require.Equal(t, "location", field.Field)
		}
	}
}
