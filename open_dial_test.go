package d6tpipe_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestDial: whoever opens what others name makes all connections himself, and lends
// neither keys nor folders of this machine, whatever kind of catalogue it is.
func TestDial(t *testing.T) {
	refused := errors.New("not there")
	var dialled []string
	o := d6tpipe.OpenOptions{Dial: func(_ context.Context, network, address string) (net.Conn, error) {
		dialled = append(dialled, network+" "+address)
		return nil, refused
	}}
	p := parties(t, "server")[0]
	for name, remote := range map[string]d6tpipe.RemoteSettings{
		"sftp":  {Protocol: d6tpipe.ProtocolSFTP, Location: "files.example.com", ReadCredentials: d6tpipe.Credentials{"username": "me", "password": "x"}, Settings: []byte(`{"fingerprint":"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"}`)},
		"ftp":   {Protocol: d6tpipe.ProtocolFTP, Location: "files.example.com"},
		"https": {Protocol: d6tpipe.ProtocolHTTPS, Location: "https://files.example.com/a.csv"},
		"s3":    {Protocol: d6tpipe.ProtocolS3, Location: "bucket", Settings: []byte(`{"region_name":"eu-west-1","anonymous":true}`)},
	} {
		remote.Name = name
		_, err := p.api.Remotes().Create(t.Context(), remote)
		require.NoError(t, err)
		addPipe(t, p.api, d6tpipe.PipeSettings{Name: name, Remote: name})
		dialled = nil
		where, err := p.api.Storage(t.Context(), name, d6tpipe.RoleRead, false)
		require.NoError(t, err)
		store, err := where.Open(o)
		require.NoError(t, err)
		_, err = store.Stat(t.Context(), "a.csv")
		require.Error(t, err)
		require.NoError(t, store.Close())
		require.NotEmpty(t, dialled, name)
		_, err = d6tpipe.Check(t.Context(), remote, d6tpipe.CheckOptions{ReadOnly: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, fs.ErrPermission
		}})
		require.ErrorIs(t, err, d6tpipe.ErrPermission, "and is not tried again")
	}
	folder := addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "own"})
	_, err := p.api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "agent", Protocol: d6tpipe.ProtocolSFTP, Location: "files.example.com",
		Settings: []byte(`{"agent":true}`), ReadCredentials: d6tpipe.Credentials{"username": "me"}})
	require.NoError(t, err)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "agent", Remote: "agent"})
	for _, name := range []string{"own", "agent"} {
		pipe, err := d6tpipe.OpenPipe(t.Context(), p.api, name, o)
		require.NoError(t, err)
		_, err = pipe.Pull(t.Context(), d6tpipe.PullOptions{})
		require.ErrorIs(t, err, d6tpipe.ErrRefused, name)
	}
	o.LocalFolders = []string{folder}
	pipe, err := d6tpipe.OpenPipe(t.Context(), p.api, "own", o)
	require.NoError(t, err)
	_, err = pipe.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
}
