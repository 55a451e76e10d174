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
func (w *watched) Streams() bool        { return Streams(w.Store) }

func (w *watched) Multipart() Multipart {
	if m := MultipartOf(w.Store); m != nil {
		return &watchedParts{m, w}
	}
	return nil
}

type watchedParts struct {
	Multipart
	w *watched
}

func (m *watchedParts) Send(ctx context.Context, u Upload, n int, r io.Reader, size int64) (Part, error) {
	return m.Multipart.Send(ctx, u, n, m.w.source(u.Key, r), size)
}

func (w *watched) Open(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error) {
	body, err := w.Store.Open(ctx, obj, off, n)
	if err != nil || w.meter.Read == nil {
		return body, err
	}
	return &meteredBody{meteredReader{body, obj.Key, w.meter.Read}, body}, nil
}

func (w *watched) Put(ctx context.Context, key string, r io.Reader, size int64, cond Cond) (Object, error) {
	return w.Store.Put(ctx, key, w.source(key, r), size, cond)
}

// source counts what is read of r.
func (w *watched) source(key string, r io.Reader) io.Reader {
	if w.meter.Written == nil {
		return r
	}
	metered := meteredReader{r, key, w.meter.Written}
	if s, ok := r.(io.Seeker); ok {
		return &meteredSeeker{metered, s, 0}
	}
	return &metered
}

// meteredBody is what Open returns.
type meteredBody struct {
	meteredReader
	body io.ReadCloser
}

func (m *meteredBody) Close() error { return m.body.Close() }

type meteredReader struct {
	r     io.Reader
	key   string
	moved func(key string, n int)
}

func (m *meteredReader) Sum() string { return SumOf(m.r) }

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
