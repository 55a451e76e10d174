package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A program is a server in a process of its own.
type program struct {
	cmd     *exec.Cmd
	address string
	log     *os.File
}

// startServer starts d6tpipe with all its data in dir, and with more flags.
func startServer(ctx context.Context, file, dir string, flags ...string) (*program, error) {
	return start(ctx, filepath.Join(dir, "log"), func(address string) []string {
		return append([]string{file, "serve", "--listen", address, "--data", filepath.Join(dir, "data"), "--key-file", filepath.Join(dir, "key")}, flags...)
	})
}

// start starts a program on a free port of loopback and waits until it answers.
func start(ctx context.Context, log string, command func(address string) []string) (*program, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	args := command(address)
	p := &program{address: address, cmd: exec.CommandContext(ctx, args[0], args[1:]...)}
	if p.log, err = os.Create(log); err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log // a file, as an administrator would have it
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = time.Minute
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, p.log.Close())
	}
	if err := p.ready(ctx); err != nil {
		said, _ := os.ReadFile(log)
		return nil, errors.Join(fmt.Errorf("%w; it said: %s", err, bytes.TrimSpace(said)), p.stop())
	}
	return p, nil
}

func freeAddress(ctx context.Context) (string, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// ready waits until the program says that it is.
func (p *program) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		status := 0
		c, err := connect(ctx, p.address)
		if err == nil {
			status, err = c.do(get("/readyz", "none"))
			err = errors.Join(err, c.Close())
		}
		if err == nil && status == 200 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready: status %d, %w", filepath.Base(p.cmd.Path), status, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop tells the program to end, and waits until it has.
func (p *program) stop() error {
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, p.cmd.Wait(), p.log.Close())
}

// under puts the program under a load.
func (p *program) under(ctx context.Context, l load, lasts time.Duration) (m measured, err error) {
	before, err := p.cpu()
	if err != nil {
		return m, err
	}
	if m.result, err = l.run(ctx, p.address, lasts); err != nil {
		return m, err
	}
	after, err := p.cpu()
	m.cpu = (after - before) / time.Duration(max(1, m.answers))
	return m, err
}

// cpu is what the program has used so far, without its children.
func (p *program) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // a name may have spaces
	if len(fields) < 13 {
		return 0, errors.New("this system does not tell the time that a process has used")
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100), errors.Join(err1, err2)
}

// A memory is the most that was resident of a server and of its child, in MiB.
type memory struct{ server, child float64 }

// peaks returns the most memory since the last call, or since the start.
func (p *program) peaks() (m memory, err error) {
	pid := p.cmd.Process.Pid
	if m.server, err = peak(pid); err != nil {
		return m, err
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // any thread may have started it
	if err != nil {
		return m, err
	}
	for _, list := range lists {
		children, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(children)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return m, err
			}
			mib, err := peak(child)
			if err != nil {
				return m, err
			}
			m.child = max(m.child, mib)
		}
	}
	return m, nil
}

// peak returns the most memory that was resident of a process, in MiB, and begins
// anew.
func peak(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if !found || len(fields) == 0 {
		return 0, errors.New("this system does not tell the peak memory of a process")
	}
	kib, err := strconv.Atoi(fields[0])
	if err != nil {
		return 0, err
	}
	return float64(kib) / 1024, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
