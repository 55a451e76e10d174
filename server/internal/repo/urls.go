package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// mostURLs is how many are made at a time.
const mostURLs = 1000

// A signForm asks for URLs: of one method for several keys, or of several requests, each
// with an answer of its own.
type signForm struct {
	Method   string    `json:"method"`
	Keys     []string  `json:"keys"`
	Requests []Signing `json:"requests"`
}

// A signed is the answer to one of several requests.
type signed struct {
	URL     string `json:"url,omitempty"`
	Refused string `json:"detail,omitempty"`
}

// urls makes URLs for single requests about files of a managed pipe.
func (s *session) urls(ctx context.Context, name string, in json.RawMessage) (json.RawMessage, error) {
	var form signForm
	if err := json.Unmarshal(in, &form); err != nil {
		return nil, d6tpipe.ErrInvalid
	}
	if err := form.check(); err != nil {
		return nil, err
	}
	role := form.role()
	h, err := s.handout(ctx, name, role)
	if err != nil {
		return nil, err
	}
	if !h.here || s.o.Storage == nil {
		return nil, refusal(http.StatusNotImplemented, "URLs are made for pipes in managed storage only.")
	}
	if err := s.handed(ctx, h, "url "+string(role), len(form.Keys)+len(form.Requests)); err != nil {
		return nil, err
	}
	if form.Requests != nil {
		return s.signEach(ctx, h, form.Requests)
	}
	return s.signAll(ctx, s.grantOf(h, role), form)
}

func (f *signForm) check() error {
	field, n := "keys", len(f.Keys)
	if f.Requests != nil {
		field, n = "requests", len(f.Requests)
		if f.Keys != nil || f.Method != "" {
			return &d6tpipe.FieldError{Field: field, Reason: "Name requests, or a method and keys."}
		}
	} else {
		f.Method = cmp.Or(f.Method, http.MethodGet)
		if f.Method != http.MethodGet && f.Method != http.MethodHead && f.Method != http.MethodPut && f.Method != http.MethodDelete {
			return &d6tpipe.FieldError{Field: "method", Reason: "Methods are GET, HEAD, PUT and DELETE."}
		}
	}
	if n == 0 || n > mostURLs {
		return &d6tpipe.FieldError{Field: field, Reason: fmt.Sprintf("Name 1 to %d %s.", mostURLs, field)}
	}
	return nil
}

// role is what it takes to make all of the requests.
func (f *signForm) role() d6tpipe.Role {
	for _, r := range f.Requests {
		if r.role() != d6tpipe.RoleRead {
			return d6tpipe.RoleWrite
		}
	}
	return Signing{Method: cmp.Or(f.Method, http.MethodGet)}.role()
}

// role is what it takes to make a request. To look at an upload is for who makes it.
func (r Signing) role() d6tpipe.Role {
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && len(r.Query) == 0 {
		return d6tpipe.RoleRead
	}
	return d6tpipe.RoleWrite
}

// signAll signs one method for all keys, or nothing.
func (s *session) signAll(ctx context.Context, g Grant, form signForm) (json.RawMessage, error) {
	urls := map[string]string{}
	for _, key := range form.Keys {
		url, err := s.o.Storage.Sign(ctx, g, Signing{Method: form.Method, Key: key})
		if errors.Is(err, ErrGrant) {
			return nil, refusal(http.StatusForbidden, err.Error())
		}
		if err != nil {
			return nil, err
		}
		urls[key] = url
	}
	return json.Marshal(map[string]any{"urls": urls})
}

// signEach signs what is within the grant, and says of the rest why it is not.
func (s *session) signEach(ctx context.Context, h handout, requests []Signing) (json.RawMessage, error) {
	answers := make([]signed, len(requests))
	for i, r := range requests {
		url, err := s.o.Storage.Sign(ctx, s.grantOf(h, r.role()), r)
		switch {
		case errors.Is(err, ErrGrant):
			answers[i].Refused = err.Error()
		case err != nil:
			return nil, err
		default:
			answers[i].URL = url
		}
	}
	return json.Marshal(map[string]any{"signed": answers})
}
