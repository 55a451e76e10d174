package main

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// A byteRate is a flag for bytes a second as people write them: 500kB, 20MiB.
type byteRate int64

// String returns what Set takes; "" is no limit.
func (r *byteRate) String() string {
	if *r == 0 {
		return ""
	}
	return fmt.Sprint(int64(*r))
}

// Set reads it.
func (r *byteRate) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<50 {
		return fmt.Errorf("%q is no number of bytes such as 500kB or 20MiB; 0 is no limit", text)
	}
	*r = byteRate(n)
	return nil
}

// Type is what help calls it.
func (*byteRate) Type() string { return "bytes" }
