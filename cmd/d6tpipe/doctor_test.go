package main

import (
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestLookAtClock(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 500e6, time.UTC)
	for _, c := range []struct {
		date  string
		state string
		text  string
	}{
		{"Thu, 26 Nov 2026 12:00:00 GMT", stateOK, "agrees"},
		{"Thu, 26 Nov 2026 12:00:20 GMT", stateOK, "agrees"},
		{"Thu, 26 Nov 2026 12:01:10 GMT", stateWarning, "this machine is 1m9s behind the server"},
		{"Thu, 26 Nov 2026 11:59:00 GMT", stateWarning, "this machine is 1m0s ahead of the server"},
		{"Thu, 26 Nov 2026 13:00:00 GMT", stateFailed, "59m59s behind"},
		{"Thu, 26 Nov 2026 11:00:00 GMT", stateFailed, "1h0m0s ahead"},
		{"yesterday", stateWarning, "does not tell"},
	} {
		f := lookAtClock(c.date, now, now.Add(time.Second/2))
		if f.State != c.state || !strings.Contains(f.Text, c.text) {
			t.Errorf("%s: %+v", c.date, f)
		}
	}
}

func TestAdviceForVersions(t *testing.T) {
	for _, c := range []struct{ server, program, want string }{
		{"v1.2.3", "v1.2.9", ""},
		{"v1.2.3", "v1.3.0", "older than this program, v1.3.0"},
		{"v1.10.0", "v1.9.4", "newer than this program"},
		{"v2.0.0", "v1.9.4", "newer than this program"},
		{"(devel)", "v1.3.0", ""},
		{"v1.3.0", "(devel)", ""},
		{"v1.3.0", "v0.0.0-20261126041009-a5c455800000+dirty", ""},
		{"3 of another program", "v1.3.0", ""},
	} {
		if got := adviceForVersions(c.server, c.program); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s by %s: %q", c.server, c.program, got)
		}
	}
}

func TestLookAtCertificate(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for days, state := range map[int]string{13: stateWarning, 15: stateOK} {
		f := lookAtCertificate(&x509.Certificate{NotAfter: now.AddDate(0, 0, days)}, now)
		if f.State != state || !strings.Contains(f.Text, "2026-12-") {
			t.Errorf("%d days: %+v", days, f)
		}
	}
}

// TestUnknownAuthority: a certificate that this machine does not trust is told apart
// from a server that is down.
func TestUnknownAuthority(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	resp, err := new(doctor).ask(t.Context(), server.URL)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("an unknown authority was trusted")
	}
	if text := adviceForDial(err); !strings.Contains(text, "SSL_CERT_FILE") {
		t.Error(err, text)
	}
}
