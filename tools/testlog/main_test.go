package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	tests := map[string]struct {
		in            []string
		ok            bool
		shown, hidden string // of the output
		skips         string
	}{
		"passes": {in: []string{
			`{"Action":"run","Package":"p","Test":"TestA"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}`,
			`{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"output","Package":"p","Output":"PASS\n"}`,
			`{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}`,
			`{"Action":"pass","Package":"p"}`,
		}, ok: true, shown: "ok  \tp\t0.1s\n", hidden: "chatter"},
		"a test fails": {in: []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"want 1\n"}`,
			`{"Action":"fail","Package":"p","Test":"TestA"}`,
			`{"Action":"fail","Package":"p"}`,
		}, shown: "want 1"},
		"fails in this order": {in: []string{
			`{"Action":"output","Package":"p","Output":"-test.shuffle 42\n"}`,
			`{"Action":"fail","Package":"p"}`,
		}, shown: "-test.shuffle 42"},
		"the program dies": {in: []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: no\n"}`,
			`{"Action":"fail","Package":"p"}`,
		}, shown: "panic: no"},
		"does not compile": {in: []string{
			`{"ImportPath":"p","Action":"build-output","Output":"undefined: x\n"}`,
			`{"ImportPath":"p","Action":"build-fail"}`,
		}, shown: "undefined: x"},
		"is skipped": {in: []string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:5: needs apt package: dbus\n"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}`,
			`{"Action":"skip","Package":"p","Test":"TestA"}`,
			`{"Action":"pass","Package":"p"}`,
		}, ok: true, hidden: "dbus", skips: "p TestA: needs apt package: dbus\n"},
		"has no tests": {in: []string{
			`{"Action":"output","Package":"p","Output":"?   \tp\t[no test files]\n"}`,
			`{"Action":"skip","Package":"p"}`,
		}, ok: true, shown: "[no test files]"},
		"says nothing":     {in: nil},
		"is not go test's": {in: []string{"go: no such module"}, shown: "no such module"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			skipped := filepath.Join(t.TempDir(), "skipped")
			ok, err := run(strings.NewReader(strings.Join(tt.in, "\n")), &out, skipped)
			if err != nil || ok != tt.ok {
				t.Errorf("got %v, %v; want %v", ok, err, tt.ok)
			}
			if !strings.Contains(out.String(), tt.shown) {
				t.Errorf("printed %q, want %q in it", out.String(), tt.shown)
			}
			if tt.hidden != "" && strings.Contains(out.String(), tt.hidden) {
				t.Errorf("printed %q, want no %q in it", out.String(), tt.hidden)
			}
			if got, err := os.ReadFile(skipped); err != nil || string(got) != tt.skips {
				t.Errorf("skips %q, %v; want %q", got, err, tt.skips)
			}
		})
	}
}
