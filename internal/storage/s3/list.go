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
// servers take their time over it.
func (s *Store) pages(ctx context.Context, prefix string, yield func(storage.Object, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var next *answer
	defer func() {
		cancel()
		next.wait()
	}()
	seen := map[string]bool{"": true}
	for token := ""; ; {
		body, err := next.of(token)
		if body == nil && err == nil {
			body, err = s.page(ctx, prefix, token)
		}
		if err != nil {
			return err
		}
		next = s.ahead(ctx, prefix, nextToken(body))
		p, err := parsePage(body)
		if err != nil {
			return err
		}
		if err := s.yieldPage(ctx, p, yield); err != nil {
			return err
		}
		if !*p.IsTruncated {
			return nil
		}
		token = p.NextContinuationToken
		switch {
		case token == "":
			return errNoToken
		case seen[token]:
			return errOldToken
		case len(p.Contents) == 0:
			return errEmpty
		}
		seen[token] = true
	}
}

// An answer is a page that was asked for before it was known to be wanted.
type answer struct {
	token string
	done  chan struct{}
	body  []byte
	err   error
}

// ahead asks for the page behind a token.
func (s *Store) ahead(ctx context.Context, prefix, token string) *answer {
	if token == "" {
		return nil
	}
	a := &answer{token: token, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.body, a.err = s.page(ctx, prefix, token)
	}()
	return a
}

func (a *answer) wait() {
	if a != nil {
		<-a.done
	}
}

// of waits for the answer, and returns nothing when it is not the page of token.
func (a *answer) of(token string) ([]byte, error) {
	a.wait()
	if a == nil || a.token != token {
		return nil, nil
	}
	return a.body, a.err
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

func (s *Store) yieldPage(ctx context.Context, p *page, yield func(storage.Object, error) bool) error {
	p.pack()
	for i := range p.Contents {
		e := &p.Contents[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if strings.HasSuffix(e.Key, "/") && *e.Size == 0 {
			continue // the marker of a folder
		}
		if !yield(s.listed(e), nil) {
			return errStopped
		}
	}
	return nil
}

// page asks for a page. The body is not empty.
func (s *Store) page(ctx context.Context, prefix, token string) ([]byte, error) {
	query := url.Values{"list-type": {"2"}, "encoding-type": {"url"}, "prefix": {prefix}}
	if token != "" {
		query.Set("continuation-token", token)
	}
	resp, err := s.do(s.request(ctx, http.MethodGet, "", query), emptyHash)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	switch {
	case err != nil:
		return nil, networkError(ctx, err)
	case resp.StatusCode != http.StatusOK:
		return nil, refusal(resp.StatusCode, body)
	case len(body) > maxPage:
		return nil, errTooBig
	case len(body) == 0:
		return nil, errNoListing
	}
	return body, nil
}
