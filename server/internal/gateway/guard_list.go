package gateway

import (
	"cmp"
	"context"
	"net/http"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// scanPage is how many keys are looked at in one go when a filter decides which of
// them are shown: the S3 server reads the folder again for every page.
const scanPage = 10_000

// A listing is what a request asks for.
type listing struct {
	prefix, delimiter string
	after             string // the last key or common prefix of the page before
	kept              string // the id of what was read ahead; "" when this is no second page
	max               int
	owner             bool
}

// A page is an answer.
type page struct {
	objects   []s3response.Object
	prefixes  []types.CommonPrefix
	truncated bool
	next      string // the last of it, when it is truncated
	kept      string // the id of what was read ahead
}

// ListObjects lists objects, in the older form of the call.
func (g *guard) ListObjects(ctx context.Context, in *s3.ListObjectsInput) (out s3response.ListObjectsResult, err error) {
	p, err := g.list(ctx, deref(in.Bucket), listing{
		prefix: deref(in.Prefix), delimiter: deref(in.Delimiter), after: deref(in.Marker), max: int(deref(in.MaxKeys)),
	})
	if err != nil {
		return out, err
	}
	return s3response.ListObjectsResult{
		Name: in.Bucket, Prefix: in.Prefix, Delimiter: filled(in.Delimiter), Marker: in.Marker, MaxKeys: in.MaxKeys,
		Contents: p.objects, CommonPrefixes: p.prefixes, IsTruncated: &p.truncated, NextMarker: filled(&p.next),
	}, nil
}

// ListObjectsV2 lists objects.
func (g *guard) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input) (out s3response.ListObjectsV2Result, err error) {
	kept, after := splitToken(deref(in.ContinuationToken))
	p, err := g.list(ctx, deref(in.Bucket), listing{
		prefix: deref(in.Prefix), delimiter: deref(in.Delimiter), after: max(after, deref(in.StartAfter)), kept: kept,
		max: int(deref(in.MaxKeys)), owner: deref(in.FetchOwner),
	})
	if err != nil {
		return out, err
	}
	if p.next != "" {
		p.next = cmp.Or(p.kept, noneKept) + "/" + p.next
	}
	count := int32(len(p.objects) + len(p.prefixes)) // not more than were asked for
	return s3response.ListObjectsV2Result{
		Name: in.Bucket, Prefix: in.Prefix, Delimiter: filled(in.Delimiter), StartAfter: filled(in.StartAfter), MaxKeys: in.MaxKeys,
		ContinuationToken: filled(in.ContinuationToken), KeyCount: &count,
		Contents: p.objects, CommonPrefixes: p.prefixes, IsTruncated: &p.truncated, NextContinuationToken: filled(&p.next),
	}, nil
}

// ListMultipartUploads lists uploads that are not complete.
func (g *guard) ListMultipartUploads(ctx context.Context, in *s3.ListMultipartUploadsInput) (out s3response.ListMultipartUploadsResult, err error) {
	a, err := g.allowList(ctx, auth.ListBucketMultipartUploadsAction, deref(in.Bucket), deref(in.Prefix))
	if err != nil {
		return out, err
	}
	if len(a.match) > 0 {
		in.Delimiter = nil // a common prefix would tell that there is something that the filter hides
	}
	if out, err = g.files.ListMultipartUploads(ctx, in); err != nil {
		return out, err
	}
	shown := out.Uploads[:0]
	for _, u := range out.Uploads {
		if a.sees(u.Key) {
			shown = append(shown, u)
		}
	}
	out.Uploads = shown
	return out, nil
}

// allowList checks that a listing stays in the grant's folder.
func (g *guard) allowList(ctx context.Context, action auth.Action, bucket, prefix string) (access, error) {
	a, err := g.caller(ctx)
	if err != nil {
		return a, err
	}
	if bucket != g.bucket || !a.may(action, "") || !strings.HasPrefix(prefix, a.prefix) {
		return a, s3err.GetAPIError(s3err.ErrAccessDenied)
	}
	if folder := prefix[:strings.LastIndex(prefix, "/")+1]; badKey(folder) != "" || path.Base(prefix) == ".." {
		return a, apiError(http.StatusBadRequest, "InvalidArgument", "The prefix is not one that keys can have.")
	}
	return a, nil
}

func (g *guard) list(ctx context.Context, bucket string, l listing) (page, error) {
	a, err := g.allowList(ctx, auth.ListBucketAction, bucket, l.prefix)
	switch {
	case err != nil:
		return page{}, err
	case l.max == 0:
		return page{}, nil
	case len(a.match) > 0:
		return g.listFiltered(ctx, a, l)
	}
	if l.kept == "" || l.delimiter != "" || l.max < fullPage {
		return g.scan(ctx, l)
	}
	return g.readAhead(ctx, l)
}

// listFiltered fills a page with what the filters show. It looks at every key,
// because a common prefix is shown only when there is something to see below.
func (g *guard) listFiltered(ctx context.Context, a access, l listing) (page, error) {
	var out page
	from, last := l.after, l.after
	for {
		p, err := g.scan(ctx, listing{prefix: l.prefix, after: from, max: max(scanPage, l.max), owner: l.owner})
		if err != nil {
			return page{}, err
		}
		for _, o := range p.objects {
			name, common := l.group(*o.Key)
			if !a.sees(*o.Key) || common && name <= last {
				continue
			}
			if len(out.objects)+len(out.prefixes) == l.max {
				out.truncated, out.next = true, last
				return out, nil
			}
			if last = name; common {
				out.prefixes = append(out.prefixes, types.CommonPrefix{Prefix: &name})
			} else {
				out.objects = append(out.objects, o)
			}
		}
		if from = p.next; !p.truncated {
			return out, nil
		}
	}
}

// group returns the common prefix that stands for a key in the listing, or the key.
func (l listing) group(key string) (name string, common bool) {
	if l.delimiter == "" {
		return key, false
	}
	before, _, found := strings.Cut(key[len(l.prefix):], l.delimiter)
	if !found {
		return key, false
	}
	return l.prefix + before + l.delimiter, true
}

// scan asks the files, without a filter.
func (g *guard) scan(ctx context.Context, l listing) (page, error) {
	count := int32(min(l.max, scanPage))
	empty := ""
	res, err := g.files.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &g.bucket, Prefix: &l.prefix, Delimiter: &l.delimiter, ContinuationToken: &l.after, StartAfter: &empty, MaxKeys: &count, FetchOwner: &l.owner,
	})
	if err != nil {
		return page{}, err
	}
	shown := res.Contents[:0]
	for _, o := range res.Contents {
		if !reserved(path.Base(*o.Key)) {
			shown = append(shown, o)
		}
	}
	return page{objects: shown, prefixes: res.CommonPrefixes, truncated: deref(res.IsTruncated), next: deref(res.NextContinuationToken)}, nil
}

// filled returns nil for what is not to be in an answer.
func filled(s *string) *string {
	if deref(s) == "" {
		return nil
	}
	return s
}
