package d6tpipe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-resty/resty/v2"

	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/filelist"
)

// Limits bound what a call of an [APIClient] may cost. A zero field stands for
// the default.
type Limits struct {
	// Call is the time that a call may take with all its repetitions and
	// pauses; 2 minutes.
	Call time.Duration
	// Attempt is the time for one request and all of its answer; 30 seconds.
	Attempt time.Duration
	// Retries is how often a request is repeated; 3, and never when negative.
	Retries int
	// Backoff is the pause before the first repetition, doubled before each
	// further one and varied at random; 250 milliseconds.
	Backoff time.Duration
	// Pause is the longest pause, whatever the server's Retry-After asks for;
	// 30 seconds.
	Pause time.Duration
	// Answer is the size of an answer in bytes, after decompression; 16 MiB.
	Answer int
	// Listing is that size for the listing of a pipe's files, which is read as it comes
	// and takes a third of it in memory; 512 MiB.
	Listing int64
}

// WithDefaults returns l with the defaults in the place of zeros.
func (l Limits) WithDefaults() Limits {
	l.Call = cmp.Or(max(l.Call, 0), 2*time.Minute)
	l.Attempt = cmp.Or(max(l.Attempt, 0), 30*time.Second)
	l.Retries = max(cmp.Or(l.Retries, 3), 0)
	l.Backoff = cmp.Or(max(l.Backoff, 0), 250*time.Millisecond)
	l.Pause = cmp.Or(max(l.Pause, 0), 30*time.Second)
	l.Answer = cmp.Or(max(l.Answer, 0), 16<<20)
	l.Listing = cmp.Or(max(l.Listing, 0), 512<<20)
	return l
}

const (
	maxHeader    = 256 << 10 // bytes of an answer's header; net/http would take 10 MB
	maxRedirects = 3
)

// A server is the far end of an [APIClient]. It is the one place that speaks
// HTTP, and an implementation of [catalog.Backend].
type server struct {
	base    string // the profile's server and "/v1/api"
	origin  string // scheme, host and port; the token goes nowhere else
	client  *resty.Client
	limits  Limits
	session *session
}

// A request is what send puts on the wire.
type request struct {
	method string
	url    string
	body   json.RawMessage
	open   bool          // goes without a token
	gone   error         // what a repeated DELETE meets when an earlier one has done it
	wait   time.Duration // for which the server may keep the answer back
}

// newTransport returns a transport that shares nothing with other clients.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// newResty returns the HTTP client of all calls. It never logs, keeps no
// cookies and follows a redirect only within the origin.
func newResty(origin string) *resty.Client {
	return resty.NewWithClient(&http.Client{Transport: newTransport()}).
		SetLogger(silent{}).
		SetDisableWarn(true).
		SetAuthScheme("Token").
		SetHeader("User-Agent", "d6tpipe-go").
		SetHeader("Accept", "application/json").
		SetRedirectPolicy(resty.RedirectPolicyFunc(func(req *http.Request, via []*http.Request) error {
			to, err := Origin(req.URL.Scheme + "://" + req.URL.Host)
			if err != nil || to != origin || req.Method != via[0].Method || len(via) > maxRedirects {
				return http.ErrUseLastResponse // the 3xx is the answer, and an error
			}
			return nil
		}))
}

// silent is a logger of resty's that says nothing.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Warnf(string, ...any)  {}
func (silent) Debugf(string, ...any) {}

// url is the address of a resource. Path ends in a slash, always: the contract
// has no other form.
func (s *server) url(path ...string) string {
	u := s.base + "/"
	for _, segment := range path {
		if segment != "" {
			u += segment + "/"
		}
	}
	return u
}

// List returns the rows below path. The contract knows no pages, but a server
// may answer in pages as the Django REST framework makes them.
func (s *server) List(ctx context.Context, path, page string) ([]json.RawMessage, string, error) {
	target := cmp.Or(page, s.url(path))
	raw, err := s.send(ctx, request{method: http.MethodGet, url: target})
	if err != nil {
		return nil, "", err
	}
	rows, next, err := decodeList(raw)
	if err != nil {
		return nil, "", badAnswer(err)
	}
	if page == "" && next == "" {
		orderRows(rows)
	}
	if next != "" {
		if next, err = s.follow(target, next); err != nil {
			return nil, "", badAnswer(err)
		}
	}
	return rows, next, nil
}

// follow resolves the address of the next page, which must stay at home.
func (s *server) follow(from, next string) (string, error) {
	base, err := url.Parse(from)
	if err != nil {
		return "", errors.New("the list has a malformed address")
	}
	to, err := base.Parse(next)
	if err != nil {
		return "", errors.New("the next page has a malformed address")
	}
	origin, err := Origin(to.Scheme + "://" + to.Host)
	if err != nil || origin != s.origin || to.User != nil {
		return "", errors.New("the next page is on another server")
	}
	return to.String(), nil
}

// Do carries out verb. The body of a Get travels as the query, because that is
// where the contract has the role of credentials.
func (s *server) Do(ctx context.Context, verb catalog.Verb, path, name string, in json.RawMessage) (json.RawMessage, error) {
	r := request{method: string(verb), url: s.url(path, name), body: in}
	if verb == catalog.Get && len(in) > 0 {
		query, err := queryOf(in)
		if err != nil {
			return nil, err
		}
		r.url, r.body = r.url+"?"+query, nil
	}
	return s.send(ctx, r)
}

// queryOf writes a flat JSON object as a query, sorted, with Python's booleans.
func queryOf(in json.RawMessage) (string, error) {
	var fields map[string]any
	if err := decodeJSON(in, &fields); err != nil {
		return "", err
	}
	query := url.Values{}
	for name, v := range fields {
		switch v := v.(type) {
		case bool:
			text := strconv.FormatBool(v)
			query.Set(name, strings.ToUpper(text[:1])+text[1:])
		case string:
			query.Set(name, v)
		}
	}
	return query.Encode(), nil
}

// send is the one road of every request: token, time limit, repetitions, errors.
func (s *server) send(ctx context.Context, r request) (json.RawMessage, error) {
	token, err := s.tokenFor(ctx, r)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, s.limits.Call+r.wait)
	defer cancel()
	for attempt := 0; ; attempt++ {
		raw, f := s.attempt(limited, r, token)
		switch {
		case f == nil:
			return raw, nil
		case ended(ctx) != nil:
			return nil, ended(ctx)
		case attempt > 0 && r.method == http.MethodDelete && errors.Is(f.err, cmp.Or(r.gone, ErrNotFound)):
			return nil, nil // an earlier attempt removed it, its answer was lost
		case attempt >= s.limits.Retries || !f.again:
			return nil, f.err
		case !s.pause(limited, attempt, f.after):
			return nil, cmp.Or(ended(ctx), f.err)
		}
	}
}

// ended is ctx's error. A dial may notice the deadline just before ctx does.
func ended(ctx context.Context) error {
	if end, ok := ctx.Deadline(); ok && ctx.Err() == nil && !time.Now().Before(end) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

func (s *server) tokenFor(ctx context.Context, r request) (Secret, error) {
	if r.open {
		return "", nil
	}
	return s.session.get(ctx)
}

// pause waits before the next attempt: as long as the server asks for, else
// longer each time. It reports false when the time of the call does not allow it.
func (s *server) pause(ctx context.Context, attempt int, after time.Duration) bool {
	wait := after
	if wait == 0 {
		wait = min(s.limits.Backoff<<min(attempt, 16), s.limits.Pause)
		wait = wait/2 + rand.N(wait/2+1)
	}
	wait = min(wait, s.limits.Pause)
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// A failure is an attempt that went wrong.
type failure struct {
	err   error
	again bool          // repeating the request is safe and may help
	after time.Duration // the server asked for this pause
}

// idempotent holds the methods that may be repeated when it is unknown whether
// the server acted. PATCH is among them because this contract's PATCH puts
// given values into fields; doing so twice is doing so once. POST is not.
var idempotent = []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete}

// attempt sends r once.
func (s *server) attempt(ctx context.Context, r request, token Secret) (json.RawMessage, *failure) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.Attempt+r.wait)
	defer cancel()
	req := s.client.R().SetContext(ctx).SetResponseBodyLimit(s.limits.Answer)
	if token != "" {
		req.SetAuthToken(string(token))
	}
	if len(r.body) > 0 {
		req.SetHeader("Content-Type", "application/json").SetBody([]byte(r.body))
	}
	resp, err := req.Execute(r.method, r.url)
	safe := slices.Contains(idempotent, r.method)
	if err != nil {
		return nil, networkFailure(err, safe, s.limits, append(secretsIn(r.body), token)...)
	}
	if resp.IsSuccess() {
		return resp.Body(), nil
	}
	f := &failure{err: answerErr(resp.StatusCode(), resp.Body(), append(secretsIn(r.body), token)...)}
	switch resp.StatusCode() {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		f.again, f.after = safe, retryAfter(resp.Header().Get("Retry-After"), time.Now())
	}
	return nil, f
}

// receive sends a GET once and hands a 200 or 304 to take as it comes: to repeat it
// is not worth the time, because whoever asks can do without. All of it must be over
// within the time of a call.
func (s *server) receive(ctx context.Context, url, etag string, take func(status int, header http.Header, body io.Reader) error) error {
	token, err := s.session.get(ctx)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.limits.Call)
	defer cancel()
	req := s.client.R().SetContext(limited).SetDoNotParseResponse(true)
	if token != "" {
		req.SetAuthToken(string(token))
	}
	if etag != "" {
		req.SetHeader("If-None-Match", etag)
	}
	resp, err := req.Get(url)
	if err != nil {
		return cmp.Or(ended(ctx), networkFailure(err, true, s.limits, token).err)
	}
	body := resp.RawBody()
	defer body.Close()
	if status := resp.StatusCode(); status != http.StatusOK && status != http.StatusNotModified {
		said, _ := io.ReadAll(io.LimitReader(body, int64(s.limits.Answer))) // what there is of a refusal
		refused := answerErr(status, said, token)
		refused.after = retryAfter(resp.Header().Get("Retry-After"), time.Now())
		return refused
	}
	err = take(resp.StatusCode(), resp.Header(), body)
	switch {
	case err == nil, ended(ctx) != nil:
		return ended(ctx)
	case errors.Is(err, filelist.ErrTooLarge):
		return fmt.Errorf("%w: the listing is longer than %d bytes; Limits.Listing allows more", ErrTooLarge, s.limits.Listing)
	case errors.Is(err, filelist.ErrMalformed):
		return badAnswer(err)
	}
	return networkFailure(err, true, s.limits, token).err
}

// retryAfter reads the header of that name: seconds or a date (RFC 9110,
// section 10.2.3). It is 0 when there is none.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 86400)) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
