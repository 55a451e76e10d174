package d6tpipe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

// localVersionNumber is the version of the file format. A file of a higher one is
// refused, because to write it could lose what we cannot read.
const localVersionNumber = 1

const localComment = "Remotes and pipes of d6tpipe. Edit by hand or with d6tpipe. Credentials are in clear: think before you share it."

// decodeLocal reads a catalogue file; nil is a missing one.
func decodeLocal(data []byte) (*localState, error) {
	s := newLocalState()
	if data == nil {
		return s, nil
	}
	top, err := jsonfile.Parse(data)
	if err != nil {
		return nil, damaged(err, conflictHint(data))
	}
	s.top = top
	var field *FieldError
	if err := checkSpelling(top, []string{"version", catalog.Remotes, catalog.Pipes}); errors.As(err, &field) {
		return nil, damagedAt(data, err.Error(), field.Field)
	}
	if err := checkVersion(top, data); err != nil {
		return nil, err
	}
	for _, kind := range localKinds {
		raw, ok := top.Get(kind.path)
		if !ok {
			continue
		}
		if err := s.decodeTable(kind, raw, data); err != nil {
			return nil, err
		}
	}
	return s, s.checkCycles(data)
}

// decodeTable reads a collection. The whole file is only there to find places.
func (s *localState) decodeTable(kind *localKind, raw json.RawMessage, data []byte) error {
	var rows []json.RawMessage
	if err := json.Unmarshal(raw, &rows); err != nil || rows == nil {
		return damagedAt(data, "This must be an array.", kind.path)
	}
	t := s.tables[kind.path]
	for i, raw := range rows {
		row, err := decodeRow(kind, raw)
		if err == nil && t.rows[row.rec.key()] != nil {
			err = &FieldError{Field: "name", Reason: catalog.Taken}
		}
		if err != nil {
			return damagedRow(data, err, kind, i, raw)
		}
		t.rows[row.rec.key()] = row
	}
	t.names = nil
	t.sorted()
	return nil
}

func decodeRow(kind *localKind, raw json.RawMessage) (*localRow, error) {
	var fields jsonfile.Object
	if bytes.HasPrefix(raw, []byte("null")) {
		return nil, errors.New("not a JSON object")
	}
	if err := fields.UnmarshalJSON(raw); err != nil {
		return nil, errors.New("not a JSON object")
	}
	return newLocalRow(kind, &fields)
}

func checkVersion(top *jsonfile.Object, data []byte) error {
	raw, ok := top.Get("version")
	if !ok {
		return nil
	}
	version, err := strconv.Atoi(string(raw))
	switch {
	case err != nil || version < 1:
		return damagedAt(data, "This must be a whole number from 1 on.", "version")
	case version > localVersionNumber:
		return damagedAt(data, fmt.Sprintf("A newer d6tpipe wrote this file: its version is %d, and this one reads up to %d.",
			version, localVersionNumber), "version")
	}
	return nil
}

// encode writes the file. Tables that it did not have come last.
func (s *localState) encode() ([]byte, error) {
	top := s.top
	if top.Len() == 0 {
		top = &jsonfile.Object{}
		top.Set("$comment", json.RawMessage(strconv.Quote(localComment)))
	}
	var b bytes.Buffer
	b.WriteString("{")
	for i, key := range fileKeys(top) {
		if i > 0 {
			b.WriteString(",")
		}
		quoted, err := encodeJSON(key)
		if err != nil {
			return nil, err
		}
		b.WriteString("\n  " + string(quoted) + ": ")
		if err := s.encodeField(&b, top, key); err != nil {
			return nil, err
		}
	}
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}

// fileKeys are the fields of the file, with those that every file has.
func fileKeys(top *jsonfile.Object) []string {
	keys := top.Keys()
	for _, key := range []string{"version", localKinds[0].path, localKinds[1].path} {
		if _, ok := top.Get(key); !ok {
			keys = append(keys, key)
		}
	}
	return keys
}

func (s *localState) encodeField(b *bytes.Buffer, top *jsonfile.Object, key string) error {
	if t, ok := s.tables[key]; ok {
		t.encode(b)
		return nil
	}
	raw, ok := top.Get(key)
	if !ok {
		raw = json.RawMessage(strconv.Itoa(localVersionNumber))
	}
	text, err := indentJSON(raw, "  ")
	b.Write(text)
	return err
}

func (t *localTable) encode(b *bytes.Buffer) {
	b.WriteString("[")
	for i, name := range t.sorted() {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n    ")
		b.Write(t.rows[name].text)
	}
	if len(t.rows) > 0 {
		b.WriteString("\n  ")
	}
	b.WriteString("]")
}

// indentJSON writes raw for people; prefix is the indent of the line it is on.
func indentJSON(raw json.RawMessage, prefix string) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, prefix, "  "); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
