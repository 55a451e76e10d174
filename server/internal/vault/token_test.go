package vault_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

func TestToken(t *testing.T) {
	seen := map[string]bool{}
	var ones [6 * 43]int // by bit of the alphabet's index
	const n = 2_000
	for range n {
		token := vault.NewToken()
		require.Regexp(t, `^[A-Za-z0-9_-]{43}$`, string(token))
		require.Equal(t, "***", fmt.Sprint(token))
		hash := vault.Hash(token)
		require.Regexp(t, `^[0-9a-f]{64}$`, hash)
		require.False(t, seen[hash])
		seen[hash] = true
		for i, c := range string(token) {
			for bit := range 6 {
				ones[i*6+bit] += strings.IndexRune(alphabet, c) >> (5 - bit) & 1
			}
		}
	}
	for bit, count := range ones[:256] {
		require.InDelta(t, n/2, count, n/8, "bit %d is random", bit) // 11 standard deviations
	}
}

func TestHash(t *testing.T) {
	for _, token := range []string{"", "x", strings.Repeat("x", 1<<20)} {
		require.Equal(t, fmt.Sprintf("%x", sha256.Sum256([]byte(token))), vault.Hash(d6tpipe.Secret(token)))
	}
}
