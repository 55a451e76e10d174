package server_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server"
)

func TestConfigDefaults(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	c, err := server.Config{}.WithDefaults()
	require.NoError(t, err)
	require.NoError(t, c.Validate())
	require.Equal(t, "127.0.0.1:8670", c.Listen)
	require.Equal(t, filepath.Join(dir, "d6tpipe-server"), c.Data)
	require.Equal(t, server.RegistrationOpen, c.Registration)
	require.Equal(t, 30*time.Second, c.ShutdownTimeout)
	require.NotNil(t, c.Log)

	if runtime.GOOS == "linux" {
		t.Setenv("HOME", "/home/somebody")
		for _, unusable := range []string{"", "relative"} {
			t.Setenv("XDG_DATA_HOME", unusable)
			data, err := server.DefaultData()
			require.NoError(t, err)
			require.Equal(t, "/home/somebody/.local/share/d6tpipe-server", data)
		}
		t.Setenv("HOME", "")
		_, err = server.Config{}.WithDefaults()
		require.ErrorContains(t, err, "name a folder")
	}
}

func TestConfigValidate(t *testing.T) {
	for _, good := range []server.Config{
		{}, {Listen: ":8670"}, {Listen: "[::1]:0"}, {Listen: "localhost:http"}, {Database: "/var/lib/x.db"}, {Database: "sqlite:///var/lib/x.db"}, {Database: "postgres://u:p@h/d"}, {Database: "postgres://u:%40@h/d?x=%2F"},
		{Database: "sqlite:///var/lib/a@b/c@d.db"}, {Storage: "s3://b?role_arn=arn:aws:iam::1:role/x&external_id=a@b"},
		{Storage: "s3://bucket?region_name=eu&keys=urls"}, {Storage: "s3://bucket?role_arn=arn:aws:iam::1:role/x"}, {Storage: "s3://bucket?endpoint_url=https://s3.example.com"}, {Storage: "/srv/files"}, {Storage: "file:///srv/files"}, {PublicURL: "https://data.example.com"}, {PublicURL: "http://data.example.com:8080/"},
		{TLSCert: "c", TLSKey: "k"}, {Registration: "closed"}, {MaxRequests: 1}, {DrainTime: time.Second}, {Storage: `C:\files`},
	} {
		require.NoError(t, good.Validate(), "%+v", good)
	}
	for field, bad := range map[string][]server.Config{
		"listen":         {{Listen: "8670"}, {Listen: "127.0.0.1"}, {Listen: "127.0.0.1:"}, {Listen: "::1:8670"}},
		"metrics-listen": {{MetricsListen: "9670"}},
		"database": {{Database: "mysql://u:canary@h/d"}, {Database: "postgres://u:canary@h:port/d"}, {Database: "postgres://u:canary%zz@h/d"},
			{Database: "postgres://u:/canary@h/d"}, {Database: "postgres://u:17?canary@h/d"}, {Database: "postgres://u:17#canary@h/d"}, {Database: "postgresql://u:p@canary@h/d"}},
		"storage": {
			{Storage: "gs://bucket"}, {Storage: "s3://b ucket?x=canary"}, {Storage: "s3://"}, {Storage: "s3://b/folder"}, {Storage: "s3://u:canary@b"}, {Storage: "s3://b?region=eu&keys=urls"},
			{Storage: "s3://b?region_name=eu"}, {Storage: "s3://b?keys=none"},
		},
		"public-url":       {{PublicURL: "data.example.com"}, {PublicURL: "ftp://x"}, {PublicURL: "https://x/y"}, {PublicURL: "https://u:canary@x"}, {PublicURL: "https://x?y"}},
		"tls-cert":         {{TLSCert: "c"}, {TLSKey: "k"}},
		"registration":     {{Registration: "Open"}},
		"max-connections":  {{MaxConnections: -1}, {MaxRequests: -1}, {MaxTransfers: -1}},
		"shutdown-timeout": {{ShutdownTimeout: -1}, {DrainTime: -1}},
	} {
		for _, c := range bad {
			err := c.Validate()
			require.ErrorContains(t, err, field, "%+v", c)
			require.NotContains(t, err.Error(), "canary")
		}
	}
}

func TestHasPassword(t *testing.T) {
	for url, want := range map[string]bool{
		"": false, "/var/lib/x@y:z": false, "postgres://u@h/d": false, "postgres://u:p@h/d": true, "postgres://h/d?password=p": true, "postgres://h/d?PASSWORD=p": true,
		"s3://b?region_name=eu": false, "s3://b?aws_secret_access_key=p": true, "postgres://u:p%zz@h/d": true, "postgres://u:@h/d": true,
		"postgres://u:/p@h/d": true, "postgres://u:17#p@h/d": true, "sqlite:///x@y.db": false, "s3://b?external_id=a@b": false,
	} {
		require.Equal(t, want, server.HasPassword(url), url)
	}
}

// TestServer: a server is put together from its settings, and answers.
func TestServer(t *testing.T) {
	s, err := server.New(t.Context(), server.Config{Data: filepath.Join(t.TempDir(), "new", "data"), KeyFile: filepath.Join(t.TempDir(), "key")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.Eventually(t, func() bool { // its storage takes a moment
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return w.Code == http.StatusOK
	}, patience, 50*time.Millisecond)
	_, err = server.New(t.Context(), server.Config{Data: t.TempDir(), TLSCert: "only"})
	require.Error(t, err)
}
