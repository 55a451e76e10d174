package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// lookAtServer looks at the server, the token and the account; nil means that the
// remotes and pipes cannot be asked for.
func (d *doctor) lookAtServer(ctx context.Context) d6tpipe.API {
	client, err := d6tpipe.NewAPIClient(d.cfg)
	if err != nil {
		d.tell(fails("server", "", err))
		return nil
	}
	defer client.CloseIdleConnections()
	if d.lookAtAddress(ctx) && d.lookAtToken(ctx) && d.lookAtAccount(ctx, client) {
		return client
	}
	return nil
}

// lookAtAddress asks the server for the description of its API, which everybody may
// read, and reports whether there was an answer.
func (d *doctor) lookAtAddress(ctx context.Context) bool {
	ctx, stop := d.within(ctx)
	defer stop()
	before := time.Now()
	resp, err := d.ask(ctx, strings.TrimRight(d.cfg.Server, "/")+"/v1/openapi.json")
	if err != nil {
		d.tell(finding{What: "server", State: stateFailed, Text: err.Error(), Advice: adviceForDial(err)})
		return false
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	f := finding{What: "server", State: stateOK, Text: d.cfg.Server}
	if version, err := versionOf(resp); err == nil {
		f.Text += ", version " + version
		if f.Advice = adviceForVersions(version, thisBuild().Version); f.Advice != "" {
			f.State = stateWarning
		}
	} else {
		f.State, f.Text = stateWarning, f.Text+" does not tell its version: "+err.Error()
		f.Advice = "It is an old server, or none of d6tpipe: look at the address."
	}
	if resp.TLS != nil {
		f.Text += ", " + tls.VersionName(resp.TLS.Version)
	}
	d.tell(f)
	if resp.TLS != nil {
		d.tell(lookAtCertificate(resp.TLS.PeerCertificates[0], time.Now()))
	}
	d.tell(lookAtClock(resp.Header.Get("Date"), before, time.Now()))
	return true
}

// ask sends no token, and follows nobody to another place.
func (d *doctor) ask(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return client.Do(req)
}

// maxDescription, in bytes, is more than the description of any API takes.
const maxDescription = 4 << 20

// versionOf reads the description of the API.
func versionOf(resp *http.Response) (string, error) {
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s for /v1/openapi.json", resp.Status)
	}
	var doc struct{ Info struct{ Version string } }
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxDescription)).Decode(&doc); err != nil || doc.Info.Version == "" {
		return "", errors.New("/v1/openapi.json is something else")
	}
	return doc.Info.Version, nil
}

// adviceForVersions says what to do when server and program are of different releases,
// apart from fixes. Of builds that are no release nobody knows.
func adviceForVersions(server, program string) string {
	s, known := release(server)
	p, ours := release(program)
	switch order := slices.Compare(s[:], p[:]); {
	case !known || !ours || order == 0:
		return ""
	case order < 0:
		return "It is older than this program, " + program + ": what it does not know yet fails. Ask the administrator for a newer one."
	}
	return "It is newer than this program, " + program + ": install the same version here."
}

// release is the major and minor number of a version like v1.2.3.
func release(version string) (r [2]int, ok bool) {
	n, _ := fmt.Sscanf(version, "v%d.%d.", &r[0], &r[1])
	return r, n == 2 && !strings.HasPrefix(version, "v0.0.0-") // as the Go command calls a commit without a release
}

func adviceForDial(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "It did not answer in time: look at the address, the network and the proxy (HTTPS_PROXY). If it is only slow, --timeout gives it more."
	case errors.As(err, &authority):
		return "This machine does not know who signed the certificate: install the authority's certificate, or name its file in SSL_CERT_FILE."
	case errors.As(err, &host):
		return "The certificate is another name's: use that name as the server, or ask the administrator for a certificate of this one."
	case errors.As(err, &invalid):
		return "Ask the administrator for a new certificate, if the clock of this machine is right."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Nothing listens there: start the server (d6tpipe serve), or look at the address."
	}
	return "Look at the address, the network and the proxy (HTTPS_PROXY)."
}

// certificateEnds is how long before the end of a certificate a warning is due.
const certificateEnds = 14 * 24 * time.Hour

func lookAtCertificate(c *x509.Certificate, now time.Time) finding {
	f := finding{What: "certificate", State: stateOK, Text: "valid until " + c.NotAfter.UTC().Format(time.DateOnly)}
	if c.NotAfter.Sub(now) < certificateEnds {
		f.State, f.Advice = stateWarning, "The administrator should renew it."
	}
	return f
}

// Clocks apart by more than these are worth a warning, or a failure: storages refuse
// requests that were signed at another time, Amazon's from 15 minutes on.
const (
	clockWarning = 30 * time.Second
	clockFailure = 5 * time.Minute
)

// lookAtClock compares this clock with what the server sent between two times.
func lookAtClock(date string, before, after time.Time) finding {
	f := finding{What: "clock", State: stateOK, Text: "agrees with the server's"}
	there, err := http.ParseTime(date)
	if err != nil {
		f.State, f.Text = stateWarning, "the server does not tell the time"
		return f
	}
	apart := time.Duration(0)
	switch { // the header has whole seconds
	case there.Add(time.Second).Before(before):
		apart = there.Add(time.Second).Sub(before)
	case there.After(after):
		apart = there.Sub(after)
	}
	if apart.Abs() < clockWarning {
		return f
	}
	word := "behind"
	if apart < 0 {
		word = "ahead of"
	}
	f.State, f.Text = stateWarning, fmt.Sprintf("this machine is %v %s the server", apart.Abs().Round(time.Second), word)
	f.Advice = "Set the clock, best by NTP: storages refuse requests that were signed at another time."
	if apart.Abs() >= clockFailure {
		f.State = stateFailed
	}
	return f
}

// lookAtToken reports whether there is a token.
func (d *doctor) lookAtToken(ctx context.Context) bool {
	ctx, stop := d.within(ctx)
	defer stop()
	origin, err := d.cfg.Origin()
	if err == nil {
		_, err = d.cfg.TokenStore().Token(ctx, d6tpipe.TokenKey{Profile: d.cfg.Profile, Origin: origin})
	}
	switch {
	case errors.Is(err, d6tpipe.ErrNotFound):
		d.tell(finding{What: "token", State: stateFailed, Text: "nobody is logged in to " + d.cfg.Server,
			Advice: "Log in with: d6tpipe login USERNAME; or open an account: d6tpipe register USERNAME --email ADDRESS"})
	case err != nil:
		d.tell(fails("token", "", err))
	default:
		d.tell(finding{What: "token", State: stateOK, Text: "in " + d.tokenPlace()})
	}
	return err == nil
}

func (d *doctor) tokenPlace() string {
	if os.Getenv("D6TPIPE_TOKEN") != "" {
		return "D6TPIPE_TOKEN"
	}
	return cmp.Or(d.cfg.TokenFile, "the keyring of the operating system, or in the Python client's settings")
}

// lookAtAccount reports whether the server knows whose token it is.
func (d *doctor) lookAtAccount(ctx context.Context, client *d6tpipe.APIClient) bool {
	ctx, stop := d.within(ctx)
	defer stop()
	user, err := client.WhoAmI(ctx)
	if err != nil {
		d.tell(fails("account", "", err))
		return false
	}
	d.tell(finding{What: "account", State: stateOK, Text: user.Username})
	for line := range strings.Lines(user.Message) { // of a webhook that is off, or for everybody
		d.tell(finding{What: "notice", State: stateWarning, Text: strings.TrimRight(line, "\r\n")})
	}
	return true
}
