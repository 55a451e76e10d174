package listing

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// bodies are the listings that are in memory because somebody is sent them. All who are
// sent the same one share it. There is room for so many bytes in all, and for a part of
// that for one account: who reads slowly keeps what he reads in memory, and so others
// out.
type bodies struct {
	cache Cache
	whole func(key bodyKey, body []byte, err error) error
	room  *room         // for all accounts
	wait  time.Duration // for room
	one   int64         // the room of an account

	all    shares[bodyKey, []byte]
	theirs shares[heldKey, []byte] // of each account

	mu    sync.Mutex
	rooms map[string]*accountRoom
}

// A bodyKey is one listing.
type bodyKey struct{ id, tag string }

// A heldKey is a listing that an account is sent.
type heldKey struct {
	account string
	bodyKey
}

// An accountRoom is the room of an account that is sent something.
type accountRoom struct {
	*room
	users int
}

func newBodies(cfg Config, whole func(bodyKey, []byte, error) error) *bodies {
	return &bodies{cache: cfg.Cache, whole: whole, room: newRoom(cfg.Bodies), wait: cfg.WaitBody, one: cfg.BodiesOne, rooms: map[string]*accountRoom{}}
}

// get returns a listing whose body has so many bytes. Done must be called once.
func (b *bodies) get(ctx context.Context, account string, key bodyKey, size int64) (body []byte, done func(), err error) {
	if account == "" {
		return b.shared(ctx, key, size)
	}
	return b.theirs.get(ctx, heldKey{account, key}, func() ([]byte, func(), error) {
		r := b.enter(account)
		taken, err := r.take(ctx, b.wait, size)
		if err != nil {
			b.leave(account, r)
			return nil, nil, err
		}
		leave := func() {
			r.free(taken)
			b.leave(account, r)
		}
		body, done, err := b.shared(ctx, key, size)
		if err != nil {
			leave()
			return nil, nil, err
		}
		return body, func() { done(); leave() }, nil
	})
}

// enter returns the room of an account.
func (b *bodies) enter(account string) *accountRoom {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rooms[account]
	if r == nil {
		r = &accountRoom{room: newRoom(b.one)}
		b.rooms[account] = r
	}
	r.users++
	return r
}

// leave forgets the room of an account when all have left.
func (b *bodies) leave(account string, r *accountRoom) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.users--; r.users == 0 {
		delete(b.rooms, account)
	}
}

// shared returns a listing for anybody. While it is loaded, the text that it is kept as
// takes room as well.
func (b *bodies) shared(ctx context.Context, key bodyKey, size int64) (body []byte, done func(), err error) {
	return b.all.get(ctx, key, func() ([]byte, func(), error) {
		taken, err := b.room.take(ctx, b.wait, size+text(size))
		if err != nil {
			return nil, nil, err
		}
		body, err := b.cache.Body(ctx, key.id, key.tag)
		if err = b.whole(key, body, err); err != nil {
			b.room.free(taken)
			return nil, nil, err
		}
		kept := min(size, taken)
		b.room.free(taken - kept)
		return body, func() { b.room.free(kept) }, nil
	})
}

// text is how long so many bytes are in base64.
func text(size int64) int64 { return size/3*4 + 4 }

// A room has room for so many bytes.
type room struct {
	size int64
	sem  *semaphore.Weighted
}

func newRoom(size int64) *room { return &room{size, semaphore.NewWeighted(size)} }

// take waits for room, no longer than wait, and returns how many bytes it took: what is
// larger than all of it takes all.
func (r *room) take(ctx context.Context, wait time.Duration, bytes int64) (taken int64, err error) {
	taken = min(bytes, r.size)
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if r.sem.Acquire(limited, taken) == nil {
		return taken, nil
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return 0, errFull
}

func (r *room) free(taken int64) { r.sem.Release(taken) }

// errFull says that too many listings are being read.
var errFull error = fullError{&d6tpipe.StatusError{Status: http.StatusServiceUnavailable, Message: "Too many listings are being sent, try again later."}}

type fullError struct{ status *d6tpipe.StatusError }

func (e fullError) Error() string { return e.status.Error() }
func (e fullError) Unwrap() error { return e.status }

// Seconds is after how many it is worth trying again.
func (e fullError) Seconds() int { return 5 }

// shares are values that are made when somebody wants one, and shared by all who want
// the same, until the last of them is done. The zero value is ready.
type shares[K comparable, V any] struct {
	mu  sync.Mutex
	all map[K]*share[V]
}

type share[V any] struct {
	users int
	made  chan struct{} // closed when the rest is set
	value V
	free  func()
	err   error
}

// get returns the value of a key. It is made by whoever comes first; who waits for that
// makes his own when the maker went away.
func (s *shares[K, V]) get(ctx context.Context, key K, make func() (V, func(), error)) (value V, done func(), err error) {
	for {
		one, first := s.join(key)
		if first {
			s.fill(key, one, make)
		} else if !one.wait(ctx) {
			s.leave(key, one)
			return value, nil, ctx.Err()
		}
		if one.err == nil {
			return one.value, sync.OnceFunc(func() { s.leave(key, one) }), nil
		}
		gone := errors.Is(one.err, context.Canceled) || errors.Is(one.err, context.DeadlineExceeded)
		if first || !gone || ctx.Err() != nil {
			return value, nil, one.err
		}
	}
}

// wait waits until the value is made, and reports false when ctx ends before.
func (s *share[V]) wait(ctx context.Context) bool {
	select {
	case <-s.made:
		return true
	case <-ctx.Done():
		return false
	}
}

// join returns the value of a key, and whether it is for the caller to make it.
func (s *shares[K, V]) join(key K) (one *share[V], first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[K]*share[V]{}
	}
	one = s.all[key]
	if one == nil {
		one, first = &share[V]{made: make(chan struct{})}, true
		s.all[key] = one
	}
	one.users++
	return one, first
}

var errUnmade = errors.New("what others wait for could not be made")

// fill makes the value. What fails is forgotten before others hear of it, so that they
// can try again.
func (s *shares[K, V]) fill(key K, one *share[V], make func() (V, func(), error)) {
	one.err = errUnmade // if it panics
	defer func() {
		if one.err != nil {
			s.mu.Lock()
			delete(s.all, key)
			s.mu.Unlock()
		}
		close(one.made)
	}()
	one.value, one.free, one.err = make()
}

// leave frees the value when nobody uses it any more. Its maker leaves only what was made,
// so that there is one to be freed.
func (s *shares[K, V]) leave(key K, one *share[V]) {
	s.mu.Lock()
	one.users--
	last := one.users == 0
	if last {
		delete(s.all, key)
	}
	s.mu.Unlock()
	if last {
		one.free()
	}
}
