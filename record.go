package d6tpipe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// A Record is what a [Collection] holds: [RemoteSettings], [PipeSettings] or
// [MirrorSettings].
type Record interface {
	// Validate reports the first field that is malformed, as a [*FieldError].
	Validate() error

	key() string                      // its name
	checkSecrets() error              // refuses what printing made of a secret
	reveal() (json.RawMessage, error) // its JSON with secrets in clear, for the wire and the file
	sealed() bool                     // whether a field is encrypted
}

// checkName applies the rule for the names of remotes and pipes: letters,
// digits and hyphens, at most 128, and neither "pipes" nor "remotes", which the
// Python client's local mode reserves.
func checkName(field, name string) error {
	switch {
	case name == "":
		return &FieldError{Field: field, Reason: "This field is required."}
	case !catalog.IsName(name):
		return &FieldError{Field: field, Reason: "Only alphanumeric characters and hyphens are allowed."}
	case len(name) > 128:
		return &FieldError{Field: field, Reason: "Names have at most 128 characters."}
	case name == "pipes" || name == "remotes":
		return &FieldError{Field: field, Reason: "This name is reserved, use another one."}
	}
	return nil
}

// dirReason says what a good folder is. It is ASCII and without quotes, because
// the Python client matches the text of errors byte by byte.
const dirReason = "Paths must be separated by single slashes and must not contain a backslash, a drive, dot segments, control characters or any of * ? $."

// checkDir applies the rule for folders of a remote. A leading slash is allowed:
// SFTP and FTP have absolute folders, the others trim it.
func checkDir(field, dir string) error {
	if dir == "" || dir == "/" {
		return nil
	}
	bad := &FieldError{Field: field, Reason: dirReason}
	if strings.ContainsAny(dir, `\*?$`) || strings.ContainsFunc(dir, unicode.IsControl) || !utf8.ValidString(dir) {
		return bad
	}
	if d := trimDir(dir); len(d) > 1 && d[1] == ':' {
		return bad
	}
	for part := range strings.SplitSeq(trimDir(dir), "/") {
		if part == "" || part == "." || part == ".." {
			return bad
		}
	}
	return nil
}

// trimDir returns dir without a leading and a trailing slash.
func trimDir(dir string) string {
	return strings.TrimSuffix(strings.TrimPrefix(dir, "/"), "/")
}

// joinDir adds folders up: "a" and "b/" make "a/b". An absolute start stays so.
func joinDir(parent, child string) string {
	switch p, c := strings.TrimSuffix(parent, "/"), trimDir(child); {
	case c == "":
		return p
	case p == "" && !strings.HasPrefix(parent, "/"):
		return strings.TrimSuffix(child, "/")
	default:
		return p + "/" + c
	}
}

// marshal encodes the fields of a struct together with the fields that this
// version does not know. A known field wins over an unknown one of its name.
func marshal(known any, extra map[string]json.RawMessage) (json.RawMessage, error) {
	raw, err := encodeJSON(known)
	if err != nil || len(extra) == 0 {
		return raw, err
	}
	all := maps.Clone(extra)
	if err := decodeJSON(raw, &all); err != nil {
		return nil, err
	}
	return encodeJSON(all)
}

// unmarshal decodes data into the struct that known points to and returns the
// fields that it does not have.
func unmarshal(data []byte, known any) (map[string]json.RawMessage, error) {
	if err := decodeJSON(data, known); err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := decodeJSON(data, &all); err != nil {
		return nil, err
	}
	t := reflect.TypeOf(known).Elem()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		// The decoder took it in any case, and what may be a secret has one place.
		maps.DeleteFunc(all, func(key string, _ json.RawMessage) bool { return strings.EqualFold(key, name) })
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

// dropNull makes raw values that are null absent: a server may write either.
func dropNull(values ...*json.RawMessage) {
	for _, raw := range values {
		if bytes.Equal(bytes.TrimSpace(*raw), []byte("null")) {
			*raw = nil
		}
	}
}

// encodeJSON is [json.Marshal] without the escaping for HTML, so that a person
// finds the location "a&b" in the file as it was given.
func encodeJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// decodeJSON decodes one JSON value. Numbers in untyped places keep all their
// digits, as [json.Number].
func decodeJSON(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return fmt.Errorf("something follows the JSON value")
	}
	return nil
}
