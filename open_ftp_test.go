package d6tpipe_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
)

// FTP in the clear, as the Python client has it, and over TLS with a certificate that
// nobody knows but the remote's settings.
func TestPipeOnFTP(t *testing.T) {
	type remote struct {
		protocol d6tpipe.Protocol
		addr     string
		dir      string // on the server
		here     string // the same, on this machine
		settings map[string]any
	}
	starts := map[string]func(t *testing.T) remote{
		"ftp": func(t *testing.T) remote {
			server := ftptest.VSFTPD(t)
			folder := server.Folder(t)
			return remote{d6tpipe.ProtocolFTP, server.Addr, folder, filepath.Join(server.Dir, folder), map[string]any{}}
		},
		"ftps": func(t *testing.T) remote {
			certificate := ftptest.NewCertificate(t, "127.0.0.1")
			server := ftptest.FTPS(t, certificate)
			folder := server.Folder(t)
			return remote{d6tpipe.ProtocolFTPS, server.Addr, folder, filepath.Join(server.Dir, folder),
				map[string]any{"fingerprint": certificate.Fingerprint}}
		},
	}
	for name, start := range starts {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			both := parties(t, "vendor", "client")
			r.settings["dir"] = r.dir
			settings, err := json.Marshal(r.settings)
			require.NoError(t, err)
			login := d6tpipe.Credentials{"username": ftptest.User, "password": ftptest.Password}
			if name == "ftp" {
				login = nil // anonymous
			}
			_, err = both[0].api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Protocol: r.protocol, Location: r.addr,
				Settings: settings, ReadCredentials: login, WriteCredentials: login})
			require.NoError(t, err)
			addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "sales", Options: d6tpipe.PipeOptions{Dir: "sales"}})
			vendor := both[0].open("sales")
			require.Empty(t, pull(t, vendor))
			write(t, vendor, "a.csv", "a")
			write(t, vendor, "below/b.csv", "b")
			push(t, vendor)
			require.Equal(t, map[string]string{"sales/a.csv": "a", "sales/below/b.csv": "b"}, tree(t, r.here))
			client, err := d6tpipe.OpenPipe(t.Context(), served(t, both[0].api), "sales", d6tpipe.OpenOptions{})
			require.NoError(t, err)
			pull(t, client)
			require.Equal(t, map[string]string{"a.csv": "a", "below/b.csv": "b"}, tree(t, client.Dir()))
			require.NoError(t, os.RemoveAll(r.here))
			_, err = client.Pull(t.Context(), d6tpipe.PullOptions{})
			require.ErrorIs(t, err, d6tpipe.ErrNotFound, "the remote's own folder must be there")
		})
	}
}
