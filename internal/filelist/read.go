package filelist

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Limits bound what reading a document may cost. A zero field stands for the
// default.
type Limits struct {
	Bytes int64 // of the document, after decompression; 512 MiB
	Files int   // also of the names that are refused; 4,000,000
}

const (
	defaultBytes = 512 << 20
	defaultFiles = 4_000_000
	maxValue     = 64 << 10 // bytes of one file or other value
)

// Errors of a document that is not one.
var (
	// ErrTooLarge says that a document is over its [Limits].
	ErrTooLarge = errors.New("the listing is too large")
	// ErrMalformed says that a document is none, or was cut off.
	ErrMalformed = errors.New("this is no whole listing of files")
)

// Read reads a document to its end. Names are judged anew, as those of a scan, so
// that nothing depends on who wrote it; what it does not know it passes over.
func Read(r io.Reader, limits Limits) (Document, error) {
	if limits.Bytes <= 0 {
		limits.Bytes = defaultBytes
	}
	if limits.Files <= 0 {
		limits.Files = defaultFiles
	}
	in := &meter{r: r, total: limits.Bytes}
	d := decoder{meter: in, dec: json.NewDecoder(in), left: limits.Files}
	doc, err := d.document()
	if err != nil && !errors.Is(err, ErrTooLarge) && in.err == nil {
		err = fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err != nil {
		return Document{}, err
	}
	return doc, nil
}

// A meter is a reader that fails when a value, or all of it, is too long.
type meter struct {
	r            io.Reader
	value, total int64
	err          error // of r
}

func (m *meter) Read(p []byte) (int, error) {
	if m.total <= 0 || m.value <= 0 {
		return 0, ErrTooLarge
	}
	n, err := m.r.Read(p[:min(int64(len(p)), m.value, m.total)])
	m.value -= int64(n)
	m.total -= int64(n)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

// A decoder reads one document.
type decoder struct {
	meter    *meter
	dec      *json.Decoder
	left     int // files that may still come
	seen     []string
	complete bool
}

// file is one entry.
type file struct {
	Key      *string   `json:"key"`
	Size     *int64    `json:"size"`
	Modified time.Time `json:"modified"`
	Tag      string    `json:"tag"`
	Sum      string    `json:"sum"`
}

// next is the next token.
func (d *decoder) next() (json.Token, error) {
	d.meter.value = maxValue
	return d.dec.Token()
}

func (d *decoder) decode(v any) error {
	d.meter.value = maxValue
	return d.dec.Decode(v)
}

func (d *decoder) more() bool {
	d.meter.value = maxValue
	return d.dec.More()
}

// expect reads a bracket.
func (d *decoder) expect(want json.Delim) error {
	token, err := d.next()
	if err == nil && token != want {
		err = fmt.Errorf("there should be %q", want)
	}
	return err
}

func (d *decoder) document() (doc Document, err error) {
	if err := d.expect('{'); err != nil {
		return doc, err
	}
	var refused []*storage.KeyError
	for d.more() {
		name, err := d.name()
		if err != nil {
			return doc, err
		}
		switch name {
		case "scanned_at":
			doc.ScannedAt, err = d.time()
		case "complete":
			err = d.decode(&d.complete)
		case "files":
			doc.Listing, err = d.files()
		case "refused":
			refused, err = d.refused()
		default:
			err = d.decode(&json.RawMessage{})
		}
		if err != nil {
			return doc, err
		}
	}
	if err := d.end(); err != nil {
		return doc, err
	}
	doc.Listing = doc.Listing.Refuse(refused)
	return doc, nil
}

// time reads one that can be written again.
func (d *decoder) time() (t time.Time, err error) {
	err = d.decode(&t)
	if t = t.UTC(); err == nil && (t.Year() < 0 || t.Year() > 9999) {
		err = errors.New("a time is out of range")
	}
	return t, err
}

// name reads the name of a field, which may come once.
func (d *decoder) name() (string, error) {
	token, err := d.next()
	if err != nil {
		return "", err
	}
	name, _ := token.(string)
	if slices.Contains(d.seen, name) {
		return "", fmt.Errorf("%.64q comes twice", name)
	}
	if len(d.seen) < 64 {
		d.seen = append(d.seen, name)
	}
	return name, nil
}

// end makes sure that nothing is missing.
func (d *decoder) end() error {
	if err := d.expect('}'); err != nil {
		return err
	}
	if !d.complete || !slices.Contains(d.seen, "files") || !slices.Contains(d.seen, "scanned_at") {
		return errors.New("it does not say that it is complete")
	}
	if _, err := d.next(); err != io.EOF {
		return errors.New("something follows its end")
	}
	return nil
}

func (d *decoder) files() (storage.Listing, error) {
	return storage.Recall(func(yield func(storage.Object, error) bool) {
		err := d.array(func() error {
			var f file
			if err := d.decode(&f); err != nil {
				return err
			}
			if f.Key == nil || f.Size == nil {
				return errors.New("a file has no key or no size")
			}
			if !yield(storage.Object{Key: *f.Key, Size: *f.Size, ModTime: f.Modified.UTC(), Tag: f.Tag, Sum: f.Sum}, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(storage.Object{}, err)
		}
	})
}

var errStopped = errors.New("the caller has enough")

func (d *decoder) refused() (refused []*storage.KeyError, err error) {
	err = d.array(func() error {
		var r struct{ Key, Reason string }
		if err := d.decode(&r); err != nil {
			return err
		}
		refused = append(refused, &storage.KeyError{Key: r.Key, Reason: clean(r.Reason)})
		return nil
	})
	return refused, err
}

// clean makes a reason fit for an error.
func clean(reason string) string {
	const most = 300
	reason = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, reason)
	if len(reason) > most {
		reason = strings.ToValidUTF8(reason[:most], "")
	}
	return reason
}

// array reads an array whose elements each reads.
func (d *decoder) array(each func() error) error {
	if err := d.expect('['); err != nil {
		return err
	}
	for d.more() {
		if d.left--; d.left < 0 {
			return ErrTooLarge
		}
		if err := each(); err != nil {
			return err
		}
	}
	return d.expect(']')
}
