package vault_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// login is what a server does with a name and a password. hashes is its database.
func login(ctx context.Context, th *vault.Throttle, h *vault.Hasher, hashes map[string]string,
	account string, password d6tpipe.Secret, peer netip.Addr) (bool, error) {
	attempt, err := th.Login(ctx, account, peer)
	if err != nil {
		return false, err // 429, or 503 for ErrBusy
	}
	defer attempt.Done()
	hash, exists := hashes[account]
	ok := false
	if exists {
		ok, err = h.Verify(ctx, hash, password)
	} else {
		err = h.VerifyNobody(ctx, password)
	}
	if err == nil && !ok {
		attempt.Fail()
	}
	return ok, err
}

func Example() {
	ctx := context.Background()
	h, err := vault.NewHasher(vault.HasherOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	hash, err := h.Hash(ctx, "correct horse")
	if err != nil {
		fmt.Println(err)
		return
	}
	th := vault.NewThrottle(vault.ThrottleOptions{Failures: 2})
	peer := netip.MustParseAddr("192.0.2.1")
	for _, password := range []d6tpipe.Secret{"correct horse", "wrong", "worse", "correct horse"} {
		ok, err := login(ctx, th, h, map[string]string{"bob": hash}, "bob", password, peer)
		fmt.Println(ok, errors.Is(err, vault.ErrThrottled))
	}
	// Output:
	// true false
	// false false
	// false false
	// false true
}
