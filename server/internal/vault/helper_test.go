package vault_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// proofs returns a count of rounds: the everyday one, or the full one.
func proofs(everyday, full int) int {
	if os.Getenv("D6TPIPE_PROOF") != "" {
		return full
	}
	return everyday
}

var place = vault.Place{Record: "pipe-1", Field: "credentials"}

// raw is a key as openssl rand -base64 32 prints it; n makes it another one.
func raw(n byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)) }

func load(t testing.TB, src vault.Source, check string) *vault.Keys {
	keys, err := vault.Load(t.Context(), src, check)
	require.NoError(t, err)
	return keys
}

// newKeys makes a key file.
func newKeys(t testing.TB) (keys *vault.Keys, path string) {
	path = filepath.Join(t.TempDir(), "keys", "key.json")
	keys = load(t, vault.Source{Make: path}, "")
	require.Equal(t, path, keys.Made())
	return keys, path
}

// givenKeys are keys without a file.
func givenKeys(t testing.TB, value string) *vault.Keys {
	return load(t, vault.Source{Value: d6tpipe.Secret(value)}, "")
}

func seal(t testing.TB, keys *vault.Keys, plain string) string {
	sealed, err := keys.Seal([]byte(plain), place)
	require.NoError(t, err)
	return sealed
}

func requireOpens(t testing.TB, keys *vault.Keys, sealed, plain string) {
	got, err := keys.Open(sealed, place)
	require.NoError(t, err)
	require.Equal(t, plain, string(got))
}

func check(t testing.TB, keys *vault.Keys) string {
	check, err := keys.Check()
	require.NoError(t, err)
	return check
}

func keyID(t testing.TB, sealed string) uint32 {
	id, err := vault.KeyID(sealed)
	require.NoError(t, err)
	return id
}

// tinkKeys is a keyset of some kind in JSON.
func tinkKeys(t testing.TB, kind *tinkpb.KeyTemplate) string {
	h, err := keyset.NewHandle(kind)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)))
	return b.String()
}

func writeKey(t testing.TB, text string) (path string) {
	path = filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func content(t testing.TB, path string) string {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}
