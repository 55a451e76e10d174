package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// update prepares to change a record that is there.
func (w *writer[T]) update(in fields, current T) (change[T], error) {
	if err := w.checkUpdate(in, current); err != nil {
		return nil, err
	}
	plain := current
	if w.flags.encrypt {
		var err error
		if plain, err = d6tpipe.Decode(w.api.Config(), current); err != nil {
			return nil, err
		}
	}
	now, err := ownFields(plain)
	if err == nil {
		err = w.dropInherited(now)
	}
	if err != nil {
		return nil, err
	}
	if err := w.addKeys(in, now); err != nil {
		return nil, err
	}
	cleared, err := overlayObjects(in, now)
	if err != nil {
		return nil, err
	}
	maps.Copy(now, in)
	if err := w.validUpdate(now); err != nil {
		return nil, err
	}
	if w.flags.encrypt || cleared { // all of it, not only what changes
		in = now
	}
	next, err := w.decode(in)
	if err == nil && w.flags.encrypt {
		next, err = w.encrypted(next, plain)
	}
	to := w.collection(w.api)
	write := to.Update
	if cleared {
		write = to.Replace
	}
	return func() (T, error) { return write(w.c.Context(), next) }, err
}

// validUpdate reports what would be wrong with one of several records. For one alone
// the repo API says so.
func (w *writer[T]) validUpdate(whole fields) error {
	if !w.several {
		return nil
	}
	r, err := w.record(whole)
	if err != nil {
		return err
	}
	return w.valid(r)
}

// encrypted encrypts a record with the credentials that plain, which it changes, shows.
func (w *writer[T]) encrypted(next, plain T) (T, error) {
	if w.keep(&next, plain); !w.flags.keys.given() {
		w.p.say(w.c, "Credentials that a server does not show stay as they are; give them again to have them encrypted with the rest.")
	}
	return encode(w.api.Config(), next)
}

// checkUpdate refuses changes that would not be what they seem.
func (w *writer[T]) checkUpdate(in fields, current T) error {
	secret := w.flags.keys.given()
	for name, value := range in {
		if string(value) == `""` {
			return usage(w.c, fmt.Errorf("a %s cannot lose its %s by an update; make another one", w.one, name))
		}
		secret = secret || slices.Contains([]string{"protocol", "location", "remote", "settings", "readParams", "credentials", "readCredentials", "writeCredentials"}, name)
	}
	if secret && !w.flags.encrypt && d6tpipe.Encoded(current) {
		return usage(w.c, fmt.Errorf("the settings of %s are encrypted: add --encrypt to change them", safe(w.name(current))))
	}
	return nil
}

// ownFields are the fields of a record that are not answers only, without its
// credentials, which are not shown.
func ownFields(r any) (fields, error) {
	raw, err := encodeJSON(r)
	if err != nil {
		return nil, err
	}
	var now fields
	if err := json.Unmarshal(raw, &now); err != nil {
		return nil, err
	}
	for _, name := range []string{"role", "parent-ultimate", "filters", "credentials", "readCredentials", "writeCredentials"} {
		delete(now, name)
	}
	if _, ok := now["options"]; ok {
		err = now.merge("options", fields{"remotepath": json.RawMessage("null")})
	}
	return now, errors.Join(err, now.dropNulls())
}

// dropInherited takes out of a pipe what its parent says, which an answer has too.
func (w *writer[T]) dropInherited(now fields) error {
	if now.text("parent") == "" {
		return nil
	}
	parent, err := w.api.Pipes().Get(w.c.Context(), now.text("parent"))
	if errors.Is(err, d6tpipe.ErrNotFound) || errors.Is(err, d6tpipe.ErrPermission) {
		return nil // then nothing was filled in
	}
	if err == nil {
		parent, err = d6tpipe.Decode(w.api.Config(), parent)
	}
	if err != nil {
		return err
	}
	above, err := ownFields(parent)
	for _, name := range []string{"protocol", "location", "settings"} {
		if string(above[name]) == string(now[name]) {
			delete(now, name)
		}
	}
	return err
}

// overlayObjects puts options and settings over those that are there, since they
// are replaced whole. It reports whether nothing is left of options.
func overlayObjects(in, now fields) (cleared bool, err error) {
	for _, name := range []string{"options", "settings"} {
		raw, ok := in[name]
		if !ok {
			continue
		}
		var values fields
		if err := json.Unmarshal(raw, &values); err != nil {
			return false, fmt.Errorf("%s must be an object, with a name for each value", name)
		}
		if name == "options" { // "" is none
			for key, value := range values {
				if string(value) == `""` {
					values[key] = json.RawMessage("null")
				}
			}
		}
		whole := fields{}
		if was, ok := now[name]; ok {
			whole[name] = was
		}
		if err := whole.merge(name, values); err != nil {
			return false, err
		}
		in[name] = whole[name]
	}
	if err := in.dropNulls(); err != nil {
		return false, err
	}
	return string(in["options"]) == "{}", nil
}
