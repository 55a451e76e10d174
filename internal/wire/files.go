package wire

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// Files is a Session of a service that keeps listings of the files of pipes. It
// is optional: without it pipes/{n}/files/ is not found. [Session.Authorize] was
// asked before, for Get or Create of "pipes/<name>/files".
type Files interface {
	// Files returns the listing of a pipe, made anew when it is too old to be of
	// use. With refresh it is that of a scan that began after the call, or one that
	// says why there is none in Stale: it failed, or the last one was just now and the
	// caller may only read.
	Files(ctx context.Context, pipe string, refresh bool) (Listing, error)
	// FilesChanged says that files of the pipe have changed. Who asks from now on is not
	// given a listing as good whose scan began before. It returns the time of that, by
	// the clock that Listing.Scanned comes from, and does not wait for a scan.
	FilesChanged(ctx context.Context, pipe string) (time.Time, error)
}

// A Listing is what a scan of a pipe's files saw.
type Listing struct {
	// Tag is another one for every other Body: letters, digits, dots and hyphens.
	Tag string
	// Seen is when a scan first saw exactly this.
	Seen time.Time
	// Scanned is when the last scan that saw this began. The listing's age counts from
	// there.
	Scanned time.Time
	// MaxAge is how old a listing of this pipe may be and still be believed by those
	// who pull; 0 is never.
	MaxAge time.Duration
	// Stale says in a few words of ASCII why there is no newer listing although there
	// should be one: it is not to be believed then.
	Stale string
	// Again is after which time it is worth asking for a newer one, when the last one was
	// made so lately that there is no other yet; 0 is unknown.
	Again time.Duration
	// Body returns the JSON document of package filelist, compressed by gzip, which nobody
	// changes. It is called when somebody does not have it yet. Done is called once, when
	// the document is not needed any more: it may be in the way of others until then. It
	// is nil with an error, and else may be.
	Body func(ctx context.Context) (body []byte, done func(), err error)
}

// The headers that HTTP has no name for.
const (
	headerScanned = "D6tpipe-Scanned" // Listing.Scanned, RFC 3339
	headerStale   = "D6tpipe-Stale"   // Listing.Stale
)

// files answers with the last listing, or takes note that it is out of date.
func (t target) files(ctx context.Context) (answer, error) {
	s, err := t.open(ctx, t.r)
	if err != nil {
		return answer{}, err
	}
	keeper, ok := s.(Files)
	if !ok {
		return answer{}, d6tpipe.ErrNotFound
	}
	verb := catalog.Get
	if t.r.Method == http.MethodPost {
		verb = catalog.Create
	}
	if err := s.Authorize(ctx, verb, t.path, ""); err != nil {
		return answer{}, err
	}
	if verb == catalog.Create {
		return t.filesChanged(ctx, keeper)
	}
	l, err := keeper.Files(ctx, t.name, isTrue(t.r.URL.Query().Get("refresh")))
	if err != nil {
		return answer{}, err
	}
	return t.listing(ctx, l)
}

// filesChanged looks at no body: the request says all.
func (t target) filesChanged(ctx context.Context, keeper Files) (answer, error) {
	at, err := keeper.FilesChanged(ctx, t.name)
	if err != nil {
		return answer{}, err
	}
	body, err := json.Marshal(map[string]time.Time{"changed_at": at.UTC()})
	return answer{status: http.StatusOK, body: body}, err
}

// listing is the answer 200 with the document, or 304 without one.
func (t target) listing(ctx context.Context, l Listing) (answer, error) {
	zipped := acceptsGzip(t.r.Header)
	a := answer{status: http.StatusOK, header: l.headers(zipped, time.Now())}
	if matches(t.r.Header.Values("If-None-Match"), l.Tag) {
		a.status = http.StatusNotModified
		return a, nil
	}
	body, done, err := l.Body(ctx)
	if err != nil {
		return answer{}, err
	}
	a.done = done
	if zipped {
		a.header.Set("Content-Encoding", "gzip")
		a.body = body
		return a, nil
	}
	if a.stream, err = gzip.NewReader(bytes.NewReader(body)); err != nil {
		a.end()
		return answer{}, err
	}
	return a, nil
}

// headers are those of both answers. What is compressed is another representation,
// with an ETag of its own (RFC 9110, section 8.8.3.3).
func (l Listing) headers(zipped bool, now time.Time) http.Header {
	tag := l.Tag
	if zipped {
		tag += zippedTag
	}
	h := http.Header{}
	h.Set("ETag", `"`+tag+`"`)
	h.Set("Last-Modified", l.Seen.UTC().Format(http.TimeFormat))
	h.Set("Cache-Control", "private, max-age="+strconv.FormatInt(int64(max(l.MaxAge, 0)/time.Second), 10))
	h.Set("Age", strconv.FormatInt(int64((max(now.Sub(l.Scanned), 0)+time.Second-1)/time.Second), 10))
	h.Set(headerScanned, l.Scanned.UTC().Format(time.RFC3339Nano))
	h.Set("Vary", "Authorization, Accept-Encoding")
	if l.Stale != "" {
		h.Set(headerStale, strings.Map(visible, l.Stale))
	}
	if l.Again > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((l.Again+time.Second-1)/time.Second), 10))
	}
	return h
}

func visible(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}

const zippedTag = "-gzip"

// matches reports whether one of the tags that a client has is tag. The comparison
// is the weak one (RFC 9110, section 13.1.2): a proxy may have weakened it.
func matches(headers []string, tag string) bool {
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
			one, ok := strings.CutPrefix(one, `"`)
			one, end := strings.CutSuffix(one, `"`)
			if ok && end && strings.TrimSuffix(one, zippedTag) == tag {
				return true
			}
		}
	}
	return false
}

// acceptsGzip reads Accept-Encoding as far as it is about gzip (RFC 9110, section
// 12.5.3). A client that does not name it gets the document as it is.
func acceptsGzip(h http.Header) bool {
	for _, header := range h.Values("Accept-Encoding") {
		for one := range strings.SplitSeq(header, ",") {
			coding, params, _ := strings.Cut(one, ";")
			if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				continue
			}
			weight, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			q, err := strconv.ParseFloat(weight, 64)
			return !ok || err == nil && q > 0
		}
	}
	return false
}

// isTrue reads a truth of a query; Python writes True.
func isTrue(text string) bool { return strings.EqualFold(text, "true") || text == "1" }

// copyBody sends what a listing unpacks to. A failure half-way can only be shown by
// breaking off, and a document that was cut off is none.
func copyBody(w http.ResponseWriter, body io.Reader) {
	if _, err := io.Copy(w, body); err != nil {
		panic(http.ErrAbortHandler)
	}
}
