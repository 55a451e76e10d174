package wire

import (
	"context"
	"encoding/json"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// plain is a Service and a Session without accounts.
type plain struct{ catalog.Backend }

func (plain) Register(context.Context, Registration) (string, error) {
	return "", d6tpipe.ErrNotFound
}

func (plain) Login(context.Context, string, string) (string, error) { return "", d6tpipe.ErrNotFound }

func (p plain) Open(context.Context, string) (Session, error) { return p, nil }

func (plain) Authorize(context.Context, catalog.Verb, string, string) error { return nil }

func (plain) WhoAmI(context.Context) (json.RawMessage, error) { return nil, d6tpipe.ErrNotFound }

func (plain) Unregister(context.Context, string) error { return d6tpipe.ErrNotFound }
