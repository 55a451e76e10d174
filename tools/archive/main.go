// Archive packs a folder so that the same files always make the same bytes: sorted,
// with one time, without owners.
//
//	SOURCE_DATE_EPOCH=1764126000 archive d6tpipe.tar.gz FOLDER
//	SOURCE_DATE_EPOCH=1764126000 archive d6tpipe.zip FOLDER
package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: archive FILE.tar.gz|FILE.zip FOLDER")
	}
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		log.Fatal("SOURCE_DATE_EPOCH must be the time of the files, in seconds since 1970")
	}
	if err := write(os.Args[1], os.Args[2], time.Unix(seconds, 0).UTC()); err != nil {
		log.Fatal(err)
	}
}

// write packs the folder into a file, under the folder's own name.
func write(file, folder string, at time.Time) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if strings.HasSuffix(file, ".zip") {
		return writeZip(out, folder, at)
	}
	return writeTar(out, folder, at)
}

// An entry is a file to be packed: programs are executable, all others are not.
type entry struct {
	name string // in the archive
	size int64
	mode fs.FileMode
	path string
}

// entries are the files of a folder, by name.
func entries(folder string) (all []entry, err error) {
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file", path)
		}
		below, err := filepath.Rel(filepath.Dir(folder), path)
		mode := fs.FileMode(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		all = append(all, entry{filepath.ToSlash(below), info.Size(), mode, path})
		return err
	})
	return all, err
}

func (e entry) copyTo(w io.Writer) error {
	f, err := os.Open(e.path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

func writeTar(out io.Writer, folder string, at time.Time) error {
	all, err := entries(folder)
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, e := range all {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Size: e.size, Mode: int64(e.mode), ModTime: at, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if err := e.copyTo(w); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), z.Close())
}

func writeZip(out io.Writer, folder string, at time.Time) error {
	all, err := entries(folder)
	if err != nil {
		return err
	}
	w := zip.NewWriter(out)
	for _, e := range all {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: at}
		h.SetMode(e.mode)
		file, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		if err := e.copyTo(file); err != nil {
			return err
		}
	}
	return w.Close()
}
