package jsonfile_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"object", `{"a": 1}`, ""},
		{"any value", ` [null, true, -1.50e9, "\u00e9"] `, ""},
		{"the same name in two objects", `{"a": {"b": 1}, "c": {"b": 1}, "b": [{"b": 1}, {"b": 2}]}`, ""},
		{"the same name inside", `{"a": {"a": {"a": "a"}}}`, ""},
		{"a name as a value", `{"a": "a", "b": ["a", "a"]}`, ""},
		{"empty", "", "line 1, column 1: the file ends too early"},
		{"cut off", "{\n  \"a\": [1,", "line 2, column 11: the file ends too early"},
		{"cut off in a string", `{"a`, "line 1, column 4: the file ends too early"},
		{"comma at the end", "{\n    \"a\": 1,\n}", "line 3, column 1: invalid character '}' looking for beginning of object key string"},
		{"trailing data", "{}\n{}", "line 2, column 1: invalid character '{' after top-level value"},
		{"two names", "{\n\"a\": 1,\n  \"a\": 2}", `line 3, column 3: the name "a" stands twice in one object`},
		{"two names, one escaped", `{"a": 1, "\u0061": 2}`, `line 1, column 10: the name "a" stands twice in one object`},
		{"two names after an inner object", `{"a": {"b": 1}, "a": 2}`, `line 1, column 17: the name "a" stands twice in one object`},
		{"two names deep", `{"x": [[{"a": 1, "a": 2}]]}`, `line 1, column 18: the name "a" stands twice in one object`},
		{"columns are characters", `{"é": 1, "é": 2}`, `line 1, column 10: the name "é" stands twice in one object`},
		{"UTF-8", "{\"a\":\n \"\xff\"}", "line 2, column 3: invalid UTF-8"},
		{"control character", "\"a\nb\"", "line 1, column 3: invalid character '\\n' in string literal"},
		{"just deep enough", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), ""},
		{"too deep", strings.Repeat("[", 1001) + strings.Repeat("]", 1001), "line 1, column 1001: nested more than 1000 deep"},
		{"brackets in a string", `"` + strings.Repeat("[", 2000) + `"`, ""},
		{"NaN", `{"a": NaN}`, "line 1, column 7: invalid character 'N' looking for beginning of value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := jsonfile.Check([]byte(c.in))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, c.want)
			var syntax *jsonfile.SyntaxError
			require.True(t, errors.As(err, &syntax))
		})
	}
}

const pretty = `{
    "z": 1.50,
    "a\u00e9": "caf\u00e9 <&>",
    "big": 12345678901234567890123,
    "list": [
        {
            "y": [],
            "x": {}
        },
        null
    ]
}`

func TestObjectKeepsEverything(t *testing.T) {
	o, err := jsonfile.Parse([]byte(pretty))
	require.NoError(t, err)
	require.Equal(t, []string{"z", "aé", "big", "list"}, o.Keys())
	out, err := o.Indent("    ")
	require.NoError(t, err)
	require.Equal(t, pretty, string(out), "Parse and Indent are inverse on what Python writes")
	v, ok := o.Get("big")
	require.True(t, ok)
	require.Equal(t, "12345678901234567890123", string(v))
}

func TestObjectEdits(t *testing.T) {
	var o jsonfile.Object
	_, ok := o.Get("a")
	require.False(t, ok)
	require.False(t, o.Delete("a"))
	o.Set("b", json.RawMessage(`1`))
	o.Set("<a>", json.RawMessage(`2`))
	o.Set("c", json.RawMessage(`[3 , 4]`))
	o.Set("b", json.RawMessage(`5`))
	require.Equal(t, []string{"b", "<a>", "c"}, o.Keys())
	require.True(t, o.Delete("b"))
	o.Set("b", json.RawMessage(`6`))
	require.Equal(t, 3, o.Len())
	raw, err := o.MarshalJSON()
	require.NoError(t, err)
	require.Equal(t, `{"<a>":2,"c":[3 , 4],"b":6}`, string(raw))
	o.Set("bad", json.RawMessage(`{`))
	_, err = o.Indent("  ")
	require.Error(t, err)
}

func TestObjectUnmarshal(t *testing.T) {
	var doc struct {
		Pipes jsonfile.Object  `json:"pipes"`
		None  *jsonfile.Object `json:"none"`
	}
	require.NoError(t, json.Unmarshal([]byte(`{"pipes": { "b" : {"n": 1} , "a":2.0 }, "none": null}`), &doc))
	require.Equal(t, []string{"b", "a"}, doc.Pipes.Keys())
	require.Nil(t, doc.None)
	raw, err := json.Marshal(doc.Pipes)
	require.NoError(t, err)
	require.Equal(t, `{"b":{"n":1},"a":2.0}`, string(raw))

	for _, bad := range []string{`{"pipes": [1]}`, `{"pipes": "x"}`, `{"pipes": {"a": 1, "a": 2}}`} {
		require.Error(t, json.Unmarshal([]byte(bad), &doc), bad)
	}
	require.Error(t, doc.Pipes.UnmarshalJSON([]byte(`{"a"`)), "called directly, it checks for itself")
	_, err = jsonfile.Parse([]byte("\n [1]"))
	require.EqualError(t, err, "line 2, column 2: not a JSON object")
}

func TestObjectOwnsItsBytes(t *testing.T) {
	data := []byte(`{"a": "x"}`)
	o, err := jsonfile.Parse(data)
	require.NoError(t, err)
	clear(data)
	v, _ := o.Get("a")
	require.Equal(t, `"x"`, string(v))
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{pretty, `{}`, ` {"a" : [ 1 ] } `, `{"\ud800": 1, "\"": "\\"}`, `{"a": 1, "a": 2}`, `[`, "{\"\xff\":0}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := jsonfile.Parse(data)
		if err != nil {
			var syntax *jsonfile.SyntaxError
			require.ErrorAs(t, err, &syntax)
			require.Positive(t, syntax.Line)
			require.Positive(t, syntax.Column)
			return
		}
		var want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(data, &want))
		require.Equal(t, len(want), o.Len())
		for key, value := range want {
			got, ok := o.Get(key)
			require.True(t, ok)
			require.Equal(t, string(value), string(got))
		}
		out, err := o.Indent("  ")
		require.NoError(t, err)
		again, err := jsonfile.Parse(out)
		require.NoError(t, err)
		require.Equal(t, o.Keys(), again.Keys())
		second, err := again.Indent("  ")
		require.NoError(t, err)
		require.Equal(t, string(out), string(second))
	})
}
