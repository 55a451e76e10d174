package d6tpipe

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// FuzzLocalDecode reads whatever there may be in a catalogue file: it is refused
// as damaged, or decoding and encoding are inverse and lose no field.
func FuzzLocalDecode(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "local", "catalog.json"))
	require.NoError(f, err)
	f.Add(golden)
	for _, seed := range []string{
		`{}`, `{"version":1,"x":[1e400,{"b":1,"a":2}],"pipes":[{"name":"b","protocol":"s3","z":null,"y":"\ud800"},{"name":"a","parent":"b","options":{"q":1.0}}]}`,
		`{"remotes":[{"name":"r","protocol":"dir","location":"/","settings":{"dir":"a"},"readCredentials":{"a":{"b":12345678901234567890}}}]}`,
		`{"pipes":[{"name":"a","parent":"a"}]}`, `{"version":2}`, "<<<<<<< x\n", `{"pipes":[{"name":"a","parent":"b"},{"name":"b","parent":"a"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if data == nil {
			data = []byte{}
		}
		s, err := decodeLocal(data)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			require.Contains(t, err.Error(), "line ")
			return
		}
		text, err := s.encode()
		require.NoError(t, err)
		again, err := decodeLocal(text)
		require.NoError(t, err, "%s", text)
		second, err := again.encode()
		require.NoError(t, err)
		require.Equal(t, string(text), string(second))
		require.Equal(t, unknownFields(t, data), unknownFields(t, text))
		answersAreHarmless(t, again) // may take out what a person need not have written
		again.dirty = false
		answersAreHarmless(t, again)
		require.False(t, again.dirty)
	})
}

// answersAreHarmless sends each record back as it is shown.
func answersAreHarmless(t *testing.T, s *localState) {
	for _, table := range s.tables {
		for _, name := range table.sorted() {
			shown, err := s.do(catalog.Get, table.kind.path, name, nil)
			require.NoError(t, err)
			for _, verb := range []catalog.Verb{catalog.Update, catalog.Replace} {
				back, err := s.do(verb, table.kind.path, name, shown)
				require.NoError(t, err, "%s", shown)
				require.Equal(t, string(shown), string(back))
			}
		}
	}
}

// unknownFields returns what a catalogue file has beyond what this version knows,
// as text with every digit.
func unknownFields(t *testing.T, data []byte) map[string]string {
	var top map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &top))
	out := map[string]string{}
	keep := func(prefix, key string, raw json.RawMessage) {
		text, err := canonical(raw)
		require.NoError(t, err)
		out[prefix+key] = text
	}
	for _, kind := range localKinds {
		var rows []map[string]json.RawMessage
		if raw, ok := top[kind.path]; ok {
			require.NoError(t, json.Unmarshal(raw, &rows))
		}
		for _, row := range rows {
			for key, raw := range row {
				if !slices.Contains(kind.fields, key) {
					keep(kind.path+" "+string(row["name"])+" ", key, raw)
				}
			}
		}
		delete(top, kind.path)
	}
	for key, raw := range top {
		if key != "version" && key != "$comment" {
			keep("top ", key, raw)
		}
	}
	return out
}
