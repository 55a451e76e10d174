package main

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
)

// TestYAML: what people write in YAML is what they would have written in JSON.
func TestYAML(t *testing.T) {
	for in, want := range map[string]string{
		"a: 12345678901234567890":   `[{"a":12345678901234567890}]`,
		"a: 1.50":                   `[{"a":1.50}]`,
		"a: 0x1F\nb: 1_000":         `[{"a":31,"b":1000}]`,
		"a: 2026-11-24":             `[{"a":"2026-11-24"}]`,
		"a: yes\nb: true":           `[{"a":"yes","b":true}]`,
		"a: ~\nb: null\nc: ''":      `[{"c":""}]`,
		"a: {b: [1, x, {c: d}]}":    `[{"a":{"b":[1,"x",{"c":"d"}]}}]`,
		"a: |\n  x\n  y\n":          `[{"a":"x\ny\n"}]`,
		"a: <b>&":                   `[{"a":"<b>&"}]`,
		"- a: 1\n- b: 2":            `[{"a":1},{"b":2}]`,
		"a: 1\n---\n---\nb: 2":      `[{"a":1},{"b":2}]`,
		"1: x":                      `[{"1":"x"}]`,
		"password: 012345\nk: 010":  `[{"k":8,"password":"012345"}]`,
		"a: {user: 0x1F, key: 1_0}": `[{"a":{"user":"0x1F","key":"1_0"}}]`,
		"secret: 012e4\ntoken: No":  `[{"secret":"012e4","token":"No"}]`,
		"pass: True\npasswd: .inf":  `[{"pass":"True","passwd":".inf"}]`,
		"password: 12e4\nuser: 12":  `[{"password":12e4,"user":12}]`,
		"":                          `null`,
	} {
		docs, err := parseYAML([]byte(in))
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		var got strings.Builder
		if err := printJSON(&got, docs, ""); err != nil || strings.TrimSpace(got.String()) != want {
			t.Errorf("%q: %s, not %s: %v", in, got.String(), want, err)
		}
	}
	for in, want := range map[string]string{
		"a: &x 1\nb: *x": "aliases", "a: 1\na: 2": "twice", "? [1]\n: 2": "plain word", "a: .nan": "no such number", "a: !!binary xx": "not understood",
		"- 1": "an object", "x": "an object", "a: [": "line", "<<: {a: 1}": "plain word",
	} {
		if _, err := parseYAML([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, not %q", in, err, want)
		}
	}
}

// FuzzSettings: whatever is in a file, settings are valid JSON and are the same
// when they are read again.
func FuzzSettings(f *testing.F) {
	for _, seed := range []string{"a: 1\nb: {c: [x, ~]}", `{"a":1}{"b":[2]}`, "- a: 0x1F\n- b: 1e9", "a: !!float 1", "? a\n: b", "a: \"\\u202e\"", "a: .inf", `[{"a":null}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, parse := range []func([]byte) ([]fields, error){parseYAML, parseJSON} {
			docs, err := parse(data)
			if err != nil {
				continue
			}
			raw, err := json.Marshal(docs)
			if err != nil {
				t.Fatalf("%q: %v", data, err)
			}
			again, err := parseJSON(raw)
			if err != nil || len(again) != len(docs) {
				t.Fatalf("%q: %s is read as %v: %v", data, raw, again, err)
			}
			for i := range docs {
				if !maps.EqualFunc(docs[i], again[i], func(a, b json.RawMessage) bool { return compact(t, a) == compact(t, b) }) {
					t.Fatalf("%q: %s is read as %v", data, raw, again)
				}
			}
		}
	})
}

func compact(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	out, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
