package feed

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

const (
	// RowChanges is how many changes a row holds at most: who reads from its middle
	// unpacks all of it.
	RowChanges = 1000
	// rowBytes is the length at which a row ends, before it is packed.
	rowBytes = 256 << 10
	// maxLine is longer than any change: it has a key three times.
	maxLine = 256 << 10
)

// A Row is changes of one scan, packed.
type Row struct {
	N    int    // how many
	Body string // base64 of compressed JSON lines
}

// ErrTooLarge says that changes take more room than there is.
var ErrTooLarge = errors.New("there are too many changes")

// A Writer packs changes into rows.
type Writer struct {
	rows []Row
	left int64 // bytes of bodies

	n   int
	buf bytes.Buffer // lines of the row that is being made
}

// NewWriter returns a writer of rows that have no more than so many bytes together.
func NewWriter(limit int64) *Writer { return &Writer{left: limit} }

// Add adds a change. The error is [ErrTooLarge] when there is no room for it.
func (w *Writer) Add(c d6tpipe.Change) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	w.buf.Write(line)
	w.buf.WriteByte('\n')
	if w.n++; w.n >= RowChanges || w.buf.Len() >= rowBytes {
		return w.cut()
	}
	return nil
}

// Rows returns what was added. The writer is used up then.
func (w *Writer) Rows() ([]Row, error) {
	if w.n > 0 {
		if err := w.cut(); err != nil {
			return nil, err
		}
	}
	return w.rows, nil
}

func (w *Writer) cut() error {
	var packed strings.Builder
	text := base64.NewEncoder(base64.StdEncoding, &packed)
	zip, err := flate.NewWriter(text, flate.BestSpeed)
	if err == nil {
		_, err = zip.Write(w.buf.Bytes())
	}
	if err == nil {
		err = errors.Join(zip.Close(), text.Close())
	}
	if err != nil {
		return err
	}
	if w.left -= int64(packed.Len()); w.left < 0 {
		return ErrTooLarge
	}
	w.rows = append(w.rows, Row{N: w.n, Body: packed.String()})
	w.n = 0
	w.buf.Reset()
	return nil
}

// ErrDamaged says that a row is none.
var ErrDamaged = errors.New("a row of changes is damaged")

// Read appends to all the changes of a row after the first skip, at most limit of them.
func (r Row) Read(all []d6tpipe.Change, skip, limit int) ([]d6tpipe.Change, error) {
	zip := flate.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(r.Body)))
	dec := json.NewDecoder(io.LimitReader(zip, rowBytes+maxLine))
	for i := range min(r.N, skip+limit) {
		var c d6tpipe.Change
		if i < skip {
			var passed json.RawMessage
			if err := dec.Decode(&passed); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			continue
		}
		if err := dec.Decode(&c); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		all = append(all, c)
	}
	return all, nil
}
