package d6tpipe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

// damaged says why a catalogue file is refused.
func damaged(err error, hint string) error {
	return fmt.Errorf("%w: %w%s", ErrDamaged, err, hint)
}

// damagedAt is damaged with the place of the value at path.
func damagedAt(data []byte, msg string, path ...any) error {
	return damaged(jsonfile.At(data, locate(data, path...), msg), "")
}

// damagedRow says what is wrong with the i-th record of a collection.
func damagedRow(data []byte, err error, kind *localKind, i int, raw json.RawMessage) error {
	var named struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(raw, &named) // without a name, its number has to do
	what := fmt.Sprintf("%s %d: %v", kind.noun, i+1, err)
	if named.Name != "" {
		what = fmt.Sprintf("%s %q: %v", kind.noun, named.Name, err)
	}
	path := []any{kind.path, i}
	var field *FieldError
	if errors.As(err, &field) {
		for part := range strings.SplitSeq(field.Field, ".") {
			path = append(path, part)
		}
	}
	return damagedAt(data, what, path...)
}

// conflictHint names the most frequent reason why a committed file is no JSON.
func conflictHint(data []byte) string {
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, []byte("<<<<<<< ")) || bytes.HasPrefix(line, []byte(">>>>>>> ")) {
			return " (the file has the marks of an unfinished merge)"
		}
	}
	return ""
}

// checkCycles refuses parents that go round in a circle. What else may be wrong
// with parents concerns single pipes; a circle was never right.
func (s *localState) checkCycles(data []byte) error {
	pipes := s.tables[catalog.Pipes]
	fine := map[string]bool{}
	for _, name := range pipes.sorted() {
		var chain []string
		for ; pipes.rows[name] != nil && !fine[name]; name = pipes.parent(name) {
			if i := slices.Index(chain, name); i >= 0 {
				msg := "The parents go round in a circle: " + strings.Join(append(chain[i:], name), " -> ") + "."
				return damagedAt(data, msg, catalog.Pipes, indexOf(data, name), "parent")
			}
			chain = append(chain, name)
		}
		for _, name := range chain {
			fine[name] = true
		}
	}
	return nil
}

func (t *localTable) parent(name string) string {
	p, _ := t.rows[name].rec.(PipeSettings)
	return p.Parent
}

// indexOf returns where in the file the pipe called name is.
func indexOf(data []byte, name string) int {
	var file struct {
		Pipes []struct {
			Name string `json:"name"`
		} `json:"pipes"`
	}
	_ = json.Unmarshal(data, &file) // it was decoded before
	for i, p := range file.Pipes {
		if p.Name == name {
			return i
		}
	}
	return 0
}

// locate returns the offset in data, a valid JSON text, of the value at path,
// which holds names and indexes; when there is none, of the last that is there.
func locate(data []byte, path ...any) int {
	dec := json.NewDecoder(bytes.NewReader(data))
	at := valueStart(data, 0)
	for _, step := range path {
		if _, err := dec.Token(); err != nil || !seek(dec, step) {
			return at
		}
		at = valueStart(data, int(dec.InputOffset()))
	}
	return at
}

// seek moves dec, which is within an object or array, in front of the member
// called step.
func seek(dec *json.Decoder, step any) bool {
	for i := 0; dec.More(); i++ {
		var here any = i
		if _, isName := step.(string); isName {
			token, err := dec.Token()
			if err != nil {
				return false
			}
			here = token
		}
		if here == step {
			return true
		}
		var skip json.RawMessage
		if dec.Decode(&skip) != nil {
			return false
		}
	}
	return false
}

// valueStart skips what stands between values.
func valueStart(data []byte, i int) int {
	for i < len(data) && strings.IndexByte(" \t\r\n:,", data[i]) >= 0 {
		i++
	}
	return i
}
