package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/d6t/d6tpipe-go/server"
)

func TestMain(m *testing.M) {
	if code, ok := server.RunChild(); ok { // a server of a script starts itself once more
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){"d6tpipe": main})
}

// TestScripts runs the program as people do; see testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_DATA_HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"address": address, "get": get},
	})
}

// address NAME REGEXP FILE waits until a running program has written an address
// to FILE, the first group of the expression, and puts it into a variable.
func address(ts *testscript.TestScript, _ bool, args []string) {
	form, file := regexp.MustCompile(args[1]), ts.MkAbs(args[2])
	for range 500 {
		text, _ := os.ReadFile(file)
		if found := form.FindSubmatch(text); found != nil {
			ts.Setenv(args[0], string(found[1]))
			return
		}
		time.Sleep(20 * time.Millisecond) // another process: there is nothing to wait on
	}
	ts.Fatalf("%s never had %s", args[2], form)
}

// get URL STATUS TEXT asks for a page, again and again while the server is not ready.
func get(ts *testscript.TestScript, _ bool, args []string) {
	resp, body := ask(ts, args[0])
	for range 500 {
		if resp.StatusCode != http.StatusServiceUnavailable || args[1] == "503" {
			break
		}
		time.Sleep(20 * time.Millisecond)
		resp, body = ask(ts, args[0])
	}
	if resp.Status[:3] != args[1] || !strings.Contains(string(body), args[2]) {
		ts.Fatalf("%s: %s %s", args[0], resp.Status, body)
	}
}

func ask(ts *testscript.TestScript, url string) (*http.Response, []byte) {
	resp, err := http.Get(url)
	ts.Check(err)
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Check(resp.Body.Close())
	return resp, body
}
