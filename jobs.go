package d6tpipe

import (
	"context"
	"iter"
	"net/url"
	"strconv"
)

// JobsOptions say which runs are wanted. The zero value is all.
type JobsOptions struct {
	Kind  string   // scan, mirror, webhook
	State RunState // such as RunFailed
}

// Jobs goes through what the server has done by itself, does and is about to do,
// whosever it is, the newest first: for administrators of the server, others get
// [ErrPermission]. It goes back as far as the server keeps it. An error comes last.
func (c *APIClient) Jobs(ctx context.Context, o JobsOptions) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		q := url.Values{"limit": {strconv.Itoa(auditPage)}}
		for name, value := range map[string]string{"kind": o.Kind, "state": string(o.State)} {
			if value != "" {
				q.Set(name, value)
			}
		}
		for run, err := range pages(ctx, c.server, c.server.url("admin", "jobs"), q, func(r Run) string { return r.ID }) {
			if err != nil {
				explain(&err, "list jobs", "")
				yield(Run{}, err)
				return
			}
			if !yield(run, nil) {
				return
			}
		}
	}
}
