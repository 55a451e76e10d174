package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Exactly reads size bytes of r and then ends; it is what every Put reads
// through. It fails with [io.ErrUnexpectedEOF] when r ends early, with an error
// when r has more (before the last bytes are handed out, so that a driver that
// stops reading at size cannot miss it), and with ctx's error when that ends.
func Exactly(ctx context.Context, r io.Reader, size int64) io.Reader {
	return &exact{ctx: ctx, r: r, left: size}
}

var errTooLong = errors.New("the reader has more bytes than were announced")

type exact struct {
	ctx  context.Context
	r    io.Reader
	left int64
	done bool // the end of r was seen
	err  error
}

func (e *exact) Read(p []byte) (int, error) {
	if e.err == nil {
		e.err = e.ctx.Err()
	}
	if e.err != nil || len(p) == 0 {
		return 0, e.err
	}
	if e.left == 0 {
		return 0, e.end()
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	switch {
	case err == io.EOF:
		e.done = true
		if e.left > 0 {
			e.err = fmt.Errorf("%w: %d bytes are missing", io.ErrUnexpectedEOF, e.left)
		}
	case err != nil:
		e.err = err
	}
	if e.left == 0 && !errors.Is(e.end(), io.EOF) {
		return 0, e.err
	}
	return n, e.err
}

// end makes sure that r is at its end: io.EOF.
func (e *exact) end() error {
	var one [1]byte
	for tries := 0; !e.done && e.err == nil; tries++ {
		n, err := e.r.Read(one[:])
		switch {
		case n > 0:
			e.err = errTooLong
		case err == io.EOF:
			e.done = true
		case err != nil:
			e.err = err
		case tries == 100:
			e.err = io.ErrNoProgress
		}
	}
	if e.err != nil {
		return e.err
	}
	return io.EOF
}
