package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// A mint gives out keys to one remote that live for a while, the longest one from
// now when life is 0.
type mint struct {
	remote *mem.Store
	life   time.Duration
	said   time.Duration // what it says of their life; 0 is nothing
	uses   int32         // calls that a key is good for; 0 is any number
	sum    string        // that readers tell
	err    error         // of the next renewals
	delay  time.Duration // of a renewal

	mu     sync.Mutex
	opened []*key
	keys   atomic.Int32 // asked for
}

// A key is a store that is good until it expires.
type key struct {
	storage.Store
	mint   *mint
	until  time.Time
	closed atomic.Int32
	calls  atomic.Int32
	busy   atomic.Int32
}

func (m *mint) open(ctx context.Context) (storage.Store, time.Time, error) {
	m.keys.Add(1)
	if m.delay > 0 {
		select {
		case <-time.After(m.delay):
		case <-ctx.Done():
			return nil, time.Time{}, ctx.Err()
		}
	}
	if m.err != nil {
		return nil, time.Time{}, m.err
	}
	now := time.Now()
	k := &key{Store: m.remote, mint: m, until: now.Add(m.life)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened = append(m.opened, k)
	if m.said == 0 {
		return k, time.Time{}, nil
	}
	return k, now.Add(m.said), nil
}

func (m *mint) renewed(t *testing.T) storage.Store {
	t.Helper()
	first, expires, err := m.open(t.Context())
	require.NoError(t, err)
	m.keys.Store(0)
	return storage.Renew(first, expires, m.open)
}

// number returns the key that was given out as the n-th.
func (m *mint) number(n int) *key {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opened[n]
}

func (k *key) check() error {
	calls := k.calls.Add(1)
	if k.mint.uses > 0 && calls > k.mint.uses {
		return &fs.PathError{Op: "use", Path: "key", Err: storage.ErrExpired}
	}
	return k.alive()
}

func (k *key) alive() error {
	switch {
	case k.closed.Load() > 0:
		return fs.ErrClosed
	case !time.Now().Before(k.until):
		return &fs.PathError{Op: "use", Path: "key", Err: storage.ErrExpired}
	}
	return nil
}

func (k *key) Stat(ctx context.Context, name string) (storage.Object, error) {
	if err := storage.CheckKey(name); err != nil {
		return storage.Object{}, err
	}
	if err := k.check(); err != nil {
		return storage.Object{}, err
	}
	return k.Store.Stat(ctx, name)
}

func (k *key) Remove(ctx context.Context, name string) error {
	if err := storage.CheckKey(name); err != nil {
		return err
	}
	if err := k.check(); err != nil {
		return err
	}
	return k.Store.Remove(ctx, name)
}

func (k *key) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for obj, err := range k.Store.List(ctx, prefix) {
			if keyErr := k.alive(); keyErr != nil {
				obj, err = storage.Object{}, keyErr
			}
			if !yield(obj, err) || err != nil {
				return
			}
		}
	}
}

func (k *key) Put(ctx context.Context, name string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if err := storage.CheckPut(name, size, cond); err != nil {
		return storage.Object{}, err
	}
	if err := k.check(); err != nil {
		return storage.Object{}, err
	}
	return k.Store.Put(ctx, name, r, size, cond)
}

// Open returns a reader that minds the expiry, as no S3 does, and some FTP does.
func (k *key) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	if err := storage.CheckOpen(obj.Key, off); err != nil {
		return nil, err
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	body, err := k.Store.Open(ctx, obj, off, n)
	if err != nil {
		return nil, err
	}
	k.busy.Add(1)
	return &keyReader{body, k}, nil
}

type keyReader struct {
	io.ReadCloser
	k *key
}

func (r *keyReader) Read(p []byte) (int, error) {
	if err := r.k.alive(); err != nil {
		return 0, err
	}
	return r.ReadCloser.Read(p[:min(len(p), 1000)])
}

func (r *keyReader) Sum() string { return r.k.mint.sum }

func (r *keyReader) Close() error {
	r.k.busy.Add(-1)
	return r.ReadCloser.Close()
}

var errLeak = errors.New("closed while it was in use")

func (k *key) Close() error {
	if k.busy.Load() > 0 || k.closed.Add(1) > 1 {
		return errLeak
	}
	return nil // the remote stays
}

func (k *key) ConditionalPut() bool { return true }
func (k *key) Streams() bool        { return true }

func (k *key) Multipart() storage.Multipart {
	return &keyParts{storage.MultipartOf(k.Store), k}
}

type keyParts struct {
	storage.Multipart
	k *key
}

func (m *keyParts) Send(ctx context.Context, u storage.Upload, n int, r io.Reader, size int64) (storage.Part, error) {
	if err := m.k.check(); err != nil {
		return storage.Part{}, err
	}
	return m.Multipart.Send(ctx, u, n, r, size)
}

func (m *keyParts) Finish(ctx context.Context, u storage.Upload, parts []storage.Part, cond storage.Cond) (storage.Object, error) {
	if err := m.k.check(); err != nil {
		return storage.Object{}, err
	}
	return m.Multipart.Finish(ctx, u, parts, cond)
}

func newMint(life, said time.Duration) *mint {
	return &mint{remote: mem.New(), life: life, said: said}
}

func TestRenewIsAStore(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store {
		store := mem.New()
		return storage.Renew(store, time.Time{}, func(context.Context) (storage.Store, time.Time, error) {
			return nil, time.Time{}, errors.New("nobody asked for that")
		})
	})
	storagetest.Run(t, func(t *testing.T) storage.Store {
		m := newMint(time.Hour, 0)
		m.uses = 15
		t.Cleanup(func() { require.NoError(t, m.remote.Close()) })
		policy := storage.RetryPolicy{First: time.Nanosecond, Attempts: 100}
		return storage.Retry(storage.Idle(&closing{m.renewed(t), m}, time.Minute), policy)
	})
}

// closing closes the remote behind the keys too.
type closing struct {
	storage.Store
	m *mint
}

func (c *closing) ConditionalPut() bool { return true }
func (c *closing) Multipart() storage.Multipart {
	return storage.MultipartOf(c.Store)
}
func (c *closing) Close() error { return errors.Join(c.Store.Close(), c.m.remote.Close()) }

func TestRenewShowsWhatTheStoreCan(t *testing.T) {
	m := newMint(time.Hour, 0)
	m.sum = "sum of the reader"
	store := m.renewed(t)
	require.True(t, store.(storage.Conditional).ConditionalPut())
	require.True(t, storage.Streams(store))
	require.NotNil(t, storage.MultipartOf(store))
	obj := storagetest.Put(t, store, "a", []byte("hello"))
	r, err := store.Open(t.Context(), obj, 0, -1)
	require.NoError(t, err)
	require.Equal(t, "sum of the reader", storage.SumOf(r))
	require.NoError(t, r.Close())
	require.NoError(t, store.Close())

	plain := storage.Renew(struct{ storage.Store }{mem.New()}, time.Time{}, nil)
	require.False(t, plain.(storage.Conditional).ConditionalPut())
	require.False(t, storage.Streams(plain))
	require.Nil(t, storage.MultipartOf(plain))
	require.NoError(t, plain.Close())
}

// Fresh credentials come before the expiry, once, and nobody waits for them.
func TestRenewBeforeTheExpiry(t *testing.T) {
	for _, row := range []struct{ life, margin time.Duration }{
		{5 * time.Second, time.Second}, {time.Hour, 5 * time.Minute}, {25 * time.Minute, 5 * time.Minute}, {10 * time.Minute, 2 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMint(row.life, row.life)
			store := m.renewed(t)
			storagetest.Put(t, store, "a", nil)
			m.delay = row.margin / 2
			time.Sleep(row.life - row.margin - time.Nanosecond)
			_, err := store.Stat(t.Context(), "a")
			require.NoError(t, err)
			synctest.Wait()
			require.Zero(t, m.keys.Load())
			time.Sleep(time.Nanosecond)
			start := time.Now()
			for range 10 {
				_, err := store.Stat(t.Context(), "a")
				require.NoError(t, err)
			}
			require.Zero(t, time.Since(start), "calls go on with the old one")
			time.Sleep(m.delay)
			synctest.Wait()
			require.EqualValues(t, 1, m.keys.Load())
			require.EqualValues(t, 1, m.number(0).closed.Load())
			_, err = store.Stat(t.Context(), "a")
			require.NoError(t, err)
			require.EqualValues(t, 1, m.number(1).calls.Load())
			require.NoError(t, store.Close())
			require.EqualValues(t, 1, m.number(1).closed.Load())
		})
	}
}

// Of many calls that fail at once, one asks, and all go through with their next
// attempt.
func TestRenewAfterExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(5*time.Second, 0)
		store := m.renewed(t)
		for i := range 20 {
			storagetest.Put(t, store, fmt.Sprint(i), []byte("hello"))
		}
		m.delay = time.Second
		time.Sleep(6 * time.Second)
		retried := storage.Retry(store, storage.RetryPolicy{})
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				_, err := retried.Stat(t.Context(), fmt.Sprint(i))
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 1, m.keys.Load())
		_, err := store.Stat(t.Context(), "none")
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NoError(t, store.Close())
	})
}

func TestRenewedErrorIsTemporary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(time.Second, 0)
		store := m.renewed(t)
		time.Sleep(2 * time.Second)
		_, err := store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrTemporary)
		require.ErrorIs(t, err, storage.ErrExpired)
		_, err = store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, fs.ErrNotExist)
		time.Sleep(2 * time.Second)
		_, err = store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrTemporary, "they were good for something")
		require.EqualValues(t, 2, m.keys.Load())
		require.NoError(t, store.Close())
	})
}

// Credentials that are refused although they are fresh are no reason to ask for
// more, until a minute has passed.
func TestRenewGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(0, 0)
		store := m.renewed(t)
		retried := storage.Retry(store, storage.RetryPolicy{})
		for range 50 {
			_, err := retried.Stat(t.Context(), "a")
			require.ErrorIs(t, err, storage.ErrExpired)
			require.NotErrorIs(t, err, storage.ErrTemporary)
		}
		require.EqualValues(t, 1, m.keys.Load())
		time.Sleep(time.Minute)
		m.life = time.Hour
		_, err := retried.Stat(t.Context(), "a")
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.EqualValues(t, 2, m.keys.Load())
		require.NoError(t, store.Close())
	})
}

// When there are no fresh credentials, the old ones are used as long as they are
// good for something, and then the reason is told.
func TestRenewFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(time.Hour, time.Hour)
		store := m.renewed(t)
		storagetest.Put(t, store, "a", nil)
		m.err = fmt.Errorf("the catalogue: %w", storage.ErrTemporary)
		time.Sleep(55 * time.Minute)
		for range 300 {
			_, err := store.Stat(t.Context(), "a")
			require.NoError(t, err)
			time.Sleep(time.Second - time.Millisecond)
		}
		synctest.Wait()
		require.EqualValues(t, 28, m.keys.Load(), "one in ten seconds")
		time.Sleep(time.Second)
		_, err := store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrExpired)
		require.ErrorIs(t, err, storage.ErrTemporary)
		require.ErrorContains(t, err, "the catalogue")
		m.err = fs.ErrPermission
		_, err = store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, fs.ErrPermission)
		require.NotErrorIs(t, err, storage.ErrTemporary)
		m.err = nil
		_, err = store.Stat(t.Context(), "a")
		require.NoError(t, err)
		require.NoError(t, store.Close())
	})
}

// Clocks that are wrong, in both directions.
func TestRenewWithAWrongClock(t *testing.T) {
	for name, row := range map[string]struct {
		life, said time.Duration
		want       int32 // renewals in ten minutes, a call each second
	}{
		"says they are over":       {time.Hour, -time.Hour, 0},
		"says they live longer":    {time.Minute, time.Hour, 9},
		"says they live shorter":   {time.Hour, time.Minute, 12}, // every 48 s
		"does not say":             {time.Minute, 0, 9},
		"says they live as long":   {time.Minute, time.Minute, 12},
		"says they are never over": {time.Hour, 1 << 62, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMint(row.life, row.said)
				store := m.renewed(t)
				storagetest.Put(t, store, "a", nil)
				retried := storage.Retry(store, storage.RetryPolicy{First: time.Nanosecond})
				for range 600 {
					_, err := retried.Stat(t.Context(), "a")
					require.NoError(t, err)
					synctest.Wait()
					time.Sleep(time.Second)
				}
				require.InDelta(t, row.want, m.keys.Load(), 0.5)
				require.NoError(t, store.Close())
			})
		})
	}
}

// When the credentials have run out by the clock, calls wait for fresh ones; when
// there are none, they try the old ones.
func TestRenewWhenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(2*time.Hour, time.Hour)
		store := m.renewed(t)
		storagetest.Put(t, store, "a", nil)
		time.Sleep(time.Hour)
		m.delay, m.err = time.Second, errors.New("none")
		start := time.Now()
		_, err := store.Stat(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(start))
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = store.Stat(ctx, "a")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Second)
		synctest.Wait()
		m.err = nil
		time.Sleep(10 * time.Second)
		_, err = store.Stat(t.Context(), "a")
		require.NoError(t, err)
		require.EqualValues(t, 1, m.number(1).calls.Load())
		require.NoError(t, store.Close())
	})
}

// Readers keep their store, and go on with another one when they must.
func TestRenewReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(5*time.Second, 0)
		store := m.renewed(t)
		data := storagetest.Bytes(1, 20_000)
		obj := storagetest.Put(t, store, "a", data)
		retried := storage.Retry(store, storage.RetryPolicy{})
		long, err := retried.Open(t.Context(), obj, 0, -1)
		require.NoError(t, err)
		_, err = store.Open(t.Context(), storage.Object{Key: "none"}, 0, -1)
		require.ErrorIs(t, err, fs.ErrNotExist)
		storagetest.List(t, store, "")
		idle, err := store.Open(t.Context(), obj, 0, 10)
		require.NoError(t, err)
		other, err := store.Open(t.Context(), obj, 0, 10)
		require.NoError(t, err)
		var got []byte
		for {
			p := make([]byte, 1000)
			n, err := long.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		require.Equal(t, data, got)
		require.EqualValues(t, 4, m.keys.Load(), "20 s and some waits, of 5 s each")
		require.NoError(t, long.Close())
		require.Zero(t, m.number(0).closed.Load(), "somebody may read on")
		require.EqualValues(t, 1, m.number(1).closed.Load())
		require.NoError(t, idle.Close())
		_ = idle.Close() // twice
		require.Zero(t, m.number(0).closed.Load(), "another one may")
		m.number(0).busy.Store(1) // as it was before the second time
		require.NoError(t, other.Close())
		require.EqualValues(t, 1, m.number(0).closed.Load())
		require.NoError(t, store.Close())
		for i := range 5 {
			require.EqualValues(t, 1, m.number(i).closed.Load())
		}
	})
}

// An upload goes on across stores.
func TestRenewMultipart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(5*time.Second, 0)
		store := m.renewed(t)
		parts := storage.MultipartOf(storage.Retry(store, storage.RetryPolicy{}))
		data := storagetest.Bytes(1, 10_000)
		u, err := parts.Begin(t.Context(), "a", 10_000, 1000)
		require.NoError(t, err)
		var sent []storage.Part
		for n := range u.Parts() {
			off, size := u.Part(n)
			time.Sleep(10 * time.Second / time.Duration(u.Parts()))
			part, err := parts.Send(t.Context(), u, n, bytes.NewReader(data[off:off+size]), size)
			require.NoError(t, err)
			sent = append(sent, part)
		}
		time.Sleep(5 * time.Second)
		obj, err := parts.Finish(t.Context(), u, sent, storage.Cond{Absent: true})
		require.NoError(t, err)
		require.NotZero(t, m.keys.Load())
		require.Equal(t, data, storagetest.Get(t, m.remote, obj))
		require.NoError(t, store.Close())
	})
}

// A long listing is proof that credentials were good.
func TestRenewInAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(5*time.Second, 0)
		store := m.renewed(t)
		for i := range 12 {
			storagetest.Put(t, store, fmt.Sprint(i), nil)
		}
		time.Sleep(5 * time.Second)
		_, err := store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrTemporary)
		seen := 0
		for _, err = range store.List(t.Context(), "") {
			seen++
			time.Sleep(time.Second)
		}
		require.ErrorIs(t, err, storage.ErrTemporary)
		require.Equal(t, 6, seen)
		require.EqualValues(t, 2, m.keys.Load())
		require.NoError(t, store.Close())
	})
}

func TestRenewClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(time.Second, 0)
		store := m.renewed(t)
		time.Sleep(time.Second)
		m.delay = time.Hour
		failed := make(chan error)
		go func() {
			_, err := store.Stat(t.Context(), "a")
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, store.Close(), "a renewal that hangs is ended")
		require.ErrorIs(t, <-failed, fs.ErrClosed)
		require.Zero(t, time.Since(start))
		_, err := store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, fs.ErrClosed)
		require.NoError(t, store.Close())
	})
}

// What cannot be closed is told at the end.
func TestRenewTellsOfCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMint(time.Second, 0)
		store := m.renewed(t)
		m.number(0).closed.Store(1)
		time.Sleep(time.Second)
		m.number(0).closed.Store(0)
		m.number(0).busy.Store(1)
		_, err := store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrTemporary)
		require.ErrorIs(t, store.Close(), errLeak)
	})
}

func TestRenewUnderLoad(t *testing.T) {
	m := newMint(time.Hour, 7*time.Millisecond)
	m.uses = 20
	store := m.renewed(t)
	retried := storage.Retry(store, storage.RetryPolicy{First: time.Nanosecond, Attempts: 1000})
	data := storagetest.Bytes(1, 50_000)
	obj := storagetest.Put(t, retried, "a", data)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 30 {
				body, err := retried.Open(t.Context(), obj, 0, -1)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(body)
				if err = errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			}
		})
	}
	group.Wait()
	require.NoError(t, store.Close())
	for _, k := range m.opened {
		require.EqualValues(t, 1, k.closed.Load())
		require.Zero(t, k.busy.Load())
	}
}
