package gateway

import (
	"context"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// For every page of a listing the S3 server reads the folder from its start, which
// takes long when 100,000 files lie in one. So from the second page on the guard
// reads ten pages at once and keeps them a moment. A continuation token is the id of
// what was kept, a slash and the last key: the pages of one listing come from the same look, and
// another listing always takes its own.

const (
	fullPage  = 1000 // what clients ask for; who wants less wants no more
	keptPages = 4    // of so many listings at once
	keptFor   = 15 * time.Second
	noneKept  = "-" // the id when nothing was
)

// ahead is what was read ahead.
type ahead struct {
	mu   sync.Mutex
	kept []lookAhead // the oldest first
}

type lookAhead struct {
	id    string
	query listing
	page  page
	at    time.Time
}

func splitToken(token string) (id, after string) {
	id, after, _ = strings.Cut(token, "/")
	return id, after
}

// readAhead returns the page after l.after.
func (g *guard) readAhead(ctx context.Context, l listing) (page, error) {
	if p, ok := g.ahead.find(l); ok {
		return p, nil
	}
	wide := l
	wide.max = scanPage
	all, err := g.scan(ctx, wide)
	if err != nil {
		return page{}, err
	}
	all.kept = g.ahead.keep(l, all)
	return all.first(l.max), nil
}

// find looks for the page in what was kept.
func (a *ahead) find(l listing) (page, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.kept {
		if k.id != l.kept || k.query.prefix != l.prefix || k.query.owner != l.owner || l.after < k.query.after || time.Since(k.at) > keptFor {
			continue
		}
		from := sort.Search(len(k.page.objects), func(i int) bool { return *k.page.objects[i].Key > l.after })
		rest := page{objects: k.page.objects[from:], truncated: k.page.truncated, next: k.page.next, kept: k.id}
		if len(rest.objects) < l.max && rest.truncated {
			return page{}, false
		}
		return rest.first(l.max), true
	}
	return page{}, false
}

// keep keeps what was read, and returns its id. The request's strings are copied: the
// S3 server writes over them when the request is over.
func (a *ahead) keep(l listing, p page) (id string) {
	l.prefix, l.after = strings.Clone(l.prefix), strings.Clone(l.after)
	l.delimiter, l.kept = "", ""
	a.mu.Lock()
	defer a.mu.Unlock()
	id = randomName()
	a.kept = append(a.kept, lookAhead{id: id, query: l, page: p, at: time.Now()})
	for len(a.kept) > keptPages || time.Since(a.kept[0].at) > keptFor {
		a.kept = slices.Delete(a.kept, 0, 1)
	}
	return id
}

// first is the start of a page that has no common prefixes.
func (p page) first(n int) page {
	if len(p.objects) <= n {
		return p
	}
	return page{objects: p.objects[:n:n], truncated: true, next: *p.objects[n-1].Key, kept: p.kept}
}
