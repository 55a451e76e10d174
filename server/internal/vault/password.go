package vault

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"github.com/d6t/d6tpipe-go"
)

// MaxPassword is the length of the longest password in bytes.
const MaxPassword = 1024

// HasherOptions are for [NewHasher]; the zero value is the default.
type HasherOptions struct {
	Cost    Cost // of new hashes; old ones say their own
	Workers int  // hashes at once; half the cores if 0, at least 1 and at most 4
	Queue   int  // calls that may wait besides; 64 if 0, none if negative
}

// mostWorkers bounds the memory of logins on large machines: each takes 19 MiB, and as
// much again before it is collected. Four are a hundred logins in a second.
const mostWorkers = 4

func (o HasherOptions) withDefaults() HasherOptions {
	o.Cost = o.Cost.withDefaults()
	if o.Workers == 0 {
		o.Workers = min(max(1, runtime.GOMAXPROCS(0)/2), mostWorkers)
	}
	if o.Queue == 0 {
		o.Queue = 64
	}
	o.Queue = max(0, o.Queue)
	return o
}

// A Hasher hashes passwords with argon2id, a few at a time: two at once on two
// cores take longer than one after the other, and leave nothing for other requests.
// A call that finds the queue full, or whose context ends in it, is told [ErrBusy].
type Hasher struct {
	cost    Cost
	places  chan struct{} // taken by who waits or works
	workers chan struct{} // taken by who works
	nobody  phc
	count   atomic.Int64
}

// NewHasher makes a hasher. Costs beyond 64 MiB, 8 passes or 8 lanes are an error.
func NewHasher(o HasherOptions) (*Hasher, error) {
	o = o.withDefaults()
	if !o.Cost.valid() || o.Workers < 0 {
		return nil, errors.New("password hashing: cost or workers out of bounds")
	}
	return &Hasher{
		cost:    o.Cost,
		places:  make(chan struct{}, o.Workers+o.Queue),
		workers: make(chan struct{}, o.Workers),
		nobody:  phc{o.Cost, random(saltSize), random(hashSize)}, // no password is known for it
	}, nil
}

// Hash returns what to store of a password. The error is [ErrPassword] when there
// is none or it is longer than [MaxPassword].
func (h *Hasher) Hash(ctx context.Context, password d6tpipe.Secret) (string, error) {
	if !acceptable(password) {
		return "", ErrPassword
	}
	p := phc{cost: h.cost, salt: random(saltSize)}
	var err error
	p.hash, err = h.derive(ctx, p, password)
	if err != nil {
		return "", err
	}
	return p.String(), nil
}

// Verify tells whether it is the password that was stored as hash. Where there is
// no user, call [Hasher.VerifyNobody] instead. If hash is not one, error
// [ErrPasswordHash], that takes as long.
func (h *Hasher) Verify(ctx context.Context, hash string, password d6tpipe.Secret) (ok bool, err error) {
	p, parseErr := parsePHC(hash)
	if parseErr != nil {
		p = h.nobody
	}
	if ok, err = h.verify(ctx, p, password); err == nil {
		err = parseErr
	}
	return ok && err == nil, err
}

// VerifyNobody does the work of [Hasher.Verify] for a user who does not exist, so
// that the time of an answer does not tell. It cannot hide one thing: after the
// cost was raised, a user who has not logged in since is answered faster.
func (h *Hasher) VerifyNobody(ctx context.Context, password d6tpipe.Secret) error {
	_, err := h.Verify(ctx, h.nobody.String(), password)
	return err
}

// NeedsRehash tells whether a hash was made at another cost than new ones are. The
// time to replace it is a login, when the password is known.
func (h *Hasher) NeedsRehash(hash string) bool {
	p, err := parsePHC(hash)
	return err != nil || p.cost != h.cost
}

// Count returns how many hashes were worked out so far.
func (h *Hasher) Count() int64 { return h.count.Load() }

// verify does no work for a password that no user can have; that tells nothing
// about users.
func (h *Hasher) verify(ctx context.Context, p phc, password d6tpipe.Secret) (bool, error) {
	if !acceptable(password) {
		return false, nil
	}
	got, err := h.derive(ctx, p, password)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, p.hash) == 1, nil
}

// derive waits for its turn and hashes.
func (h *Hasher) derive(ctx context.Context, p phc, password d6tpipe.Secret) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		return nil, ErrBusy
	}
	select {
	case h.workers <- struct{}{}:
		defer func() { <-h.workers }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
	h.count.Add(1)
	return argon2.IDKey([]byte(password), p.salt, p.cost.Passes, p.cost.Memory, p.cost.Lanes, hashSize), nil
}

func acceptable(password d6tpipe.Secret) bool {
	return len(password) >= 1 && len(password) <= MaxPassword
}

func random(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.Read(data) // it never fails, says package rand
	return data
}
