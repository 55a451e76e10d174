// Command limit is the yardstick of the benchmarks: the requests that a transfer
// cannot do without, and nothing else. It knows the names beforehand, signs them
// beforehand, moves bytes over connections that stay open, and writes plain files:
// no listing, no hashing, no state, no fsync. What a client needs beyond this is
// what its care costs.
//
//	limit bucket BUCKET            make a bucket
//	limit put DIR BUCKET           every file of DIR, each with one PUT
//	limit get DIR BUCKET DEST      the files that DIR has, from BUCKET to DEST
//	limit list BUCKET              the names in BUCKET, page after page
//
// The server is $S3_ENDPOINT, the keys are $AWS_ACCESS_KEY_ID and
// $AWS_SECRET_ACCESS_KEY.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
)

func main() {
	workers := flag.Int("workers", 32, "requests at a time")
	part := flag.Int64("part", 16<<20, "`bytes` of a ranged GET; smaller files come in one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l := &limit{
		workers: *workers,
		part:    *part,
		signer:  newSigner(os.Getenv("S3_ENDPOINT"), os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")),
		client: &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: *workers,
			DisableCompression:  true,
			ReadBufferSize:      64 << 10,
			WriteBufferSize:     64 << 10,
		}},
	}
	if err := l.run(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "limit:", err)
		os.Exit(1)
	}
}

type limit struct {
	workers int
	part    int64
	signer  signer
	client  *http.Client
}

func (l *limit) run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "bucket":
		return l.do(ctx, http.MethodPut, args[1], "", http.NoBody, 0, nil)
	case len(args) == 3 && args[0] == "put":
		return l.put(ctx, args[1], args[2])
	case len(args) == 4 && args[0] == "get":
		return l.get(ctx, args[1], args[2], args[3])
	}
	if len(args) == 2 && args[0] == "list" {
		return l.list(ctx, args[1])
	}
	return errors.New("usage: limit bucket BUCKET | put DIR BUCKET | get DIR BUCKET DEST | list BUCKET")
}

// A file is one of the benchmark's, by its path below the data folder.
type file struct {
	key  string
	size int64
}

func files(dir string) (all []file, err error) {
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, file{path, info.Size()})
		}
		return err
	})
	return all, err
}

func (l *limit) put(ctx context.Context, dir, bucket string) error {
	all, err := files(dir)
	if err != nil {
		return err
	}
	return each(ctx, l.workers, all, func(ctx context.Context, f file, _ []byte) error {
		r, err := os.Open(filepath.Join(dir, f.key))
		if err != nil {
			return err
		}
		defer r.Close()
		return l.do(ctx, http.MethodPut, bucket, f.key, r, f.size, nil)
	})
}

// A piece is what one GET brings: a whole file, or a range of one that several
// write to.
type piece struct {
	file
	off, n int64
	to     *os.File // nil for a whole file
}

func (l *limit) get(ctx context.Context, dir, bucket, dest string) error {
	all, err := files(dir)
	if err != nil {
		return err
	}
	var pieces []piece
	for _, f := range all {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dest, f.key)), 0o755); err != nil {
			return err
		}
		if f.size <= l.part {
			pieces = append(pieces, piece{file: f, n: f.size})
			continue
		}
		to, err := os.Create(filepath.Join(dest, f.key))
		if err != nil {
			return err
		}
		defer to.Close()
		for off := int64(0); off < f.size; off += l.part {
			pieces = append(pieces, piece{f, off, min(l.part, f.size-off), to})
		}
	}
	return each(ctx, l.workers, pieces, func(ctx context.Context, p piece, buf []byte) error {
		if p.to != nil {
			return l.fetch(ctx, bucket, p, io.NewOffsetWriter(p.to, p.off), buf)
		}
		path := filepath.Join(dest, p.key)
		w, err := os.Create(path + ".part")
		if err != nil {
			return err
		}
		if err := errors.Join(l.fetch(ctx, bucket, p, w, buf), w.Close()); err != nil {
			return err
		}
		return os.Rename(path+".part", path)
	})
}

func (l *limit) fetch(ctx context.Context, bucket string, p piece, w io.Writer, buf []byte) error {
	ranged := fmt.Sprintf("bytes=%d-%d", p.off, p.off+p.n-1)
	if p.to == nil {
		ranged = ""
	}
	return l.do(ctx, http.MethodGet, bucket, p.key, http.NoBody, 0, func(body io.Reader) error {
		n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{body}, buf) // hide ReadFrom, which has small buffers
		if err == nil && n != p.n {
			err = fmt.Errorf("%s: %d bytes of %d", p.key, n, p.n)
		}
		return err
	}, "Range", ranged)
}

// list reads all pages and looks for nothing but where the next one begins.
func (l *limit) list(ctx context.Context, bucket string) error {
	for token, more := "", true; more; {
		err := l.send(ctx, http.MethodGet, l.signer.url(http.MethodGet, bucket, "", token, "&list-type=2"), http.NoBody, 0, func(body io.Reader) error {
			page, err := io.ReadAll(body)
			if err != nil {
				return err
			}
			_, rest, found := bytes.Cut(page, []byte("<NextContinuationToken>"))
			next, _, _ := bytes.Cut(rest, []byte("<"))
			token, more = "&continuation-token="+url.QueryEscape(string(next)), found
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// do sends one request and hands the body to use.
func (l *limit) do(ctx context.Context, method, bucket, key string, body io.Reader, size int64, use func(io.Reader) error, header ...string) error {
	return l.send(ctx, method, l.signer.url(method, bucket, key), body, size, use, header...)
}

func (l *limit) send(ctx context.Context, method, target string, body io.Reader, size int64, use func(io.Reader) error, header ...string) error {
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("%s %s: %s %s", method, req.URL.Path, resp.Status, bytes.TrimSpace(text))
	}
	if use != nil {
		return use(resp.Body)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// each calls do for every item, a few at a time, each worker with a buffer of its
// own, until one fails.
func each[T any](ctx context.Context, workers int, items []T, do func(context.Context, T, []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan T)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			buf := make([]byte, 256<<10)
			for item := range queue {
				if ctx.Err() != nil {
					continue
				}
				if err := do(ctx, item, buf); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, item := range items {
		queue <- item
	}
	close(queue)
	wg.Wait()
	return context.Cause(ctx)
}
