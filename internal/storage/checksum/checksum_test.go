package checksum_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage/checksum"
)

// The sums of "123456789"; that of CRC-64/NVME is the check value of its
// definition.
var known = map[string]string{
	"md5":       "25f9e794323b453885f5181f1b624d0b",
	"sha256":    "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	"crc64nvme": "ae8b14860a799888",
}

func TestKnown(t *testing.T) {
	for algorithm, want := range known {
		sum := algorithm + ":" + want
		require.Equal(t, sum, checksum.Of(algorithm, []byte("123456789")))
		s := checksum.For(strings.Replace(sum, want, strings.ToUpper(want), 1))
		_, err := s.Write([]byte("12345678"))
		require.NoError(t, err)
		err = s.Check()
		require.ErrorContains(t, err, algorithm)
		require.ErrorContains(t, err, strings.ToUpper(want))
		_, err = s.Write([]byte("9"))
		require.NoError(t, err)
		require.NoError(t, s.Check())
	}
}

func TestUnknown(t *testing.T) {
	for _, sum := range []string{"", "crc32:00", "md4:0", "md5"} {
		if s := checksum.For(sum); s != nil {
			require.Error(t, s.Check(), sum)
		}
	}
	require.Nil(t, checksum.For(""))
	require.Nil(t, checksum.For("crc32:00"))
	require.Empty(t, checksum.Of("crc32", nil))
}
