package d6tpipe

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
)

func TestFTPOptions(t *testing.T) {
	python := Credentials{"username": "me", "password": "pw"}
	for name, row := range map[string]struct {
		where Storage
		want  ftp.Options
	}{
		"Python's": {Storage{Protocol: ProtocolFTP, Location: "host", Dir: "/utest", Root: "/", Credentials: python},
			ftp.Options{Host: "host:21", User: "me", Password: "pw", Root: "/", Keep: "utest"}},
		"anonymous": {Storage{Protocol: ProtocolFTP, Location: "host", Dir: "/"}, ftp.Options{Host: "host:21", Root: "/"}},
		"a port": {Storage{Protocol: ProtocolFTP, Location: "host:2121", Dir: "/a/b/c", Root: "/a", Options: raw(`{"connections":2}`)},
			ftp.Options{Host: "host:2121", Root: "/a", Keep: "b/c", Connections: 2}},
		"ftps":     {Storage{Protocol: ProtocolFTPS, Location: "host"}, ftp.Options{Host: "host:21", Root: "/", TLS: ftp.Explicit}},
		"ftps:990": {Storage{Protocol: ProtocolFTPS, Location: "host:990"}, ftp.Options{Host: "host:990", Root: "/", TLS: ftp.Implicit}},
		"ftps, a port set": {Storage{Protocol: ProtocolFTPS, Location: "host", Options: raw(`{"port":990}`)},
			ftp.Options{Host: "host:990", Root: "/", TLS: ftp.Implicit}},
		"implicit": {Storage{Protocol: ProtocolFTPS, Location: "host", Options: raw(`{"tls":"implicit"}`)},
			ftp.Options{Host: "host:990", Root: "/", TLS: ftp.Implicit}},
		"explicit on 990": {Storage{Protocol: ProtocolFTPS, Location: "host:990", Options: raw(`{"tls":"explicit"}`)},
			ftp.Options{Host: "host:990", Root: "/", TLS: ftp.Explicit}},
		"ftp with TLS": {Storage{Protocol: ProtocolFTP, Location: "host", Options: raw(`{"tls":"explicit","ca":"PEM","fingerprint":"SHA256:x"}`)},
			ftp.Options{Host: "host:21", Root: "/", TLS: ftp.Explicit, CA: []byte("PEM"), Fingerprint: "SHA256:x"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ftpOptions(row.where)
			require.NoError(t, err)
			if len(got.CA) == 0 {
				got.CA = nil
			}
			require.Equal(t, row.want, got)
		})
	}
	_, err := ftpOptions(Storage{Protocol: ProtocolFTPS, Location: "host", Options: raw(`{"tls":"none"}`)})
	require.ErrorIs(t, err, ErrInvalid)
}
