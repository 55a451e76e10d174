package vault

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzKey reads what anybody may take for a key file.
func FuzzKey(f *testing.F) {
	r, err := newRing()
	require.NoError(f, err)
	text, err := r.text()
	require.NoError(f, err)
	f.Add(string(text))
	f.Add(strings.Repeat("AQEB", 10) + "AQE=")
	f.Add(strings.Repeat("AQEB", 10) + "AQE= " + strings.Repeat("AgIC", 10) + "AgI")
	f.Add(`{"primaryKeyId": 1, "key": [{}]}`)
	f.Add("eyJrZXkiOltdfQ")
	f.Add(strings.Repeat("e3t7", 10) + "e3s=") // 32 bytes that begin like JSON
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRing([]byte(text))
		if err != nil {
			require.True(t, errors.Is(err, ErrKeyFormat), "%v", err)
			return
		}
		out, err := r.text()
		require.NoError(t, err)
		again, err := parseRing(out)
		require.NoError(t, err)
		require.Equal(t, r.primary, again.primary)
		require.Equal(t, r.ids(), again.ids())
		require.True(t, r.related(again))
	})
}
