package transfer_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// lossy fails the first Puts: after reading, before or after storing.
type lossy struct {
	*mem.Store
	fails int
	store bool // the answer is lost, not the request
	after func()
}

func (l *lossy) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if l.fails > 0 && !l.store {
		l.fails--
		_, _ = io.Copy(io.Discard, storage.Exactly(ctx, r, size))
		return storage.Object{}, storage.ErrTemporary
	}
	o, err := l.Store.Put(ctx, key, r, size, cond)
	if l.after != nil {
		l.after()
		l.after = nil
	}
	if l.fails > 0 {
		l.fails--
		return storage.Object{}, storage.ErrTemporary
	}
	return o, err
}

func TestPushRetries(t *testing.T) {
	for _, lostReply := range []bool{false, true} {
		l := &lossy{Store: mem.New(), fails: 1, store: lostReply}
		p := newPipe(t, storage.Retry(l, storage.RetryPolicy{First: time.Millisecond}))
		p.write("a.csv", "content")
		_, err := p.sync(push)
		require.NoError(t, err, "answer lost: %v", lostReply)
		require.Equal(t, "content", stored(t, l, "a.csv"))
		p.must(push, 0)
	}
}

// refusing answers all Puts but the first by their condition, before it has read
// more than a part of the file.
type refusing struct {
	lossy
	puts int
	part int64
}

func (l *refusing) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if l.puts++; l.puts > 1 {
		_, _ = io.CopyN(io.Discard, r, l.part)
		return storage.Object{}, storage.ErrChanged
	}
	return l.lossy.Put(ctx, key, r, size, cond)
}

// A server need not read the file to see that its condition does not hold.
func TestPushKnowsItsOwnVersion(t *testing.T) {
	for _, part := range []int64{0, 3, 7} {
		l := &refusing{lossy: lossy{Store: mem.New(), fails: 1, store: true}, part: part}
		moved := int64(0)
		p := newPipe(t, storage.Retry(l, storage.RetryPolicy{First: time.Millisecond}), func(c *transfer.Config) {
			c.Progress = func(e transfer.Event) {
				if e.Kind == transfer.Moved {
					moved += e.Bytes
				}
			}
		})
		p.write("a.csv", "content")
		p.must(push, 1)
		require.EqualValues(t, 7, moved, "%d bytes read", part)
		p.must(push, 0)
	}
}

// The remote has what we sent, so that a later edit is no conflict.
func TestEditRightAfterSending(t *testing.T) {
	l := &lossy{Store: mem.New()}
	p := newPipe(t, l)
	p.write("a.csv", "v1")
	p.must(push, 1)
	p.write("a.csv", "v2 longer")
	l.after = func() { p.write("a.csv", "v3 even longer") }
	p.must(push, 1)
	require.Equal(t, "v2 longer", stored(t, l, "a.csv"))
	p.must(push, 1)
	require.Equal(t, "v3 even longer", stored(t, l, "a.csv"))
}
