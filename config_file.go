package d6tpipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

// movingTo is the setting that [Config.MoveRepo] leaves in a profile while the
// file repo is on its way, so that an interruption loses nobody's files.
const movingTo = "filerepomovingto"

// profiles is the file of profiles in memory.
type profiles struct {
	file string
	all  *jsonfile.Object
	data []byte // what the file holds, nil when there is none
}

// readProfiles reads the file. One that is not there has no profiles.
func readProfiles(file string) (*profiles, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return &profiles{file: file, all: &jsonfile.Object{}}, ignoreMissing(err)
	}
	all, err := jsonfile.Parse(data)
	if err != nil {
		return nil, &Error{Op: "read", Name: file, Err: fmt.Errorf("%w: %w", ErrDamaged, err)}
	}
	return &profiles{file: file, all: all, data: data}, nil
}

// names returns the names of the profiles. What is no object is not one.
func (d *profiles) names() []string {
	return slices.DeleteFunc(d.all.Keys(), func(name string) bool {
		raw, _ := d.all.Get(name)
		return raw[0] != '{'
	})
}

// editProfiles changes the file while holding its lock: read, edit, replace.
func editProfiles(ctx context.Context, file string, edit func(*profiles) error) (err error) {
	if file == "" {
		return &FieldError{Field: "file", Reason: "The profile does not come from a file."}
	}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real // a link to the file stays a link
	}
	if err := makeDir(filepath.Dir(file)); err != nil {
		return err
	}
	unlock, err := atomicfile.Lock(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := atomicfile.Sweep(file); err != nil {
		return err
	}
	doc, err := readProfiles(file)
	if err != nil {
		return err
	}
	if err := edit(doc); err != nil {
		return err
	}
	return doc.write()
}

// write replaces the file, unless somebody who knows nothing of the lock, such
// as the Python client, has changed it since it was read.
func (d *profiles) write() error {
	data, err := d.all.Indent("    ")
	if err != nil {
		return err
	}
	now, err := os.ReadFile(d.file)
	if ignoreMissing(err) != nil {
		return err
	}
	if !bytes.Equal(now, d.data) {
		return fmt.Errorf("%w: another program wrote %s at the same time", ErrConflict, d.file)
	}
	if err := atomicfile.Write(d.file, data, 0o600); err != nil {
		return err
	}
	d.data = data
	return nil
}

// makeDir makes a folder for us alone, with its parents, for good.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// profile returns a profile, empty when there is none.
func (d *profiles) profile(name string) (*jsonfile.Object, error) {
	profile := &jsonfile.Object{}
	raw, ok := d.all.Get(name)
	if !ok {
		return profile, nil
	}
	if raw[0] != '{' {
		return nil, d.damaged(name, nil, "", "a profile must be an object")
	}
	return profile, profile.UnmarshalJSON(raw)
}

func (d *profiles) set(name string, profile *jsonfile.Object) error {
	raw, err := profile.MarshalJSON()
	if err == nil {
		d.all.Set(name, raw)
	}
	return err
}

// settings reads a profile. It is [ErrNotFound] when there is none.
func (d *profiles) settings(name string) (ConfigSettings, *leftToken, error) {
	var s ConfigSettings
	if _, ok := d.all.Get(name); !ok {
		return s, nil, fmt.Errorf("%w: there is no profile %s", ErrNotFound, name)
	}
	profile, err := d.profile(name)
	if err != nil {
		return s, nil, err
	}
	var token, moving string
	texts := append(s.all(), setting{name: "token", text: &token}, setting{name: movingTo, text: &moving})
	for _, f := range texts {
		if err := d.take(name, profile, f.name, f.text, f.name+" must be a text"); err != nil {
			return s, nil, err
		}
	}
	if err := d.take(name, profile, "insecure", &s.Insecure, "insecure must be true or false"); err != nil {
		return s, nil, err
	}
	for _, key := range profile.Keys() { // what nobody took
		if s.Extra == nil {
			s.Extra = map[string]json.RawMessage{}
		}
		s.Extra[key], _ = profile.Get(key)
	}
	s, err = s.arrived(name, moving)
	return s, leftBehind(name, s.Server, Secret(token)), err
}

// take decodes the value of key and removes it from the profile, which is that
// of name as it stands in the file.
func (d *profiles) take(name string, profile *jsonfile.Object, key string, into any, want string) error {
	raw, ok := profile.Get(key)
	if !ok {
		return nil
	}
	if json.Unmarshal(raw, into) != nil { // the error of json shows the value
		return d.damaged(name, profile, key, want)
	}
	profile.Delete(key)
	return nil
}

// damaged says that the value of key in a profile, or the whole profile, is not
// what it should be.
func (d *profiles) damaged(name string, profile *jsonfile.Object, key, want string) error {
	offset := d.all.Offset(name)
	if profile != nil {
		offset += profile.Offset(key)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, jsonfile.At(d.data, offset, want))
}

// leftBehind returns the token that stands in a profile together with the server
// for which it is good.
func leftBehind(profile, server string, token Secret) *leftToken {
	origin, err := Origin(server)
	if token == "" || err != nil {
		return nil
	}
	return &leftToken{key: TokenKey{Profile: profile, Origin: origin}, token: hide(token)}
}
