package vault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// canary is a secret that is easy to find again.
const canary = "AKIA-canary-0123456789/+= secret"

func TestSeal(t *testing.T) {
	keys := givenKeys(t, raw(1))
	for _, plain := range []string{"", "x", canary, strings.Repeat("long", 1<<18)} {
		sealed := seal(t, keys, plain)
		requireOpens(t, keys, sealed, plain)
		require.NotEqual(t, sealed, seal(t, keys, plain), "nobody sees that two are the same")
		require.Equal(t, keys.PrimaryID(), keyID(t, sealed))
	}
	sealed := seal(t, keys, canary)
	data, err := base64.RawURLEncoding.DecodeString(sealed[strings.Index(sealed, ":")+1:])
	require.NoError(t, err)
	for _, text := range []string{sealed, string(data)} {
		for _, form := range []string{
			canary, url.QueryEscape(canary), hex.EncodeToString([]byte(canary)),
			base64.StdEncoding.EncodeToString([]byte(canary)), base64.RawURLEncoding.EncodeToString([]byte(canary)),
		} {
			require.NotContains(t, text, form)
		}
	}
}

// A value that was sealed by the first version opens for ever.
func TestSealedForm(t *testing.T) {
	const sealed = "sealed1:AUG1nEo4fL0UAwNhlbRFpNPVSvh9aUOTRRlpmSyVpAlwDUbB36iIy7LEYH3LpenkKknpEuqyK7PqofyCXlXfMco"
	requireOpens(t, givenKeys(t, raw(7)), sealed, canary)
}

// All pairs of places are swapped.
func TestPlaces(t *testing.T) {
	keys := givenKeys(t, raw(1))
	long := strings.Repeat("a", 200)
	places := []vault.Place{
		{Record: "pipe-1", Field: "credentials"}, {Record: "pipe-2", Field: "credentials"}, {Record: "pipe-1", Field: "token"},
		{Record: "ab", Field: "c"}, {Record: "a", Field: "bc"}, {Record: "", Field: "abc"}, {Record: "abc", Field: ""}, {},
		{Record: "a\x00", Field: "b"}, {Record: "a", Field: "\x00b"}, {Record: "a\x00\x01b", Field: ""}, {Record: "\x01a", Field: "\x01b"},
		{Record: long, Field: "x"}, {Record: long + "x", Field: ""}, {Record: long[1:], Field: "ax"}, {Field: "key check"},
	}
	for i, sealedFor := range places {
		sealed, err := keys.Seal([]byte(canary), sealedFor)
		require.NoError(t, err)
		for j, openedFor := range places {
			plain, err := keys.Open(sealed, openedFor)
			if i == j {
				require.NoError(t, err)
				require.Equal(t, canary, string(plain))
				continue
			}
			require.ErrorIs(t, err, vault.ErrSealed, "%q as %q", sealedFor, openedFor)
			require.Nil(t, plain)
		}
	}
}

// No single bit of a value can change, neither of the text nor of what it encodes.
func TestFlips(t *testing.T) {
	keys, _ := newKeys(t)
	sealed := seal(t, keys, strings.Repeat("secret", 10))
	mark, text, _ := strings.Cut(sealed, ":")
	data, err := base64.RawURLEncoding.DecodeString(text)
	require.NoError(t, err)
	flips := 0
	refused := func(changed string) {
		flips++
		plain, err := keys.Open(changed, place)
		require.True(t, errors.Is(err, vault.ErrSealed) || errors.Is(err, vault.ErrKeyUnknown), "%q: %v", changed, err)
		require.Nil(t, plain)
	}
	eachFlip([]byte(sealed), func(b []byte) { refused(string(b)) })
	eachFlip(data, func(b []byte) { refused(mark + ":" + base64.RawURLEncoding.EncodeToString(b)) })
	require.Greater(t, flips, 1_000)
	requireOpens(t, keys, sealed, strings.Repeat("secret", 10))
}

func eachFlip(b []byte, f func([]byte)) {
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		f(bytes.Clone(b))
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// A value has one spelling, so that whoever compares two sees a change.
func TestSpellings(t *testing.T) {
	keys := givenKeys(t, raw(1))
	sealed := seal(t, keys, "s") // its last character carries bits that mean nothing
	for end := range sealed {
		_, err := keys.Open(sealed[:end], place)
		require.ErrorIs(t, err, vault.ErrSealed)
	}
	last := strings.IndexByte(alphabet, sealed[len(sealed)-1])
	for _, other := range []string{
		sealed + "\n", "\n" + sealed, sealed[:20] + "\r\n" + sealed[20:], sealed + "=", sealed + "==", sealed + "A", " " + sealed,
		strings.ToUpper(sealed[:6]) + sealed[6:], sealed[:len(sealed)-1] + alphabet[last^1:last^1+1], "sealed2" + sealed[7:], sealed[8:],
	} {
		_, err := keys.Open(other, place)
		require.ErrorIs(t, err, vault.ErrSealed, "%q", other)
		_, err = vault.KeyID(other)
		require.True(t, err != nil || !strings.ContainsAny(other, "\r\n= "), "%q", other)
	}
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// FuzzSecretEnvelope opens what anybody may have put into the database.
func FuzzSecretEnvelope(f *testing.F) {
	keys := givenKeys(f, raw(1))
	sealed := seal(f, keys, canary)
	f.Add(sealed, place.Record, place.Field)
	f.Add(seal(f, givenKeys(f, raw(2)), canary), place.Record, place.Field)
	f.Add(sealed[:len(sealed)-1], "", "")
	f.Add("sealed1:AQ", "a", "b")
	f.Add("sealed1:", "", "key check")
	f.Fuzz(func(t *testing.T, text, record, field string) {
		where := vault.Place{Record: record, Field: field}
		plain, err := keys.Open(text, where)
		if err == nil {
			require.Equal(t, canary, string(plain))
			require.Equal(t, place, where)
		}
		if _, idErr := vault.KeyID(text); idErr != nil {
			require.ErrorIs(t, err, vault.ErrSealed)
		}
		resealed, changed, err := keys.Reseal(check(t, keys), text, where)
		if err == nil && changed {
			t.Fatalf("resealed with the same key: %q", resealed)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	for name, keys := range benchKeys(b) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = keys.Seal([]byte(canary), place)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for name, keys := range benchKeys(b) {
		sealed := seal(b, keys, canary)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = keys.Open(sealed, place)
			}
		})
	}
}

// benchKeys differ in that Seal looks at the file.
func benchKeys(b *testing.B) map[string]*vault.Keys {
	file, _ := newKeys(b)
	return map[string]*vault.Keys{"file": file, "value": givenKeys(b, raw(1))}
}
