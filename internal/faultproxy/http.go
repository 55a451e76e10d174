package faultproxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// HTTP passes requests on to a server, the Host as it is: signatures are made over
// it. Requests and answers are held in memory.
type HTTP struct {
	URL      string       // "http://127.0.0.1:12345"
	Requests atomic.Int64 // that came
	Hits     atomic.Int64 // that a Twist changed, or whose answer it changed or kept back
	// Unvouched, when set, makes a server of which no answer and no listing says what
	// the content is: no checksums, and ETags that are no MD5. It is set before the
	// first request.
	Unvouched bool

	target *url.URL
	client *http.Transport

	mu    sync.Mutex
	twist Twist
	next  int
}

// An Answer is what a client gets.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// A Twist makes the answer to request n (from 0). ask lets the server answer. Nil
// is no answer: the connection is cut. Twists are called by many requests at once.
type Twist func(n int, r *http.Request, ask func() *Answer) *Answer

// StartHTTP starts a proxy in front of target, a URL, that runs until the test ends.
func StartHTTP(t testing.TB, target string) *HTTP {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal("faultproxy:", err)
	}
	p := &HTTP{target: u, client: &http.Transport{DisableCompression: true}}
	server := httptest.NewServer(p)
	p.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		p.client.CloseIdleConnections()
	})
	return p
}

// Set lets twist answer from now on; nil passes everything on.
func (p *HTTP) Set(twist Twist) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.twist, p.next = twist, 0
}

// ServeHTTP implements [http.Handler].
func (p *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.Requests.Add(1)
	p.mu.Lock()
	n, twist := p.next, p.twist
	p.next++
	p.mu.Unlock()
	body, err := readAll(r.Body, r.ContentLength)
	if err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
	var straight *Answer
	asked := r.Header.Get("Range")
	ask := func() *Answer {
		straight = p.forward(r, body)
		if p.Unvouched {
			straight.unvouch(r)
		}
		if twist == nil {
			return straight
		}
		return straight.clone()
	}
	var a *Answer
	if twist == nil {
		a = ask()
	} else if a = twist(n, r, ask); !a.equal(straight) || r.Header.Get("Range") != asked {
		p.Hits.Add(1)
	}
	if a == nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the length may be a lie, and the client gone
}

// forward returns nil when there is no answer.
func (p *HTTP) forward(r *http.Request, body []byte) *Answer {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = p.target.Scheme, p.target.Host, ""
	if p.Unvouched { // none of these headers is signed
		for _, name := range []string{"If-Match", "If-Range"} {
			if tag, ok := strings.CutSuffix(out.Header.Get(name), noMD5+`"`); ok {
				out.Header.Set(name, tag+`"`)
			}
		}
	}
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		out.Body = http.NoBody // a length of 0 would be an unknown one
	}
	resp, err := p.client.RoundTrip(out)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	length := resp.ContentLength
	if r.Method == http.MethodHead { // it is that of what does not come
		length = 0
	}
	answer, err := readAll(resp.Body, length)
	if err != nil {
		return nil
	}
	return &Answer{resp.StatusCode, resp.Header, answer}
}

// readAll is [io.ReadAll] of what has a length, if it is known: so it is held once, and
// not in pieces that grow.
func readAll(r io.Reader, length int64) ([]byte, error) {
	if length < 0 || length > 64<<20 {
		return io.ReadAll(r)
	}
	data := make([]byte, length)
	_, err := io.ReadFull(r, data)
	return data, err
}

// noMD5 at the end of an ETag is that of an upload in one part.
const noMD5 = "-1"

var (
	md5Tag    = regexp.MustCompile(`^"([0-9a-f]{32})"$`)
	listedTag = regexp.MustCompile(`(<ETag>(?:&quot;|&#34;|")?[0-9a-f]{32})((?:&quot;|&#34;|")?</ETag>)`)
	checksum  = regexp.MustCompile(`<Checksum[A-Z0-9]+>[^<]*</Checksum[A-Z0-9]+>`)
)

// unvouch takes away what tells of the content. The tags of parts stay, the client
// sends them back in a body that is signed.
func (a *Answer) unvouch(r *http.Request) {
	if a == nil {
		return
	}
	for name := range a.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum-") {
			a.Header.Del(name)
		}
	}
	if r.URL.Query().Has("partNumber") {
		return
	}
	if tag := md5Tag.FindStringSubmatch(a.Header.Get("Etag")); tag != nil {
		a.Header.Set("Etag", `"`+tag[1]+noMD5+`"`)
	}
	if r.URL.Query().Get("list-type") == "2" || r.Method == http.MethodPost {
		a.Body = checksum.ReplaceAll(listedTag.ReplaceAll(a.Body, []byte("${1}"+noMD5+"${2}")), nil)
		a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
}

func (a *Answer) clone() *Answer {
	if a == nil {
		return nil
	}
	return &Answer{a.Status, a.Header.Clone(), bytes.Clone(a.Body)}
}

func (a *Answer) equal(b *Answer) bool {
	if a == nil || b == nil || a.Status != b.Status || !bytes.Equal(a.Body, b.Body) || len(a.Header) != len(b.Header) {
		return a == b
	}
	for name := range a.Header {
		if a.Header.Get(name) != b.Header.Get(name) {
			return false
		}
	}
	return true
}

// Sometimes twists the requests that hit, called with their number, says.
func Sometimes(hit func(n int) bool, twist Twist) Twist {
	return func(n int, r *http.Request, ask func() *Answer) *Answer {
		if hit(n) {
			return twist(n, r, ask)
		}
		return ask()
	}
}

// Refusal answers with a status, as S3 words it, and does not ask the server.
// after is the Retry-After, "" for none.
func Refusal(status int, code, after string) Twist {
	return func(_ int, r *http.Request, _ func() *Answer) *Answer {
		a := &Answer{Status: status, Header: http.Header{"Content-Type": {"application/xml"}}}
		if after != "" {
			a.Header.Set("Retry-After", after)
		}
		if r.Method != http.MethodHead {
			a.Body = []byte("<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>no</Message></Error>")
		}
		return a
	}
}

// Lost cuts the answers to what changes something, after the server did it.
func Lost(_ int, r *http.Request, ask func() *Answer) *Answer {
	a := ask()
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return a
	}
	return nil
}

// object twists the answers with the bytes of an object, which are those of a path
// with a key.
func object(change func(r *http.Request, a *Answer)) Twist {
	return func(_ int, r *http.Request, ask func() *Answer) *Answer {
		_, key, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
		a := ask()
		if a != nil && r.Method == http.MethodGet && key != "" && a.Status/100 == 2 {
			change(r, a)
		}
		return a
	}
}

// The Twists of objects.
var (
	// NewTag says that the object is another version, with the old bytes.
	NewTag = object(func(_ *http.Request, a *Answer) { a.Header.Set("Etag", `"0123456789abcdef0123456789abcdef"`) })
	// NewVersion sends bytes of another version, and says so.
	NewVersion = object(func(_ *http.Request, a *Answer) {
		a.Header.Set("Etag", `"0123456789abcdef0123456789abcdef-1"`)
		a.Header.Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		a.flip()
	})
	// LongLength announces more bytes than come.
	LongLength = object(func(_ *http.Request, a *Answer) { a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)+10)) })
	// ShortLength announces less bytes than the object has, and cuts them off.
	ShortLength = object(func(_ *http.Request, a *Answer) { a.cut(len(a.Body) / 2) })
	// ShortRange leaves out the first byte of a range, and says so.
	ShortRange = object(func(_ *http.Request, a *Answer) {
		if a.Status != http.StatusPartialContent || len(a.Body) < 2 {
			return
		}
		var from, to, size int64
		if f := rangePattern.FindStringSubmatch(a.Header.Get("Content-Range")); f != nil {
			from, _ = strconv.ParseInt(f[1], 10, 64)
			to, _ = strconv.ParseInt(f[2], 10, 64)
			size, _ = strconv.ParseInt(f[3], 10, 64)
		}
		a.Header.Set("Content-Range", "bytes "+strconv.FormatInt(from+1, 10)+"-"+strconv.FormatInt(to, 10)+"/"+strconv.FormatInt(size, 10))
		a.Body = a.Body[1:]
		a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
	})
	// Flipped changes a byte in the middle.
	Flipped = object(func(_ *http.Request, a *Answer) { a.flip() })
)

var (
	rangePattern = regexp.MustCompile(`^bytes (\d+)-(\d+)/(\d+)$`)
	askedPattern = regexp.MustCompile(`^bytes=(\d+)-(\d+)$`)
)

func (a *Answer) flip() {
	if len(a.Body) > 0 {
		a.Body[len(a.Body)/2] ^= 1
	}
}

func (a *Answer) cut(n int) {
	a.Body = a.Body[:n]
	a.Header.Set("Content-Length", strconv.Itoa(n))
}

// WholeForRange answers a question for a range with the whole object. The header is
// not signed.
func WholeForRange(_ int, r *http.Request, ask func() *Answer) *Answer {
	if r.Method == http.MethodGet && !signs(r, "range") {
		r.Header.Del("Range")
	}
	return ask()
}

// OtherRange answers a question for a range with as many bytes from beside it, and
// says so.
func OtherRange(_ int, r *http.Request, ask func() *Answer) *Answer {
	f := askedPattern.FindStringSubmatch(r.Header.Get("Range"))
	if f == nil || r.Method != http.MethodGet || signs(r, "range") {
		return ask()
	}
	from, _ := strconv.ParseInt(f[1], 10, 64)
	to, _ := strconv.ParseInt(f[2], 10, 64)
	by := int64(1)
	if from > 0 {
		by = -1
	}
	r.Header.Set("Range", "bytes="+strconv.FormatInt(from+by, 10)+"-"+strconv.FormatInt(to+by, 10))
	return ask()
}

// signs reports whether the signature covers a header.
func signs(r *http.Request, name string) bool {
	_, signed, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	signed, _, _ = strings.Cut(signed, ",")
	return strings.Contains(";"+signed+";", ";"+name+";")
}

// Listing twists the pages of listings.
func Listing(change func(n int, page string) string) Twist {
	return func(n int, r *http.Request, ask func() *Answer) *Answer {
		a := ask()
		if a != nil && r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2" && a.Status == http.StatusOK {
			a.Body = []byte(change(n, string(a.Body)))
			a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
		}
		return a
	}
}

var (
	contents  = regexp.MustCompile(`(?s)<Contents>.*?</Contents>`)
	truncated = regexp.MustCompile(`<IsTruncated>[a-z]*</IsTruncated>`)
	prefix    = regexp.MustCompile(`(?s)<Contents>(.*?)<Key>`)
)

// The Twists of listings.
var (
	CutPage     = Listing(func(_ int, p string) string { return p[:len(p)*2/3] })
	EmptyAnswer = Listing(func(int, string) string { return "" })
	HTMLPage    = Listing(func(int, string) string { return "<html><body>please log in</body></html>" })
	NoEnd       = Listing(func(_ int, p string) string { return truncated.ReplaceAllString(p, "") })
	// MoreNoToken says that the listing goes on, and not where.
	MoreNoToken = Listing(func(_ int, p string) string {
		return truncated.ReplaceAllString(p, "<IsTruncated>true</IsTruncated>")
	})
	// SameToken sends the same page for ever.
	SameToken = Listing(func(_ int, p string) string {
		return truncated.ReplaceAllString(p, "<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>")
	})
	// EmptyPages go on without an end, each with a new token and nothing else.
	EmptyPages = Listing(func(n int, p string) string {
		p = contents.ReplaceAllString(p, "")
		return truncated.ReplaceAllString(p, "<IsTruncated>true</IsTruncated><NextContinuationToken>t"+strconv.Itoa(n)+"</NextContinuationToken>")
	})
	// Emptied has no objects, and says that it is all.
	Emptied = Listing(func(_ int, p string) string { return contents.ReplaceAllString(p, "") })
	// Doubled has each object twice.
	Doubled = Listing(func(_ int, p string) string { return contents.ReplaceAllString(p, "$0$0") })
	// OtherPrefix lists below another folder.
	OtherPrefix = Listing(func(_ int, p string) string { return prefix.ReplaceAllString(p, "<Contents>$1<Key>other/") })
	// Shrunk has one object of all.
	Shrunk = Listing(func(_ int, p string) string {
		first := true
		return contents.ReplaceAllStringFunc(p, func(object string) string {
			if first {
				first = false
				return object
			}
			return ""
		})
	})
)
