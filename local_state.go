package d6tpipe

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

// localState is a local catalogue in memory. Once a version is made of it, it
// does not change any more; changes are made to a clone.
type localState struct {
	top    *jsonfile.Object // the file's own fields; those of the tables are stale
	tables map[string]*localTable
	dirty  bool // whether it differs from what it was cloned from
}

// localTable is a collection in memory.
type localTable struct {
	kind  *localKind
	rows  map[string]*localRow
	names []string // sorted; nil when out of date
}

// localRow is a record in memory. It never changes.
type localRow struct {
	kind   *localKind
	fields *jsonfile.Object // as in the file, in their order
	rec    Record           // the same, decoded
	text   []byte           // the same, as it stands in the file
}

// localKind is what the rules for remotes and for pipes differ in.
type localKind struct {
	path    string
	noun    string
	fields  []string // the known fields, in the order of the file
	secrets []string // fields that Replace keeps
	answers []string // fields that only answers have
	decode  func(raw json.RawMessage) (Record, error)
}

var localKinds = []*localKind{{
	path: catalog.Remotes, noun: "remote",
	fields:  []string{"name", "protocol", "location", "settings", "readParams", "readCredentials", "writeCredentials"},
	secrets: []string{"readCredentials", "writeCredentials"},
	decode:  func(raw json.RawMessage) (Record, error) { return decodeAs[RemoteSettings](raw) },
}, {
	path: catalog.Pipes, noun: "pipe",
	fields: []string{"name", "protocol", "location", "remote", "parent", "options", "schema", "settings",
		"readParams", "credentials", "readCredentials", "writeCredentials", "role", "parent-ultimate", "filters"},
	secrets: []string{"credentials", "readCredentials", "writeCredentials"},
	answers: []string{"role", "parent-ultimate", "filters"},
	decode:  func(raw json.RawMessage) (Record, error) { return decodeAs[PipeSettings](raw) },
}}

// optionFields are the known fields of a pipe's options.
var optionFields = []string{"dir", "include", "exclude", "remotepath", "encrypted"}

func newLocalState() *localState {
	s := &localState{top: &jsonfile.Object{}, tables: map[string]*localTable{}}
	for _, kind := range localKinds {
		s.tables[kind.path] = &localTable{kind: kind, rows: map[string]*localRow{}, names: []string{}}
	}
	return s
}

// clone returns a state that may be changed.
func (s *localState) clone() *localState {
	c := &localState{top: s.top, tables: map[string]*localTable{}}
	for path, t := range s.tables {
		c.tables[path] = &localTable{kind: t.kind, rows: maps.Clone(t.rows), names: t.names}
	}
	return c
}

// put adds row, or replaces the one of its name.
func (s *localState) put(row *localRow) {
	t := s.tables[row.kind.path]
	if old, ok := t.rows[row.rec.key()]; !ok {
		t.names = nil
	} else if string(old.text) == string(row.text) {
		return
	}
	t.rows[row.rec.key()] = row
	s.dirty = true
}

func (s *localState) remove(t *localTable, name string) {
	delete(t.rows, name)
	t.names = nil
	s.dirty = true
}

// sorted returns the names in their order. The caller does not change them.
func (t *localTable) sorted() []string {
	if t.names == nil {
		t.names = slices.Sorted(maps.Keys(t.rows))
	}
	return t.names
}

// newLocalRow checks a record and puts its fields in order.
func newLocalRow(kind *localKind, fields *jsonfile.Object) (*localRow, error) {
	if err := checkSpelling(fields, kind.fields); err != nil {
		return nil, err
	}
	row := &localRow{kind: kind, fields: inOrder(fields, kind.fields)}
	for _, answer := range kind.answers {
		row.fields.Delete(answer)
	}
	if err := row.orderOptions(); err != nil {
		return nil, err
	}
	raw, err := row.fields.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if row.rec, err = kind.decode(raw); err != nil {
		return nil, err
	}
	if err := row.rec.Validate(); err != nil {
		return nil, err
	}
	if err := checkUnmanaged(row.rec); err != nil {
		return nil, err
	}
	row.text, err = indentJSON(raw, "    ")
	return row, err
}

// orderOptions does for the options of a pipe what is done for its fields. None
// at all are the same as none.
func (row *localRow) orderOptions() error {
	raw, ok := row.fields.Get("options")
	if !ok || row.kind.path != catalog.Pipes {
		return nil
	}
	var options jsonfile.Object
	if err := options.UnmarshalJSON(raw); err != nil {
		return nil // no object: the decoder says it better
	}
	if err := checkSpelling(&options, optionFields); err != nil {
		return err
	}
	options.Delete("remotepath")
	if options.Len() == 0 {
		row.fields.Delete("options")
		return nil
	}
	raw, err := inOrder(&options, optionFields).MarshalJSON()
	if err == nil {
		row.fields.Set("options", raw)
	}
	return err
}

// inOrder returns fields with the known ones first and the others by name. A
// known one that is null is one that is not there.
func inOrder(fields *jsonfile.Object, known []string) *jsonfile.Object {
	out := &jsonfile.Object{}
	for _, key := range known {
		if value, ok := fields.Get(key); ok && string(value) != "null" {
			out.Set(key, value)
		}
	}
	for _, key := range slices.Sorted(slices.Values(fields.Keys())) {
		if value, _ := fields.Get(key); !slices.Contains(known, key) {
			out.Set(key, value)
		}
	}
	return out
}

// checkSpelling refuses a field that a decoder would take for a known one though
// its letters have another case.
func checkSpelling(fields *jsonfile.Object, known []string) error {
	for _, key := range fields.Keys() {
		for _, k := range known {
			if key != k && strings.EqualFold(key, k) {
				return &FieldError{Field: key, Reason: fmt.Sprintf("This field is spelled %s.", k)}
			}
		}
	}
	return nil
}

// checkUnmanaged refuses records whose storage a server would have to own.
func checkUnmanaged(rec Record) error {
	managed := false
	switch r := rec.(type) {
	case RemoteSettings:
		managed = r.Protocol == ProtocolManaged
	case PipeSettings:
		managed = r.Protocol == ProtocolManaged || r.Protocol == "" && r.Parent == "" && r.Remote == ""
	}
	if !managed {
		return nil
	}
	return &FieldError{Field: "protocol", Reason: "A local catalogue has no managed storage. " +
		"Give a protocol and a location, or for a pipe the name of a remote or a parent."}
}

// decodeAs decodes a record and names the field that has the wrong type.
func decodeAs[T Record](raw json.RawMessage) (Record, error) {
	var rec T
	err := decodeJSON(raw, &rec)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field, _, _ := strings.Cut(wrong.Field, ".")
		return nil, &FieldError{Field: field, Reason: fmt.Sprintf("A JSON %s does not fit here.", wrong.Value)}
	}
	return rec, err
}
