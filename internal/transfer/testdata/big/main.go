// Big moves one file of many bytes and prints how much memory the process has had at
// most, in KiB: "big pull|push|mirror BYTES FOLDER". The remote takes and gives bytes
// without keeping any. It is a program of its own because the race detector of the
// tests takes memory too.
package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

func main() {
	op, folder := os.Args[1], os.Args[3]
	size, err := strconv.ParseInt(os.Args[2], 10, 64)
	if err == nil {
		err = move(op, size, folder)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(peak())
}

func move(op string, size int64, folder string) error {
	ctx := context.Background()
	full, empty := storage.Retry(&remote{size: size}, storage.RetryPolicy{}), storage.Retry(&remote{}, storage.RetryPolicy{})
	cfg := transfer.Config{Store: full, Dir: filepath.Join(folder, "pipe"), State: filepath.Join(folder, "state"), Workers: 4}
	switch op {
	case "push":
		cfg.Store = empty
		if err := sparse(filepath.Join(cfg.Dir, key), size); err != nil {
			return err
		}
	case "mirror":
		cfg.Store, cfg.From, cfg.Dir = empty, full, ""
	}
	s, err := transfer.Open(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	var report *transfer.Report
	if op == "mirror" {
		_, report, _, err = s.Mirror(ctx, transfer.MirrorOptions{})
	} else {
		var p *transfer.Plan
		if p, err = s.Plan(ctx, transfer.Request{Direction: transfer.Direction(op)}); err == nil {
			report, err = s.Apply(ctx, p)
		}
	}
	if err == nil && (report.Files != 1 || report.Bytes != size) {
		err = fmt.Errorf("%d files with %d bytes were moved", report.Files, report.Bytes)
	}
	return err
}

func sparse(name string, size int64) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err == nil {
		err = f.Truncate(size)
		f.Close()
	}
	return err
}

func peak() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		log.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	return strings.Fields(rest)[0]
}

const (
	key      = "big.bin"
	partSize = 16 << 20
)

// remote has one file of zeros when size is not 0, and forgets what it is given.
type remote struct{ size int64 }

func (r *remote) object(size int64) storage.Object {
	return storage.Object{Key: key, Size: size, ModTime: time.Unix(1e9, 0).UTC(), Tag: strconv.FormatInt(size, 10)}
}

func (r *remote) List(context.Context, string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if r.size > 0 {
			yield(r.object(r.size), nil)
		}
	}
}

func (r *remote) Stat(context.Context, string) (storage.Object, error) { return r.object(r.size), nil }

func (r *remote) Open(_ context.Context, _ storage.Object, off, n int64) (io.ReadCloser, error) {
	if n < 0 {
		n = r.size
	}
	return io.NopCloser(io.LimitReader(zeros{}, min(n, r.size-off))), nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (r *remote) Put(_ context.Context, _ string, src io.Reader, size int64, _ storage.Cond) (storage.Object, error) {
	_, err := io.Copy(io.Discard, src)
	return r.object(size), err
}

func (r *remote) Remove(context.Context, string) error { return nil }
func (r *remote) Close() error                         { return nil }
func (r *remote) Multipart() storage.Multipart         { return parts{r} }

type parts struct{ r *remote }

func (p parts) Begin(_ context.Context, key string, size, unit int64) (storage.Upload, error) {
	return storage.Upload{Key: key, ID: "1", Size: size, PartSize: partSize / unit * unit}, nil
}

func (p parts) Arrived(context.Context, storage.Upload) ([]storage.Part, error) { return nil, nil }

func (p parts) Send(_ context.Context, _ storage.Upload, n int, src io.Reader, size int64) (storage.Part, error) {
	_, err := io.Copy(io.Discard, src)
	return storage.Part{Number: n, Size: size}, err
}

func (p parts) Finish(_ context.Context, u storage.Upload, _ []storage.Part, _ storage.Cond) (storage.Object, error) {
	return p.r.object(u.Size), nil
}

func (p parts) Abort(context.Context, storage.Upload) error { return nil }
