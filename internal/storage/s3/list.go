package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// maxPage is more than 1,000 keys can take, every byte escaped.
const maxPage = 16 << 20

// Why a listing is not believed.
var (
	errNoToken  = errors.New("the remote says that the listing goes on, but not where")
	errOldToken = errors.New("the remote repeats a page of the listing")
	errEmpty    = errors.New("the remote sends empty pages")
	errNoEnd    = errors.New("the remote does not say whether the listing goes on")
	errTooBig   = errors.New("a page of the listing is too long")

	errNoListing = fmt.Errorf("%w: the answer is not a listing", storage.ErrTemporary)
)

// List implements [storage.Store].
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		ctx, call := s.begin(ctx, "list", prefix)
		if err := s.pages(ctx, prefix, yield); err != nil && !errors.Is(err, errStopped) {
			yield(storage.Object{}, call.fail(err))
		}
	}
}

var errStopped = errors.New("the caller wants no more")

// pages yields page after page. A token that was seen before would make it
// endless, and so would empty pages. While a page is read the next one is under way:
// servers take their time over it. Two pages take turns in the same memory.
func (s *Store) pages(ctx context.Context, prefix string, yield func(storage.Object, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var next *answer
	defer func() {
		cancel()
		next.wait()
	}()
	seen := map[string]bool{"": true}
	var (
		buf, other bytes.Buffer
		p          page
		objects    []storage.Object
	)
	now, then := &buf, &other
	for token := ""; ; now, then = then, now {
		if err := s.arrive(ctx, next, now, prefix, token); err != nil {
			return err
		}
		next = s.ahead(ctx, then, prefix, nextToken(now.Bytes()))
		err := p.parse(now.Bytes())
		if err == nil {
			objects, err = p.objects(objects, !s.opts.NoSums)
		}
		if err == nil {
			err = yieldPage(ctx, objects, yield)
		}
		if err != nil {
			return err
		}
		if !*p.truncated {
			return nil
		}
		token = p.token
		switch {
		case token == "":
			return errNoToken
		case seen[token]:
			return errOldToken
		case len(objects) == 0:
			return errEmpty
		}
		seen[token] = true
	}
}

// An answer is a page that was asked for before it was known to be wanted.
type answer struct {
	token string
	done  chan struct{}
	err   error
}

// ahead asks for the page behind a token.
func (s *Store) ahead(ctx context.Context, buf *bytes.Buffer, prefix, token string) *answer {
	if token == "" {
		return nil
	}
	a := &answer{token: token, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.err = s.page(ctx, buf, prefix, token)
	}()
	return a
}

func (a *answer) wait() {
	if a != nil {
		<-a.done
	}
}

// arrive waits for the page of token, and asks for it when next is not that one.
func (s *Store) arrive(ctx context.Context, next *answer, buf *bytes.Buffer, prefix, token string) error {
	next.wait()
	if next != nil && next.token == token {
		return next.err
	}
	return s.page(ctx, buf, prefix, token)
}

// nextToken looks for the token in a page that was not parsed yet, "" when it is not
// to be seen at once. What counts is what the parser finds.
func nextToken(body []byte) string {
	const tag = "NextContinuationToken>"
	_, rest, _ := bytes.Cut(body, []byte("<"+tag))
	token, _, found := bytes.Cut(rest, []byte("</"+tag))
	if !found || bytes.ContainsAny(token, "&<\r") {
		return ""
	}
	return string(token)
}

func yieldPage(ctx context.Context, objects []storage.Object, yield func(storage.Object, error) bool) error {
	for _, o := range objects {
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasSuffix(o.Key, "/") && o.Size == 0 {
			continue // the marker of a folder
		}
		if !yield(o, nil) {
			return errStopped
		}
	}
	return nil
}

// page puts a page into buf, which is not empty then.
func (s *Store) page(ctx context.Context, buf *bytes.Buffer, prefix, token string) error {
	query := url.Values{"list-type": {"2"}, "encoding-type": {"url"}, "prefix": {prefix}}
	if token != "" {
		query.Set("continuation-token", token)
	}
	resp, err := s.do(s.request(ctx, http.MethodGet, "", query), emptyHash)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	buf.Reset()
	_, err = buf.ReadFrom(io.LimitReader(resp.Body, maxPage+1))
	switch {
	case err != nil:
		return networkError(ctx, err)
	case resp.StatusCode != http.StatusOK:
		return refusal(resp.StatusCode, buf.Bytes())
	case buf.Len() > maxPage:
		return errTooBig
	case buf.Len() == 0:
		return errNoListing
	}
	return nil
}
