package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A writer carries out one command that writes records.
type writer[T d6tpipe.Record] struct {
	*noun[T]
	c     *cobra.Command
	flags recordFlags
	api   d6tpipe.API

	several bool // records, of a file
}

// newRecord makes a record of its own of what the command line says.
func (w *writer[T]) newRecord(in fields) (T, error) {
	if err := w.addKeys(in, nil); err != nil {
		var none T
		return none, err
	}
	r, err := w.decode(in)
	if err == nil && w.flags.encrypt {
		r, err = encode(w.api.Config(), r)
	}
	return r, err
}

// encode encrypts settings with the profile's key.
func encode[T d6tpipe.Record](cfg d6tpipe.Config, r T) (T, error) {
	r, err := d6tpipe.Encode(cfg, r)
	if cfg.Key == "" {
		err = hint(err, fmt.Sprintf("Give it one: d6tpipe --profile %s profiles init, or profiles set --key-file FILE.", cfg.Profile))
	}
	return r, err
}

// decode makes a record of fields, and tells of those that nobody knows.
func (w *writer[T]) decode(in fields) (T, error) {
	r, err := w.record(in)
	if err != nil {
		return r, err
	}
	for _, name := range slices.Sorted(maps.Keys(w.extra(r))) {
		w.p.say(w.c, "Note: a %s has no setting %s that this version knows; it is kept as it is.", w.one, quoted(name))
	}
	return r, nil
}

// record makes a record of fields.
func (w *writer[T]) record(in fields) (r T, err error) {
	if err := in.dropNulls(); err != nil {
		return r, err
	}
	raw, err := encodeJSON(in)
	if err != nil {
		return r, err
	}
	err = json.Unmarshal(raw, &r)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) { // without the value, which may be a secret
		err = fmt.Errorf("%s of %s %s must not be a %s", wrong.Field, w.one, in.text("name"), strings.Fields(wrong.Value)[0])
	}
	return r, err
}

// valid reports what is wrong with one of several records.
func (w *writer[T]) valid(r T) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("%s %q: %w; nothing was done", w.one, w.name(r), err)
	}
	return nil
}

// tell shows a record that was written.
func (w *writer[T]) tell(r T, done string) error {
	if w.p.asJSON && w.several {
		return printJSON(w.c.OutOrStdout(), r, "")
	}
	return w.p.show(w.c, r, func(out io.Writer) error {
		_, err := fmt.Fprintf(out, "%s %s %s\n", done, w.one, safe(w.name(r)))
		return err
	})
}
