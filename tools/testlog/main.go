// Command testlog reads `go test -json` and prints what a person wants to see of
// it: the line that go test closes each package with, and the output of the tests
// that failed. The tests that were skipped go to a file, one a line, with the
// reason.
//
//	go test -json ./... | testlog [-skipped FILE]
//
// It exits with status 1 when a test or a package failed.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	skipped := flag.String("skipped", "", "append the skipped tests to this `file`")
	flag.Parse()
	ok, err := run(os.Stdin, os.Stdout, *skipped)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testlog:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run reads the events of in and reports whether all is well.
func run(in io.Reader, out io.Writer, skipped string) (ok bool, err error) {
	l := &testLog{out: out, skips: io.Discard, held: map[test]*strings.Builder{}, seed: map[string]string{}}
	if skipped != "" {
		f, err := os.OpenFile(skipped, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		l.skips = f
	}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			l.line(line)
		}
		if err == io.EOF {
			return !l.failed && l.ended, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// An event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action, Package, Test, Output string
}

type test struct{ pkg, name string }

type testLog struct {
	out, skips io.Writer
	held       map[test]*strings.Builder // output of tests that have not ended
	seed       map[string]string         // by package: the order its tests ran in
	failed     bool
	ended      bool // at least one package came to its end
}

func (l *testLog) line(line []byte) {
	var e event
	if line[0] != '{' || json.Unmarshal(line, &e) != nil {
		fmt.Fprintf(l.out, "%s", line)
		return
	}
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		l.output(t, e.Output)
	case "build-output":
		fmt.Fprint(l.out, e.Output)
	case "build-fail":
		l.failed = true
	case "pass":
		delete(l.held, t)
	case "skip":
		l.skip(t)
	case "fail":
		l.fail(t)
	}
	if e.Test == "" && (e.Action == "pass" || e.Action == "skip" || e.Action == "fail") {
		l.ended = true
	}
}

// output prints what a package says and holds what a test says.
func (l *testLog) output(t test, text string) {
	if t.name == "" {
		switch {
		case text == "PASS\n":
		case strings.HasPrefix(text, "-test.shuffle "):
			l.seed[t.pkg] = text
		default:
			fmt.Fprint(l.out, text)
		}
		return
	}
	if l.held[t] == nil {
		l.held[t] = &strings.Builder{}
	}
	l.held[t].WriteString(text)
}

// fail shows what a test said; and for a package, what the tests said that were
// running when it died.
func (l *testLog) fail(t test) {
	l.failed = true
	byName := func(a, b test) int { return strings.Compare(a.name, b.name) }
	for _, u := range slices.SortedFunc(maps.Keys(l.held), byName) {
		if u == t || t.name == "" && u.pkg == t.pkg {
			fmt.Fprint(l.out, l.held[u])
			delete(l.held, u)
		}
	}
	if t.name == "" {
		fmt.Fprint(l.out, l.seed[t.pkg])
	}
}

// where is how testing begins a line that t.Skip or t.Log wrote.
var where = regexp.MustCompile(`(?m)^\s*[\w.-]+\.go:\d+: (.*)$`)

func (l *testLog) skip(t test) {
	if t.name == "" {
		return // a package without tests
	}
	reason := "no reason given"
	if text := l.held[t]; text != nil {
		if m := where.FindAllStringSubmatch(text.String(), -1); m != nil {
			reason = m[len(m)-1][1]
		}
	}
	delete(l.held, t)
	fmt.Fprintf(l.skips, "%s %s: %s\n", t.pkg, t.name, reason)
}
