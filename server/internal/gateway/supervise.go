package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Times of the child's life.
const (
	startLimit  = 30 * time.Second // from the start to the first answer
	stopLimit   = 15 * time.Second // for requests that are under way
	firstPause  = 50 * time.Millisecond
	longPause   = 5 * time.Second
	steady      = 30 * time.Second // a child that lived so long starts again at once
	healthEvery = 5 * time.Second
	healthLimit = 10 * time.Second
)

// A supervisor keeps the child running.
type supervisor struct {
	program []string // the program and its arguments
	config  childConfig
	log     *slog.Logger
	client  *http.Client // speaks to the child

	up gate
}

// run starts the child, and starts it again when it ends, until ctx ends.
func (s *supervisor) run(ctx context.Context) {
	// The system kills the child when the thread ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause := firstPause
	for {
		began := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steady {
			pause = firstPause
		}
		s.log.Error("the storage's process has ended and is started again", "error", err, "after", time.Since(began).Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
}

// once runs the child until it ends.
func (s *supervisor) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	config, err := json.Marshal(s.config)
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	cmd := exec.CommandContext(ctx, s.program[0], s.program[1:]...)
	cmd.Env = environment(os.Environ())
	cmd.Stdout, cmd.Stderr = &lines{log: s.log}, &lines{log: s.log}
	cmd.WaitDelay = stopLimit
	dieWithParent(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the storage: %w", err)
	}
	cmd.Cancel = in.Close // it sees that and ends in order
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the storage: %w", err)
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		if err := s.watch(ctx, in, append(config, '\n')); err != nil && ctx.Err() == nil {
			s.log.Error("the storage's process does not answer and is killed", "error", err)
			cmd.Process.Kill() //nolint:errcheck // it has ended
		}
	})
	err = cmd.Wait()
	s.up.shut()
	cancel()
	watching.Wait()
	s.up.shut() // it may have been opened just now, by the last answer
	s.client.CloseIdleConnections()
	return err
}

// watch gives the child its configuration, lets requests in once it answers, and
// returns an error when it does not answer any more.
func (s *supervisor) watch(ctx context.Context, in io.Writer, config []byte) error {
	if _, err := in.Write(config); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	deadline := time.Now().Add(startLimit)
	for wait := 5 * time.Millisecond; s.healthy(ctx) != nil; wait = min(2*wait, 100*time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%w after %v", ErrDown, startLimit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	s.up.open()
	for failed := 0; failed < 3; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(healthEvery):
		}
		if s.healthy(ctx) != nil {
			failed++
		} else {
			failed = 0
		}
	}
	return ErrDown
}

// healthy asks the child.
func (s *supervisor) healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://storage"+healthPath, nil)
	if err != nil {
		return err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", ErrDown, res.StatusCode)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// environment is what the child may know: where temporary files go, and settings of
// Go's runtime. A password in the server's environment stays there.
func environment(all []string) (some []string) {
	for _, pair := range all {
		name, _, _ := strings.Cut(pair, "=")
		switch name {
		case "PATH", "TMPDIR", "TZ", "SYSTEMROOT", "TEMP", "TMP", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GOTRACEBACK", "GODEBUG", "GOCOVERDIR":
			some = append(some, pair)
		}
	}
	return some
}

// A gate is shut or open.
type gate struct {
	mu sync.Mutex
	ch chan struct{} // closed when the gate is open
}

func (g *gate) channel() chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch == nil {
		g.ch = make(chan struct{})
	}
	return g.ch
}

func (g *gate) open() { close(g.channel()) }

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch == nil {
		return
	}
	select {
	case <-g.ch:
		g.ch = nil
	default: // it was not open
	}
}

// wait waits until the gate is open, not longer than limit.
func (g *gate) wait(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-g.channel():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return ErrDown
	}
}

// lines logs what the child writes.
type lines struct {
	log  *slog.Logger
	rest []byte
}

// Write takes whole lines, and the start of one that does not end.
func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found && len(l.rest) < 4<<10 {
			return len(p), nil
		}
		if text := strings.TrimSpace(string(line)); text != "" {
			l.log.Warn("storage: " + text)
		}
		l.rest = rest
	}
}

// socketFolder makes a folder for a socket that nobody else can enter, below dir
// when the path is not too long for a socket, and removes those of earlier
// processes.
func socketFolder(dir string) (string, error) {
	base := filepath.Join(dir, socketsDir)
	if len(base) > 70 {
		base = os.TempDir()
	} else {
		if err := os.MkdirAll(base, 0o700); err != nil {
			return "", err
		}
		removeDeadSockets(base)
	}
	return os.MkdirTemp(base, "d6tpipe-") // with mode 0700
}

func removeDeadSockets(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	dialer := net.Dialer{Timeout: time.Second}
	for _, e := range entries {
		folder := filepath.Join(base, e.Name())
		conn, err := dialer.DialContext(context.Background(), "unix", filepath.Join(folder, socketName))
		if err == nil {
			conn.Close()
		} else if info, statErr := e.Info(); statErr == nil && time.Since(info.ModTime()) > time.Minute && !errors.Is(err, os.ErrPermission) {
			os.RemoveAll(folder) //nolint:errcheck // it will be tried again
		}
	}
}

const socketName = "s3"
