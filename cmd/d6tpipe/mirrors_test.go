package main

import (
	"testing"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestMirrorRunText: what a run did stands before why it did no more.
func TestMirrorRunText(t *testing.T) {
	t.Parallel()
	for want, run := range map[string]d6tpipe.Run{
		"":                                     {},
		"2 files, 3 B, 0 removed, 1 unchanged": {Detail: []byte(`{"copied":2,"bytes":3,"unchanged":1}`)},
		"1 file, 3 B, 0 removed, 0 unchanged; it was paused":    {Detail: []byte(`{"copied":1,"bytes":3,"unchanged":0,"stopped":"it was paused"}`)},
		"1 file, 3 B, 0 removed, 0 unchanged; the disk is full": {Error: "the disk is full", Detail: []byte(`{"copied":1,"bytes":3}`)},
		"the host is down": {Error: "the host is down", Detail: []byte(`{"copied":0}`)},
	} {
		if got := mirrorRunText(run); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
