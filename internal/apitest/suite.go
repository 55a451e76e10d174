// Package apitest is what every repo API must do. It runs on the JSON file of
// local mode, on the client against the wire handler, and on the client against
// the server; what differs between them is a defect. Only tests import it.
package apitest

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// Run runs the suite. Each case gets an API of its own from open, with an empty
// catalogue whose records the caller may all read and write.
func Run(t *testing.T, open func(t *testing.T) d6tpipe.API) {
	for _, set := range []struct {
		name  string
		cases []testCase
	}{
		{"pipe", recordCases(pipes)}, {"remote", recordCases(remotes)},
		{"pipes", pipeCases}, {"remotes", remoteCases}, {"storage", storageCases},
		{"hostile", hostileCases}, {"list", listCases}, {"race", raceCases},
	} {
		for _, c := range set.cases {
			t.Run(set.name+"/"+c.name, func(t *testing.T) { c.run(t, open(t)) })
		}
	}
}

type testCase struct {
	name string
	run  func(t *testing.T, api d6tpipe.API)
}

// A noun is a collection with the type of its records taken away. The mark of a
// record is its ReadParams, which both types have.
type noun struct {
	path    string
	get     func(ctx context.Context, api d6tpipe.API, name string) (mark string, err error)
	create  func(ctx context.Context, api d6tpipe.API, name, mark string) error
	replace func(ctx context.Context, api d6tpipe.API, name, mark string) error
	update  func(ctx context.Context, api d6tpipe.API, name, mark string) error
	upsert  func(ctx context.Context, api d6tpipe.API, name, mark string) error
	delete  func(ctx context.Context, api d6tpipe.API, name string) error
	names   func(ctx context.Context, api d6tpipe.API) ([]string, error)
}

var pipes = noun{
	path: catalog.Pipes,
	get: func(ctx context.Context, api d6tpipe.API, name string) (string, error) {
		p, err := api.Pipes().Get(ctx, name)
		return string(p.ReadParams), err
	},
	create: func(ctx context.Context, api d6tpipe.API, name, mark string) error {
		_, err := api.Pipes().Create(ctx, pipe(name, mark))
		return err
	},
	replace: func(ctx context.Context, api d6tpipe.API, name, mark string) error {
		_, err := api.Pipes().Replace(ctx, pipe(name, mark))
		return err
	},
	update: func(ctx context.Context, api d6tpipe.API, name, mark string) error {
		_, err := api.Pipes().Update(ctx, d6tpipe.PipeSettings{Name: name, ReadParams: raw(mark)})
		return err
	},
	upsert: func(ctx context.Context, api d6tpipe.API, name, mark string) error {
		_, err := api.Pipes().Upsert(ctx, pipe(name, mark))
		return err
	},
	delete: func(ctx context.Context, api d6tpipe.API, name string) error { return api.Pipes().Delete(ctx, name) },
	names:  func(ctx context.Context, api d6tpipe.API) ([]string, error) { return api.Pipes().Names(ctx) },
}

var remotes = noun{
	path: catalog.Remotes,
	get: func(ctx context.Context, api d6tpipe.API, name string) (string, error) {
		r, err := api.Remotes().Get(ctx, name)
		return string(r.ReadParams), err
	},
	create: func(ctx context.Context, api d6tpipe.API, name, mark string) error {
		_, err := api.Remotes().Create(ctx, remote(name, mark))
		return err
	},
	replace: func(ctx context.Context, api d6tpipe.API, name, mark string) error {
		_, err := api.Remotes().Replace(ctx, remote(name, mark))
		return err
	},
	update: func(ctx context.Context, api d6tpipe.API, name, mark string) error {
		_, err := api.Remotes().Update(ctx, d6tpipe.RemoteSettings{Name: name, ReadParams: raw(mark)})
		return err
	},
	upsert: func(ctx context.Context, api d6tpipe.API, name, mark string) error {
		_, err := api.Remotes().Upsert(ctx, remote(name, mark))
		return err
	},
	delete: func(ctx context.Context, api d6tpipe.API, name string) error { return api.Remotes().Delete(ctx, name) },
	names:  func(ctx context.Context, api d6tpipe.API) ([]string, error) { return api.Remotes().Names(ctx) },
}

func pipe(name, mark string) d6tpipe.PipeSettings {
	return d6tpipe.PipeSettings{Name: name, Protocol: d6tpipe.ProtocolS3, Location: "bucket", ReadParams: raw(mark)}
}

func remote(name, mark string) d6tpipe.RemoteSettings {
	return d6tpipe.RemoteSettings{Name: name, Protocol: d6tpipe.ProtocolS3, Location: "bucket", ReadParams: raw(mark)}
}

func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// verbs are all calls of a noun that move something.
func (n noun) verbs() map[string]func(ctx context.Context, api d6tpipe.API) error {
	return map[string]func(ctx context.Context, api d6tpipe.API) error{
		"get":     func(ctx context.Context, api d6tpipe.API) error { _, err := n.get(ctx, api, "there"); return err },
		"create":  func(ctx context.Context, api d6tpipe.API) error { return n.create(ctx, api, "new", "1") },
		"replace": func(ctx context.Context, api d6tpipe.API) error { return n.replace(ctx, api, "there", "2") },
		"update":  func(ctx context.Context, api d6tpipe.API) error { return n.update(ctx, api, "there", "2") },
		"upsert":  func(ctx context.Context, api d6tpipe.API) error { return n.upsert(ctx, api, "new", "1") },
		"delete":  func(ctx context.Context, api d6tpipe.API) error { return n.delete(ctx, api, "there") },
		"list":    func(ctx context.Context, api d6tpipe.API) error { _, err := n.names(ctx, api); return err },
	}
}

// field requires that err is about a field, and matches kind.
func field(t *testing.T, err error, name string, kind error) *d6tpipe.FieldError {
	t.Helper()
	require.ErrorIs(t, err, kind)
	var f *d6tpipe.FieldError
	require.ErrorAs(t, err, &f, "%v", err)
	require.Equal(t, name, f.Field)
	named(t, err)
	return f
}

// named requires that err tells the operation and the name.
func named(t *testing.T, err error) {
	t.Helper()
	var e *d6tpipe.Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Op)
	require.NotEmpty(t, e.Err)
}

// backend is the raw catalogue below an API.
func backend(t *testing.T, api d6tpipe.API) catalog.Backend {
	t.Helper()
	b, ok := api.(interface{ Backend() catalog.Backend })
	require.True(t, ok, "the API has no Backend method")
	return b.Backend()
}

func collect[T any](t *testing.T, seq func(func(T, error) bool)) []T {
	t.Helper()
	var all []T
	for rec, err := range seq {
		require.NoError(t, err)
		all = append(all, rec)
	}
	return all
}

func sorted(names []string) bool { return slices.IsSorted(names) }
