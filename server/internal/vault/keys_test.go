package vault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// Each spelling of a key is that key, in a file and as a value.
func TestSources(t *testing.T) {
	tink := tinkKeys(t, aead.AES256GCMKeyTemplate())
	unpadded := strings.TrimRight(raw(0xfb), "=")
	for name, c := range map[string]struct{ one, other string }{
		"json":             {tink, " \n" + tink + "\n"},
		"json in base64":   {tink, base64.StdEncoding.EncodeToString([]byte(tink))},
		"json in URL form": {tink, base64.RawURLEncoding.EncodeToString([]byte("\n" + tink))},
		"line end":         {raw(1), raw(1) + "\n"},
		"unpadded":         {raw(0xfb), unpadded},
		"URL form":         {raw(0xfb), strings.NewReplacer("+", "-", "/", "_").Replace(unpadded)},
		"second of two":    {raw(1), raw(2) + " " + raw(1)},
		"of three":         {raw(1), raw(2) + ",\r\n" + raw(3) + "," + raw(1)},
		"bytes like JSON":  {raw('{'), strings.TrimRight(raw('{'), "=")},
	} {
		t.Run(name, func(t *testing.T) {
			sealed := seal(t, givenKeys(t, c.one), "x")
			requireOpens(t, givenKeys(t, c.other), sealed, "x")
			file := load(t, vault.Source{File: writeKey(t, c.other)}, "")
			requireOpens(t, file, sealed, "x")
			require.Empty(t, file.Made())
			requireOpens(t, givenKeys(t, c.other), seal(t, file, "y"), "y")
		})
	}
}

// What is no key is refused, stays as it is, and is not quoted.
func TestSourcesRefused(t *testing.T) {
	quoted := `{"primaryKeyId": 1, "key": [{"keyData": ` + canary + `}]}`
	for name, text := range map[string]string{
		"empty":                "",
		"blank":                " \r\n\t,",
		"words":                canary,
		"31 bytes":             base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"33 bytes":             base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"hex":                  hex.EncodeToString(make([]byte, 32)),
		"the same twice":       raw(1) + " " + raw(1),
		"one of two":           raw(1) + " " + canary,
		"bad json":             quoted,
		"bad json in base64":   base64.StdEncoding.EncodeToString([]byte(quoted)),
		"no keys":              "{}",
		"unknown field":        `{"` + canary + `": 1}`,
		"cut":                  tinkKeys(t, aead.AES256GCMKeyTemplate())[:150],
		"encrypted":            encryptedKeys(t),
		"AES-128":              tinkKeys(t, aead.AES128GCMKeyTemplate()),
		"no id in its values":  tinkKeys(t, aead.AES256GCMNoPrefixKeyTemplate()),
		"another cipher":       tinkKeys(t, aead.XChaCha20Poly1305KeyTemplate()),
		"another purpose":      tinkKeys(t, mac.HMACSHA256Tag256KeyTemplate()),
		"unheard of":           strings.ReplaceAll(tinkKeys(t, aead.AES256GCMKeyTemplate()), "AesGcmKey", "FooKey"),
		"large":                strings.Repeat(" ", 1<<20) + raw(1),
		"primary switched off": strings.ReplaceAll(tinkKeys(t, aead.AES256GCMKeyTemplate()), "ENABLED", "DISABLED"),
	} {
		t.Run(name, func(t *testing.T) {
			path := writeKey(t, text)
			for _, src := range []vault.Source{{File: path}, {Make: path}, {Value: d6tpipe.Secret(text)}} {
				if src.Value == "" && src.File == "" && src.Make == "" || name == "large" && src.Value != "" {
					continue
				}
				_, err := vault.Load(t.Context(), src, "")
				require.ErrorIs(t, err, vault.ErrKeyFormat)
				require.NotContains(t, err.Error(), "canary")
				require.NotContains(t, err.Error(), raw(1))
			}
			require.Equal(t, text, content(t, path))
		})
	}
	folder := t.TempDir()
	_, err := vault.Load(t.Context(), vault.Source{File: folder}, "")
	require.ErrorIs(t, err, vault.ErrKeyFormat)
	_, err = vault.Load(t.Context(), vault.Source{File: folder, Value: "x"}, "")
	require.ErrorContains(t, err, "twice")
	_, err = vault.Load(t.Context(), vault.Source{}, "")
	require.ErrorContains(t, err, "no key")
}

func encryptedKeys(t *testing.T) string {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	require.NoError(t, err)
	master, err := aead.New(h)
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, h.Write(keyset.NewJSONWriter(&b), master))
	return b.String()
}

func TestMade(t *testing.T) {
	keys, path := newKeys(t)
	sealed := seal(t, keys, "x")
	again := load(t, vault.Source{Make: path}, check(t, keys))
	require.Empty(t, again.Made(), "it was there")
	requireOpens(t, again, sealed, "x")
	_, err := vault.Load(t.Context(), vault.Source{File: filepath.Join(t.TempDir(), "a", "key")}, "")
	require.ErrorIs(t, err, fs.ErrNotExist, "a file that is named must be there")
}

// Of several processes that start at the same time one makes the key.
func TestMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "key.json")
	const n = 8
	var all [n]*vault.Keys
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			keys, err := vault.Load(t.Context(), vault.Source{Make: path}, "")
			if err != nil {
				t.Error(err)
				return
			}
			if all[i] = keys; keys.Made() != "" {
				made.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, made.Load())
	for _, keys := range all {
		require.NotNil(t, keys)
		requireOpens(t, all[0], seal(t, keys, "x"), "x")
	}
}

// Wrong and lost keys are told from a first start, and nothing is overwritten.
func TestCheck(t *testing.T) {
	right, path := newKeys(t)
	stored := check(t, right)
	rightText := content(t, path)
	_, wrongPath := newKeys(t)
	missing := filepath.Join(t.TempDir(), "none", "key")
	for name, c := range map[string]struct {
		src   vault.Source
		check string
		want  error
	}{
		"right":                   {vault.Source{File: path}, stored, nil},
		"right, to be made":       {vault.Source{Make: path}, stored, nil},
		"right as a value":        {vault.Source{Value: d6tpipe.Secret(rightText)}, stored, nil},
		"wrong file":              {vault.Source{File: wrongPath}, stored, vault.ErrKeyWrong},
		"wrong file, to be made":  {vault.Source{Make: wrongPath}, stored, vault.ErrKeyWrong},
		"wrong value":             {vault.Source{Value: d6tpipe.Secret(raw(1))}, stored, vault.ErrKeyWrong},
		"same id, other key":      {vault.Source{Value: d6tpipe.Secret(sameID(t, rightText))}, stored, vault.ErrKeyWrong},
		"lost":                    {vault.Source{File: missing}, stored, vault.ErrKeyLost},
		"lost, not made again":    {vault.Source{Make: missing}, stored, vault.ErrKeyLost},
		"damaged check":           {vault.Source{File: path}, stored[9:], vault.ErrSealed},
		"another value for check": {vault.Source{File: path}, seal(t, right, "x"), vault.ErrKeyWrong},
	} {
		t.Run(name, func(t *testing.T) {
			before := content(t, wrongPath)
			keys, err := vault.Load(t.Context(), c.src, c.check)
			require.ErrorIs(t, err, c.want)
			require.Equal(t, c.want == nil, keys != nil)
			require.Equal(t, rightText, content(t, path))
			require.Equal(t, before, content(t, wrongPath))
			require.NoDirExists(t, filepath.Dir(missing))
		})
	}
	require.NoError(t, right.Verify(stored))
	require.ErrorIs(t, givenKeys(t, raw(1)).Verify(stored), vault.ErrKeyWrong, "of two that started at the same time, one was faster")
}

// sameID gives the id of a key to other bytes.
func sameID(t *testing.T, text string) string {
	var set struct {
		PrimaryKeyID uint32           `json:"primaryKeyId"`
		Key          []map[string]any `json:"key"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &set))
	var other map[string]any
	require.NoError(t, json.Unmarshal([]byte(tinkKeys(t, aead.AES256GCMKeyTemplate())), &other))
	set.Key[0]["keyData"] = other["key"].([]any)[0].(map[string]any)["keyData"]
	out, err := json.Marshal(set)
	require.NoError(t, err)
	return string(out)
}

// Who prints everything prints no key.
func TestPrint(t *testing.T) {
	_, path := newKeys(t)
	src := vault.Source{Value: d6tpipe.Secret(raw(1))}
	keys := givenKeys(t, raw(1))
	file := load(t, vault.Source{File: path}, "")
	var doc struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	require.NoError(t, json.Unmarshal([]byte(content(t, path)), &doc))
	text, err := json.Marshal(src)
	require.NoError(t, err)
	all := string(text)
	for _, v := range []any{src, &src, keys, file} {
		all += fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v)
	}
	require.Contains(t, all, "***")
	for _, secret := range []string{raw(1), hex.EncodeToString([]byte(raw(1))), doc.Key[0].KeyData.Value, strings.Repeat("01", 32), "1 1 1 1"} {
		require.NotEmpty(t, secret)
		require.NotContains(t, all, secret)
	}
}

// While the file is away or another one, the server opens what it can and seals
// nothing that could not be opened after its next start.
func TestKeyFileGoes(t *testing.T) {
	keys, path := newKeys(t)
	sealed := seal(t, keys, "x")
	_, other := newKeys(t)
	away := path + "-away"
	require.NoError(t, os.Rename(path, away))
	_, err := keys.Seal([]byte("x"), place)
	require.ErrorIs(t, err, vault.ErrKeyLost)
	requireOpens(t, keys, sealed, "x")

	require.NoError(t, os.WriteFile(path, []byte(content(t, other)), 0o600))
	_, err = keys.Seal([]byte("x"), place)
	require.ErrorIs(t, err, vault.ErrKeyWrong)
	_, err = keys.Rotate(t.Context())
	require.ErrorIs(t, err, vault.ErrKeyWrong)
	require.Equal(t, content(t, other), content(t, path))
	require.ErrorIs(t, keys.Reload(), vault.ErrKeyWrong)
	requireOpens(t, keys, sealed, "x")

	require.NoError(t, os.WriteFile(path, []byte(sameID(t, content(t, away))), 0o600))
	_, err = keys.Seal([]byte("x"), place)
	require.ErrorIs(t, err, vault.ErrKeyWrong, "not even with the same id")

	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = keys.Seal([]byte("x"), place)
	require.ErrorIs(t, err, vault.ErrKeyFormat)

	require.NoError(t, os.Rename(away, path))
	requireOpens(t, keys, seal(t, keys, "y"), "y")
}
