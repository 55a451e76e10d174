package httpd_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// shown returns the name in the certificate that a new connection gets.
func shown(t *testing.T, s *running) string {
	t.Helper()
	c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// TestCertificateChanges: new files are used without a restart, half-written ones
// are not, and connections live on.
func TestCertificateChanges(t *testing.T) {
	p := newPair(t, "first")
	certificate, err := httpd.LoadCertificate(p.cert, p.key, nil)
	require.NoError(t, err)
	s := start(t, httpd.Config{API: text("api"), Certificate: certificate})
	c := client(t, &tls.Config{RootCAs: p.pool})
	code, _ := get(t, c, s.url+"/v1/api/")
	require.Equal(t, 200, code)
	require.Equal(t, "first", shown(t, s))

	cert, key := newPEM(t, "second")
	require.NoError(t, os.WriteFile(p.cert, cert, 0o600)) // the key is still the old one
	time.Sleep(1100 * time.Millisecond)                   // the files are looked at once a second
	require.Equal(t, "first", shown(t, s))
	require.NoError(t, os.WriteFile(p.key, key, 0o600))
	require.Eventually(t, func() bool { return shown(t, s) == "second" }, patience, 50*time.Millisecond)

	require.NoError(t, os.Remove(p.key))
	time.Sleep(1100 * time.Millisecond)
	require.Equal(t, "second", shown(t, s), "files that are gone change nothing")
	code, _ = get(t, c, s.url+"/v1/api/")
	require.Equal(t, 200, code, "the first client's connection is still there")
}

// TestCertificateByLink is how orchestrators replace files: a link is renamed.
func TestCertificateByLink(t *testing.T) {
	first, second, dir := newPair(t, "first"), newPair(t, "second"), t.TempDir()
	link := filepath.Join(dir, "live")
	require.NoError(t, os.Symlink(filepath.Dir(first.cert), link))
	certificate, err := httpd.LoadCertificate(filepath.Join(link, "cert.pem"), filepath.Join(link, "key.pem"), nil)
	require.NoError(t, err)
	s := start(t, httpd.Config{API: text("api"), Certificate: certificate})
	require.Equal(t, "first", shown(t, s))
	require.NoError(t, os.Symlink(filepath.Dir(second.cert), link+"2"))
	require.NoError(t, os.Rename(link+"2", link))
	require.Eventually(t, func() bool { return shown(t, s) == "second" }, patience, 50*time.Millisecond)
}

// TestCertificateFaults are told at the start, with the names of the files.
func TestCertificateFaults(t *testing.T) {
	p, other := newPair(t, "one"), newPair(t, "other")
	_, err := httpd.LoadCertificate(p.cert, other.key, nil)
	require.ErrorContains(t, err, other.key)
	_, err = httpd.LoadCertificate(p.cert, filepath.Join(t.TempDir(), "missing"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(p.key, []byte("-----BEGIN PRIVATE KEY-----\ncanary\n"), 0o600))
	_, err = httpd.LoadCertificate(p.cert, p.key, nil)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "canary")
}

// TestTLS: old versions are refused, both HTTPs are spoken, and browsers are told
// to come back by TLS.
func TestTLS(t *testing.T) {
	p := newPair(t, "tls")
	certificate, err := httpd.LoadCertificate(p.cert, p.key, nil)
	require.NoError(t, err)
	s := start(t, httpd.Config{API: text("api"), Certificate: certificate})
	for version, good := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: p.pool, MinVersion: version, MaxVersion: version})
		require.Equal(t, good, err == nil, tls.VersionName(version))
		if err == nil {
			require.NoError(t, c.Close())
		}
	}
	for proto, major := range map[string]int{"http/1.1": 1, "h2": 2} {
		c := client(t, &tls.Config{RootCAs: p.pool})
		c.Transport.(*http.Transport).Protocols = new(http.Protocols)
		c.Transport.(*http.Transport).Protocols.SetHTTP1(proto != "h2")
		c.Transport.(*http.Transport).Protocols.SetHTTP2(proto == "h2")
		resp, err := c.Get(s.url + "/v1/api/")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, major, resp.ProtoMajor)
		require.NotEmpty(t, resp.Header.Get("Strict-Transport-Security"))
	}
	resp, err := client(t, nil).Get(strings.Replace(s.url, "https", "http", 1) + "/v1/api/")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 400, resp.StatusCode, "who speaks no TLS hears that")
}
