package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server"
)

// serveArg makes the tests' program a server that can be killed.
const serveArg = "server-test-serve"

// A processConfig is what such a server reads from its standard input. It ends when
// that does: with the test, however that ends.
type processConfig struct {
	Listen, Data, Database, Storage, KeyFile string
	DrainTime                                time.Duration
	MaxConnections                           int
	Quick                                    bool          // as the function of this name
	Lease                                    time.Duration // of jobs; as servers have it for 0
}

func (c processConfig) server() server.Config {
	config := server.Config{Listen: c.Listen, Data: c.Data, Database: c.Database, Storage: c.Storage, KeyFile: c.KeyFile,
		DrainTime: c.DrainTime, MaxConnections: c.MaxConnections}
	if c.Quick {
		quick(&config)
	}
	if c.Lease > 0 {
		config.LeaseJobs(c.Lease)
	}
	return config
}

// serveProcess serves until SIGTERM, and says where.
func serveProcess() (err error) {
	var p processConfig
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	c := p.server()
	c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	s, err := server.New(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := listenSoon(p.Listen)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return s.Serve(ctx, l)
}

// listenSoon listens on an address that somebody else may have for a moment: as the
// near end of a connection.
func listenSoon(addr string) (l net.Listener, err error) {
	for range 200 {
		if l, err = net.Listen("tcp", addr); err == nil {
			return l, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, err
}

// A process is a server in a process of its own.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	addr  string
	stdin io.Closer
	log   bytes.Buffer // to be read when it has ended
	ended bool
}

// launch starts a server, which ends with the test at the latest, and waits until it
// listens. It has env besides the test's environment.
func launch(t testing.TB, c processConfig, env ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{t: t, cmd: exec.Command(self, serveArg)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.log
	p.cmd.WaitDelay = 10 * time.Second
	stdin, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		if !p.ended {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	config, err := json.Marshal(c)
	require.NoError(t, err)
	_, err = stdin.Write(append(config, '\n'))
	require.NoError(t, err)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		p.ended = true
		require.NoError(t, errors.Join(err, p.cmd.Wait()), p.log.String())
	}
	p.addr = strings.TrimSpace(line)
	return p
}

func (p *process) url() string { return "http://" + p.addr }

// kill is kill -9. What the process had started is gone soon, too.
func (p *process) kill() {
	p.t.Helper()
	children := childrenOf(p.cmd.Process.Pid)
	require.NoError(p.t, p.cmd.Process.Kill())
	p.ended = true
	require.Error(p.t, p.cmd.Wait(), "it ended by itself")
	require.Eventually(p.t, func() bool { return !anyAlive(children) }, patience, time.Millisecond, "the storage's process is left behind")
	p.check()
}

// term tells the process to end and waits until it has, in good order.
func (p *process) term() {
	p.t.Helper()
	children := childrenOf(p.cmd.Process.Pid)
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	p.ended = true
	require.NoError(p.t, p.cmd.Wait(), p.log.String())
	require.False(p.t, anyAlive(children), "the storage's process is left behind")
	p.check()
}

// check looks at what the server has logged: under load too it must not fail.
func (p *process) check() {
	p.t.Helper()
	for line := range strings.Lines(p.log.String()) {
		for _, bad := range []string{"level=ERROR", " status=5", "DATA RACE", "panic:", "goroutine "} {
			require.NotContains(p.t, line, bad, p.log.String())
		}
	}
}

// childrenOf are the processes that a process has started, where the system tells.
func childrenOf(pid int) (pids []int) {
	if runtime.GOOS != "linux" {
		return nil
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		data, _ := os.ReadFile(list) // threads end
		for _, field := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// anyAlive reports whether one of these still runs. One that is dead and that nobody
// has asked about is a zombie, and does not.
func anyAlive(pids []int) bool {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := strings.Cut(string(stat), ") ")
		if err == nil && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X") {
			return true
		}
	}
	return false
}
