package vault_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

func TestPassword(t *testing.T) {
	h, err := vault.NewHasher(vault.HasherOptions{})
	require.NoError(t, err)
	hash, err := h.Hash(t.Context(), canary)
	require.NoError(t, err)
	require.Regexp(t, `^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`, hash)
	again, err := h.Hash(t.Context(), canary)
	require.NoError(t, err)
	require.NotEqual(t, hash, again, "each has its own salt")
	for _, password := range []d6tpipe.Secret{canary, "wrong", canary + " ", canary + canary, "AKIA"} {
		ok, err := h.Verify(t.Context(), hash, password)
		require.NoError(t, err)
		require.Equal(t, password == canary, ok)
	}
	require.False(t, h.NeedsRehash(hash))
}

func TestPasswordLengths(t *testing.T) {
	h := cheapHasher(t, vault.Cost{Memory: 64, Passes: 1})
	for _, password := range []string{"", strings.Repeat("x", vault.MaxPassword+1)} {
		_, err := h.Hash(t.Context(), d6tpipe.Secret(password))
		require.ErrorIs(t, err, vault.ErrPassword)
	}
	for _, password := range []string{"x", "pässwörd", "\x00", strings.Repeat("x", vault.MaxPassword)} {
		hash, err := h.Hash(t.Context(), d6tpipe.Secret(password))
		require.NoError(t, err)
		ok, err := h.Verify(t.Context(), hash, d6tpipe.Secret(password))
		require.NoError(t, err)
		require.True(t, ok)
	}
}

// A hash says what it costs, so the cost can be raised while old hashes are in use.
func TestCostCanBeRaised(t *testing.T) {
	old := cheapHasher(t, vault.Cost{Memory: 64, Passes: 1})
	hash, err := old.Hash(t.Context(), "right")
	require.NoError(t, err)
	for _, cost := range []vault.Cost{{Memory: 128, Passes: 1}, {Memory: 64, Passes: 2}, {Memory: 64, Passes: 1, Lanes: 2}} {
		h := cheapHasher(t, cost)
		ok, err := h.Verify(t.Context(), hash, "right")
		require.NoError(t, err)
		require.True(t, ok)
		ok, err = h.Verify(t.Context(), hash, "wrong")
		require.NoError(t, err)
		require.False(t, ok)
		require.True(t, h.NeedsRehash(hash))
		next, err := h.Hash(t.Context(), "right")
		require.NoError(t, err)
		require.False(t, h.NeedsRehash(next))
		ok, err = old.Verify(t.Context(), next, "right")
		require.NoError(t, err)
		require.True(t, ok)
	}
	require.False(t, old.NeedsRehash(hash))
	for _, cost := range []vault.Cost{{Memory: 64*1024 + 1}, {Passes: 9}, {Lanes: 9}, {Memory: 7}, {Memory: 15, Lanes: 2}} {
		_, err := vault.NewHasher(vault.HasherOptions{Cost: cost})
		require.Error(t, err, "%+v", cost)
	}
}

// A hash of the reference implementation (echo -n password | argon2 saltsaltsaltsalt
// -id -v 13 -k 64 -t 3 -p 2 -l 32 -e) is one of ours.
func TestReferenceHash(t *testing.T) {
	h := cheapHasher(t, vault.Cost{Memory: 64, Passes: 1})
	ok, err := h.Verify(t.Context(), "$argon2id$v=19$m=64,t=3,p=2$c2FsdHNhbHRzYWx0c2FsdA$sC+XSNP5FptZ8gLpJ8TcZF7hdo1k8KgRqU4ZHXBKZp8", "password")
	require.NoError(t, err)
	require.True(t, ok)
}

func cheapHasher(t *testing.T, cost vault.Cost) *vault.Hasher {
	h, err := vault.NewHasher(vault.HasherOptions{Cost: cost})
	require.NoError(t, err)
	return h
}
