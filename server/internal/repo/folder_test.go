package repo_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

// folderOf creates a pipe and returns its folder.
func folderOf(t *testing.T, c *d6tpipe.APIClient, name string) string {
	t.Helper()
	p, err := c.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: name})
	require.NoError(t, err)
	return strings.TrimPrefix(p.Options.RemotePath, "s3://managed/")
}

func exec(t *testing.T, d *db.DB, query string, args ...any) {
	t.Helper()
	require.NoError(t, d.Write(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}))
}

func (w *world) leftovers(t *testing.T) []repo.Leftover {
	t.Helper()
	all, err := w.repo.Leftovers(t.Context(), w.clock.Now().UnixMicro()+1)
	require.NoError(t, err)
	return all
}

// TestFolders: no two records have one folder, whatever they are called, and whether
// theirs was made by this version or a former one.
func TestFolders(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		own := w.user(t, "own")
		first := folderOf(t, own, "w")
		require.Equal(t, "own/w/", first)
		require.NoError(t, own.Pipes().Delete(t.Context(), "w"))
		again := folderOf(t, own, "w") // the files of the first are still there
		require.Regexp(t, `^own/w\.[a-z0-9]{8}/$`, again)

		id := again[len("own/w."):][:8]
		require.Equal(t, "own/w-"+id+"/", folderOf(t, own, "w-"+id))
		exec(t, d, `UPDATE records SET body = replace(body, 'own/w.', 'own/w-'), shown = replace(shown, 'own/w.', 'own/w-') WHERE name = 'w'`)
		require.NoError(t, own.Pipes().Delete(t.Context(), "w-"+id))
		exec(t, d, `DELETE FROM meta WHERE key LIKE 'leftover:%'`)
		old, err := own.Pipes().Get(t.Context(), "w")
		require.NoError(t, err)
		require.Equal(t, "s3://managed/own/w-"+id+"/", old.Options.RemotePath, "as a former version made it")
		foreign := folderOf(t, own, "w-"+id)
		require.Regexp(t, `^own/w-`+id+`\.[a-z0-9]{8}/$`, foreign)
		_, err = own.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "w-" + id, Protocol: d6tpipe.ProtocolManaged})
		require.NoError(t, err)
		remote, err := own.Remotes().Get(t.Context(), "w-"+id)
		require.NoError(t, err)
		require.NotContains(t, []string{"managed/own/w-" + id, "managed/" + strings.TrimSuffix(foreign, "/")}, remote.Location)

		// Nor is what it left anybody's, and it is left once only.
		require.NoError(t, own.Pipes().Delete(t.Context(), "w"))
		require.NoError(t, own.Pipes().Delete(t.Context(), "w-"+id))
		require.NotContains(t, []string{foreign, "own/w-" + id + "/"}, folderOf(t, own, "w-"+id))
	})
}

// TestLeftoversInUse: what is, contains or lies within the folder of a record stays.
func TestLeftoversInUse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		own := w.user(t, "own")
		folderOf(t, own, "live")
		folderOf(t, own, "other")
		want := map[string]bool{
			"own/": true, "own/live/": true, "own/live/sub/deep/": true,
			"own/liv/": false, "own/live2/": false, "own/livE/": false, "ow/": false, "own/live.abcdefgh/": false, "zoe/live/": false,
		}
		for prefix := range want {
			exec(t, d, `INSERT INTO meta (key, value) VALUES ($1, $2)`, "leftover:"+prefix, fmt.Sprintf(`{"prefix":%q,"since":1}`, prefix))
		}
		got := map[string]bool{}
		for _, l := range w.leftovers(t) {
			got[l.Prefix] = l.InUse
			if l.InUse {
				_, ok, err := w.repo.Claim(t.Context(), l, time.Hour)
				require.NoError(t, err)
				require.False(t, ok, l.Prefix)
			}
		}
		require.Equal(t, want, got)

		// Two records in one folder, as former versions could have them, can both be removed.
		exec(t, d, `UPDATE records SET body = replace(body, 'own/other', 'own/live')`)
		require.NoError(t, own.Pipes().Delete(t.Context(), "other"))
		require.NoError(t, own.Pipes().Delete(t.Context(), "live"))
		for _, l := range w.leftovers(t) {
			require.False(t, l.InUse, l.Prefix)
		}
	})
}

// TestClaims: of those who have listed a leftover one removes it, and nobody gets the
// folder before.
func TestClaims(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *db.DB) {
		w := newWorld(t, d)
		own := w.user(t, "own")
		folderOf(t, own, "x")
		require.NoError(t, own.Pipes().Delete(t.Context(), "x"))
		listed := w.leftovers(t)
		require.Len(t, listed, 1)
		first, ok, err := w.repo.Claim(t.Context(), listed[0], time.Hour)
		require.NoError(t, err)
		require.True(t, ok)
		_, ok, err = w.repo.Claim(t.Context(), listed[0], 2*time.Hour)
		require.NoError(t, err)
		require.False(t, ok, "it is claimed")
		require.Empty(t, w.leftovers(t), "nor is it listed")
		require.NotEqual(t, "own/x/", folderOf(t, own, "x"))

		w.clock.forward(time.Hour) // who has claimed it is dead
		listed = w.leftovers(t)
		require.Len(t, listed, 1)
		second, ok, err := w.repo.Claim(t.Context(), listed[0], time.Hour)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, w.repo.Cleaned(t.Context(), first))
		require.NoError(t, own.Pipes().Delete(t.Context(), "x"))
		require.NotEqual(t, "own/x/", folderOf(t, own, "x"), "the first has no say any more")
		require.NoError(t, w.repo.Cleaned(t.Context(), second))
		require.NoError(t, own.Pipes().Delete(t.Context(), "x"))
		require.Equal(t, "own/x/", folderOf(t, own, "x"))

		_, ok, err = w.repo.Claim(t.Context(), listed[0], time.Hour)
		require.NoError(t, err)
		require.False(t, ok, "an old list says nothing of a folder that is in use again")
	})
}
