package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestPasswordLine: one line is read, and no more than a password can be.
func TestPasswordLine(t *testing.T) {
	for in, want := range map[string]string{
		"secret\n": "secret", "secret\r\nmore\n": "secret", "secret": "secret", " with spaces \n": " with spaces ", "\n": "", "": "", "ü\n": "ü",
	} {
		got, err := newPassword(t.Context(), strings.NewReader(in), io.Discard)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := newPassword(t.Context(), iotest.ErrReader(io.ErrClosedPipe), io.Discard); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if got, err := newPassword(t.Context(), strings.NewReader(strings.Repeat("x", 1<<20)), io.Discard); err == nil {
		t.Errorf("%d bytes are a password", len(got))
	}
}
