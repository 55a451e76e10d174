package listing

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strconv"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/filelist"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
	"github.com/d6t/d6tpipe-go/server/internal/feed"
)

// look scans a pipe and keeps what it saw. The view is "" when the storage could not
// be opened. It calls large before it has more than Config.Small files in memory.
func (s *Scanner) look(ctx context.Context, id string, f *flight, large func() error) (view string, err error) {
	src, err := s.cfg.Open(ctx, id)
	if err != nil {
		return "", fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, src.Store.Close()) }()
	if view, err = View(src.Where); err != nil {
		return "", err
	}
	store := capped{storage.Retry(src.Store, storage.RetryPolicy{Attempts: 3}), s.cfg.MaxFiles, s.cfg.Small, large}
	l, err := storage.Collect(ctx, store, "")
	if err != nil {
		return view, err
	}
	if !l.Complete() {
		return view, errors.New("the listing is not complete")
	}
	l = filtered(l, src.Where.Filters)
	f.refused = len(l.Refused)
	return view, s.keep(ctx, id, view, f.began.UTC().Truncate(time.Microsecond), l)
}

// errTooLarge says that a listing is over a limit.
var errTooLarge = errors.New("there are too many files")

// capped is a store whose listing fails when it is longer than that: half of it
// would look like all. What is longer than small asks first.
type capped struct {
	storage.Store
	files, small int
	large        func() error
}

func (c capped) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		n := 0
		for obj, err := range c.Store.List(ctx, prefix) {
			if n++; err == nil {
				err = c.allows(n)
			}
			if !yield(obj, err) || err != nil {
				return
			}
		}
	}
}

// allows says whether the listing may have n files.
func (c capped) allows(n int) error {
	switch {
	case n > c.files:
		return errTooLarge
	case n == c.small+1:
		return c.large()
	default:
		return nil
	}
}

// filtered is what those may see who see the pipe: the keys that pass all filters.
// Of names that are refused because of another one, the other is not told.
func filtered(l storage.Listing, filters []d6tpipe.Filter) storage.Listing {
	if len(filters) == 0 {
		return l
	}
	var matchers []func(string) bool
	for _, f := range filters {
		matchers = append(matchers, f.Matcher())
	}
	l = l.Only(func(key string) bool {
		for _, match := range matchers {
			if !match(key) {
				return false
			}
		}
		return true
	})
	for i, e := range l.Refused {
		if strings.Contains(e.Reason, `"`) {
			l.Refused[i] = &storage.KeyError{Key: e.Key, Reason: "collides with another name"}
		}
	}
	return l
}

// keep saves the listing, or notes that it is what it was.
func (s *Scanner) keep(ctx context.Context, id, view string, began time.Time, l storage.Listing) error {
	sum := sha256.New()
	sum.Write([]byte(view))
	if err := filelist.Write(sum, filelist.Document{Listing: l}); err != nil {
		return err
	}
	content := hex.EncodeToString(sum.Sum(nil)[:16])
	head, err := s.cfg.Cache.Head(ctx, id)
	if err != nil {
		return err
	}
	if was, _, _ := strings.Cut(head.Tag, "-"); was == content && head.View == view && !s.isDamaged(id, head.Tag) {
		return s.cfg.Cache.Confirm(ctx, id, head.Tag, began)
	}
	r := Record{View: view, Seen: began, Scanned: began, Files: l.Len()}
	r.Tag = content + "-" + strconv.FormatInt(began.UnixMicro(), 36) // the same files at another time are another document
	if err := s.pack(&r, l); err != nil {
		return err
	}
	return s.replace(ctx, id, head, r, l)
}

// pack makes the document of a listing.
func (s *Scanner) pack(r *Record, l storage.Listing) error {
	for obj := range l.All() {
		r.Bytes += obj.Size
	}
	body := &bounded{left: s.cfg.MaxBytes}
	zip, err := gzip.NewWriterLevel(body, gzip.BestSpeed)
	if err == nil {
		err = filelist.Write(zip, filelist.Document{ScannedAt: r.Seen, Listing: l})
	}
	if err == nil {
		err = zip.Close()
	}
	r.Body = body.Bytes()
	return err
}

// replaceTries is how often a listing is compared with the one that it is to replace,
// while replicas replace that one.
const replaceTries = 5

// replace saves a listing, with what it has that the one before had not. The two are
// compared outside of any transaction.
func (s *Scanner) replace(ctx context.Context, id string, head, r Record, l storage.Listing) error {
	for try := 1; ; try++ {
		c, err := s.changes(ctx, id, head, r.View, l)
		if err == nil {
			err = s.cfg.Cache.Save(ctx, id, r, c)
		}
		if !errors.Is(err, ErrReplaced) || try == replaceTries {
			return err
		}
		if head, err = s.cfg.Cache.Head(ctx, id); err != nil {
			return err
		}
	}
}

// changes compares a listing with the one that is kept.
func (s *Scanner) changes(ctx context.Context, id string, head Record, view string, l storage.Listing) (Changes, error) {
	c := Changes{Since: head.Tag, Refused: len(l.Refused)}
	if head.Tag != "" && head.View != view {
		c.Lost = true
		return c, nil
	}
	old, err := s.kept(ctx, id, head.Tag)
	if errors.Is(err, ErrDamaged) {
		s.cfg.Log.Error("the listing of a pipe was damaged; it is replaced, and nobody can tell what has changed since", "record", id, "error", err)
		c.Lost = true
		return c, nil
	}
	if err != nil {
		return c, err
	}
	w := feed.NewWriter(s.cfg.MaxChanges)
	for change := range feed.Diff(old, l) {
		if err = w.Add(change); err != nil {
			break
		}
	}
	if err == nil {
		c.Rows, err = w.Rows()
	}
	if errors.Is(err, feed.ErrTooLarge) {
		c.Rows, c.Lost, err = nil, true, nil
	}
	return c, err
}

// kept reads the listing that is kept, an empty one when there is none yet. One that is
// damaged is replaced like any other.
func (s *Scanner) kept(ctx context.Context, id, tag string) (storage.Listing, error) {
	if tag == "" {
		return storage.Listing{}, nil
	}
	body, err := s.cfg.Cache.Body(ctx, id, tag)
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrReplaced
	}
	if err != nil {
		return storage.Listing{}, err
	}
	zip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return storage.Listing{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	doc, err := filelist.Read(zip, filelist.Limits{Bytes: 1 << 40})
	if err != nil {
		return storage.Listing{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return doc.Listing, nil
}

// bounded is a buffer that takes no more than so much.
type bounded struct {
	bytes.Buffer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, errTooLarge
	}
	return b.Buffer.Write(p)
}

// reason says in a few words why a scan failed. What a storage says may name hosts
// and folders that are not for those who read a pipe: it goes to the log.
func reason(err error) string {
	for _, row := range reasons {
		if errors.Is(err, row.kind) {
			return row.text
		}
	}
	return "the storage failed"
}

var reasons = []struct {
	kind error
	text string
}{
	{errTooLarge, "there are too many files"},
	{errMoved, "the pipe was moved meanwhile"},
	{errSoon, "the last scan was just now, and who only reads gets another one in a moment"},
	{dial.ErrForbidden, "the server does not connect to its storage"},
	{context.DeadlineExceeded, "it took too long"},
	{context.Canceled, "the server is shutting down"},
	{d6tpipe.ErrUnsupported, "the server cannot list such a storage"},
	{d6tpipe.ErrInvalid, "its settings cannot be used"},
	{fs.ErrPermission, "the storage does not let the server in"},
	{d6tpipe.ErrPermission, "the storage does not let the server in"},
	{storage.ErrExpired, "the storage does not let the server in"},
	{fs.ErrNotExist, "the storage has no such folder"},
	{d6tpipe.ErrNotFound, "the storage has no such folder"},
	{storage.ErrTemporary, "the storage cannot be reached"},
}
