package vault

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	goodSalt = "AAECAwQFBgcICQoLDA0ODw"
	goodHash = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	goodPHC  = "$argon2id$v=19$m=19456,t=2,p=1$" + goodSalt + "$" + goodHash
)

// hostile are hashes that nobody may work out, or that are not spelt as they are stored.
var hostile = map[string]string{
	"empty":            "",
	"plain text":       "secret",
	"endless memory":   strings.Replace(goodPHC, "19456", "4294967295", 1),
	"more than 32 bit": strings.Replace(goodPHC, "19456", "4294986752", 1),
	"much memory":      strings.Replace(goodPHC, "19456", "65537", 1),
	"no memory":        strings.Replace(goodPHC, "19456", "0", 1),
	"too little":       strings.Replace(goodPHC, "19456", "7", 1),
	"too many passes":  strings.Replace(goodPHC, "t=2", "t=9", 1),
	"endless passes":   strings.Replace(goodPHC, "t=2", "t=4294967295", 1),
	"no pass":          strings.Replace(goodPHC, "t=2", "t=0", 1),
	"negative":         strings.Replace(goodPHC, "t=2", "t=-2", 1),
	"no lane":          strings.Replace(goodPHC, "p=1", "p=0", 1),
	"too many lanes":   strings.Replace(goodPHC, "p=1", "p=9", 1),
	"257 lanes":        strings.Replace(goodPHC, "p=1", "p=257", 1),
	"other version":    strings.Replace(goodPHC, "v=19", "v=16", 1),
	"other kind":       strings.Replace(goodPHC, "argon2id", "argon2i", 1),
	"other order":      strings.Replace(goodPHC, "m=19456,t=2", "t=2,m=19456", 1),
	"more parameters":  strings.Replace(goodPHC, "p=1", "p=1,keyid=a", 1),
	"more fields":      goodPHC + "$x",
	"leading zero":     strings.Replace(goodPHC, "t=2", "t=02", 1),
	"plus":             strings.Replace(goodPHC, "t=2", "t=+2", 1),
	"blank":            strings.Replace(goodPHC, "t=2", "t= 2", 1),
	"hexadecimal":      strings.Replace(goodPHC, "t=2", "t=0x2", 1),
	"line end":         goodPHC + "\n",
	"line end inside":  strings.Replace(goodPHC, goodSalt, goodSalt[:4]+"\n"+goodSalt[4:], 1),
	"padded":           goodPHC + "=",
	"idle bits":        goodPHC[:len(goodPHC)-1] + "9",
	"no salt":          strings.Replace(goodPHC, goodSalt, "", 1),
	"short salt":       strings.Replace(goodPHC, goodSalt, goodSalt[:20], 1),
	"no hash":          strings.Replace(goodPHC, goodHash, "", 1),
	"short hash":       strings.Replace(goodPHC, goodHash, goodHash[:20], 1),
	"long hash":        strings.Replace(goodPHC, goodHash, goodHash+goodHash, 1),
	"megabytes":        goodPHC + strings.Repeat("A", 1<<20),
	"many dollars":     strings.Repeat("$", 1<<20),
}

func TestPHC(t *testing.T) {
	p, err := parsePHC(goodPHC)
	require.NoError(t, err)
	require.Equal(t, Cost{}.withDefaults(), p.cost)
	require.Equal(t, goodPHC, p.String())
	for _, text := range []string{
		strings.Replace(goodPHC, "m=19456,t=2,p=1", "m=65536,t=8,p=8", 1),
		strings.Replace(goodPHC, "m=19456,t=2,p=1", "m=8,t=1,p=1", 1),
	} {
		_, err := parsePHC(text)
		require.NoError(t, err)
	}
	for name, text := range hostile {
		_, err := parsePHC(text)
		require.ErrorIs(t, err, ErrPasswordHash, name)
	}
}

func FuzzPHC(f *testing.F) {
	f.Add(goodPHC)
	for _, text := range hostile {
		f.Add(text[:min(len(text), 300)])
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePHC(text)
		if err != nil {
			require.ErrorIs(t, err, ErrPasswordHash)
			return
		}
		require.Equal(t, text, p.String())
		require.True(t, p.cost.valid())
		require.LessOrEqual(t, uint64(p.cost.Memory)*uint64(p.cost.Passes), uint64(8*64*1024))
	})
}
