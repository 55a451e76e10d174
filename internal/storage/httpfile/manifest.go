package httpfile

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxManifest is some 500,000 files.
const maxManifest = 64 << 20

// An entry is a file as it is known before the server is asked for it.
type entry struct {
	key      string
	size     int64 // -1: not known
	sum      string
	modified time.Time
}

// complete says that the server need not be asked.
func (e entry) complete() bool { return e.size >= 0 && e.sum != "" }

// entries returns what the manifest, or the list of names, says.
func (s *Store) entries(ctx context.Context) (list []entry, err error) {
	if s.manifest == nil {
		for _, name := range s.names {
			list = append(list, entry{key: name, size: -1})
		}
		return list, nil
	}
	raw, err := s.fetch(ctx)
	if err == nil {
		list, err = parseManifest(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("the manifest %s%s: %w", s.manifest.Host, s.manifest.Path, withoutURL(err))
	}
	return list, nil
}

// fetch reads the manifest.
func (s *Store) fetch(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.manifest.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, refused(resp)
	case resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity":
		return nil, errEncoded
	case resp.ContentLength > maxManifest:
		return nil, errBigManifest
	case resp.ContentLength < 0 && resp.ProtoMajor == 1 && len(resp.TransferEncoding) == 0:
		return nil, errors.New("nothing tells where the answer ends: it could be cut off")
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return nil, networkError(ctx, err)
	}
	if len(raw) > maxManifest {
		return nil, errBigManifest
	}
	return raw, nil
}

var errBigManifest = errors.New("it is longer than 64 MiB")

func parseManifest(raw []byte) ([]entry, error) {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	text := bytes.TrimSpace(raw)
	if len(text) == 0 {
		return nil, errors.New("it is empty; a folder without files is []")
	}
	switch text[0] {
	case '[', '{':
		return parseJSON(text)
	case '<':
		return nil, errors.New("it is a web page, and neither JSON nor the output of sha256sum or md5sum")
	}
	return parseSums(raw)
}

func parseJSON(raw []byte) ([]entry, error) {
	var files []jsonEntry
	if raw[0] == '{' {
		var object struct{ Files *[]jsonEntry }
		if err := json.Unmarshal(raw, &object); err != nil {
			return nil, jsonError(err)
		}
		if object.Files == nil {
			return nil, errors.New("the JSON object has no list called files")
		}
		files = *object.Files
	} else if err := json.Unmarshal(raw, &files); err != nil {
		return nil, jsonError(err)
	}
	list := make([]entry, len(files))
	for i, f := range files {
		var err error
		if list[i], err = f.entry(); err != nil {
			return nil, fmt.Errorf("file %d: %w", i+1, err)
		}
	}
	return list, nil
}

func jsonError(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("it is no JSON: %w at byte %d", err, syntax.Offset)
	}
	return fmt.Errorf("it is not what it must be: %w", err)
}

// A jsonEntry is a file in a manifest of JSON: an object, or just its name.
type jsonEntry struct {
	Key, Name       *string
	Size            *int64
	SHA256, MD5     string
	MTime, Modified jsonTime
}

// UnmarshalJSON takes a string for the name.
func (e *jsonEntry) UnmarshalJSON(raw []byte) error {
	if raw[0] == '"' {
		return json.Unmarshal(raw, &e.Name)
	}
	type fields jsonEntry
	return json.Unmarshal(raw, (*fields)(e))
}

func (e jsonEntry) entry() (entry, error) {
	out := entry{size: -1, modified: e.MTime.Time}
	if out.modified.IsZero() {
		out.modified = e.Modified.Time
	}
	name := e.Key
	if name == nil {
		name = e.Name
	}
	if name == nil {
		return out, errors.New("it has neither key nor name")
	}
	out.key = strings.TrimPrefix(*name, "./")
	if e.Size != nil {
		if out.size = *e.Size; out.size < 0 {
			return out, fmt.Errorf("%q has a size of %d", out.key, out.size)
		}
	}
	var err error
	switch {
	case e.SHA256 != "":
		out.sum, err = sum("sha256", 32, e.SHA256)
	case e.MD5 != "":
		out.sum, err = sum("md5", 16, e.MD5)
	}
	if err != nil {
		return out, fmt.Errorf("%q: %w", out.key, err)
	}
	return out, nil
}

func sum(name string, size int, text string) (string, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != size {
		return "", fmt.Errorf("its %s is not %d hexadecimal digits", name, 2*size)
	}
	return name + ":" + hex.EncodeToString(raw), nil
}

// A jsonTime is zero when it is not understood: it is shown and nothing more.
type jsonTime struct{ time.Time }

// UnmarshalJSON reads seconds since 1970 and the usual spellings of a time, which
// is UTC when it does not say otherwise.
func (t *jsonTime) UnmarshalJSON(raw []byte) error {
	var seconds float64
	if json.Unmarshal(raw, &seconds) == nil {
		if seconds > 0 && seconds < 1e11 {
			t.Time = time.Unix(int64(seconds), 0).UTC()
		}
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, time.DateOnly, http.TimeFormat} {
		if at, err := time.Parse(layout, text); err == nil {
			t.Time = at.UTC()
			return nil
		}
	}
	return nil
}

// parseSums reads what sha256sum and md5sum print: the sum, a space, a space or an
// asterisk, and the name; a backslash before all that says that newlines,
// carriage returns and backslashes in the name are escaped.
func parseSums(raw []byte) (list []entry, err error) {
	if raw[len(raw)-1] != '\n' {
		return nil, errors.New("its last line has no end: it could be cut off")
	}
	number := 0
	for line := range strings.Lines(string(raw)) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		line, escaped := strings.CutPrefix(line, `\`)
		digits, name, found := strings.Cut(line, " ")
		if !found || len(name) < 2 || name[0] != ' ' && name[0] != '*' {
			return nil, fmt.Errorf("line %d is neither JSON nor what sha256sum and md5sum print", number)
		}
		e := entry{key: name[1:], size: -1}
		if escaped {
			e.key = strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\r`, "\r").Replace(e.key)
		}
		e.key = strings.TrimPrefix(e.key, "./")
		if len(digits) == 32 {
			e.sum, err = sum("md5", 16, digits)
		} else {
			e.sum, err = sum("sha256", 32, digits)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		list = append(list, e)
	}
	return list, nil
}
