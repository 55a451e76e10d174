package d6tpipe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

// edit carries out Create, Replace or Update and returns the new record. After
// an error s is as it was.
func (s *localState) edit(verb catalog.Verb, kind *localKind, old *localRow, in json.RawMessage) (*localRow, error) {
	body, err := parseBody(kind, in)
	if err != nil {
		return nil, err
	}
	if verb == catalog.Create {
		old = nil
	}
	fields := compose(verb, kind, old, body)
	if kind.path == catalog.Pipes {
		if err := s.tidy(fields, old); err != nil {
			return nil, err
		}
	}
	row, err := newLocalRow(kind, fields)
	if err != nil {
		return nil, err
	}
	if err := s.admit(row, old); err != nil {
		return nil, err
	}
	s.put(row)
	return row, nil
}

// parseBody reads a request; no body is an empty one.
func parseBody(kind *localKind, in json.RawMessage) (*jsonfile.Object, error) {
	if len(bytes.TrimSpace(in)) == 0 {
		return &jsonfile.Object{}, nil
	}
	body, err := jsonfile.Parse(in)
	if err != nil {
		return nil, &FieldError{Field: kind.noun, Reason: err.Error()}
	}
	// In the file it stands two deeper.
	if err := jsonfile.Check(slices.Concat([]byte("[["), in, []byte("]]"))); err != nil {
		return nil, &FieldError{Field: kind.noun, Reason: err.Error()}
	}
	return body, nil
}

// compose returns the fields that a record has after verb. A null takes a field
// away.
func compose(verb catalog.Verb, kind *localKind, old *localRow, body *jsonfile.Object) *jsonfile.Object {
	fields := &jsonfile.Object{}
	if old != nil {
		keep := kind.secrets
		if verb == catalog.Update {
			keep = old.fields.Keys()
		}
		for _, key := range keep {
			if value, ok := old.fields.Get(key); ok {
				fields.Set(key, value)
			}
		}
	}
	for _, key := range body.Keys() {
		value, _ := body.Get(key)
		if string(value) == "null" && !old.hasNull(key) {
			fields.Delete(key)
		} else {
			fields.Set(key, value)
		}
	}
	return fields
}

// hasNull reports whether somebody wrote an unknown field into the file that is
// null: it stays when the record is sent back.
func (row *localRow) hasNull(key string) bool {
	if row == nil {
		return false
	}
	value, ok := row.fields.Get(key)
	return ok && string(value) == "null"
}

// admit reports whether a record may take its place in the catalogue.
func (s *localState) admit(row, old *localRow) error {
	name := row.rec.key()
	switch {
	case old == nil && s.tables[row.kind.path].rows[name] != nil:
		return &FieldError{Field: "name", Reason: catalog.Taken, Kind: ErrExists}
	case old != nil && old.rec.key() != name:
		return &FieldError{Field: "name", Reason: "A record cannot be renamed; create a new one and delete this one."}
	}
	if p, ok := row.rec.(PipeSettings); ok {
		return s.checkRefs(p, old.pipe())
	}
	return nil
}

// pipe returns the record as a pipe. There may be none.
func (row *localRow) pipe() PipeSettings {
	if row == nil {
		return PipeSettings{}
	}
	p, _ := row.rec.(PipeSettings)
	return p
}

// tidy takes out of a pipe what show has put in, so that an answer can be sent
// back, and makes a folder of a remotepath that Python's local mode wrote.
func (s *localState) tidy(fields *jsonfile.Object, old *localRow) error {
	raw, err := fields.MarshalJSON()
	if err != nil {
		return err
	}
	rec, err := decodeAs[PipeSettings](raw)
	if err != nil {
		return err
	}
	p, _ := rec.(PipeSettings)
	if p.Remote == "" && isEmptyObject(p.Schema) {
		fields.Delete("schema")
	}
	if p.Parent != "" {
		s.dropInherited(fields, p, old.pipe())
	}
	// What has a role is an answer that comes back, perhaps changed.
	if o := p.Options; o.RemotePath != "" && o.Dir == "" && p.Parent == "" && p.Remote == "" && p.Role == "" {
		return adoptPath(fields, p)
	}
	return nil
}

// dropInherited takes out the protocol, location and settings that are a
// parent's: the new parent's, or those that were shown when the pipe had none of
// its own.
func (s *localState) dropInherited(fields *jsonfile.Object, p, was PipeSettings) {
	now := s.inherited(p)
	before := s.inherited(was)
	if p.Protocol == now.Protocol || was.Protocol == "" && p.Protocol == before.Protocol {
		fields.Delete("protocol")
	}
	if p.Location == now.Location || was.Location == "" && p.Location == before.Location {
		fields.Delete("location")
	}
	if sameJSON(p.Settings, now.Settings) || len(was.Settings) == 0 && sameJSON(p.Settings, before.Settings) {
		fields.Delete("settings")
	}
}

// inherited returns what the parents of p say, nothing when they cannot be
// followed.
func (s *localState) inherited(p PipeSettings) PipeSettings {
	if ancestors, err := s.ancestors(p); err == nil {
		return PipeSettings{}.Inherit(ancestors...)
	}
	return PipeSettings{}
}

// adoptPath makes location and folder of the path that the Python client's local
// mode has in their place.
func adoptPath(fields *jsonfile.Object, p PipeSettings) error {
	location, dir, err := splitPath(p)
	if err != nil {
		return err
	}
	if p.Location == "" && location != "" {
		if err := setJSON(fields, "location", location); err != nil {
			return err
		}
	}
	p.Options.Dir = trimDir(dir)
	return setJSON(fields, "options", p.Options)
}

// splitPath reads a remotepath as remotePath writes it.
func splitPath(p PipeSettings) (location, dir string, err error) {
	bad := &FieldError{Field: "options", Reason: fmt.Sprintf("The remotepath does not lie in the location %s.", p.Location)}
	path := p.Options.RemotePath
	switch p.Protocol {
	case ProtocolS3:
		path, ok := strings.CutPrefix(path, "s3://")
		location, dir, _ = strings.Cut(path, "/")
		if !ok || p.Location != "" && location != p.Location {
			return "", "", bad
		}
		return location, dir, nil
	case ProtocolDir, ProtocolHTTP, ProtocolHTTPS:
		if p.Location == "" {
			return strings.TrimSuffix(path, "/"), "", nil
		}
		dir, ok := strings.CutPrefix(strings.TrimSuffix(path, "/")+"/", strings.TrimSuffix(p.Location, "/")+"/")
		if !ok {
			return "", "", bad
		}
		return p.Location, dir, nil
	default:
		return p.Location, path, nil
	}
}

func setJSON(o *jsonfile.Object, key string, value any) error {
	raw, err := encodeJSON(value)
	if err == nil {
		o.Set(key, raw)
	}
	return err
}

func isEmptyObject(raw json.RawMessage) bool {
	var fields map[string]json.RawMessage
	return len(raw) > 0 && json.Unmarshal(raw, &fields) == nil && fields != nil && len(fields) == 0
}
