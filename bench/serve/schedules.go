package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	scheduled  = 1000 // pipes with a schedule
	filesOfOne = 1000 // of each
	schedulers = 10   // accounts that have them
)

// What the schedules have to reach.
const (
	scansWanted = float64(scheduled) / (15 * 60) // a second: each pipe every 15 minutes
	lateMost    = time.Minute                    // that a scan begins after its time
	memoryMost  = 400                            // MiB resident
)

// measureSchedules has the server scan many pipes, first as often as it can and then
// every 15 minutes, and prints how it does.
func measureSchedules(ctx context.Context, program string, lasts time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "d6tpipe-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bucket, err := startBucket(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bucket.stop()) }()
	server, err := startServer(ctx, program, dir, "--allow-dial", "127.0.0.1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	plans, err := plan(ctx, server.address, bucket.address)
	if err != nil {
		return err
	}
	fast, err := plans.run(ctx, server, "1m", lasts, false)
	if err != nil {
		return err
	}
	calm, err := plans.run(ctx, server, "15m", lasts, true)
	if err != nil {
		return err
	}
	if fast.failed+calm.failed > 0 {
		said, _ := os.ReadFile(filepath.Join(dir, "log"))
		_, said, _ = bytes.Cut(said, []byte("could not be listed"))
		return fmt.Errorf("%.0f scans failed, the first for this: %.500s", fast.failed+calm.failed, said)
	}
	database, err := sizeOf(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	return tellSchedules(os.Stdout, fast, calm, database)
}

// plans are who has which pipes, on one connection.
type plans struct {
	address string
	tokens  []string
}

// plan opens the accounts and makes the pipes.
func plan(ctx context.Context, address, bucket string) (*plans, error) {
	c, err := connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	p := &plans{address: address}
	for i := range schedulers {
		token, err := c.register(account{fmt.Sprintf("user-%d", i), fmt.Sprintf("user-%d@example.com", i), fmt.Sprintf("secret of %d", i)})
		if err != nil {
			return nil, err
		}
		p.tokens = append(p.tokens, token)
	}
	for i := range scheduled {
		pipe := map[string]any{
			"name": p.name(i), "protocol": "s3", "location": "bench",
			"options":     map[string]string{"dir": p.name(i)},
			"settings":    map[string]string{"endpoint_url": "http://" + bucket, "region_name": "us-east-1"},
			"credentials": map[string]string{"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "not a real one"},
		}
		if _, err := c.answer(post(listPath, p.of(i), encode(pipe))); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *plans) name(i int) string { return fmt.Sprintf("pipe-%04d", i) }
func (p *plans) of(i int) string   { return p.tokens[i%len(p.tokens)] }

// A pace is what scans did within a time.
type pace struct {
	every  string
	rate   float64       // a second
	late   time.Duration // the most that one waited
	cpu    time.Duration // of the server, for one scan
	failed float64
	memory memory
}

// run gives all pipes a schedule, and measures the scans; when calm, only after those
// are done with which new schedules begin.
func (p *plans) run(ctx context.Context, server *program, every string, lasts time.Duration, calm bool) (got pace, err error) {
	c, err := connect(ctx, p.address)
	if err != nil {
		return got, err
	}
	defer c.Close()
	before, err := p.jobs(ctx)
	if err != nil {
		return got, err
	}
	for i := range scheduled {
		if _, err := c.answer(put(listPath+p.name(i)+"/schedule/", p.of(i), encode(map[string]string{"every": every}))); err != nil {
			return got, err
		}
	}
	for begun := calm; begun; {
		now, err := p.jobs(ctx)
		if err != nil {
			return got, err
		}
		begun = now.ended()-before.ended() < scheduled || now.late > time.Second
		if begun && !wait(ctx, time.Second) {
			return got, ctx.Err()
		}
	}
	return p.watch(ctx, server, every, lasts)
}

// watch measures for a while.
func (p *plans) watch(ctx context.Context, server *program, every string, lasts time.Duration) (got pace, err error) {
	before, err := p.jobs(ctx)
	if err != nil {
		return got, err
	}
	used, err := server.cpu()
	if err != nil {
		return got, err
	}
	if _, err := server.peaks(); err != nil { // begins anew
		return got, err
	}
	began, now := time.Now(), before
	for time.Since(began) < lasts {
		if !wait(ctx, time.Second) {
			return got, ctx.Err()
		}
		if now, err = p.jobs(ctx); err != nil {
			return got, err
		}
		got.late = max(got.late, now.late)
	}
	took, done := time.Since(began), now.done-before.done
	after, err := server.cpu()
	if err != nil {
		return got, err
	}
	got.every, got.rate, got.failed = every, done/took.Seconds(), now.failed
	got.cpu = time.Duration(float64(after-used) / max(1, done))
	got.memory, err = server.peaks()
	return got, err
}

// jobs are the figures of the server's own work.
type jobs struct {
	done, failed float64
	late         time.Duration
}

func (j jobs) ended() float64 { return j.done + j.failed }

// jobs reads them from the metrics.
func (p *plans) jobs(ctx context.Context) (j jobs, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/metrics", nil)
	if err != nil {
		return j, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return j, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return j, err
	}
	late := 0.0
	for name, into := range map[string]*float64{
		`d6tpipe_jobs_total{kind="scan",outcome="done"}`: &j.done, `d6tpipe_jobs_total{kind="scan",outcome="failed"}`: &j.failed,
		`d6tpipe_jobs_late_seconds{kind="scan"}`: &late,
	} {
		_, rest, ok := strings.Cut(string(body), "\n"+name+" ")
		text, _, _ := strings.Cut(rest, "\n")
		if !ok {
			return j, fmt.Errorf("the metrics have no %s", name)
		}
		if *into, err = strconv.ParseFloat(text, 64); err != nil {
			return j, err
		}
	}
	j.late = time.Duration(late * float64(time.Second))
	return j, nil
}

// wait reports false when ctx ends before.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// tellSchedules prints a table, and what is not as it should be.
func tellSchedules(w io.Writer, fast, calm pace, database int64) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d pipes of %d files; data folder at the end %d MiB\n\n", scheduled, filesOfOne, database>>20)
	b.WriteString("| each pipe is due every | scans per second | late, at most | CPU ms of a scan | peak MiB |\n|---|--:|--:|--:|--:|\n")
	for _, p := range []pace{fast, calm} {
		fmt.Fprintf(&b, "| %s | %.2f | %.1f s | %s | %.0f |\n", p.every, p.rate, p.late.Seconds(), millis(p.cpu), p.memory.server)
	}
	fmt.Fprintf(&b, "\ntargets: >= %.2f scans per second, at 15m not later than %.0f s, <= %d MiB\n", scansWanted, lateMost.Seconds(), memoryMost)
	_, err := io.WriteString(w, b.String())
	switch {
	case err != nil:
		return err
	case fast.rate < scansWanted, calm.late > lateMost, max(fast.memory.server, calm.memory.server) > memoryMost:
		return errMissed
	}
	return nil
}

func sizeOf(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// A bucket lists files that are not there, as an S3 server would: what it takes is the
// server's, not the storage's. Of each pipe one file is another one at each second
// listing.
type bucket struct {
	address string
	server  *http.Server
	done    chan error

	mu     sync.Mutex
	listed map[string]int // how often, by prefix
}

func startBucket(ctx context.Context) (*bucket, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &bucket{address: l.Addr().String(), done: make(chan error, 1), listed: map[string]int{}}
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: time.Minute}
	go func() { b.done <- b.server.Serve(l) }()
	return b, nil
}

func (b *bucket) stop() error {
	err := b.server.Close()
	if ended := <-b.done; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// ServeHTTP knows one request.
func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.Method != http.MethodGet || q.Get("list-type") != "2" {
		http.Error(w, "only lists", http.StatusNotImplemented)
		return
	}
	prefix := q.Get("prefix")
	b.mu.Lock()
	n := b.listed[prefix]
	b.listed[prefix]++
	b.mu.Unlock()
	w.Header().Set("Content-Type", "application/xml")
	_, _ = w.Write(listing(url.PathEscape(prefix), n/2)) // the server hangs up when it is stopped
}

// listing is the document of a listing that was changed so often.
func listing(prefix string, changes int) []byte {
	prefix = strings.ReplaceAll(prefix, "%2F", "/")
	var b bytes.Buffer
	fmt.Fprintf(&b, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name><Prefix>%s</Prefix>`+
		`<KeyCount>%d</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>`, prefix, filesOfOne)
	for i := range filesOfOne {
		version := (changes + filesOfOne - 1 - i) / filesOfOne // how often it was this one
		fmt.Fprintf(&b, `<Contents><Key>%s2026/%02d/sales-%04d.csv</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified><ETag>&quot;%028x%04x&quot;</ETag>`+
			`<Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>`, prefix, i/100, i, i, version, 1000+i)
	}
	b.WriteString(`</ListBucketResult>`)
	return b.Bytes()
}
