package transfer

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func randomBytes(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(data)
	return data
}

// Blocks may come in any order and from several goroutines at once.
func TestOrdered(t *testing.T) {
	for _, size := range []int{1, blockSize, blockSize + 1, 9*blockSize - 3} {
		for range 20 {
			data := randomBytes(size)
			o := newOrdered(bytes.NewReader(data), int64(size))
			order := rand.Perm(blocks(int64(size)))
			late := rand.IntN(2) == 0
			if !late {
				require.NoError(t, o.beginWith(newDigest("md5:")))
			}
			var group sync.WaitGroup
			for _, i := range order {
				group.Go(func() {
					off, end := blockSpan(i, int64(size))
					if err := o.add(i, data[off:end], crcOf(data[off:end])); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			require.EqualValues(t, size, o.bytesHere())
			require.NoError(t, o.beginWith(newDigest("md5:")), "the first one counts")
			d, err := o.finish("md5:")
			require.NoError(t, err)
			sum := md5.Sum(data)
			require.Equal(t, Hash(sha256.Sum256(data)), d.sum())
			require.Equal(t, hex.EncodeToString(sum[:]), d.has(kindMD5))
			require.Equal(t, hexCRC(crcOf(data)), d.has(kindCRC))
			require.EqualValues(t, size, d.size)
		}
	}
}

func TestOrderedSeesChanges(t *testing.T) {
	data := randomBytes(3 * blockSize)
	o := newOrdered(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, o.beginWith(newDigest("")))
	block := func(i int) []byte { return data[i*blockSize : (i+1)*blockSize] }
	require.NoError(t, o.add(1, block(1), crcOf(block(1))))
	require.ErrorIs(t, o.add(1, block(2), crcOf(block(2))), errUnlike, "the same block with other bytes")
	_, err := o.finish("")
	require.Error(t, err, "a block is missing")
	data[blockSize]++ // of block 1, which is read again when its turn comes
	require.ErrorIs(t, o.add(0, block(0), crcOf(block(0))), errUnlike)
}

// Who brought the block that was next may find that somebody else has taken it
// meanwhile, and that it is the turn of the one behind it.
func TestOrderedTakesNoBlockForAnother(t *testing.T) {
	data := randomBytes(2 * blockSize)
	o := newOrdered(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, o.beginWith(newDigest("")))
	first, second := data[:blockSize], data[blockSize:]
	o.note(0, crcOf(first))
	o.note(1, crcOf(second))
	o.d.add(first) // as somebody else does
	o.next = 1
	require.NoError(t, o.catchUp(0, first))
	d, err := o.finish("")
	require.NoError(t, err)
	require.Equal(t, Hash(sha256.Sum256(data)), d.sum())
}
