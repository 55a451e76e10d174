// Remotefs reads data where it lies, without pulling it: a pipe as a file system of
// package io/fs. It reads a CSV file with encoding/csv, and one file of a ZIP archive
// with archive/zip, which fetches the archive's directory and that file only. It
// needs no network, no server and no account, and it removes what it made.
//
//	go run ./examples/remotefs
package main

import (
	"archive/zip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/d6t/d6tpipe-go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal("remotefs: ", err)
	}
}

// run reads a pipe whose files lie in one temporary folder.
func run(ctx context.Context, out io.Writer) (err error) {
	home, err := os.MkdirTemp("", "d6tpipe-remotefs-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	pipe, err := openPipe(ctx, home)
	if err != nil {
		return err
	}
	remote := pipe.FS(ctx)
	defer func() { err = errors.Join(err, remote.Close()) }()

	fmt.Fprintln(out, "What lies on the remote")
	err = fs.WalkDir(remote, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		fmt.Fprintf(out, "  %s, %d bytes\n", path, info.Size())
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "\nA CSV file")
	if err := readCSV(remote, "vega/weather/co2-concentration.csv", out); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nA file of an archive")
	return readArchive(remote, "archive.zip", out)
}

const dataFolder = "testdata/vega"

// openPipe makes a remote of some files and an archive of them, and a pipe on it.
func openPipe(ctx context.Context, home string) (*d6tpipe.Pipe, error) {
	cfg, err := d6tpipe.InitConfig(ctx, "default", d6tpipe.InitOptions{
		File: filepath.Join(home, "cfg.json"), Settings: d6tpipe.ConfigSettings{FileRepo: filepath.Join(home, "files")}})
	if err != nil {
		return nil, err
	}
	api, err := d6tpipe.NewAPILocal(cfg) // d6tpipe.NewAPIClient(cfg) for a server: the rest stays the same
	if err != nil {
		return nil, err
	}
	warehouse := filepath.Join(home, "warehouse")
	if err := os.CopyFS(filepath.Join(warehouse, "vega"), os.DirFS(dataFolder)); err != nil {
		return nil, err
	}
	if err := pack(filepath.Join(warehouse, "archive.zip")); err != nil {
		return nil, err
	}
	if _, err := api.Pipes().Create(ctx, d6tpipe.PipeSettings{
		Name: "data", Protocol: d6tpipe.ProtocolDir, Location: warehouse, Options: d6tpipe.PipeOptions{Include: "*.csv|*.zip"}}); err != nil {
		return nil, err
	}
	return d6tpipe.OpenPipe(ctx, api, "data", d6tpipe.OpenOptions{})
}

// pack makes an archive of the data.
func pack(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := zip.NewWriter(f)
	return errors.Join(w.AddFS(os.DirFS(dataFolder)), w.Close(), f.Close())
}

// readCSV reads row after row; the file comes as it is needed.
func readCSV(fsys fs.FS, name string, out io.Writer) (err error) {
	file, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	r := csv.NewReader(file)
	header, err := r.Read()
	if err != nil {
		return err
	}
	rows := 0
	for {
		if _, err := r.Read(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		rows++
	}
	fmt.Fprintf(out, "  %s: %d rows of %v\n", name, rows, header)
	return nil
}

// readArchive looks into an archive and reads a file that lies in it.
func readArchive(fsys fs.FS, name string, out io.Writer) (err error) {
	file, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	archive, err := zip.NewReader(file.(d6tpipe.RemoteFile), info.Size())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  %s holds %d files\n", name, len(archive.File))
	return readCSV(archive, "weather/co2-concentration.csv", out)
}
