package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// records are the routes of a collection and of what lies below its records.
func (h *handler) records(w http.ResponseWriter, r *http.Request, path string, rest []string) (call, error) {
	if len(rest) > 0 && !catalog.IsName(rest[0]) { // the Python client's upsert relies on it, whatever the method
		return nil, d6tpipe.ErrNotFound
	}
	t := target{handler: h, w: w, r: r, path: path}
	switch {
	case len(rest) == 0:
		return t.collection, allow(w, r, http.MethodGet, http.MethodPost)
	case len(rest) == 1:
		t.name = rest[0]
		return t.record, allow(w, r, http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete)
	case len(rest) == 2 && rest[1] == "permissions":
		t.path += "/" + rest[0] + "/permissions"
		return t.collection, allow(w, r, http.MethodGet, http.MethodPost)
	case len(rest) == 2 && rest[1] == "owner":
		t.path += "/" + rest[0] + "/owner"
		return t.record, allow(w, r, http.MethodPatch)
	case len(rest) == 2 && rest[1] == "analytics" && path == catalog.Pipes:
		t.path += "/" + rest[0] + "/analytics"
		return t.page("before", "limit"), allow(w, r, http.MethodGet)
	case len(rest) == 2 && rest[1] == "urls" && path == catalog.Pipes:
		t.path += "/" + rest[0] + "/urls"
		return t.collection, allow(w, r, http.MethodPost)
	case len(rest) == 2 && rest[1] == "credentials" && path == catalog.Pipes:
		t.path += "/" + rest[0] + "/credentials"
		return t.credentials, allow(w, r, http.MethodGet)
	case len(rest) == 2 && rest[1] == "files" && path == catalog.Pipes:
		t.path, t.name = t.path+"/"+rest[0]+"/files", rest[0]
		return t.files, allow(w, r, http.MethodGet, http.MethodPost)
	case len(rest) == 2 && rest[1] == "changes" && path == catalog.Pipes:
		t.path, t.name = t.path+"/"+rest[0]+"/changes", rest[0]
		return t.changes, allow(w, r, http.MethodGet)
	case path == catalog.Pipes:
		t.path += "/" + rest[0] + "/" + rest[1]
		return t.work(rest[1], rest[2:])
	}
	return nil, d6tpipe.ErrNotFound
}

// work are the routes of what a server does with a pipe by itself: t.path ends in what.
func (t target) work(what string, rest []string) (call, error) {
	switch {
	case what == "schedule" && len(rest) == 0:
		return t.record, allow(t.w, t.r, http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete)
	case what != "webhooks" || len(rest) > 0 && !catalog.IsName(rest[0]):
		return nil, d6tpipe.ErrNotFound
	case len(rest) == 0:
		return t.collection, allow(t.w, t.r, http.MethodGet, http.MethodPost)
	case len(rest) == 1:
		t.name = rest[0]
		return t.record, allow(t.w, t.r, http.MethodGet, http.MethodPatch, http.MethodDelete)
	case len(rest) == 2 && rest[1] == "deliveries":
		t.path += "/" + rest[0] + "/deliveries"
		return t.page("before", "limit"), allow(t.w, t.r, http.MethodGet)
	case len(rest) == 2 && rest[1] == "test":
		t.path += "/" + rest[0] + "/test"
		return t.try, allow(t.w, t.r, http.MethodPost)
	}
	return nil, d6tpipe.ErrNotFound
}

// mirrors are the routes of what a server copies from pipe to pipe by itself.
func (h *handler) mirrors(w http.ResponseWriter, r *http.Request, rest []string) (call, error) {
	t := target{handler: h, w: w, r: r, path: "mirrors"}
	switch {
	case len(rest) == 0:
		return t.collection, allow(w, r, http.MethodGet, http.MethodPost)
	case !catalog.IsName(rest[0]):
		return nil, d6tpipe.ErrNotFound
	case len(rest) == 1:
		t.name = rest[0]
		return t.record, allow(w, r, http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete)
	case len(rest) == 2 && rest[1] == "runs":
		t.path += "/" + rest[0] + "/runs"
		if r.Method == http.MethodPost {
			return t.runNow, nil
		}
		return t.page("before", "limit"), allow(w, r, http.MethodGet, http.MethodPost)
	}
	return nil, d6tpipe.ErrNotFound
}

// try looks at no body, either, and answers with what came of it.
func (t target) try(ctx context.Context) (answer, error) {
	return t.bare(ctx, catalog.Create, nil, http.StatusOK)
}

// runNow needs no body: the request says all.
func (t target) runNow(ctx context.Context) (answer, error) {
	return t.carry(ctx, catalog.Create, http.StatusAccepted, false)
}

// schedules is the route of all schedules that a caller may see.
func (h *handler) schedules(w http.ResponseWriter, r *http.Request, rest []string) (call, error) {
	if len(rest) > 0 {
		return nil, d6tpipe.ErrNotFound
	}
	return target{handler: h, w: w, r: r, path: "schedules"}.collection, allow(w, r, http.MethodGet)
}

// admin is the route of what a server does by itself, for who runs it.
func (h *handler) admin(w http.ResponseWriter, r *http.Request, rest []string) (call, error) {
	if len(rest) != 1 || rest[0] != "jobs" {
		return nil, d6tpipe.ErrNotFound
	}
	return target{handler: h, w: w, r: r, path: "admin/jobs"}.page("kind", "state", "before", "limit"), allow(w, r, http.MethodGet)
}

// groups are the routes of teams, which have names of two segments.
func (h *handler) groups(w http.ResponseWriter, r *http.Request, rest []string) (call, error) {
	t := target{handler: h, w: w, r: r, path: "groups"}
	if len(rest) == 1 || len(rest) > 1 && !(catalog.IsName(rest[0]) && catalog.IsName(rest[1])) {
		return nil, d6tpipe.ErrNotFound
	}
	switch {
	case len(rest) == 0:
		return t.collection, allow(w, r, http.MethodGet, http.MethodPost)
	case len(rest) == 2:
		t.name = rest[0] + "/" + rest[1]
		return t.record, allow(w, r, http.MethodGet, http.MethodDelete)
	case len(rest) == 3 && rest[2] == "members":
		t.path += "/" + rest[0] + "/" + rest[1] + "/members"
		return t.collection, allow(w, r, http.MethodGet, http.MethodPost)
	}
	return nil, d6tpipe.ErrNotFound
}

// audit is the route of what happened.
func (h *handler) audit(w http.ResponseWriter, r *http.Request, rest []string) (call, error) {
	if len(rest) > 0 {
		return nil, d6tpipe.ErrNotFound
	}
	return target{handler: h, w: w, r: r, path: "audit"}.page("pipe", "remote", "before", "limit"), allow(w, r, http.MethodGet)
}

// A target is a request and the resource that it is about.
type target struct {
	*handler
	w          http.ResponseWriter
	r          *http.Request
	path, name string
}

// collection lists or creates. The contract has no pages: the list is whole.
func (t target) collection(ctx context.Context) (answer, error) {
	if t.r.Method == http.MethodPost {
		return t.do(ctx, catalog.Create, http.StatusCreated)
	}
	s, err := t.session(ctx, catalog.Get)
	if err != nil {
		return answer{}, err
	}
	list := []byte("[")
	for page := ""; ; {
		rows, next, err := s.List(ctx, t.path, page)
		if err != nil {
			return answer{}, err
		}
		for _, row := range rows {
			if len(list) > 1 {
				list = append(list, ',')
			}
			list = append(list, row...)
		}
		if page = next; page == "" {
			return answer{status: http.StatusOK, body: append(list, ']')}, nil
		}
	}
}

// page lists a part of what is too long for one answer: which one say the parameters
// of the query that have these names. An answer is a list like any other; whoever wants
// more asks for what comes before its last row.
func (t target) page(names ...string) call {
	return func(ctx context.Context) (answer, error) {
		s, err := t.session(ctx, catalog.Get)
		if err != nil {
			return answer{}, err
		}
		asked := url.Values{}
		for name, values := range t.r.URL.Query() {
			if slices.Contains(names, name) {
				asked.Set(name, values[0])
			}
		}
		rows, _, err := s.List(ctx, t.path, asked.Encode())
		if err != nil {
			return answer{}, err
		}
		if rows == nil {
			rows = []json.RawMessage{}
		}
		body, err := json.Marshal(rows)
		return answer{status: http.StatusOK, body: body}, err
	}
}

// record reads, replaces, updates or deletes. A body that comes with GET, as the
// Python client's first generation sends it, is not looked at.
func (t target) record(ctx context.Context) (answer, error) {
	switch t.r.Method {
	case http.MethodPut:
		return t.do(ctx, catalog.Replace, http.StatusOK)
	case http.MethodPatch:
		return t.do(ctx, catalog.Update, http.StatusOK)
	case http.MethodDelete:
		return t.bare(ctx, catalog.Delete, nil, http.StatusNoContent)
	default:
		return t.bare(ctx, catalog.Get, nil, http.StatusOK)
	}
}

// credentials hands the query on as the body of a Get.
func (t target) credentials(ctx context.Context) (answer, error) {
	in, err := credentialsQuery(t.r.URL.Query())
	if err != nil {
		return answer{}, err
	}
	return t.bare(ctx, catalog.Get, in, http.StatusOK)
}

func credentialsQuery(query url.Values) (json.RawMessage, error) {
	in := catalog.CredentialsQuery{Role: query.Get("role"), Renew: isTrue(query.Get("renew")), Expiration: isTrue(query.Get("expiration")), URLs: isTrue(query.Get("urls"))}
	if !in.IsValid() {
		return nil, &d6tpipe.FieldError{Field: "role", Reason: "Roles of credentials are read and write."}
	}
	return json.Marshal(in)
}

// session opens the caller's session and asks it whether verb is allowed.
func (t target) session(ctx context.Context, verb catalog.Verb) (Session, error) {
	s, err := t.open(ctx, t.r)
	if err != nil {
		return nil, err
	}
	return s, s.Authorize(ctx, verb, t.path, t.name)
}

// do carries out a verb that has a body.
func (t target) do(ctx context.Context, verb catalog.Verb, status int) (answer, error) {
	return t.carry(ctx, verb, status, verb != catalog.Update)
}

// carry carries out a verb that may have a body, or needs one. Access comes first, then
// the body.
func (t target) carry(ctx context.Context, verb catalog.Verb, status int, needed bool) (answer, error) {
	s, err := t.session(ctx, verb)
	if err != nil {
		return answer{}, err
	}
	in, err := t.body(t.w, t.r)
	if err != nil {
		return answer{}, err
	}
	if in == nil && needed || in != nil && !bytes.HasPrefix(in, []byte("{")) {
		return answer{}, malformed("The body must be a JSON object.")
	}
	out, err := s.Do(ctx, verb, t.path, t.name, in)
	return answer{status: status, body: out}, err
}

// bare carries out a verb that has no body of the request's.
func (t target) bare(ctx context.Context, verb catalog.Verb, in json.RawMessage, status int) (answer, error) {
	s, err := t.session(ctx, verb)
	if err != nil {
		return answer{}, err
	}
	out, err := s.Do(ctx, verb, t.path, t.name, in)
	return answer{status: status, body: out}, err
}
