package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A received request, as the receiver writes it down.
type received struct {
	Header http.Header
	Body   string
}

// receiver FILE receives webhooks until the script ends, and writes each request to
// FILE. Its address is in $RECEIVER; it answers with the status that the last part of
// the path says, else 200.
func receiver(ts *testscript.TestScript, _ bool, args []string) {
	var mu sync.Mutex
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(f).Encode(received{r.Header, string(body)})
		if code, err := strconv.Atoi(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]); err == nil {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "no\x1b[31m")
		}
	}))
	ts.Setenv("RECEIVER", s.URL)
	ts.Defer(func() {
		s.Close()
		ts.Check(f.Close())
	})
}

// arrives FILE TEXT SECRET... waits for a request in FILE with a text in its body, which
// must be signed with all of the secrets.
func arrives(ts *testscript.TestScript, _ bool, args []string) {
	for range mostLooks {
		in := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
		for {
			var r received
			if in.Decode(&r) != nil {
				break
			}
			if !strings.Contains(r.Body, args[1]) {
				continue
			}
			for _, secret := range args[2:] {
				_, err := d6tpipe.VerifyWebhook([]d6tpipe.Secret{d6tpipe.Secret(secret)}, r.Header, []byte(r.Body), time.Now())
				ts.Check(err)
			}
			return
		}
		time.Sleep(20 * time.Millisecond) // another process: there is nothing to wait on
	}
	ts.Fatalf("%s never had %s", args[0], args[1])
}

// waitfor TEXT COMMAND... runs a command until its output has a text.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	for range 600 {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		time.Sleep(100 * time.Millisecond) // another process: there is nothing to wait on
	}
	ts.Fatalf("%q never said %s", args[1:], args[0])
}
