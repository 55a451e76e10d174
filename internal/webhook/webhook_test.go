package webhook_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/webhook"
)

// The vector that the specification's libraries share.
const (
	vectorSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime   = "1614265330"
	vectorBody   = `{"test": 2432232314}`
	vectorSigned = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func key(t *testing.T, secret string) []byte {
	t.Helper()
	k, err := webhook.ParseSecret(secret)
	require.NoError(t, err)
	return k
}

func TestVector(t *testing.T) {
	k := key(t, vectorSecret)
	require.Equal(t, k, key(t, strings.TrimPrefix(vectorSecret, "whsec_")))
	require.Equal(t, vectorTime, webhook.Timestamp(time.Unix(1614265330, 999)))
	require.Equal(t, vectorSigned, webhook.Sign(vectorID, vectorTime, []byte(vectorBody), k))
	require.True(t, webhook.Verify(vectorSigned, vectorID, vectorTime, []byte(vectorBody), k))
}

// TestVerify: one good signature among others is enough, and nothing of a message can
// be changed.
func TestVerify(t *testing.T) {
	const wrong = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
	k, other := key(t, vectorSecret), key(t, webhook.NewSecret())
	for header, good := range map[string]bool{
		vectorSigned: true, wrong + " " + vectorSigned: true, wrong + " v2,abc v1a,abc nonsense " + vectorSigned + " " + wrong: true,
		strings.TrimSpace(strings.Repeat(wrong+" ", 15)) + " " + vectorSigned: true,
		"": false, "v1,": false, wrong: false, "v1": false, vectorSigned[3:]: false, "v2" + vectorSigned[2:]: false, "v1a" + vectorSigned[2:]: false,
		vectorSigned[:30]: false, vectorSigned + "=": false, strings.ReplaceAll(vectorSigned, "+", "-"): false,
		strings.Repeat(wrong+" ", 16) + vectorSigned: false, // nobody signs with so many
	} {
		require.Equal(t, good, webhook.Verify(header, vectorID, vectorTime, []byte(vectorBody), other, k), header)
	}
	require.False(t, webhook.Verify(vectorSigned, vectorID, vectorTime, []byte(vectorBody), other))
	require.False(t, webhook.Verify(vectorSigned, vectorID, vectorTime, []byte(vectorBody)))
	require.False(t, webhook.Verify(vectorSigned, vectorID+"x", vectorTime, []byte(vectorBody), k))
	require.False(t, webhook.Verify(vectorSigned, vectorID, "1614265331", []byte(vectorBody), k))
	require.False(t, webhook.Verify(vectorSigned, vectorID, vectorTime, []byte(vectorBody+" "), k))
	both := webhook.Sign(vectorID, vectorTime, []byte(vectorBody), other, k)
	require.Len(t, strings.Fields(both), 2)
	for _, one := range [][]byte{k, other} {
		require.True(t, webhook.Verify(both, vectorID, vectorTime, []byte(vectorBody), one))
	}
}

// TestSecrets: they have 24 to 64 bytes, and each is another one.
func TestSecrets(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		s := webhook.NewSecret()
		require.False(t, seen[s])
		seen[s] = true
		require.True(t, strings.HasPrefix(s, "whsec_"))
		require.Len(t, key(t, s), 32)
	}
	for n, good := range map[int]bool{0: false, 23: false, 24: true, 64: true, 65: false} {
		_, err := webhook.ParseSecret("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n)))
		if good {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, webhook.ErrSecret)
		}
	}
	for _, bad := range []string{"", "whsec_", "whsec_?", vectorSecret + "\n", "whpk_" + vectorSecret[6:], "***"} {
		_, err := webhook.ParseSecret(bad)
		require.ErrorIs(t, err, webhook.ErrSecret, bad)
		require.NotContains(t, err.Error(), "MfKQ")
	}
}
