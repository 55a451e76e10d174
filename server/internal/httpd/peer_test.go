package httpd_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// TestPeer: only trusted proxies are heard, and only for what they added.
func TestPeer(t *testing.T) {
	for _, c := range []struct {
		name, remote string
		headers      []string // pairs
		peer, scheme string
		heard        bool // the forwarding headers get through
	}{
		{name: "no proxy", remote: "192.0.2.1:5", peer: "192.0.2.1", scheme: "http"},
		{name: "IPv6", remote: "[2001:db8::1]:5", peer: "2001:db8::1", scheme: "http"},
		{name: "IPv4 in IPv6", remote: "[::ffff:192.0.2.1]:5", peer: "192.0.2.1", scheme: "http"},
		{name: "zone", remote: "[fe80::1%eth0]:5", peer: "fe80::1", scheme: "http"},
		{name: "stranger lies", remote: "192.0.2.1:5", headers: []string{"X-Forwarded-For", "127.0.0.1", "X-Forwarded-Proto", "https"}, peer: "192.0.2.1", scheme: "http"},
		{name: "stranger lies with what proxies say", remote: "192.0.2.1:5", headers: []string{"X-Forwarded-For", "198.51.100.1, 10.0.0.1", "X-Real-Ip", "127.0.0.1", "Forwarded", "for=127.0.0.1"}, peer: "192.0.2.1", scheme: "http"},
		{name: "one proxy", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "198.51.100.1", "X-Forwarded-Proto", "https"}, peer: "198.51.100.1", scheme: "https", heard: true},
		{name: "client behind the proxy lies", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "127.0.0.1, 198.51.100.1"}, peer: "198.51.100.1", scheme: "http", heard: true},
		{name: "client names a proxy", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "10.0.0.7, 198.51.100.1"}, peer: "198.51.100.1", scheme: "http", heard: true},
		{name: "two proxies", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "198.51.100.1, 10.0.0.2"}, peer: "198.51.100.1", scheme: "http", heard: true},
		{name: "two lines", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "127.0.0.1, 198.51.100.1", "X-Forwarded-For", "10.0.0.2"}, peer: "198.51.100.1", scheme: "http", heard: true},
		{name: "a lie before two proxies", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "203.0.113.9,198.51.100.1,10.0.0.2,10.0.0.3"}, peer: "198.51.100.1", scheme: "http", heard: true},
		{name: "all are proxies", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "10.0.0.9, 10.0.0.2"}, peer: "10.0.0.9", scheme: "http", heard: true},
		{name: "no header", remote: "10.0.0.1:5", peer: "10.0.0.1", scheme: "http", heard: true},
		{name: "empty header", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", ""}, peer: "10.0.0.1", scheme: "http", heard: true},
		{name: "with a port", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "198.51.100.1:4711"}, peer: "198.51.100.1", scheme: "http", heard: true},
		{name: "IPv6 with a port", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "[2001:db8::1]:4711"}, peer: "2001:db8::1", scheme: "http", heard: true},
		{name: "IPv6 bare", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "2001:db8::1"}, peer: "2001:db8::1", scheme: "http", heard: true},
		{name: "mapped", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "::ffff:198.51.100.1"}, peer: "198.51.100.1", scheme: "http", heard: true},
		{name: "mapped proxy", remote: "[::ffff:10.0.0.1]:5", headers: []string{"X-Forwarded-For", "198.51.100.1"}, peer: "198.51.100.1", scheme: "http", heard: true},
		{name: "IPv6 proxy", remote: "[2001:db8:ffff::1]:5", headers: []string{"X-Forwarded-For", "198.51.100.1"}, peer: "198.51.100.1", scheme: "http", heard: true},
		{name: "unknown", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "198.51.100.1, unknown"}, peer: "10.0.0.1", scheme: "http", heard: true},
		{name: "garbage behind a proxy", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "<script>, 10.0.0.2"}, peer: "10.0.0.2", scheme: "http", heard: true},
		{name: "decimal", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "2130706433"}, peer: "10.0.0.1", scheme: "http", heard: true},
		{name: "octal", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-For", "127.0.0.01"}, peer: "10.0.0.1", scheme: "http", heard: true},
		{name: "scheme of the nearest", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-Proto", "https, http"}, peer: "10.0.0.1", scheme: "http", heard: true},
		{name: "scheme in capitals", remote: "10.0.0.1:5", headers: []string{"X-Forwarded-Proto", "HTTPS"}, peer: "10.0.0.1", scheme: "https", heard: true},
		{name: "neighbour of the proxies", remote: "10.0.1.1:5", headers: []string{"X-Forwarded-For", "127.0.0.1"}, peer: "10.0.1.1", scheme: "http"},
		{name: "no address", remote: "@", headers: []string{"X-Forwarded-For", "127.0.0.1"}, peer: "invalid IP", scheme: "http"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var peer, scheme string
			heard := false
			s, err := httpd.New(httpd.Config{
				API: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					peer, scheme = httpd.Peer(r.Context()).String(), httpd.Scheme(r.Context())
					for name := range r.Header {
						heard = heard || strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" || name == "X-Real-Ip"
					}
				}),
				TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8:ffff::/48")},
			})
			require.NoError(t, err)
			r := httptest.NewRequest("GET", "/v1/api/", nil)
			r.RemoteAddr = c.remote
			for i := 0; i < len(c.headers); i += 2 {
				r.Header.Add(c.headers[i], c.headers[i+1])
			}
			s.Handler().ServeHTTP(httptest.NewRecorder(), r)
			require.Equal(t, c.peer, peer)
			require.Equal(t, c.scheme, scheme)
			require.Equal(t, c.heard && len(c.headers) > 0, heard)
		})
	}
}

// TestNoProxies: without a list nobody is believed, not even this machine.
func TestNoProxies(t *testing.T) {
	var peer netip.Addr
	s, err := httpd.New(httpd.Config{API: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { peer = httpd.Peer(r.Context()) })})
	require.NoError(t, err)
	r := httptest.NewRequest("GET", "/v1/api/", nil)
	r.RemoteAddr = "127.0.0.1:5"
	r.Header.Set("X-Forwarded-For", "198.51.100.1")
	s.Handler().ServeHTTP(httptest.NewRecorder(), r)
	require.Equal(t, "127.0.0.1", peer.String())
}

// TestOutside: without a request there is nothing to tell.
func TestOutside(t *testing.T) {
	require.False(t, httpd.Peer(t.Context()).IsValid())
	require.Empty(t, httpd.RequestID(t.Context()))
	require.Equal(t, "http", httpd.Scheme(t.Context()))
	httpd.SetUser(t.Context(), "nobody")
}

// TestRequestID: a trusted proxy's is kept when it has the form of one.
func TestRequestID(t *testing.T) {
	var id string
	s, err := httpd.New(httpd.Config{
		API:            http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { id = httpd.RequestID(r.Context()) }),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")},
	})
	require.NoError(t, err)
	for _, c := range []struct {
		remote, sent string
		kept         bool
	}{
		{"10.0.0.1:5", "abc-1.2_3", true}, {"10.0.0.2:5", "abc", false}, {"10.0.0.1:5", "", false}, {"10.0.0.1:5", "a b", false},
		{"10.0.0.1:5", "a\"b", false}, {"10.0.0.1:5", strings.Repeat("a", 65), false},
	} {
		r := httptest.NewRequest("GET", "/v1/api/", nil)
		r.RemoteAddr = c.remote
		r.Header.Set("X-Request-Id", c.sent)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		require.Equal(t, c.kept, id == c.sent, "%q", c.sent)
		require.Equal(t, id, w.Header().Get("X-Request-Id"))
		require.NotEmpty(t, id)
	}
}

// FuzzForwardedFor: whatever stands in the header, the peer is the proxy or an
// address of the header that is no trusted one, unless all of them are.
func FuzzForwardedFor(f *testing.F) {
	for _, seed := range []string{"", "198.51.100.1", "10.0.0.2, 198.51.100.1:1", "[::1]:2,,", "%", "::ffff:10.0.0.1", "[fe80::1%25x]", "10.0.0.2,10.0.0.3"} {
		f.Add(seed)
	}
	proxies := netip.MustParsePrefix("10.0.0.0/24")
	var peer netip.Addr
	s, err := httpd.New(httpd.Config{
		API:            http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { peer = httpd.Peer(r.Context()) }),
		TrustedProxies: []netip.Prefix{proxies},
	})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest("GET", "/v1/api/", nil)
		r.RemoteAddr = "10.0.0.1:5"
		r.Header["X-Forwarded-For"] = []string{header}
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
		require.True(t, peer.IsValid())
		require.Empty(t, peer.Zone())
		require.False(t, peer.Is4In6())
		if !proxies.Contains(peer) {
			last := header[strings.LastIndexByte(header, ',')+1:]
			require.True(t, strings.Contains(header, peer.String()) || strings.ContainsAny(header, ":"), "%s of %s", peer, last)
		}
	})
}
