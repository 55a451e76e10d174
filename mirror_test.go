package d6tpipe_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// mirrorPipes are two pipes on folders of their own, of one catalogue.
func mirrorPipes(t *testing.T) (dst, src *d6tpipe.Pipe, target, source string) {
	home := t.TempDir()
	api, err := d6tpipe.NewAPILocal(d6tpipe.Config{Profile: "m", FileRepo: filepath.Join(home, "files"), Catalog: filepath.Join(home, "catalog.json")})
	require.NoError(t, err)
	open := func(name, exclude string) (*d6tpipe.Pipe, string) {
		folder := filepath.Join(home, "remote-"+name)
		require.NoError(t, os.MkdirAll(folder, 0o755))
		_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: name, Protocol: d6tpipe.ProtocolDir, Location: folder, Options: d6tpipe.PipeOptions{Exclude: exclude}})
		require.NoError(t, err)
		p, err := d6tpipe.OpenPipe(t.Context(), api, name, d6tpipe.OpenOptions{})
		require.NoError(t, err)
		return p, folder
	}
	src, source = open("vendor", "*.tmp")
	dst, target = open("archive", "*.log")
	return dst, src, target, source
}

func put(t *testing.T, folder, key, content string) {
	t.Helper()
	path := filepath.Join(folder, filepath.FromSlash(key))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

func TestMirror(t *testing.T) {
	dst, src, target, source := mirrorPipes(t)
	for _, key := range []string{"a.csv", "b/c.csv", "d.tmp", "e.log", "f.txt"} {
		put(t, source, key, "content of "+key)
	}
	preview, err := d6tpipe.Mirror(t.Context(), dst, src, d6tpipe.MirrorOptions{Exclude: "*.txt", DryRun: true})
	require.NoError(t, err)
	require.Equal(t, 2, preview.Plan.Files)
	require.NoFileExists(t, filepath.Join(target, "a.csv"))
	_, err = dst.Apply(t.Context(), &preview.Plan)
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)

	report, err := d6tpipe.Mirror(t.Context(), dst, src, d6tpipe.MirrorOptions{Exclude: "*.txt"})
	require.NoError(t, err)
	require.Equal(t, 2, report.Report.Moved)
	require.FileExists(t, filepath.Join(target, "b", "c.csv"))
	for _, key := range []string{"d.tmp", "e.log", "f.txt"} {
		require.NoFileExists(t, filepath.Join(target, key), "it passes not all filters")
	}
	require.NoDirExists(t, dst.Dir(), "nothing lands here")
	require.NoDirExists(t, src.Dir())
	report, err = d6tpipe.Mirror(t.Context(), dst, src, d6tpipe.MirrorOptions{Exclude: "*.txt"})
	require.NoError(t, err)
	require.Zero(t, report.Report.Moved)

	require.NoError(t, os.Remove(filepath.Join(source, "a.csv")))
	report, err = d6tpipe.Mirror(t.Context(), dst, src, d6tpipe.MirrorOptions{Exclude: "*.txt"})
	require.NoError(t, err)
	require.Equal(t, []d6tpipe.Orphan{{Key: "a.csv", Size: 16}}, report.Extra)
	report, err = d6tpipe.Mirror(t.Context(), dst, src, d6tpipe.MirrorOptions{Exclude: "*.txt", Delete: true})
	require.NoError(t, err)
	require.True(t, report.Extra[0].Removed)
	require.NoFileExists(t, filepath.Join(target, "a.csv"))
}

func TestMirrorRefuses(t *testing.T) {
	dst, src, target, source := mirrorPipes(t)
	put(t, source, "a.csv", "theirs")
	put(t, target, "a.csv", "another")
	_, err := d6tpipe.Mirror(t.Context(), dst, src, d6tpipe.MirrorOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrConflict)
	require.ErrorContains(t, err, "archive")
	_, err = d6tpipe.Mirror(t.Context(), dst, dst, d6tpipe.MirrorOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	require.NoError(t, dst.UpdateSettings(t.Context(), d6tpipe.PipeSettings{Location: filepath.Join(source, "sub")}))
	require.NoError(t, os.MkdirAll(filepath.Join(source, "sub"), 0o755))
	_, err = d6tpipe.Mirror(t.Context(), dst, src, d6tpipe.MirrorOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	require.NoError(t, dst.UpdateSettings(t.Context(), d6tpipe.PipeSettings{Location: target}))
	_, err = d6tpipe.Mirror(t.Context(), dst, src, d6tpipe.MirrorOptions{Merge: "what"})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	require.NoError(t, os.RemoveAll(source))
	_, err = d6tpipe.Mirror(t.Context(), dst, src, d6tpipe.MirrorOptions{Delete: true, Force: true})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	require.FileExists(t, filepath.Join(target, "a.csv"), "a source that is not there has lost nothing")
}

func ExampleMirror() {
	// Every night, what the vendor has put on an FTP server goes to a bucket.
	nightly := func(ctx context.Context, api d6tpipe.API) error {
		vendor, err := d6tpipe.OpenPipe(ctx, api, "vendor-ftp", d6tpipe.OpenOptions{})
		if err != nil {
			return err
		}
		bucket, err := d6tpipe.OpenPipe(ctx, api, "prices", d6tpipe.OpenOptions{})
		if err != nil {
			return err
		}
		report, err := d6tpipe.Mirror(ctx, bucket, vendor, d6tpipe.MirrorOptions{Delete: true})
		fmt.Println(report.Report.Moved, "files,", report.Report.Bytes, "bytes")
		return err
	}
	_ = nightly
}
