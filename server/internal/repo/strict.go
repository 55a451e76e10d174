package repo

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A form is what an object may say, by the names of its fields. A field that is none of
// it is refused: what is misspelt would be left out without a word.
type form map[string]blank

// A blank is a field of a form: where it goes, and what it must be, as people say it.
// One that goes nowhere is of answers, and may be sent back.
type blank struct {
	into any
	must string
}

// What fields must be, where it is the same for many.
const (
	mustText     = "text"
	mustBool     = "true or false"
	mustInterval = "a time such as 90s, 15m, 12h or 7d, in quotes"
)

// answered adds the fields of answers to a form.
func (f form) answered(names ...string) form {
	for _, name := range names {
		f[name] = blank{}
	}
	return f
}

// read reads an object; what names it in the refusal, as in "A schedule". A
// [d6tpipe.FieldError] of something nested has the names of both fields.
func (f form) read(in json.RawMessage, what string) error {
	var said map[string]json.RawMessage
	if json.Unmarshal(in, &said) != nil {
		return d6tpipe.ErrInvalid
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		b, known := f[name]
		switch {
		case !known:
			return &d6tpipe.FieldError{Field: name, Reason: what + " has no such field; it has " + f.names() + "."}
		case b.into == nil:
			continue
		}
		err := json.Unmarshal(said[name], b.into)
		var inner *d6tpipe.FieldError
		switch {
		case errors.As(err, &inner):
			return &d6tpipe.FieldError{Field: name + "." + inner.Field, Reason: inner.Reason}
		case err != nil:
			return &d6tpipe.FieldError{Field: name, Reason: "This must be " + b.must + "."}
		}
	}
	return nil
}

// names are the fields that may be said.
func (f form) names() string {
	var names []string
	for name, b := range f {
		if b.into != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// overlay puts the fields that a PATCH names over those that are there: each is replaced
// whole, and null is none.
func overlay(there any, in json.RawMessage) (json.RawMessage, error) {
	raw, err := json.Marshal(there)
	if err != nil {
		return nil, err
	}
	var fields, said map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	if len(in) > 0 && json.Unmarshal(in, &said) != nil {
		return nil, d6tpipe.ErrInvalid
	}
	maps.Copy(fields, said)
	maps.DeleteFunc(fields, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	return json.Marshal(fields)
}

// A saidSchedule is a schedule within something else, read as [readSchedule] does.
type saidSchedule d6tpipe.Schedule

func (s *saidSchedule) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	schedule, err := readSchedule(raw)
	*s = saidSchedule(schedule)
	return err
}
