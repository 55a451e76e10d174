package transfer

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCRCJoin(t *testing.T) {
	require.Equal(t, uint64(0xae8b14860a799888), crcOf([]byte("123456789")), "the catalogue's check value")
	data := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	for range 200 {
		n := rand.IntN(len(data))
		cut := rand.IntN(n + 1)
		require.Equal(t, crcOf(data[:n]), crcJoin(crcOf(data[:cut]), crcOf(data[cut:n]), int64(n-cut)))
	}
	require.Zero(t, crcJoin(0, 0, 1<<40))
	require.Equal(t, crcOf(data), crcJoin(crcJoin(0, crcOf(data[:7]), 7), crcOf(data[7:]), int64(len(data)-7)))
}
