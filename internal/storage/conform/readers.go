package conform

import (
	"errors"
	"io"
)

var errReader = errors.New("the source failed")

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// broken fails at once.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errReader }

// pieces returns at most so many bytes at a time.
type pieces struct {
	r io.Reader
	n int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

// together returns the last bytes and the end in one call.
type together struct {
	data []byte
}

func (t *together) Read(p []byte) (int, error) {
	n := copy(p, t.data)
	if t.data = t.data[n:]; len(t.data) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// cancelReader cancels when left bytes have been read, and goes on; but not for
// ever, for a store that does not look at its context.
type cancelReader struct {
	left   int64
	cancel func()
}

func (r *cancelReader) Read(p []byte) (int, error) {
	clear(p)
	r.left -= int64(len(p))
	switch {
	case r.left < -64<<20:
		return 0, io.EOF
	case r.left < 0:
		r.cancel()
	}
	return len(p), nil
}
