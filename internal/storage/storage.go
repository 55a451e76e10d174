// Package storage is what a remote must be able to do, and the rules that hold
// for all of them: the [Store] interface that each protocol's driver implements,
// the [Listing] that knows whether it is complete, and [LocalPath], the one way
// from a remote key to a local file.
//
// A driver does one thing at a time and never retries; what cuts across drivers
// (retry, progress, a prefix) is a decorator that embeds a Store. Package
// conform holds what every Store must do, and storagetest runs it.
package storage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"time"
)

// A Store is one remote. It is safe for concurrent use. Its errors match
// [fs.ErrNotExist], [fs.ErrPermission], [fs.ErrInvalid], [ErrChanged],
// [ErrExpired], [ErrCorrupt] or [ErrTemporary], the context's error when ctx ended,
// and [fs.ErrClosed] after Close; they never hold a secret.
//
// Keys are relative, slash-separated and UTF-8. A driver refuses a key for which
// [CheckKey] has an error, with that error, before it touches the remote; List
// yields every name that the remote has, hostile ones too, so that the caller can
// name them.
type Store interface {
	// List yields the objects whose key starts with prefix, in any order, each
	// once. An error comes last and means that the listing is not complete. A
	// missing bucket or root folder is an error, not an empty listing. Folders,
	// their markers and unfinished uploads are not yielded. A prefix is a string
	// and not a folder: "data" finds "data2/x" too, "data/" does not.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]

	// Stat returns the object called key.
	Stat(ctx context.Context, key string) (Object, error)

	// Open reads n bytes of obj from off on; n < 0 means to its end. Beyond the
	// end there are no bytes, and no error. When obj.Tag is set, every byte is of
	// that version, or Open or Read fail with ErrChanged. A negative off is
	// fs.ErrInvalid. The caller closes the reader.
	Open(ctx context.Context, obj Object, off, n int64) (io.ReadCloser, error)

	// Put writes size bytes of r under key and returns what a List would now
	// yield. Nobody sees any of it before Put has returned nil, and nothing is
	// left of it after an error, unless a SumError names what is. A reader that ends
	// before or after size bytes is an error, a negative size is fs.ErrInvalid. Cond must hold when the object
	// appears, as far as the remote can tell, or Put fails with ErrChanged;
	// Conditional says whether that is atomic. The caller keeps r.
	Put(ctx context.Context, key string, r io.Reader, size int64, cond Cond) (Object, error)

	// Remove removes an object. To remove a missing one is no error.
	Remove(ctx context.Context, key string) error

	// Close releases connections. Calls in flight may fail.
	Close() error
}

// An Object is one file of a remote.
type Object struct {
	Key     string
	Size    int64     // bytes
	ModTime time.Time // UTC; when the remote says it changed
	Tag     string    // changes whenever the content does: an ETag, or size and time; "" when the remote tells too little
	Sum     string    // what the remote vouches for the content to be: "md5:<hex>", "sha256:<hex>", "crc64nvme:<hex>", or ""
}

// A Cond says which version a Put may replace. The zero value allows any; both
// fields at once are fs.ErrInvalid.
type Cond struct {
	Tag    string // the object must exist with this tag
	Absent bool   // there must be no object of this key
}

// CheckPut returns the error of a Put whose arguments no remote could accept: a
// [*KeyError], or fs.ErrInvalid. Every driver calls it first.
func CheckPut(key string, size int64, cond Cond) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if size < 0 || cond.Absent && cond.Tag != "" {
		return &fs.PathError{Op: "put", Path: key, Err: fs.ErrInvalid}
	}
	return nil
}

// CheckOpen is [CheckPut] for Open.
func CheckOpen(key string, off int64) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if off < 0 {
		return &fs.PathError{Op: "open", Path: key, Err: fs.ErrInvalid}
	}
	return nil
}

// Conditional is a Store whose Put checks its condition atomically.
type Conditional interface {
	ConditionalPut() bool
}

// Errors of a Store beside those of package fs.
var (
	// ErrChanged says that the object is not the version that was asked for.
	ErrChanged = errors.New("the remote file has changed")
	// ErrTemporary says that the same call may succeed later: a reset
	// connection, a 5xx answer, throttling.
	ErrTemporary = errors.New("temporary failure")
	// ErrExpired says that the credentials were good once and have run out; with
	// fresh ones the same call may succeed.
	ErrExpired = errors.New("the credentials have expired")
	// ErrKey says that a key is not one that may be used; see [KeyError].
	ErrKey = errors.New("unsafe name")
)
