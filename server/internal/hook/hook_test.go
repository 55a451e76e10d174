package hook_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/webhook"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var here = dial.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}

// sender sends to this machine.
func sender(t *testing.T, change ...func(*hook.Config)) *hook.Sender {
	t.Helper()
	c := hook.Config{Dial: here, HTTP: true, Version: "1.2.3", Timeout: 30 * time.Second}
	for _, f := range change {
		f(&c)
	}
	s := hook.New(c)
	t.Cleanup(s.Close)
	return s
}

// receiver answers requests until the test ends.
func receiver(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

var testMessage = hook.Message{ID: "msg_1", Body: []byte(`{"type":"webhook.test","timestamp":"2026-11-26T12:00:00Z","data":{}}`)}

func target(url string) hook.Target {
	return hook.Target{URL: url, Secrets: []string{webhook.NewSecret()}}
}

// TestSend: a message arrives as the specification wants it, signed with all secrets.
func TestSend(t *testing.T) {
	var got *http.Request
	var body []byte
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "thanks")
	})
	to := hook.Target{URL: url + "/hooks?token=x", Secrets: []string{webhook.NewSecret(), webhook.NewSecret()}}
	now := time.Now()
	o := sender(t).Send(t.Context(), to, testMessage, now)
	require.NoError(t, o.Err)
	require.Equal(t, 202, o.Status)
	require.Equal(t, "thanks", o.Said)
	require.Equal(t, now, o.Began)
	require.Equal(t, "POST /hooks?token=x", got.Method+" "+got.URL.String())
	require.Equal(t, "application/json", got.Header.Get("Content-Type"))
	require.Equal(t, "d6tpipe/1.2.3 (webhook)", got.Header.Get("User-Agent"))
	require.Empty(t, got.Header.Get("Authorization"))
	require.Len(t, strings.Fields(got.Header.Get("webhook-signature")), 2)
	for _, secret := range to.Secrets {
		e, err := d6tpipe.VerifyWebhook([]d6tpipe.Secret{d6tpipe.Secret(secret)}, got.Header, body, now)
		require.NoError(t, err)
		require.Equal(t, "msg_1 webhook.test", e.ID+" "+e.Type)
	}
}

// TestAnswers: 2xx has arrived, anything else has not, and of a long answer little is
// read.
func TestAnswers(t *testing.T) {
	status, header, body := 0, map[string]string{}, ""
	var followed atomic.Int32
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/followed" {
			followed.Add(1)
		}
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	s := sender(t)
	for status = 200; status < 600; status++ {
		header["Location"] = url + "/followed"
		o := s.Send(t.Context(), target(url), testMessage, time.Now())
		require.Equal(t, status, o.Status)
		require.Equal(t, status < 300, o.Err == nil, "%d: %v", status, o.Err)
		require.Equal(t, status == 410, o.Gone())
		if o.Err != nil {
			require.Contains(t, o.Err.Error(), fmt.Sprint(status))
			require.NotContains(t, o.Err.Error(), url)
		}
	}
	require.Zero(t, followed.Load(), "a redirect was followed")

	status = 503
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-1": 0, "x": 0, "999999999": 24 * time.Hour, "99999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0, now.Add(100 * time.Hour).Format(http.TimeFormat): 24 * time.Hour,
	} {
		header = map[string]string{"Retry-After": value}
		require.Equal(t, want, s.Send(t.Context(), target(url), testMessage, now).Wait, value)
	}

	header = map[string]string{"Content-Type": "text/html"}
	to := target(url + "/secret-path/abc?token=top%20secret")
	for said, want := range map[string]string{
		"plain": "plain", "": "", "a\nb\tc": `a\nb\u0009c`, "\x1b[31mred\x00\u202e": `\u001b[31mred\u0000\u202e`, "\xff\xfe": `\xff\xfe`, "é": "é",
		strings.Repeat("x", 5000): strings.Repeat("x", 1024), "I was sent " + to.Secrets[0] + " to " + to.URL: "I was sent *** to ***", "/secret-path/abc": "***", "secret-path; abc": "***; abc", "top secret, top%20secret": "***, ***", to.Secrets[0][6:]: "***",
	} {
		body = said
		require.Equal(t, want, s.Send(t.Context(), to, testMessage, now).Said)
	}
}

// TestHugeAnswers: an endless answer costs a part of itself, and is no failure when its
// status is none.
func TestHugeAnswers(t *testing.T) {
	var sent atomic.Int64
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		line := []byte(strings.Repeat("x", 8<<10))
		for r.Context().Err() == nil {
			n, err := w.Write(line)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	s := sender(t)
	o := s.Send(t.Context(), target(url), testMessage, time.Now())
	require.NoError(t, o.Err)
	require.Len(t, o.Said, 1024)
	require.Less(t, sent.Load(), int64(64<<20), "the receiver wrote on and on")

	header := raw(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for {
			if _, err := io.WriteString(c, "X: "+strings.Repeat("x", 8<<10)+"\r\n"); err != nil {
				return
			}
		}
	})
	require.Error(t, s.Send(t.Context(), target(header), testMessage, time.Now()).Err)
}

// raw is a receiver that speaks for itself after it has got a request.
func raw(t *testing.T, talk func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
				talk(c)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// TestFailures: what goes wrong before there is an answer is told in words for users,
// without the address and what its name was resolved to.
func TestFailures(t *testing.T) {
	hang := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	broken := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	cut := raw(t, func(net.Conn) {})
	plain := strings.Replace(receiver(t, func(http.ResponseWriter, *http.Request) {}), "http://", "https://", 1)
	const refused = "http://127.0.0.1:1" // a free port could be somebody's meanwhile
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)

	short := sender(t, func(c *hook.Config) { c.Timeout = 300 * time.Millisecond })
	require.EqualError(t, short.Send(t.Context(), target(hang+"/canary"), testMessage, time.Now()).Err, "there was no answer within 300ms")
	s := sender(t)
	o := s.Send(t.Context(), target(broken), testMessage, time.Now())
	require.NoError(t, o.Err, "the status has said that it has arrived")
	require.Equal(t, "half", o.Said)
	for url, want := range map[string]string{
		cut: "the connection was cut, or what came over it was no HTTP", plain: "what answers there does not speak TLS", refused: "connection refused",
		secure.URL:               "the certificate is not to be trusted: x509: certificate signed by unknown authority",
		"http://name.invalid:80": "host", "http://[::ffff:10.1.2.3]": "The server does not connect to this address; its administrator can list it as allowed.",
	} {
		o := s.Send(t.Context(), target(url+"/canary"), testMessage, time.Now())
		require.ErrorContains(t, o.Err, want, url)
		require.Zero(t, o.Status)
		require.NotContains(t, o.Err.Error(), "canary")
		require.NotContains(t, o.Err.Error(), "127.0.0.1")
	}

	trusting := sender(t, func(c *hook.Config) {
		c.Transport = func(t *http.Transport) {
			t.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			t.TLSClientConfig.RootCAs = x509.NewCertPool()
			t.TLSClientConfig.RootCAs.AddCert(secure.Certificate())
		}
	})
	require.NoError(t, trusting.Send(t.Context(), target(secure.URL), testMessage, time.Now()).Err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, s.Send(ctx, target(cut), testMessage, time.Now()).Err)
	require.Error(t, s.Send(t.Context(), hook.Target{URL: cut, Secrets: []string{"bad"}}, testMessage, time.Now()).Err)
}

// TestCheck: what is refused at once. What a name stands for is judged when it is
// dialled.
func TestCheck(t *testing.T) {
	public, local := hook.New(hook.Config{}), sender(t)
	for _, url := range []string{
		"https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1:8443/", "https://169.254.169.254/latest/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1]/", "https://0.0.0.0/", "http://example.com/",
	} {
		require.ErrorIs(t, public.Check(url), d6tpipe.ErrInvalid, url)
		o := public.Send(t.Context(), target(url), testMessage, time.Now())
		require.Error(t, o.Err, url)
		require.Zero(t, o.Status)
	}
	for _, url := range []string{"https://example.com/", "https://93.184.216.34/", "https://localhost/"} {
		require.NoError(t, public.Check(url), url)
	}
	for _, url := range []string{"http://127.0.0.1/", "http://example.com/"} {
		require.NoError(t, local.Check(url), url)
	}
}

// TestSpellings: no spelling of this machine's address is connected to.
func TestSpellings(t *testing.T) {
	var hits atomic.Int32
	url := receiver(t, func(http.ResponseWriter, *http.Request) { hits.Add(1) })
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	s := sender(t, func(c *hook.Config) { c.Dial = dial.Policy{} })
	for _, host := range []string{"127.0.0.1", "localhost", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0", "0.0.0.0", "[::]", "localhost.", "LOCALHOST", "127.0.0.1."} {
		o := s.Send(t.Context(), target("http://"+host+":"+port+"/"), testMessage, time.Now())
		require.Error(t, o.Err, host)
	}
	require.Zero(t, hits.Load())
}

// TestTests: some at a time, and few of one account.
func TestTests(t *testing.T) {
	s := sender(t)
	var ends []func()
	for i := range 8 {
		for range 2 {
			end, err := s.BeginTest(fmt.Sprint(i))
			require.NoError(t, err)
			ends = append(ends, end)
		}
		_, err := s.BeginTest(fmt.Sprint(i))
		require.ErrorIs(t, err, hook.ErrBusy)
	}
	_, err := s.BeginTest("one more")
	require.ErrorIs(t, err, hook.ErrBusy)
	for _, end := range ends {
		end()
	}
	end, err := s.BeginTest("one more")
	require.NoError(t, err)
	end()
}
