package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

// An Object is a JSON object that keeps the order of its names, and each name
// and value as it was written. The zero Object is empty and ready for use. It is
// not safe for concurrent use.
type Object struct {
	keys   []string
	fields map[string]field
}

type field struct {
	quoted []byte // the name as it stands in the file
	value  json.RawMessage
	start  int // of the value
}

// Parse checks data as [Check] does and returns the object that it is.
func Parse(data []byte) (*Object, error) {
	if err := Check(data); err != nil {
		return nil, err
	}
	start := skipSpace(data, 0)
	if data[start] != '{' {
		return nil, At(data, start, "not a JSON object")
	}
	o := &Object{}
	return o, o.split(data)
}

// Len returns the number of names.
func (o *Object) Len() int { return len(o.keys) }

// Keys returns the names in their order. The caller owns the slice.
func (o *Object) Keys() []string { return slices.Clone(o.keys) }

// Get returns the value of a name, and whether there is one. The caller does not
// change the bytes.
func (o *Object) Get(key string) (json.RawMessage, bool) {
	f, ok := o.fields[key]
	return f.value, ok
}

// Offset returns where the value of a name began in the text that was parsed, for
// [At]; 0 when the name came later or is not there.
func (o *Object) Offset(key string) int { return o.fields[key].start }

// Set gives a name a value: in its place when it is there, at the end otherwise.
// The object keeps value, which is valid JSON.
func (o *Object) Set(key string, value json.RawMessage) {
	f, ok := o.fields[key]
	if !ok {
		f.quoted = quote(key)
		o.keys = append(o.keys, key)
	}
	if o.fields == nil {
		o.fields = map[string]field{}
	}
	f.value, f.start = value, 0
	o.fields[key] = f
}

// Delete removes a name. It reports whether it was there.
func (o *Object) Delete(key string) bool {
	if _, ok := o.fields[key]; !ok {
		return false
	}
	delete(o.fields, key)
	o.keys = slices.DeleteFunc(o.keys, func(k string) bool { return k == key })
	return true
}

// UnmarshalJSON reads an object. A name that stands twice in it is a
// [*SyntaxError], whose place is relative to data; objects within are not looked
// into. Null leaves o as it is.
func (o *Object) UnmarshalJSON(data []byte) error {
	if err := valid(data); err != nil {
		return err
	}
	switch start := skipSpace(data, 0); data[start] {
	case '{':
		return o.split(data)
	case 'n':
		return nil
	default:
		return At(data, start, "not a JSON object")
	}
}

// MarshalJSON writes the object without white space between its names.
func (o Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, key := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		f := o.fields[key]
		b.Write(f.quoted)
		b.WriteByte(':')
		b.Write(f.value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Indent writes the object for people, each name on a line of its own, as
// Python's json.dump(indent=...) does: without a line feed at the end. Strings
// and numbers stay as they were written.
func (o *Object) Indent(indent string) ([]byte, error) {
	raw, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", indent); err != nil {
		return nil, errors.Join(errors.New("a value is no JSON"), err)
	}
	return b.Bytes(), nil
}

// split fills o with the fields of data, a valid JSON object.
func (o *Object) split(data []byte) error {
	data = bytes.Clone(data) // the fields point into it
	*o = Object{fields: map[string]field{}}
	for i := skipSpace(data, 0) + 1; ; {
		if i = skipSpace(data, i); data[i] == '}' {
			return nil
		}
		if data[i] == ',' {
			i = skipSpace(data, i+1)
		}
		name := i
		i = endOfString(data, i)
		quoted := data[name:i:i]
		key := unquote(quoted)
		if _, ok := o.fields[key]; ok {
			return At(data, name, "this name stands twice in one object")
		}
		start := skipSpace(data, skipSpace(data, i)+1) // over the colon
		i = endOfValue(data, start)
		o.keys = append(o.keys, key)
		o.fields[key] = field{quoted: quoted, value: json.RawMessage(data[start:i:i]), start: start}
	}
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// endOfValue returns the offset behind the valid JSON value that starts at i.
func endOfValue(data []byte, i int) int {
	depth := 0
	for ; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = endOfString(data, i) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 { // of the object around a number or a word
				return i
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return i
}

// quote encodes a name without escaping for HTML.
func quote(key string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(key) // a string can always be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
