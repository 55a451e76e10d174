package d6tpipe

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/httpfile"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp"
)

func raw(text string) json.RawMessage { return json.RawMessage(text) }

func TestSFTPOptions(t *testing.T) {
	key := filepath.Join(t.TempDir(), "id")
	require.NoError(t, os.WriteFile(key, []byte("a key"), 0o600))
	home := t.TempDir()
	t.Setenv("HOME", home)
	require.NoError(t, os.WriteFile(filepath.Join(home, "id"), []byte("key at home"), 0o600))
	python := Credentials{"username": "me", "password": "pw"}
	own := OpenOptions{LocalKeys: true}
	for name, row := range map[string]struct {
		where Storage
		o     OpenOptions
		want  sftp.Options
	}{
		"Python's": {Storage{Location: "host", Dir: "/", Root: "/", Credentials: python}, OpenOptions{},
			sftp.Options{Host: "host:22", User: "me", Password: "pw", Root: "/"}},
		"a port in the location": {Storage{Location: "host:2222", Dir: "/home/x/vendor", Root: "/home/x", Credentials: python}, OpenOptions{},
			sftp.Options{Host: "host:2222", User: "me", Password: "pw", Root: "/home/x", Keep: "vendor"}},
		"a port as text": {Storage{Location: "2001:db8::1", Dir: "/a/b", Options: raw(`{"port":"2222","connections":7}`), Credentials: python}, OpenOptions{},
			sftp.Options{Host: "[2001:db8::1]:2222", User: "me", Password: "pw", Root: "/", Keep: "a/b", Connections: 7}},
		"both ports": {Storage{Location: "[::1]:22", Dir: "/r", Root: "/r", Options: raw(`{"port":22}`), Credentials: python}, OpenOptions{},
			sftp.Options{Host: "[::1]:22", User: "me", Password: "pw", Root: "/r"}},
		"a number for a password": {Storage{Location: "host", Credentials: Credentials{"username": "me", "password": json.Number("1234")}}, OpenOptions{},
			sftp.Options{Host: "host:22", User: "me", Password: "1234", Root: "/"}},
		"a key and a pin": {Storage{Location: "host", Options: raw(`{"fingerprint":"SHA256:x","agent":false}`),
			Credentials: Credentials{"username": "me", "private_key": "PEM", "passphrase": "pp"}}, OpenOptions{},
			sftp.Options{Host: "host:22", User: "me", Key: []byte("PEM"), Passphrase: "pp", Fingerprint: "SHA256:x", Root: "/"}},
		"nothing, of a server":  {Storage{Location: "host"}, OpenOptions{}, sftp.Options{Host: "host:22", Root: "/"}},
		"nothing, of one's own": {Storage{Location: "host"}, own, sftp.Options{Host: "host:22", Root: "/", Agent: true}},
		"no agent":              {Storage{Location: "host", Options: raw(`{"agent":false}`)}, own, sftp.Options{Host: "host:22", Root: "/"}},
		"password and agent": {Storage{Location: "host", Options: raw(`{"agent":true}`), Credentials: python}, own,
			sftp.Options{Host: "host:22", User: "me", Password: "pw", Root: "/", Agent: true}},
		"one's own files": {Storage{Location: "host", Options: raw(`{"known_hosts":["/etc/hosts1","~/hosts2"],"private_key_file":"~/id"}`)}, own,
			sftp.Options{Host: "host:22", Root: "/", KnownHosts: []string{"/etc/hosts1", filepath.Join(home, "hosts2")}, Key: []byte("key at home")}},
		"one file": {Storage{Location: "host", Options: raw(`{"known_hosts":"/etc/hosts1"}`), Credentials: python}, own,
			sftp.Options{Host: "host:22", User: "me", Password: "pw", Root: "/", KnownHosts: []string{"/etc/hosts1"}}},
		"a key file in the catalogue's credentials": {Storage{Location: "host", Credentials: Credentials{"private_key_file": key}}, own,
			sftp.Options{Host: "host:22", Root: "/", Key: []byte("a key")}},
		"a key file in credentials that were given": {Storage{Location: "host", Credentials: Credentials{"private_key_file": key}},
			OpenOptions{Credentials: Credentials{}}, sftp.Options{Host: "host:22", Root: "/", Key: []byte("a key")}},
	} {
		t.Run(name, func(t *testing.T) {
			row.where.Protocol = ProtocolSFTP
			got, err := sftpOptions(row.where, row.o)
			require.NoError(t, err)
			if len(got.Key) == 0 {
				got.Key = nil
			}
			require.Equal(t, row.want, got)
		})
	}
}

func TestHTTPOptions(t *testing.T) {
	got, err := httpOptions(Storage{Protocol: ProtocolHTTPS, Location: "https://example.com/data/",
		Options:     raw(`{"manifest":"m.json","insecure":true,"ca":"PEM","username":"not from here"}`),
		Credentials: Credentials{"username": "me", "password": "pw"}})
	require.NoError(t, err)
	require.Equal(t, httpfile.Options{Location: "https://example.com/data/", Manifest: "m.json", Insecure: true, CA: []byte("PEM"),
		Username: "me", Password: "pw"}, got)
	got, err = httpOptions(Storage{Protocol: ProtocolHTTP, Location: "http://example.com/data", Options: raw(`{"files":["a"]}`),
		Credentials: Credentials{"token": "t"}})
	require.NoError(t, err)
	require.Equal(t, httpfile.Options{Location: "http://example.com/data", Files: []string{"a"}, Token: "t", CA: []byte{}}, got)
}

// What a server may not make a client do, and what is no setting at all.
func TestHostileSettings(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "id_rsa")
	require.NoError(t, os.WriteFile(secret, []byte("CANARY"), 0o600))
	for name, row := range map[string]struct {
		where Storage
		want  error
	}{
		"the agent":               {Storage{Protocol: ProtocolSFTP, Location: "host", Options: raw(`{"agent":true}`)}, ErrRefused},
		"known_hosts":             {Storage{Protocol: ProtocolSFTP, Location: "host", Options: raw(`{"known_hosts":"/dev/null"}`)}, ErrRefused},
		"known_hosts, none":       {Storage{Protocol: ProtocolSFTP, Location: "host", Options: raw(`{"known_hosts":[]}`)}, ErrRefused},
		"a key file":              {Storage{Protocol: ProtocolSFTP, Location: "host", Options: raw(`{"private_key_file":"` + secret + `"}`)}, ErrRefused},
		"a key file, credentials": {Storage{Protocol: ProtocolSFTP, Location: "host", Credentials: Credentials{"private_key_file": secret}}, ErrRefused},
		"two ports":               {Storage{Protocol: ProtocolSFTP, Location: "host:22", Options: raw(`{"port":23}`)}, ErrInvalid},
		"no port":                 {Storage{Protocol: ProtocolSFTP, Location: "host", Options: raw(`{"port":0}`)}, ErrInvalid},
		"a large port":            {Storage{Protocol: ProtocolSFTP, Location: "host:65536"}, ErrInvalid},
		"connections":             {Storage{Protocol: ProtocolSFTP, Location: "host", Options: raw(`{"connections":-1}`)}, ErrInvalid},
		"a user in the host":      {Storage{Protocol: ProtocolSFTP, Location: "me@host"}, ErrInvalid},
		"a scheme":                {Storage{Protocol: ProtocolSFTP, Location: "sftp://host"}, ErrInvalid},
		"a folder in the host":    {Storage{Protocol: ProtocolSFTP, Location: "host/x"}, ErrInvalid},
		"no URL":                  {Storage{Protocol: ProtocolHTTP, Location: "host"}, ErrInvalid},
		"a file":                  {Storage{Protocol: ProtocolHTTP, Location: "file:///etc/passwd"}, ErrInvalid},
		"https that is http":      {Storage{Protocol: ProtocolHTTPS, Location: "http://host/a"}, ErrInvalid},
		"a user in the URL":       {Storage{Protocol: ProtocolHTTPS, Location: "https://me:CANARY@host/a"}, ErrInvalid},
		"a manifest of a file":    {Storage{Protocol: ProtocolHTTPS, Location: "https://host/", Options: raw(`{"manifest":"file://` + secret + `"}`)}, ErrInvalid},
		"credentials in clear":    {Storage{Protocol: ProtocolHTTP, Location: "http://host/a", Credentials: Credentials{"token": "CANARY"}}, ErrInvalid},
		"settings of other types": {Storage{Protocol: ProtocolHTTPS, Location: "https://host/a", Options: raw(`{"files":"CANARY"}`)}, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := openStore(row.where, OpenOptions{LocalFolders: []string{}})
			require.Nil(t, store)
			require.ErrorIs(t, withKind(err), row.want)
			require.NotContains(t, err.Error(), "CANARY")
		})
	}
}

// Equal places have equal identities, whoever logs in, and no others.
func TestIdentity(t *testing.T) {
	for name, row := range map[string]struct {
		a, b Storage
		same bool
	}{
		"a host's case": {Storage{Protocol: ProtocolSFTP, Location: "Host", Dir: "/a"}, Storage{Protocol: ProtocolSFTP, Location: "host:22", Dir: "/a"}, true},
		"a user": {Storage{Protocol: ProtocolSFTP, Location: "host", Credentials: Credentials{"username": "a"}},
			Storage{Protocol: ProtocolSFTP, Location: "host", Credentials: Credentials{"username": "b"}}, true},
		"a root":      {Storage{Protocol: ProtocolSFTP, Location: "host", Dir: "/a/b", Root: "/a"}, Storage{Protocol: ProtocolSFTP, Location: "host", Dir: "/a/b"}, true},
		"a folder":    {Storage{Protocol: ProtocolSFTP, Location: "host", Dir: "/a"}, Storage{Protocol: ProtocolSFTP, Location: "host", Dir: "/b"}, false},
		"a port":      {Storage{Protocol: ProtocolSFTP, Location: "host:23"}, Storage{Protocol: ProtocolSFTP, Location: "host"}, false},
		"a port set":  {Storage{Protocol: ProtocolSFTP, Location: "host:23"}, Storage{Protocol: ProtocolSFTP, Location: "host", Options: raw(`{"port":"23"}`)}, true},
		"a protocol":  {Storage{Protocol: ProtocolSFTP, Location: "host"}, Storage{Protocol: ProtocolFTP, Location: "host"}, false},
		"TLS":         {Storage{Protocol: ProtocolFTP, Location: "host"}, Storage{Protocol: ProtocolFTPS, Location: "host:990"}, true},
		"an FTP port": {Storage{Protocol: ProtocolFTP, Location: "host"}, Storage{Protocol: ProtocolFTP, Location: "host:2121"}, false},
		"a signature": {Storage{Protocol: ProtocolHTTPS, Location: "https://Host:443/a/?sig=CANARY"}, Storage{Protocol: ProtocolHTTPS, Location: "https://host/a"}, true},
		"a path":      {Storage{Protocol: ProtocolHTTPS, Location: "https://host/a"}, Storage{Protocol: ProtocolHTTPS, Location: "https://host/A"}, false},
		"a scheme":    {Storage{Protocol: ProtocolHTTP, Location: "http://host/a"}, Storage{Protocol: ProtocolHTTP, Location: "https://host/a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := row.a.identity()
			require.NoError(t, err)
			b, err := row.b.identity()
			require.NoError(t, err)
			require.NotContains(t, a, "CANARY")
			if row.same {
				require.Equal(t, a, b)
			} else {
				require.NotEqual(t, a, b)
			}
		})
	}
}

// One of two folders that lies in the other is seen, also when that is all of the
// storage.
func TestOverlap(t *testing.T) {
	for _, row := range []struct {
		protocol Protocol
		a, b     string
		want     bool
	}{
		{ProtocolS3, "", "", true}, {ProtocolS3, "", "a", true}, {ProtocolS3, "a/b", "a", true}, {ProtocolS3, "a", "ab", false}, {ProtocolS3, "a/b", "a/c", false},
		{ProtocolSFTP, "/", "/a", true}, {ProtocolSFTP, "/a/b", "/a", true}, {ProtocolSFTP, "/a", "/ab", false},
	} {
		a, b := Storage{Protocol: row.protocol, Location: "x", Dir: row.a}, Storage{Protocol: row.protocol, Location: "x", Dir: row.b}
		got, err := overlap(a, b)
		require.NoError(t, err)
		require.Equal(t, row.want, got, row)
		got, err = overlap(b, a)
		require.NoError(t, err)
		require.Equal(t, row.want, got, row)
	}
}

func TestInRoot(t *testing.T) {
	for _, row := range [][4]string{
		{"", "/", "/", ""}, {"/", "/a/b", "/", "a/b"}, {"/a", "/a/b", "/a", "b"}, {"/a/b", "/a/b", "/a/b", ""}, {"", "", "/", ""},
	} {
		root, folder := Storage{Root: row[0], Dir: row[1]}.inRoot()
		require.Equal(t, [2]string{row[2], row[3]}, [2]string{root, folder}, row)
	}
}

func TestCredentialsExpire(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, c := range []Credentials{
		{"expiration": "2026-11-24T12:00:00Z"}, {"Expiration": "2026-11-24T13:00:00+01:00"}, {"expires": at.Unix()},
		{"expires_at": json.Number("1795521600")}, {"expiry": "1795521600"},
	} {
		require.True(t, at.Equal(c.Expires()), "%v", c.Expires())
	}
	for _, c := range []Credentials{nil, {}, {"expiration": ""}, {"expires": "tomorrow"}, {"expires": -1}, {"expires": nil}} {
		require.True(t, c.Expires().IsZero())
	}
}

// An error of the repo API that may pass is one for the storage's retries.
func TestMayPass(t *testing.T) {
	require.ErrorIs(t, mayPass(&StatusError{Status: 503}), storage.ErrTemporary)
	require.ErrorIs(t, mayPass(&StatusError{Status: 429}), storage.ErrTemporary)
	require.NotErrorIs(t, mayPass(ErrPermission), storage.ErrTemporary)
	require.ErrorIs(t, withKind(errors.ErrUnsupported), ErrUnsupported)
}
