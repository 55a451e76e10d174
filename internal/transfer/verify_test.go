package transfer_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

func TestVerify(t *testing.T) {
	store := remote(many(8))
	p := newPipe(t, store)
	p.must(pull, 8)
	file := func(i int) string {
		return []string{"dir0/file0000.csv", "dir1/file0001.csv", "dir2/file0002.csv", "dir3/file0003.csv", "dir4/file0004.csv", "dir5/file0005.csv", "dir6/file0006.csv"}[i]
	}
	sameAge(p, file(1), []byte("CONTENT 1"))
	p.write(file(2), "edited here")
	require.NoError(t, os.Remove(filepath.Join(p.dir, file(3))))
	store.Plant(file(4), []byte("edited there"))
	require.NoError(t, store.Remove(t.Context(), file(5)))
	require.NoError(t, os.Remove(filepath.Join(p.dir, file(6))))
	require.NoError(t, os.Symlink("elsewhere", filepath.Join(p.dir, file(6))))
	p.write("unsynced.csv", "x")
	before := tree(t, p.state)
	found, err := p.Verify(t.Context(), nil, true)
	require.NoError(t, err)
	require.Equal(t, before, tree(t, p.state), "nothing is changed")
	type cell struct{ local, remote transfer.Condition }
	got := map[string]cell{}
	for _, f := range found {
		got[f.Key] = cell{f.Local, f.Remote}
		require.Equal(t, f.Local == transfer.Intact && f.Remote == transfer.Intact, f.OK(), f.Key)
	}
	require.Equal(t, map[string]cell{
		file(0):             {transfer.Intact, transfer.Intact},
		file(1):             {transfer.Damaged, transfer.Intact},
		file(2):             {transfer.Edited, transfer.Intact},
		file(3):             {transfer.Gone, transfer.Intact},
		file(4):             {transfer.Intact, transfer.Edited},
		file(5):             {transfer.Intact, transfer.Gone},
		file(6):             {transfer.Edited, transfer.Intact},
		"dir0/file0007.csv": {transfer.Intact, transfer.Intact},
		"unsynced.csv":      {transfer.Unsynced, transfer.Unchecked},
	}, got)
	only, err := p.Verify(t.Context(), func(key string) bool { return key == file(1) }, false)
	require.NoError(t, err)
	require.Len(t, only, 1)

	offline, err := transfer.Open(transfer.Config{Dir: p.dir, State: p.state})
	require.NoError(t, err)
	found, err = offline.Verify(t.Context(), nil, false)
	require.NoError(t, err)
	require.Len(t, found, 8)
	for _, f := range found {
		require.Equal(t, transfer.Unchecked, f.Remote)
	}
	require.NoError(t, os.RemoveAll(p.dir))
	found, err = p.Verify(t.Context(), nil, false)
	require.NoError(t, err)
	for _, f := range found {
		require.Equal(t, transfer.Gone, f.Local)
	}
}

// A remote that vouches for other content than it gave us is found out, although its
// version is the same.
func TestVerifyAsksTheRemote(t *testing.T) {
	store := remote(map[string]string{"a.csv": "content"})
	b := newBreaking(store, 1<<40)
	p := newPipe(t, b)
	p.must(pull, 1)
	store.Lie("a.csv", "md5:00000000000000000000000000000000")
	found, err := p.Verify(t.Context(), nil, false)
	require.NoError(t, err)
	require.Equal(t, transfer.Intact, found[0].Local)
	require.Equal(t, transfer.Damaged, found[0].Remote)
	require.False(t, found[0].OK())
}

// Where a listing has no sum, as of an object that came in parts, the remote is asked
// for one: of files that are big and intact here, and of no others.
func TestVerifyAsksForSumsOfBigFiles(t *testing.T) {
	store := remote(map[string]string{"big.bin": string(bigFile(1)[:2<<20]), "edited.bin": string(bigFile(1)[:2<<20]), "small.csv": "small"})
	f := &faulty{Store: store, noSum: true}
	b := newBreaking(f, 1<<40)
	p := newPipe(t, b)
	p.must(pull, 3)
	p.write("edited.bin", "edited")
	verify := func() map[string]transfer.Condition {
		found, err := p.Verify(t.Context(), nil, false)
		require.NoError(t, err)
		there := map[string]transfer.Condition{}
		for _, f := range found {
			there[f.Key] = f.Remote
		}
		return there
	}
	var asked []string
	f.beforeOpen = func(key string) { asked = append(asked, key) }
	b.sum = "crc64nvme:" + transfer.CRCHex(bigFile(1)[:2<<20])
	require.Equal(t, map[string]transfer.Condition{"big.bin": transfer.Intact, "edited.bin": transfer.Intact, "small.csv": transfer.Intact}, verify())
	require.Equal(t, []string{"big.bin"}, asked)
	b.sum = "crc64nvme:0000000000000000"
	require.Equal(t, transfer.Damaged, verify()["big.bin"])
	f.fail = map[string]error{"big.bin": fs.ErrPermission}
	require.Equal(t, transfer.Unreadable, verify()["big.bin"])
	f.fail["big.bin"] = storage.ErrChanged
	require.Equal(t, transfer.Edited, verify()["big.bin"])
	f.fail["big.bin"] = fs.ErrNotExist
	require.Equal(t, transfer.Gone, verify()["big.bin"])
}
