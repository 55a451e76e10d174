package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// What is told of an error has nothing that steers a terminal, nor has the advice.
func TestComplain(t *testing.T) {
	var out bytes.Buffer
	complain(&out, hint(errors.New("no \x1b[2J"), "Try \x1b]0;x\a\nor not."))
	if want := "d6tpipe: no \\u001b[2J\nTry \\u001b]0;x\\u0007\nor not.\n"; out.String() != want {
		t.Errorf("%q, not %q", out.String(), want)
	}
}

// What was done in part is no usage error and no mere interruption.
func TestPartly(t *testing.T) {
	wrong := &usageError{"d6tpipe x", errors.New("wrong")}
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{partly(wrong, nil, []string{"a"}), exitUsage, "wrong"},
		{partly(wrong, []string{"a"}, []string{"b", "c"}), exitPartial, "partly done, for a but not for b, c: wrong"},
		{partly(d6tpipe.ErrConflict, make([]string, 12), []string{"c"}), exitPartial, "partly done, for , , , , , , , , ,  and 2 more but not for c: conflict"},
		{partly(fmt.Errorf("grant: %w", context.Canceled), []string{"a"}, []string{"b"}), exitInterrupted, "partly done, for a but not for b: grant: context canceled"},
	} {
		if code, text := exitCode(c.err), message(c.err); code != c.code || text != c.text {
			t.Errorf("exit code %d, %q; not %d, %q", code, text, c.code, c.text)
		}
	}
}
