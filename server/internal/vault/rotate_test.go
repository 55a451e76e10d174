package vault_test

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

func values(sealed ...string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, s := range sealed {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func rotate(t testing.TB, keys *vault.Keys) (id uint32) {
	id, err := keys.Rotate(t.Context())
	require.NoError(t, err)
	return id
}

func reseal(t testing.TB, keys *vault.Keys, sealed string) string {
	resealed, _, err := keys.Reseal(check(t, keys), sealed, place)
	require.NoError(t, err)
	return resealed
}

// needsReseal tells whether a value is sealed with another key than the first one.
func needsReseal(t testing.TB, keys *vault.Keys, sealed string) bool {
	return keyID(t, check(t, keys)) != keyID(t, sealed)
}

// settle makes the last change of the key file an hour old.
func settle(t testing.TB, path string) {
	then := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, then, then))
}

// A rotation from beginning to end, with a second server on the same key file.
func TestRotate(t *testing.T) {
	keys, path := newKeys(t)
	stored := check(t, keys)
	other := load(t, vault.Source{File: path}, stored)
	sealed, oldID := seal(t, keys, "x"), keys.PrimaryID()

	id := rotate(t, keys)
	require.NotEqual(t, oldID, id)
	require.Equal(t, id, keys.PrimaryID())
	requireOpens(t, keys, sealed, "x")
	requireOpens(t, other, seal(t, keys, "new"), "new")
	require.Equal(t, id, keyID(t, seal(t, other, "y")), "nobody seals with an old key")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())

	require.True(t, needsReseal(t, keys, sealed))
	require.True(t, needsReseal(t, other, sealed))
	resealed, changed, err := other.Reseal(check(t, other), sealed, place)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, id, keyID(t, resealed))
	require.False(t, needsReseal(t, keys, resealed))
	requireOpens(t, keys, resealed, "x")
	again, changed, err := keys.Reseal(check(t, keys), resealed, place)
	require.NoError(t, err)
	require.False(t, changed)
	require.Equal(t, resealed, again)
	_, _, err = keys.Reseal(check(t, keys), sealed, vault.Place{Record: "pipe-2", Field: place.Field})
	require.ErrorIs(t, err, vault.ErrSealed)

	require.True(t, needsReseal(t, keys, stored))
	newCheck := check(t, keys)
	_, err = keys.Prune(t.Context(), newCheck, values(resealed))
	require.ErrorIs(t, err, vault.ErrTooSoon)
	settle(t, path)
	dropped, err := keys.Prune(t.Context(), newCheck, values(resealed))
	require.NoError(t, err)
	require.Equal(t, []uint32{oldID}, dropped)
	_, err = keys.Open(sealed, place)
	require.ErrorIs(t, err, vault.ErrKeyUnknown)
	requireOpens(t, keys, resealed, "x")
	requireOpens(t, other, resealed, "x")
	_, err = vault.Load(t.Context(), vault.Source{File: path}, stored)
	require.ErrorIs(t, err, vault.ErrKeyWrong)
	requireOpens(t, load(t, vault.Source{File: path}, newCheck), resealed, "x")
}

// A key that is in use is never dropped, nor is any when that is not known.
func TestPruneKeeps(t *testing.T) {
	keys, path := newKeys(t)
	oldCheck, sealed := check(t, keys), seal(t, keys, "x")
	rotate(t, keys)
	newCheck, resealed := check(t, keys), reseal(t, keys, sealed)
	settle(t, path)
	before := content(t, path)
	broken := errors.New("the database is away")
	for name, c := range map[string]struct {
		check  string
		values iter.Seq2[string, error]
		want   error
	}{
		"a value needs it":   {newCheck, values(resealed, sealed, resealed), nil},
		"the check needs it": {oldCheck, values(resealed), nil},
		"no check":           {"", values(resealed), vault.ErrSealed},
		"not a value":        {newCheck, values(resealed, "plain text"), vault.ErrSealed},
		"an error in the end": {newCheck, func(yield func(string, error) bool) {
			_ = yield(resealed, nil) && yield("", broken)
		}, broken},
	} {
		t.Run(name, func(t *testing.T) {
			dropped, err := keys.Prune(t.Context(), c.check, c.values)
			require.ErrorIs(t, err, c.want)
			require.Empty(t, dropped)
			require.Equal(t, before, content(t, path))
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := keys.Prune(ctx, newCheck, func(yield func(string, error) bool) {
		cancel()
		require.False(t, yield(resealed, nil), "it does not read on")
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, before, content(t, path))
}

// A process that slept through two rotations takes the file for a wrong one,
// rather than a wrong one for the file; one that looks in between follows.
func TestSleeper(t *testing.T) {
	keys, path := newKeys(t)
	sleeper, awake := load(t, vault.Source{File: path}, ""), load(t, vault.Source{File: path}, "")
	for range 2 {
		rotate(t, keys)
		require.NoError(t, awake.Reload())
		settle(t, path)
		_, err := keys.Prune(t.Context(), check(t, keys), values())
		require.NoError(t, err)
	}
	sealed := seal(t, keys, "x")
	requireOpens(t, awake, sealed, "x")
	_, err := sleeper.Open(sealed, place)
	require.ErrorIs(t, err, vault.ErrKeyWrong)
}

// A key that is given as a value is rotated by giving two, the new one first.
func TestRotateValue(t *testing.T) {
	before := givenKeys(t, raw(1))
	sealed := seal(t, before, "x")
	_, err := before.Rotate(t.Context())
	require.ErrorIs(t, err, vault.ErrKeyFixed)
	_, err = before.Prune(t.Context(), check(t, before), values())
	require.ErrorIs(t, err, vault.ErrKeyFixed)
	require.NoError(t, before.Reload())

	between := givenKeys(t, raw(1)+","+raw(2)) // first all servers learn to open with the new one
	after := load(t, vault.Source{Value: raw2(2, 1)}, check(t, before))
	require.True(t, needsReseal(t, after, sealed))
	resealed := reseal(t, after, sealed)
	requireOpens(t, between, resealed, "x")
	requireOpens(t, givenKeys(t, raw(2)), resealed, "x")
	_, err = before.Open(resealed, place)
	require.ErrorIs(t, err, vault.ErrKeyUnknown)
}

// A raw key in a file is rotated into Tink's form.
func TestRotateRawFile(t *testing.T) {
	path := writeKey(t, raw(1)+"\n")
	keys := load(t, vault.Source{File: path}, "")
	sealed := seal(t, givenKeys(t, raw(1)), "x")
	rotate(t, keys)
	again := load(t, vault.Source{File: path}, check(t, keys))
	requireOpens(t, again, sealed, "x")
	require.True(t, needsReseal(t, again, sealed))
}

// Behind a link, the file itself is replaced.
func TestRotateLink(t *testing.T) {
	_, path := newKeys(t)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	before := content(t, path)
	rotate(t, load(t, vault.Source{File: link}, ""))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSymlink, info.Mode().Type())
	require.NotEqual(t, before, content(t, path))
	entries, err := os.ReadDir(filepath.Dir(link))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// Servers seal and open all the time while the key is rotated and pruned under them.
func TestRotateUnderLoad(t *testing.T) {
	keys, path := newKeys(t)
	stop := make(chan struct{})
	var mu sync.Mutex
	sealed := map[string]string{}
	var wg sync.WaitGroup
	for i := range 4 {
		server := load(t, vault.Source{File: path}, "")
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				plain := strconv.Itoa(i) + "-" + strconv.Itoa(n)
				text, err := server.Seal([]byte(plain), place)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				sealed[plain] = text
				for plain, text := range sealed {
					got, err := server.Open(text, place)
					if err != nil || string(got) != plain {
						t.Errorf("%s: %q, %v", plain, got, err)
					}
					break
				}
				mu.Unlock()
			}
		})
	}
	for range proofs(20, 200) {
		rotate(t, keys)
		count := func() int { mu.Lock(); defer mu.Unlock(); return len(sealed) }
		before := count()
		require.Eventually(t, func() bool { return count() > before+1 }, time.Minute, time.Millisecond, "they follow")
	}
	close(stop)
	wg.Wait()
	used := map[uint32]bool{}
	fresh := load(t, vault.Source{File: path}, "")
	for plain, text := range sealed {
		requireOpens(t, fresh, text, plain)
		used[keyID(t, text)] = true
	}
	require.Greater(t, len(used), 5, "they did follow")
}

func raw2(first, second byte) d6tpipe.Secret { return d6tpipe.Secret(raw(first) + " " + raw(second)) }
