package d6tpipe

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/filelist"
	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A PipeListing is what a server's last scan of a pipe's files saw.
type PipeListing struct {
	// Scanned is when that scan began, by the server's clock.
	Scanned time.Time `json:"scanned_at"`
	// Age is the time since then, MaxAge how old a listing of this pipe may be for
	// [Pipe.Pull] to believe it.
	Age    time.Duration `json:"age"`
	MaxAge time.Duration `json:"max_age"`
	// Stale says why there was no newer scan, or why it did not come to its end; empty
	// when there was none to be made.
	Stale string `json:"stale,omitempty"`
	// Files are sorted by key. A pipe with filters has those that pass them.
	Files []File `json:"files"`
	// Refused are the names that cannot be used, sorted by key.
	Refused []Refusal `json:"refused,omitempty"`
}

// ListFiles returns the server's listing of a pipe's files. The server looks at the
// storage when its last scan is too old, and with refresh in any case; only who may not
// write can get the scan that ended a moment ago, and Stale says so then. To see the
// storage with one's own eyes, use [Pipe.ScanRemote]. A server that keeps no listings
// is [ErrNotFound].
func (c *APIClient) ListFiles(ctx context.Context, pipe string, refresh bool) (out PipeListing, err error) {
	defer explain(&err, "list files of pipe", pipe)
	l, err := c.listing(ctx, pipe, "", refresh)
	if err != nil {
		return out, err
	}
	out = PipeListing{Scanned: l.scanned, Age: l.age, MaxAge: l.maxAge, Stale: l.stale, Refused: refusals(l.files.Refused)}
	for obj := range l.files.All() {
		out.Files = append(out.Files, File{Key: obj.Key, Size: obj.Size, ModTime: obj.ModTime, Tag: obj.Tag})
	}
	return out, nil
}

// FilesChanged tells the server that files of a pipe were changed on its storage, so
// that what it has listed before is out of date. A [Pipe] does that by itself; it is
// for programs that write to the storage in other ways. It takes a role of
// [RoleWrite].
func (c *APIClient) FilesChanged(ctx context.Context, pipe string) (err error) {
	defer explain(&err, "tell of changed files of pipe", pipe)
	_, err = c.filesChanged(ctx, pipe)
	return err
}

// A listingAnswer is an answer of pipes/{n}/files/.
type listingAnswer struct {
	unchanged   bool // it is the listing of the ETag that was sent along; files is empty
	etag        string
	scanned     time.Time
	age, maxAge time.Duration
	stale       string
	again       time.Duration // after which the server may have a newer one; 0 is unknown
	files       storage.Listing
}

// asked is the server's time when it answered, or up to a second later.
func (l *listingAnswer) asked() time.Time { return l.scanned.Add(l.age) }

// believable reports whether the server stands by the listing: it is young enough,
// and nothing newer was tried in vain.
func (l *listingAnswer) believable() bool {
	return l.stale == "" && l.etag != "" && !l.scanned.IsZero() && l.maxAge > 0 && l.age >= 0 && l.age <= l.maxAge
}

// listing asks for the listing of a pipe, unless it still is the one of etag.
func (c *APIClient) listing(ctx context.Context, pipe, etag string, refresh bool) (l listingAnswer, err error) {
	if err := checkName("pipe", pipe); err != nil {
		return l, err
	}
	url := c.server.url("pipes", pipe, "files")
	if refresh {
		url += "?refresh=True"
	}
	err = c.server.receive(ctx, url, etag, func(status int, h http.Header, body io.Reader) error {
		l = listingAnswer{unchanged: status == http.StatusNotModified, etag: h.Get("ETag"), age: -1, stale: h.Get("D6tpipe-Stale")}
		l.scanned, _ = time.Parse(time.RFC3339Nano, h.Get("D6tpipe-Scanned")) // without it, it is not believed
		if seconds, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
			l.age = time.Duration(seconds) * time.Second
		}
		l.maxAge = maxAge(h)
		l.again = retryAfter(h.Get("Retry-After"), time.Now())
		if l.unchanged {
			if etag == "" {
				return filelist.ErrMalformed
			}
			return nil
		}
		doc, err := filelist.Read(body, filelist.Limits{Bytes: c.server.limits.Listing})
		l.files = doc.Listing
		return err
	})
	return l, err
}

// maxAge reads what Cache-Control says of how long an answer is good.
func maxAge(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		value, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(directive)), "max-age=")
		seconds, err := strconv.ParseUint(value, 10, 31)
		if ok && err == nil {
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}

// filesChanged returns the server's time of it.
func (c *APIClient) filesChanged(ctx context.Context, pipe string) (time.Time, error) {
	if err := checkName("pipe", pipe); err != nil {
		return time.Time{}, err
	}
	raw, err := c.server.send(ctx, request{method: http.MethodPost, url: c.server.url("pipes", pipe, "files")})
	if err != nil {
		return time.Time{}, err
	}
	var said struct {
		At time.Time `json:"changed_at"`
	}
	if err := decodeJSON(raw, &said); err != nil {
		return time.Time{}, badAnswer(err)
	}
	if said.At.IsZero() {
		return time.Time{}, badAnswer(errors.New("it does not say when"))
	}
	return said.At, nil
}
