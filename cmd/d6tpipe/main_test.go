package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
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

// atOnce lets a program that is built with the race detector end when it ends, and not
// a second later. Scripts see nothing of the environment of the tests.
const atOnce = "atexit_sleep_ms=0"

// hear has what the tests start hear a signal, also when who runs the tests has it ignored,
// as nohup does with hang-ups and a shell with Ctrl-C in the background: what a process
// handles, its children do not ignore.
func hear(t *testing.T, s os.Signal) {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, s)
	t.Cleanup(func() { signal.Stop(heard) })
}

// TestScripts runs the program as people do; see testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_DATA_HOME", e.WorkDir)
			e.Setenv("GORACE", atOnce)
			testdata, err := filepath.Abs(filepath.Join("..", "..", "testdata"))
			e.Setenv("TESTDATA", testdata) // of the SDK
			e.Setenv("NOTICE", "Closed on Sunday.\nAsk \x1b[1mann.")
			return err
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"address": address, "get": get, "server": startServer, "exits": exits, "expand": expand, "receiver": receiver, "arrives": arrives, "waitfor": waitFor},
	})
}

// exits CODE COMMAND... runs a command that must end with this exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var failed *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &failed) {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%q: exit code %d, not %d", args[1:], got, want)
	}
}

// expand FROM TO copies a file with the script's variables put in.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

// server [FLAG...] serves the repo API on a free port until the script ends. Its
// address is in $SERVER, its log in server.log. Flags are those of d6tpipe serve.
func startServer(ts *testscript.TestScript, _ bool, args []string) {
	s := new(serving)
	c := s.command()
	c.SetContext(context.Background())
	log, err := os.Create(ts.MkAbs("server.log"))
	ts.Check(err)
	c.SetErr(log)
	ts.Check(c.ParseFlags(append([]string{"--data", ts.MkAbs("server-data"), "--key-file", ts.MkAbs("server-key")}, args...)))
	ts.Check(s.complete(c))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ctx, stop := context.WithCancel(context.Background())
	srv, err := server.New(ctx, s.config)
	ts.Check(err)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	ts.Setenv("SERVER", "http://"+l.Addr().String())
	ts.Defer(func() {
		stop()
		ts.Check(<-done)
		ts.Check(srv.Close())
		ts.Check(log.Close())
	})
}

// mostLooks is how often, each 20 ms, a script looks for what another process must do.
const mostLooks = 5000

// address NAME REGEXP FILE waits until a running program has written an address
// to FILE, the first group of the expression, and puts it into a variable.
func address(ts *testscript.TestScript, _ bool, args []string) {
	form, file := regexp.MustCompile(args[1]), ts.MkAbs(args[2])
	for range mostLooks {
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
	for range mostLooks {
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
