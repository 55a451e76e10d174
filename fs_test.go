package d6tpipe_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestFS(t *testing.T) {
	for name, add := range remotes {
		t.Run(name, func(t *testing.T) {
			vendor := parties(t, "vendor")[0]
			add(t, vendor.api)
			addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "all", Options: d6tpipe.PipeOptions{Dir: "data"}})
			addPipe(t, vendor.api, d6tpipe.PipeSettings{Name: "sales", Options: d6tpipe.PipeOptions{Dir: "data", Include: "*.csv"}})
			all := vendor.open("all")
			for _, key := range []string{"a.csv", "empty.csv", "a.txt", "2026/11/b.csv", "notes/only.txt"} {
				write(t, all, key, strings.Repeat(key, len(key)*100))
			}
			write(t, all, "empty.csv", "")
			push(t, all)
			pipe := vendor.open("sales")
			f := pipe.FS(t.Context())
			defer f.Close()
			require.NoError(t, fstest.TestFS(f, "a.csv", "empty.csv", "2026/11/b.csv"))
			_, err := f.Open("a.txt")
			require.ErrorIs(t, err, d6tpipe.ErrNotFound)
			require.ErrorIs(t, err, fs.ErrNotExist)
			_, err = f.Stat("notes")
			require.ErrorIs(t, err, fs.ErrNotExist, "there is nothing of the pipe in it")
			info, err := f.Stat("2026/11/b.csv")
			require.NoError(t, err)
			require.Equal(t, "2026/11/b.csv", info.Sys().(d6tpipe.File).Key)
			require.NotEmpty(t, info.Sys().(d6tpipe.File).Tag)
			require.NoDirExists(t, pipe.Dir()+"/2026/12", "nothing is pulled")
			file, err := f.Open("a.csv")
			require.NoError(t, err)
			require.Implements(t, (*d6tpipe.RemoteFile)(nil), file)

			write(t, all, "a.csv", "changed")
			write(t, all, "new.csv", "new")
			push(t, all)
			f2 := pipe.FS(t.Context())
			defer f2.Close()
			_, err = f2.ReadFile("new.csv")
			require.NoError(t, err)
			_, err = f.ReadFile("new.csv")
			require.ErrorIs(t, err, d6tpipe.ErrNotFound, "the listing is kept")
			f.Refresh()
			got, err := f.ReadFile("a.csv")
			require.NoError(t, err)
			require.Equal(t, "changed", string(got))
			write(t, all, "a.csv", "again")
			push(t, all)
			got, err = f.ReadFile("a.csv")
			require.True(t, err == nil && string(got) == "changed", "it is in the cache: %v", err)
			write(t, all, "new.csv", "newer")
			push(t, all)
			_, err = f.ReadFile("new.csv")
			require.ErrorIs(t, err, d6tpipe.ErrConflict)
		})
	}
}

func TestFSErrors(t *testing.T) {
	p := parties(t, "client")[0]
	addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	pipe := p.open("sales")
	f := pipe.FS(t.Context())
	require.NoError(t, fstest.TestFS(f))
	require.NoError(t, f.Close())
	_, err := f.ReadDir(".")
	require.ErrorIs(t, err, fs.ErrClosed)

	ctx, cancel := context.WithCancel(t.Context())
	f = pipe.FS(ctx)
	cancel()
	_, err = f.ReadDir(".")
	require.ErrorIs(t, err, context.Canceled)

	_, err = p.api.Remotes().Update(t.Context(), d6tpipe.RemoteSettings{Name: "warehouse", Location: filepath.Join(t.TempDir(), "no")})
	require.NoError(t, err)
	f = pipe.FS(t.Context())
	defer f.Close()
	_, err = f.ReadDir(".")
	require.ErrorIs(t, err, d6tpipe.ErrNotFound, "a missing remote is no empty folder")
	require.NoError(t, p.api.Pipes().Delete(t.Context(), "sales"))
	_, err = f.ReadDir(".")
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
}

// Over the wire: a large file costs a request for each MiB, and an archive's
// directory one or two, not the archive.
func TestFSRequests(t *testing.T) {
	g := s3test.Start(t)
	var gets, sent atomic.Int64
	endpoint := between(t, g, nil, func(r *http.Response) error {
		if r.Request.Method == http.MethodGet {
			gets.Add(1)
			sent.Add(max(r.ContentLength, 0))
		}
		return nil
	})
	remote := bucketOf(t, g, endpoint)
	p := parties(t, "client")[0]
	remote.Name = "warehouse"
	_, err := p.api.Remotes().Create(t.Context(), remote)
	require.NoError(t, err)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})

	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for i := range 12 {
		part, err := w.CreateHeader(&zip.FileHeader{Name: fmt.Sprintf("%02d.bin", i), Method: zip.Store})
		require.NoError(t, err)
		_, err = part.Write(storagetest.Bytes(uint64(i), 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	big := storagetest.Bytes(99, 10<<20)
	at := filepath.Join(g.Dir, remote.Location, "some", "where")
	require.NoError(t, os.MkdirAll(at, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(at, "big.bin"), big, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(at, "archive.zip"), archive.Bytes(), 0o644))

	f := p.open("sales").FS(t.Context())
	defer f.Close()
	file, err := f.Open("big.bin")
	require.NoError(t, err)
	require.EqualValues(t, 1, gets.Swap(0), "a listing")
	sent.Store(0)
	got, err := io.ReadAll(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(big, got))
	require.EqualValues(t, 10, gets.Swap(0))
	require.EqualValues(t, len(big), sent.Swap(0))

	file, err = f.Open("archive.zip")
	require.NoError(t, err)
	info, err := file.Stat()
	require.NoError(t, err)
	r, err := zip.NewReader(file.(io.ReaderAt), info.Size())
	require.NoError(t, err)
	require.Len(t, r.File, 12)
	require.LessOrEqual(t, gets.Load(), int64(2))
	require.LessOrEqual(t, sent.Load(), int64(2<<20))
	part, err := fs.ReadFile(r, "03.bin")
	require.NoError(t, err)
	require.True(t, bytes.Equal(storagetest.Bytes(3, 1<<20), part))
	require.LessOrEqual(t, gets.Load(), int64(5))
}

// Read files of a pipe where they lie, without pulling them.
func ExamplePipe_FS() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	home, err := os.MkdirTemp("", "d6tpipe-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)
	pipe, err := exampleSales(ctx, home) // a pipe with the file 2026/11.csv on its remote
	if err != nil {
		log.Fatal(err)
	}

	remote := pipe.FS(ctx)
	defer remote.Close()
	names, err := fs.Glob(remote, "*/*.csv")
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range names {
		file, err := remote.Open(name)
		if err != nil {
			log.Fatal(err)
		}
		rows, err := csv.NewReader(file).ReadAll()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, rows)
		if err := file.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 2026/11.csv [[day amount] [1 20]]
}

// exampleSales makes a pipe in local mode, with a file on its remote.
func exampleSales(ctx context.Context, home string) (*d6tpipe.Pipe, error) {
	cfg, err := d6tpipe.InitConfig(ctx, "default", d6tpipe.InitOptions{
		File: filepath.Join(home, "cfg.json"), Settings: d6tpipe.ConfigSettings{FileRepo: filepath.Join(home, "files")}})
	if err != nil {
		return nil, err
	}
	api, err := d6tpipe.NewAPILocal(cfg)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(home, "warehouse", "2026")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "11.csv"), []byte("day,amount\n1,20\n"), 0o644); err != nil {
		return nil, err
	}
	if _, err := api.Pipes().Create(ctx, d6tpipe.PipeSettings{
		Name: "sales", Protocol: d6tpipe.ProtocolDir, Location: filepath.Dir(folder)}); err != nil {
		return nil, err
	}
	return d6tpipe.OpenPipe(ctx, api, "sales", d6tpipe.OpenOptions{})
}
