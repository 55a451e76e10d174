package storage

import (
	"context"
	"io"
)

// A Multipart takes an object in parts: several at once, and over the lives of
// several processes. Its errors are those of a [Store].
type Multipart interface {
	// Begin starts an upload of size bytes to key, which is more than nothing.
	// The size of its parts is the remote's choice, and a multiple of unit.
	Begin(ctx context.Context, key string, size, unit int64) (Upload, error)

	// Arrived returns the parts of u that the remote has to their last byte,
	// sorted by number. fs.ErrNotExist says that it knows no such upload: then
	// it is finished, aborted, or forgotten.
	Arrived(ctx context.Context, u Upload) ([]Part, error)

	// Send stores part n of u: size bytes of r. To send a part again replaces it.
	// Parts of a Serial upload are sent in order, one at a time.
	Send(ctx context.Context, u Upload, n int, r io.Reader, size int64) (Part, error)

	// Finish puts the object together of all its parts, sorted by number, and
	// returns what a List would now yield. Nobody sees any of it before. Cond is
	// that of a Put.
	Finish(ctx context.Context, u Upload, parts []Part, cond Cond) (Object, error)

	// Abort takes away what was sent. An upload that is not there is no error.
	Abort(ctx context.Context, u Upload) error
}

// Multiparter is a Store that can take objects in parts. Multipart returns nil
// when it cannot; see [MultipartOf].
type Multiparter interface {
	Multipart() Multipart
}

// MultipartOf returns store's [Multipart], nil when it has none.
func MultipartOf(store Store) Multipart {
	if m, ok := store.(Multiparter); ok {
		return m.Multipart()
	}
	return nil
}

// An Upload is one that was begun. It is plain data that may be kept in a file,
// and holds no secret.
type Upload struct {
	Key      string `json:"key"`
	ID       string `json:"id"`   // what the remote calls the upload
	Size     int64  `json:"size"` // bytes of the object
	PartSize int64  `json:"part_size"`
	Serial   bool   `json:"serial,omitempty"` // one part after the other
}

// Parts is how many parts the upload has.
func (u Upload) Parts() int {
	n := u.Size / u.PartSize
	if u.Size%u.PartSize != 0 {
		n++
	}
	return int(n)
}

// Part returns where part n begins, and its size.
func (u Upload) Part(n int) (off, size int64) {
	off = int64(n) * u.PartSize
	return off, min(u.PartSize, u.Size-off)
}

// A Part is a part of an upload that has arrived.
type Part struct {
	Number int    `json:"n"` // from 0
	Size   int64  `json:"size"`
	Tag    string `json:"tag,omitempty"` // of its content, where the remote has one
	Sum    string `json:"sum,omitempty"` // as an Object's
}

// A Summer is a reader that knows a sum, as an Object's; "" is none.
//
// One from Open has learned on the way what the remote vouches for the whole object
// to be, whatever part of it is read: a sum that is stronger, or cheaper to check,
// than the one in the listing. To read no bytes at all is a way to ask for it.
//
// One that is given to Put or Send knows what is about to be read of it, so that the
// remote can be told beforehand, and refuse other bytes. It may have to read all of
// it when it is asked.
type Summer interface {
	Sum() string
}

// SumOf returns what r knows of its bytes, or of the whole object that it reads.
func SumOf(r io.Reader) string {
	if s, ok := r.(Summer); ok {
		return s.Sum()
	}
	return ""
}

// Streamer is a Store on which reading an object in ranges costs more than it
// gains, as when each range needs a new connection. Streams then reports true.
type Streamer interface {
	Streams() bool
}

// Streams reports whether objects of store are better read in one stream.
func Streams(store Store) bool {
	s, ok := store.(Streamer)
	return ok && s.Streams()
}
