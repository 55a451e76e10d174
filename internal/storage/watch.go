package storage

import (
	"context"
	"errors"
	"io"
)

// A Meter is told of bytes as they move. Both functions may be nil; they are
// called from many goroutines at once and must be quick.
type Meter struct {
	Read    func(key string, n int) // of an object's reader
	Written func(key string, n int) // of a Put's source; negative when it is rewound for another attempt
}

// Watch returns store with m counting. Around [Retry] it counts what the caller
// gets and gives, within it what crosses the wire.
func Watch(store Store, m Meter) Store { return &watched{store, m} }

type watched struct {
	Store
	meter Meter
}

func (w *watched) ConditionalPut() bool { return conditional(w.Store) }

func (w *watched) Open(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	body, err := w.Store.Open(ctx, obj, off, n)
	if err != nil || w.meter.Read == nil {
		return body, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&meteredReader{body, obj.Key, w.meter.Read}, body}, nil
}

func (w *watched) Put(ctx context.Context, key string, r io.Reader, size int64, cond Cond) (Object, error) {
	if w.meter.Written != nil {
		metered := &meteredReader{r, key, w.meter.Written}
		if s, ok := r.(io.Seeker); ok {
			r = &meteredSeeker{*metered, s, 0}
		} else {
			r = metered
		}
	}
	return w.Store.Put(ctx, key, r, size, cond)
}

type meteredReader struct {
	r     io.Reader
	key   string
	moved func(key string, n int)
}

func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if n > 0 {
		m.moved(m.key, n)
	}
	return n, err
}

// meteredSeeker takes back what it has counted when it is rewound.
type meteredSeeker struct {
	meteredReader
	s     io.Seeker
	count int
}

func (m *meteredSeeker) Read(p []byte) (int, error) {
	n, err := m.meteredReader.Read(p)
	m.count += n
	return n, err
}

func (m *meteredSeeker) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent && m.count > 0 {
		m.moved(m.key, -m.count)
		m.count = 0
	}
	if whence == io.SeekCurrent && offset != 0 {
		return 0, errors.ErrUnsupported // nobody moves forward in an upload
	}
	return m.s.Seek(offset, whence)
}
