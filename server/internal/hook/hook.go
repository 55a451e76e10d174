// Package hook sends messages to webhooks, once each, as the Standard Webhooks
// specification says: https://www.standardwebhooks.com. What is sent, and when it is sent
// again, is its callers' business.
//
// The addresses are users' choice. So they are judged when they are dialled, with
// [dial.Policy]; no proxy and no redirect is followed, and little of an answer is
// read, within a short time.
package hook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/webhook"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
)

const (
	// Timeout is how long an attempt may take, with all of the answer. The specification
	// wants 15 to 30 seconds; a client that asks for a test waits for 30.
	Timeout = 20 * time.Second

	maxAnswer  = 64 << 10 // bytes that are read of an answer, so that the connection stays good
	maxSaid    = 1 << 10  // bytes that are kept of it
	maxHeaders = 64 << 10
	maxWait    = 24 * time.Hour // that a Retry-After may ask for
	idle       = 64             // connections that are kept
)

// Config says where a [Sender] may send to.
type Config struct {
	Dial dial.Policy
	// HTTP allows addresses without TLS.
	HTTP bool
	// Version is told to receivers.
	Version string
	// Timeout is that of an attempt; [Timeout] for 0.
	Timeout time.Duration
	// Transport changes the transport before it is used, for tests that have a certificate
	// of their own; nil changes nothing.
	Transport func(*http.Transport)
}

// A Sender sends. It is safe for concurrent use.
type Sender struct {
	config Config
	client *http.Client
	tests  tests
}

// New returns a sender. Close it.
func New(c Config) *Sender {
	if c.Timeout == 0 {
		c.Timeout = Timeout
	}
	t := c.Dial.Transport()
	t.MaxIdleConns, t.MaxIdleConnsPerHost, t.MaxResponseHeaderBytes = idle, 2, maxHeaders
	t.DisableCompression = true // nobody needs a small answer that becomes a large one
	if c.Transport != nil {
		c.Transport(t)
	}
	client := c.Dial.Client(c.Timeout)
	client.Transport = t
	return &Sender{config: c, client: client}
}

// Close closes connections that nobody uses.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// A Message is what is sent. Its id is the same each time.
type Message struct {
	ID   string
	Body []byte
}

// A Target is where to, and what to sign with: the newest secret first.
type Target struct {
	URL     string
	Secrets []string
}

// An Outcome is what came of an attempt.
type Outcome struct {
	Began time.Time
	Took  time.Duration
	// Status is that of the answer, 0 when there was none.
	Status int
	// Err says why it has failed, for users; nil if it has arrived.
	Err error
	// Said is the beginning of the answer, without what is no text.
	Said string
	// Wait is how long the receiver wants to be left alone; 0 is unsaid.
	Wait time.Duration
}

// Gone reports whether the receiver wants no messages any more.
func (o Outcome) Gone() bool { return o.Status == http.StatusGone }

// Check reports whether an address can be sent to at all, for who enters it: a
// [*d6tpipe.FieldError]. It looks up no names.
func (s *Sender) Check(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return &d6tpipe.FieldError{Field: "url", Reason: "This is no URL."}
	}
	if u.Scheme != "https" && !s.config.HTTP {
		return &d6tpipe.FieldError{Field: "url", Reason: "The URL must begin with https://; this server's administrator allows no other."}
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && s.config.Dial.Check(addr) != nil {
		return &d6tpipe.FieldError{Field: "url", Reason: "The server does not connect to this address; its administrator can list it as allowed."}
	}
	return nil
}

// Send makes one attempt to deliver a message. That it fails is a part of the outcome;
// when ctx ends it is not known whether the message has arrived.
func (s *Sender) Send(ctx context.Context, to Target, m Message, now time.Time) Outcome {
	o := Outcome{Began: now}
	if o.Err = s.Check(to.URL); o.Err != nil { // the administrator may have changed his mind
		var field *d6tpipe.FieldError
		if errors.As(o.Err, &field) {
			o.Err = errors.New(field.Reason)
		}
		return o
	}
	req, err := s.request(ctx, to, m, now)
	if err != nil {
		o.Err = err
		return o
	}
	began := time.Now()
	resp, err := s.client.Do(req)
	if err != nil {
		o.Took, o.Err = time.Since(began), explain(err, s.config.Timeout)
		return o
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status has said what counts
	o.Took, o.Status = time.Since(began), resp.StatusCode
	o.Said = said(body, to)
	o.Wait = wait(resp.Header.Get("Retry-After"), now)
	o.Err = verdict(resp.StatusCode)
	return o
}

// request makes a request whose signature is of now.
func (s *Sender) request(ctx context.Context, to Target, m Message, now time.Time) (*http.Request, error) {
	keys := make([][]byte, len(to.Secrets))
	for i, secret := range to.Secrets {
		var err error
		if keys[i], err = webhook.ParseSecret(secret); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(m.Body))
	if err != nil {
		return nil, errors.New("the address is no URL")
	}
	timestamp := webhook.Timestamp(now)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "d6tpipe/"+s.config.Version+" (webhook)")
	req.Header.Set(webhook.HeaderID, m.ID)
	req.Header.Set(webhook.HeaderTimestamp, timestamp)
	req.Header.Set(webhook.HeaderSignature, webhook.Sign(m.ID, timestamp, m.Body, keys...))
	return req, nil
}

// wait reads a Retry-After: seconds, or a date.
func wait(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), maxWait)
	}
	return 0
}
