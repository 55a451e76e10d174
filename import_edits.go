package d6tpipe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// keepEdits refuses an import that would lose an edit.
func (in *imports) keepEdits(ctx context.Context, s *transfer.Sync, keys []string) error {
	edited, err := s.Edited(ctx, keys)
	if err != nil {
		return err
	}
	var lost []string
	for _, key := range edited {
		same, err := in.isSource(ctx, key)
		if err != nil {
			return err
		}
		if !same {
			lost = append(lost, key)
		}
	}
	if len(lost) > 0 {
		return &EditsError{Keys: lost}
	}
	return nil
}

// An EditsError is [ErrRefused]: an import would have replaced files that were edited
// or added here and not pushed.
type EditsError struct {
	Keys []string // sorted
}

func (e *EditsError) Error() string {
	const most = 5
	var names []string
	for _, key := range e.Keys[:min(len(e.Keys), most)] {
		names = append(names, strconv.Quote(key))
	}
	text := fmt.Sprintf("%v: edited here and not pushed: %s", ErrRefused, strings.Join(names, ", "))
	if more := len(e.Keys) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Unwrap returns [ErrRefused].
func (e *EditsError) Unwrap() error { return ErrRefused }

// isSource reports whether the file under key has the content of its source.
func (in *imports) isSource(ctx context.Context, key string) (bool, error) {
	local, err := storage.LocalPath(key)
	if err != nil {
		return false, err
	}
	root, err := os.OpenRoot(in.pipe.dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	here, err := root.Lstat(local)
	if err != nil || !here.Mode().IsRegular() {
		return false, err
	}
	source, err := os.Stat(in.sources[key])
	if err != nil || source.Size() != here.Size() || !source.Mode().IsRegular() {
		return false, err
	}
	a, err := root.Open(local)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(in.sources[key])
	if err != nil {
		return false, err
	}
	defer b.Close()
	return sameBytes(reader{ctx, a, nil}, reader{ctx, b, nil})
}

// sameBytes reads both to the first difference.
func sameBytes(a, b io.Reader) (bool, error) {
	one, other := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(a, one)
		m, otherErr := io.ReadFull(b, other)
		if !bytes.Equal(one[:n], other[:m]) {
			return false, nil
		}
		for _, err := range []error{err, otherErr} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		if err != nil || otherErr != nil {
			return true, nil
		}
	}
}
