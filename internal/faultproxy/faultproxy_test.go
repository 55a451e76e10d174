package faultproxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// echo is a server that sends back what it gets, and ends when its client does.
func echo(t *testing.T) string {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func TestFaults(t *testing.T) {
	p := faultproxy.Start(t, echo(t))
	sent := bytes.Repeat([]byte("0123456789"), 20)
	for _, c := range []struct {
		fault faultproxy.Fault
		get   int
		err   error
	}{
		{faultproxy.Fault{}, 200, nil},
		{faultproxy.Fault{Kind: faultproxy.Delay}, 200, nil},
		{faultproxy.Fault{Kind: faultproxy.Refuse}, 0, syscall.ECONNRESET},
		{faultproxy.Fault{Kind: faultproxy.Blackhole}, 0, os.ErrDeadlineExceeded},
		{faultproxy.Fault{Kind: faultproxy.Reset, At: 20}, -1, syscall.ECONNRESET},
		{faultproxy.Fault{Kind: faultproxy.Reset, Up: true, At: 20}, -1, syscall.ECONNRESET},
		{faultproxy.Fault{Kind: faultproxy.Stall, At: 30}, 30, os.ErrDeadlineExceeded},
		{faultproxy.Fault{Kind: faultproxy.Stall, Up: true, At: 30}, 30, os.ErrDeadlineExceeded},
		{faultproxy.Fault{Kind: faultproxy.HalfClose, At: 40}, 40, nil},
		{faultproxy.Fault{Kind: faultproxy.HalfClose, Up: true, At: 40}, 40, nil},
		{faultproxy.Fault{Kind: faultproxy.Trickle, At: 150}, 200, nil},
		{faultproxy.Fault{Kind: faultproxy.Corrupt, At: 50}, 200, nil},
		{faultproxy.Fault{Kind: faultproxy.Corrupt, Up: true, At: 50}, 200, nil},
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			p.Set(faultproxy.Always(c.fault))
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Addr)
			if c.fault.Kind == faultproxy.Refuse && errors.Is(err, syscall.ECONNRESET) {
				return // the reset came before connect had returned
			}
			require.NoError(t, err)
			defer conn.Close()
			got, err := exchange(t, conn.(*net.TCPConn), sent, c.get, errors.Is(c.err, os.ErrDeadlineExceeded))
			require.ErrorIs(t, err, c.err)
			if c.get >= 0 {
				require.Len(t, got, c.get)
			}
			if c.fault.Kind == faultproxy.Corrupt {
				require.NotEqual(t, sent[50], got[50])
				got[50] = sent[50]
			}
			require.True(t, bytes.HasPrefix(sent, got))
		})
	}
	require.EqualValues(t, 13, p.Conns.Load()) // a connection is counted before its fault is done to it
	require.Positive(t, p.Up.Load())
	require.Positive(t, p.Down.Load())
}

// exchange sends data and returns what comes back, and how that ends. What stalls does
// not: then get bytes are waited for, and nothing after them, for a moment.
func exchange(t *testing.T, conn *net.TCPConn, data []byte, get int, stalls bool) (got []byte, err error) {
	t.Helper()
	_, sendErr := conn.Write(data) // which may be the one to hear of a reset
	_ = conn.CloseWrite()          // it may be reset already
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	if stalls {
		got = make([]byte, get)
		_, err = io.ReadFull(conn, got)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	}
	rest, err := io.ReadAll(conn)
	return append(got, rest...), errors.Join(sendErr, err)
}

// TestSetCuts: a connection that was made before a fault does not outlive it.
func TestSetCuts(t *testing.T) {
	p := faultproxy.Start(t, echo(t))
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1))
	require.NoError(t, err)
	p.Set(nil)
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
}

// TestDial: a connection through a proxy without a target goes where it is to go, and
// what goes wrong begins behind its address.
func TestDial(t *testing.T) {
	p := faultproxy.Start(t, "")
	p.Set(faultproxy.Always(faultproxy.Fault{Kind: faultproxy.Corrupt, Up: true, At: 1}))
	for range 2 {
		conn, err := faultproxy.Through(p.Addr)(t.Context(), "tcp", echo(t))
		require.NoError(t, err)
		_, err = conn.Write([]byte("123"))
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "1\x273", string(got))
		require.NoError(t, conn.Close())
	}
}

// TestUnvouched: nothing says what the content is, and who asks for a version by the
// tag that it was shown gets it.
func TestUnvouched(t *testing.T) {
	const md5 = "0123456789abcdef0123456789abcdef"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+md5+`"`)
		w.Header().Set("X-Amz-Checksum-Sha256", "x")
		if r.URL.Query().Get("list-type") == "2" {
			_, _ = io.WriteString(w, "<ETag>&quot;"+md5+"&quot;</ETag><ChecksumSHA256>x</ChecksumSHA256>")
			return
		}
		http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader([]byte("0123456789")))
	}))
	defer server.Close()
	p := faultproxy.StartHTTP(t, server.URL)
	p.Unvouched = true
	get := func(path, match string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("If-Match", match)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Empty(t, resp.Header.Get("X-Amz-Checksum-Sha256"))
		return resp, string(body)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	resp, body := get("/bucket/key", `"`+md5+`-1"`)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "0123456789", body)
	require.Equal(t, `"`+md5+`-1"`, resp.Header.Get("ETag"))
	resp, _ = get("/bucket/key", `"another"`)
	require.Equal(t, http.StatusPreconditionFailed, resp.StatusCode)
	_, body = get("/bucket?list-type=2", "*")
	require.Equal(t, "<ETag>&quot;"+md5+"-1&quot;</ETag>", body)
}

func TestHTTP(t *testing.T) {
	did := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		did++
		w.Header().Set("X-Host", r.Host)
		if r.URL.Query().Get("list-type") == "2" {
			_, _ = io.WriteString(w, "<IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents><Contents><Key>b</Key></Contents>")
			return
		}
		http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader([]byte("0123456789")))
	}))
	defer server.Close()
	p := faultproxy.StartHTTP(t, server.URL)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(method, path string) (string, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, nil)
		require.NoError(t, err)
		req.Host = "signed.example.com"
		req.Header.Set("Range", "bytes=2-5")
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if host := resp.Header.Get("X-Host"); host != "" {
			require.Equal(t, "signed.example.com", host)
		}
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	for _, c := range []struct {
		name  string
		twist faultproxy.Twist
		path  string
		want  string
		fails bool
	}{
		{"none", nil, "/bucket/key", "2345", false},
		{"whole", faultproxy.WholeForRange, "/bucket/key", "0123456789", false},
		{"other range", faultproxy.OtherRange, "/bucket/key", "1234", false},
		{"short range", faultproxy.ShortRange, "/bucket/key", "345", false},
		{"new version", faultproxy.NewVersion, "/bucket/key", "2355", false},
		{"long", faultproxy.LongLength, "/bucket/key", "2345", true},
		{"short", faultproxy.ShortLength, "/bucket/key", "23", false},
		{"flipped", faultproxy.Flipped, "/bucket/key", "2355", false},
		{"shrunk", faultproxy.Shrunk, "/bucket?list-type=2", "<IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents>", false},
		{"emptied", faultproxy.Emptied, "/bucket?list-type=2", "<IsTruncated>false</IsTruncated>", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.Set(c.twist)
			got, err := get(http.MethodGet, c.path)
			require.Equal(t, c.fails, err != nil, "%v", err)
			require.Equal(t, c.want, got)
		})
	}
	before := did
	p.Set(faultproxy.Lost)
	_, err := get(http.MethodPut, "/bucket/key")
	require.Error(t, err)
	require.Equal(t, before+1, did, "done, and the answer was lost")
	require.EqualValues(t, 10, p.Hits.Load())
}
