package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestSame: when files were written, and in which order, makes no difference.
func TestSame(t *testing.T) {
	at := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	want := []string{"d6tpipe/LICENSE -rw-r--r--", "d6tpipe/d6tpipe -rwxr-xr-x", "d6tpipe/man/d6tpipe.1 -rw-r--r--"}
	for _, suffix := range []string{".tar.gz", ".zip"} {
		var made [2][]byte
		for i := range made {
			folder := filepath.Join(t.TempDir(), "d6tpipe")
			put(t, folder, "man/d6tpipe.1", 0o600)
			put(t, folder, "LICENSE", []os.FileMode{0o644, 0o664}[i])
			put(t, folder, "d6tpipe", []os.FileMode{0o755, 0o700}[i])
			if err := os.Chtimes(filepath.Join(folder, "LICENSE"), at.AddDate(0, 0, i), at.AddDate(0, 0, i)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "x"+suffix)
			if err := write(file, folder, at); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			made[i] = data
		}
		if !bytes.Equal(made[0], made[1]) {
			t.Errorf("%s: not the same bytes", suffix)
		}
		if got := list(t, suffix, made[0]); !slices.Equal(got, want) {
			t.Errorf("%s: %q", suffix, got)
		}
	}
}

func put(t *testing.T, folder, name string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(folder, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(name), mode), os.Chmod(file, mode)); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, suffix string, data []byte) (files []string) {
	t.Helper()
	if suffix == ".zip" {
		r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.File {
			files = append(files, f.Name+" "+f.Mode().String())
		}
		return files
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, h.Name+" "+h.FileInfo().Mode().String())
	}
}
