package storage_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestCheckKey(t *testing.T) {
	for _, key := range storagetest.StrangeKeys() {
		require.NoError(t, storage.CheckKey(key), "%q", key)
	}
	hostile := storagetest.HostileKeys()
	require.GreaterOrEqual(t, len(hostile), 110)
	seen := map[string]bool{}
	for _, key := range hostile {
		require.False(t, seen[key], "%q is twice in the table", key)
		seen[key] = true
		err := storage.CheckKey(key)
		var refused *storage.KeyError
		require.ErrorAs(t, err, &refused, "%q", key)
		require.Equal(t, key, refused.Key)
		require.ErrorIs(t, err, storage.ErrKey)
		require.ErrorIs(t, err, fs.ErrInvalid)
		require.NotContains(t, err.Error(), "\n", "quoted")
		require.NotContains(t, err.Error(), "\x1b", "quoted")
		path, err := storage.LocalPath(key)
		require.Error(t, err)
		require.Empty(t, path)
	}
}

func TestCheckKeyReasons(t *testing.T) {
	for key, want := range map[string]string{
		"":                        "is empty",
		"/etc/passwd":             "is absolute",
		"a/":                      "ends in a slash",
		"a//b":                    "has an empty segment",
		"a/../b":                  "has a segment ..",
		"./a":                     "has a segment .",
		`a\b`:                     "holds a backslash",
		"a\x00":                   "holds a control character",
		"\xff":                    "is not UTF-8",
		"a\u202eb":                "holds an invisible character",
		"x/C:/y":                  "names a drive",
		"aux.csv":                 "names a Windows device",
		"a /b":                    "has a segment that ends in a dot or a space",
		"a/.d6tpipe-lock":         "is a name of d6tpipe's own",
		strings.Repeat("a", 256):  "has a segment longer than 255 bytes",
		strings.Repeat("a/", 600): "is longer than 1024 bytes",
		"damaged\ufffd":           "holds a replacement character: the remote could not spell the name",
	} {
		var refused *storage.KeyError
		require.ErrorAs(t, storage.CheckKey(key), &refused, "%q", key)
		require.Equal(t, want, refused.Reason, "%q", key)
	}
	require.NoError(t, storage.CheckKey(strings.Repeat("a", 255)))
	require.NoError(t, storage.CheckKey(strings.Repeat("abc/", 255)+"abcd"), "1,024 bytes")
}

func TestCollisions(t *testing.T) {
	for name, c := range map[string]struct{ keys, refused []string }{
		"none":             {[]string{"a", "b", "a.txt", "ab", "a-b/c"}, nil},
		"case":             {[]string{"Data.csv", "data.CSV", "other"}, []string{"Data.csv", "data.CSV"}},
		"case in a folder": {[]string{"Dir/a", "dir/A", "dir/b"}, []string{"Dir/a", "dir/A"}},
		"folders may mix":  {[]string{"Dir/a", "dir/b"}, nil},
		"normal forms":     {[]string{"caf\u00e9", "cafe\u0301", "cafe"}, []string{"cafe\u0301", "caf\u00e9"}},
		"full folding":     {[]string{"straße", "STRASSE"}, []string{"STRASSE", "straße"}},
		"Kelvin":           {[]string{"\u212a", "k"}, []string{"k", "\u212a"}},
		"sigma":            {[]string{"ς", "Σ", "σ"}, []string{"Σ", "ς", "σ"}},
		"Greek iota":       {[]string{"\u1fb3", "\u03b1\u0345"}, []string{"\u03b1\u0345", "\u1fb3"}},
		"joiners":          {[]string{"a\u200db", "ab"}, []string{"ab", "a\u200db"}},
		"file and folder":  {[]string{"a", "a/b", "a/c/d", "a.txt", "ab"}, []string{"a", "a/b", "a/c/d"}},
		"folded folder":    {[]string{"A", "a/b"}, []string{"A", "a/b"}},
		"folder in folder": {[]string{"x/a/b", "x/A", "x/a.b"}, []string{"x/A", "x/a/b"}},
		"twice":            {[]string{"a", "a", "b"}, []string{"a"}},
		"twice below":      {[]string{"a", "a/b", "a/b"}, []string{"a", "a/b"}},
		"slash is first":   {[]string{"a", "a!", "a b", "a/b", "a-"}, []string{"a", "a/b"}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				var got []string
				for _, e := range storage.Collisions(c.keys) {
					got = append(got, e.Key)
					require.NotEmpty(t, e.Reason)
				}
				require.Equal(t, c.refused, got)
				for i, j := 0, len(c.keys)-1; i < j; i, j = i+1, j-1 {
					c.keys[i], c.keys[j] = c.keys[j], c.keys[i]
				}
			}
		})
	}
}

func TestCollisionsNameEachOther(t *testing.T) {
	got := storage.Collisions([]string{"data.csv", "Data.csv"})
	require.EqualError(t, got[0], `unsafe name: "Data.csv" is the same file as "data.csv" on some systems`)
	require.EqualError(t, got[1], `unsafe name: "data.csv" is the same file as "Data.csv" on some systems`)
	got = storage.Collisions([]string{"a", "a/b"})
	require.EqualError(t, got[1], `unsafe name: "a/b" cannot lie beside "a": one is a folder of the other`)
}

// FuzzCollisions compares with the plain definition.
func FuzzCollisions(f *testing.F) {
	f.Add("a\na/b\nA")
	f.Add("é\ne\u0301\nx/y\nX/Y/z")
	f.Add("a\na!\na/b/c\na/b")
	f.Fuzz(func(t *testing.T, lines string) {
		keys := strings.Split(lines, "\n")
		if len(keys) > 30 {
			return
		}
		refused := map[string]bool{}
		for _, e := range storage.Collisions(keys) {
			refused[e.Key] = true
		}
		for i, a := range keys {
			alone := true
			for j, b := range keys {
				if i != j && len(storage.Collisions([]string{a, b})) > 0 {
					alone = false
				}
			}
			if alone == refused[a] {
				t.Fatalf("%q of %q: refused %v", a, keys, refused[a])
			}
		}
	})
}

// FuzzLocalPath writes to whatever comes out of LocalPath, through an os.Root and
// also without one: not even then may anything appear outside.
func FuzzLocalPath(f *testing.F) {
	for _, key := range append(storagetest.HostileKeys(), storagetest.StrangeKeys()...) {
		f.Add(key)
	}
	around := f.TempDir()
	inside := filepath.Join(around, "a", "b", "c")
	if err := os.MkdirAll(inside, 0o755); err != nil {
		f.Fatal(err)
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = root.Close() }) // the process ends
	f.Fuzz(func(t *testing.T, key string) {
		path, err := storage.LocalPath(key)
		if (err == nil) != (storage.CheckKey(key) == nil) && filepath.Separator == '/' {
			t.Fatalf("%q: CheckKey and LocalPath disagree", key)
		}
		if err != nil {
			return
		}
		if !filepath.IsLocal(path) || filepath.Clean(path) != path || filepath.ToSlash(path) != key {
			t.Fatalf("%q -> %q", key, path)
		}
		joined := filepath.Join(inside, path)
		if !strings.HasPrefix(joined, inside+string(filepath.Separator)) {
			t.Fatalf("%q -> %q", key, joined)
		}
		if len(joined) > 1000 { // may be more than the file system takes
			return
		}
		if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := root.WriteFile(path, []byte(key), 0o644); err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		got, err := os.ReadFile(joined)
		if err != nil || !bytes.Equal(got, []byte(key)) {
			t.Fatalf("%q is not where it should be: %v", key, err)
		}
		top, _, _ := strings.Cut(path, string(filepath.Separator))
		if err := errors.Join(root.RemoveAll(top), onlyChild(around, inside)); err != nil {
			t.Fatal(err)
		}
	})
}

// onlyChild makes sure that nothing but the way to inside is below around.
func onlyChild(around, inside string) error {
	for dir := filepath.Dir(inside); len(dir) >= len(around); dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		if len(entries) != 1 {
			return errors.New("something appeared in " + dir)
		}
	}
	return nil
}
