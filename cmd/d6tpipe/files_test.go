package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestFileScripts runs the commands on files as people do; see testdata/files.
func TestFileScripts(t *testing.T) {
	hear(t, syscall.SIGHUP)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "files"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_DATA_HOME", e.WorkDir)
			e.Setenv("GORACE", atOnce)
			e.Setenv("HERE", filepath.Join(e.WorkDir, "d6tpipe", "files", "default"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server": startServer, "exits": exits, "local-pipe": pulledPipe, "server-pipe": serverPipe, "random": random, "decodes": decodes, "until": until, "ended": ended,
		},
	})
}

// local-pipe NAME FOLDER makes a pipe in the profile's catalogue file, whose files
// lie in a folder.
func pulledPipe(ts *testscript.TestScript, _ bool, args []string) {
	name, folder := args[0], ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(folder, 0o755))
	api, err := d6tpipe.NewAPILocal(d6tpipe.Config{Profile: "default", Catalog: ts.MkAbs("d6tpipe/catalog/default.json")})
	ts.Check(err)
	addPipe(ts, api, d6tpipe.PipeSettings{Name: name, Protocol: d6tpipe.ProtocolDir, Location: folder})
}

// server-pipe NAME [FOLDER] makes a pipe on $SERVER whose files the server keeps, or
// of which it says that they lie in a folder of this machine. It belongs to mary, whose
// token is in D6TPIPE_TOKEN then.
func serverPipe(ts *testscript.TestScript, _ bool, args []string) {
	token := d6tpipe.Secret(ts.Getenv("D6TPIPE_TOKEN"))
	cfg := d6tpipe.Config{Profile: "default", Server: ts.Getenv("SERVER"), Tokens: d6tpipe.MemoryTokens()}
	api, err := d6tpipe.NewAPIClient(cfg)
	ts.Check(err)
	defer api.CloseIdleConnections()
	if token != "" {
		ts.Check(cfg.Tokens.SetToken(context.Background(), d6tpipe.TokenKey{Profile: cfg.Profile, Origin: cfg.Server}, token))
	} else {
		token, err = api.Register(context.Background(), "mary", "mary@example.com", "correct horse")
		ts.Check(err)
		ts.Setenv("D6TPIPE_TOKEN", string(token))
		ts.Setenv("D6TPIPE_SERVER", cfg.Server)
	}
	pipe := d6tpipe.PipeSettings{Name: args[0]}
	if len(args) > 1 {
		pipe.Protocol, pipe.Location = d6tpipe.ProtocolDir, ts.MkAbs(args[1])
	}
	addPipe(ts, api, pipe)
}

// until FILE REGEXP waits until a running program has written something to a file.
func until(ts *testscript.TestScript, _ bool, args []string) {
	form := regexp.MustCompile(args[1])
	for range mostLooks {
		if text, _ := os.ReadFile(ts.MkAbs(args[0])); form.Match(text) {
			return
		}
		time.Sleep(20 * time.Millisecond) // another process: there is nothing to wait on
	}
	ts.Fatalf("%s never had %s", args[0], form)
}

// ended FILE waits until nothing is left of the group of processes whose number is in a
// file. What is dead is there until it is buried.
func ended(ts *testscript.TestScript, _ bool, args []string) {
	group := "-" + strings.TrimSpace(ts.ReadFile(args[0]))
	for range mostLooks {
		if ts.Exec("sh", "-c", "kill -0 -- "+group) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond) // other processes: there is nothing to wait on
	}
	ts.Fatalf("%s is still there", group)
}

func addPipe(ts *testscript.TestScript, api d6tpipe.API, s d6tpipe.PipeSettings) {
	_, err := api.Pipes().Create(context.Background(), s)
	ts.Check(err)
}

// random BYTES FILE... writes files of random bytes.
func random(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, file := range args[1:] {
		data := make([]byte, n)
		_, _ = rand.Read(data)
		ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(file)), 0o755))
		ts.Check(os.WriteFile(ts.MkAbs(file), data, 0o644))
	}
}

// decodes TYPE reads the standard output of the last command as values of a type of
// the SDK, without a field that the type lacks, one or more.
func decodes(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile("stdout")
	into, known := map[string]func() any{
		"Report":       func() any { return new(d6tpipe.Report) },
		"Plan":         func() any { return new(d6tpipe.Plan) },
		"PipeStatus":   func() any { return new(d6tpipe.PipeStatus) },
		"File":         func() any { return new(d6tpipe.File) },
		"OrphanReport": func() any { return new(d6tpipe.OrphanReport) },
		"VerifyReport": func() any { return new(d6tpipe.VerifyReport) },
		"MirrorReport": func() any { return new(d6tpipe.MirrorReport) },
		"Change":       func() any { return new(d6tpipe.Change) },
		"CheckReport":  func() any { return new(d6tpipe.CheckReport) },
	}[args[0]]
	if !known {
		ts.Fatalf("unknown type %s", args[0])
	}
	n, err := decodeAll(text, into)
	if err != nil || n == 0 {
		ts.Fatalf("%d values of %s: %v", n, args[0], err)
	}
	if len(args) > 1 && strconv.Itoa(n) != args[1] {
		ts.Fatalf("%d values of %s, not %s", n, args[0], args[1])
	}
}

// decodeAll reads values until the end of a text, and returns how many.
func decodeAll(text string, into func() any) (n int, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	for {
		switch err := d.Decode(into()); {
		case err == io.EOF:
			return n, nil
		case err != nil:
			return n, err
		}
		n++
	}
}
