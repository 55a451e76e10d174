package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func TestToken(t *testing.T) {
	k, err := newKeyring(bytes.Repeat([]byte{1}, 32))
	require.NoError(t, err)
	end := time.Unix(2_000_000_000, 0)
	g := Grant{
		Prefix: "alice/sales/", Role: d6tpipe.RoleWrite, Expires: end, Subject: "somebody",
		Filters: []d6tpipe.Filter{{Include: "*.csv|*.ü"}, {Prefix: "sales", Exclude: "sales/old/*"}},
	}
	keys, err := k.mint("managed", g)
	require.NoError(t, err)
	require.Regexp(t, "^ASIA[0-9A-F]{16}$", keys.access)
	require.Len(t, keys.secret, 40)
	raw, err := base64.RawURLEncoding.DecodeString(keys.token)
	require.NoError(t, err)
	for _, word := range []string{"alice", "somebody", "sales", "managed"} {
		require.NotContains(t, string(raw), word, "the grant is nobody's business")
	}

	secret, bucket, got, err := k.open(keys.access, keys.token, end)
	require.NoError(t, err)
	require.Equal(t, keys.secret, secret)
	require.Equal(t, "managed", bucket)
	require.Equal(t, g, got)

	_, _, _, err = k.open(keys.access, keys.token, end.Add(-24*time.Hour))
	require.NoError(t, err, "a clock that is behind")
	_, _, _, err = k.open(keys.access, keys.token, end.Add(skew))
	require.NoError(t, err, "a clock that is a little ahead")
	_, _, _, err = k.open(keys.access, keys.token, end.Add(skew+time.Second))
	require.ErrorIs(t, err, errExpired)

	for i := range raw { // every bit of it counts
		for bit := range 8 {
			raw[i] ^= 1 << bit
			_, _, _, err := k.open(keys.access, base64.RawURLEncoding.EncodeToString(raw), end)
			require.ErrorIs(t, err, errToken)
			raw[i] ^= 1 << bit
		}
	}
	other, err := k.mint("managed", g)
	require.NoError(t, err)
	require.NotEqual(t, other.access, keys.access)
	require.NotEqual(t, other.secret, keys.secret)
	_, _, _, err = k.open(other.access, keys.token, end)
	require.ErrorIs(t, err, errToken)
}

// The keys that follow from a master must never change: those that are in use would
// end.
func TestTokenSecretIsStable(t *testing.T) {
	k, err := newKeyring(bytes.Repeat([]byte{1}, 32))
	require.NoError(t, err)
	require.Equal(t, k[0].secret("ASIA0123456789ABCDEF"), k[0].secret("ASIA0123456789ABCDEF"))
	require.NotEqual(t, k[0].Seal, k[0].Sign)
	two, err := newKeyring(bytes.Repeat([]byte{2}, 32))
	require.NoError(t, err)
	require.NotEqual(t, k[0].secret("ASIA0123456789ABCDEF"), two[0].secret("ASIA0123456789ABCDEF"))
}

// The example of Amazon's documentation of Signature Version 4.
func TestSigningKey(t *testing.T) {
	key := signingKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215", "us-east-1", "iam")
	require.Equal(t, "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d", hex.EncodeToString(key))
}

func FuzzToken(f *testing.F) {
	k, err := newKeyring(bytes.Repeat([]byte{1}, 32))
	require.NoError(f, err)
	keys, err := k.mint("managed", Grant{Prefix: "a/b/", Role: d6tpipe.RoleRead, Expires: time.Now().Add(time.Hour)})
	require.NoError(f, err)
	f.Add(keys.access, keys.token[9:]) // so far from a good one that no mutation gets there
	f.Add("ASIA0123456789ABCDEF", keys.token)
	f.Add("", "")
	f.Add("ASIA0123456789ABCDEF", "AAAA")
	f.Fuzz(func(t *testing.T, access, token string) {
		_, _, _, err := k.open(access, token, time.Now())
		require.Error(t, err, "nobody can make one without the master")
	})
}

func TestAccess(t *testing.T) {
	a, err := newAccess(Grant{Prefix: "alice/x/", Role: d6tpipe.RoleRead, Filters: []d6tpipe.Filter{{Include: "*.csv"}, {Prefix: "x", Exclude: "x/old*"}}})
	require.NoError(t, err)
	for key, want := range map[string]bool{
		"alice/x/a.csv": true, "alice/x/b/a.csv": true, "alice/x/a.txt": false, "alice/x/old.csv": false, "alice/x/": false,
		"alice/x2/a.csv": false, "alice/a.csv": false, "a.csv": false, "": false, "Alice/x/a.csv": false,
	} {
		require.Equal(t, want, a.sees(key), key)
	}
	for key, ok := range map[string]bool{
		"a": true, "a/b": true, "a/": true, "a/b c/ü": true, "a..b/..c": true, ".a": true, strings.Repeat("x", 1024): true,
		"": false, "/": false, "/a": false, "a//b": false, "a//": false, ".": false, "a/..": false, "a/./b": false, "a\\b": false, "a\x00": false, "a\nb": false,
		"a\xff": false, ".sgwtmp": false, "a/.sgwtmp/b": false, "a/.b.sgwtmp.17": false, strings.Repeat("x", 1025): false,
	} {
		require.Equal(t, ok, badKey(key) == "", "%q", key)
	}
}
