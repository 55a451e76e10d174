//go:build linux || darwin

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/server"
)

// A stage is a real server behind a network that may be slow, and a home with a
// pipe of mary's on it.
type stage struct {
	t     *testing.T
	front *faultproxy.Proxy
	home  string
	env   []string
	here  string // the pipe's folder
}

func newStage(t *testing.T) *stage {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s := &stage{t: t, front: faultproxy.Start(t, l.Addr().String()), home: t.TempDir()}
	serveOn(t, l, "--public-url", "http://"+s.front.Addr)
	cfg := d6tpipe.Config{Profile: "default", Server: "http://" + s.front.Addr, Tokens: d6tpipe.MemoryTokens()}
	api, err := d6tpipe.NewAPIClient(cfg)
	check(t, err)
	defer api.CloseIdleConnections()
	token, err := api.Register(t.Context(), "mary", "mary@example.com", "correct horse")
	check(t, err)
	_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "sales"})
	check(t, err)
	s.here = filepath.Join(s.home, "d6tpipe", "files", "default", "sales")
	s.env = append(os.Environ(), "HOME="+s.home, "D6TPIPE_SERVER="+cfg.Server, "D6TPIPE_TOKEN="+string(token), "TERM=xterm")
	return s
}

// serveOn serves the repo API at l until the test ends.
func serveOn(t *testing.T, l net.Listener, flags ...string) {
	t.Helper()
	s := new(serving)
	c := s.command()
	c.SetContext(t.Context())
	c.SetErr(io.Discard)
	dir := t.TempDir()
	check(t, c.ParseFlags(append([]string{"--data", filepath.Join(dir, "data"), "--key-file", filepath.Join(dir, "key")}, flags...)))
	check(t, s.complete(c))
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	srv, err := server.New(ctx, s.config)
	check(t, err)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		check(t, <-done)
		check(t, srv.Close())
	})
}

// put writes a file of the pipe's folder.
func (s *stage) put(name string, size int) {
	s.t.Helper()
	check(s.t, os.MkdirAll(s.here, 0o755))
	check(s.t, os.WriteFile(filepath.Join(s.here, name), bytes.Repeat([]byte(name), size/len(name)), 0o644))
}

func (s *stage) command(args ...string) *exec.Cmd {
	c := exec.Command("d6tpipe", args...)
	c.Env, c.Dir = s.env, s.home
	return c
}

// run runs the program without a terminal.
func (s *stage) run(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, err bytes.Buffer
	c := s.command(args...)
	c.Stdout, c.Stderr = &out, &err
	return exitOf(s.t, c.Run()), out.String(), err.String()
}

func exitOf(t *testing.T, err error) int {
	t.Helper()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return failed.ExitCode()
	}
	check(t, err)
	return 0
}

// A terminal is the program on a pseudo-terminal, whose standard output goes
// elsewhere.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	out  bytes.Buffer
	read sync.WaitGroup

	mu   sync.Mutex
	text string // all that was written to the terminal
}

func (s *stage) terminal(width uint16, args ...string) *terminal {
	s.t.Helper()
	term := &terminal{t: s.t}
	c := s.command(args...)
	c.Stdout = &term.out
	return term.start(c, width)
}

// start starts a program on the terminal, with its standard output too unless that
// goes elsewhere.
func (term *terminal) start(c *exec.Cmd, width uint16) *terminal {
	term.t.Helper()
	term.cmd = c
	tty, err := pty.StartWithSize(term.cmd, &pty.Winsize{Rows: 24, Cols: width})
	check(term.t, err)
	term.tty = tty
	term.t.Cleanup(func() { _ = tty.Close() })
	term.read.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			term.mu.Lock()
			term.text += string(buf[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	return term
}

func (term *terminal) written() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.text
}

// expect waits until the program has written what matches.
func (term *terminal) expect(pattern string) {
	term.t.Helper()
	form := regexp.MustCompile(pattern)
	for range mostLooks {
		if form.MatchString(term.written()) {
			return
		}
		time.Sleep(20 * time.Millisecond) // another process: there is nothing to wait on
	}
	term.t.Fatalf("the terminal never had %s:\n%q", pattern, term.written())
}

func (term *terminal) press(keys string) {
	term.t.Helper()
	_, err := io.WriteString(term.tty, keys)
	check(term.t, err)
}

// end waits for the program, and returns its exit code and how long it took.
func (term *terminal) end() (code int, took time.Duration) {
	term.t.Helper()
	start := time.Now()
	code = exitOf(term.t, term.cmd.Wait())
	took = time.Since(start)
	term.read.Wait()
	return code, took
}

// screen returns the lines that stay on the terminal, and the longest that ever was
// there.
func (term *terminal) screen() (lines []string, longest int) {
	text := strings.ReplaceAll(term.written(), "\r\n", "\n")
	lines = []string{""}
	row := 0
	for len(text) > 0 {
		if m := regexp.MustCompile(`^\x1b\[(\d*)([A-Za-z])`).FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			n, _ := strconv.Atoi(m[1])
			switch m[2] {
			case "A":
				row = max(row-n, 0)
			case "J":
				lines = append(lines[:row:row], "")
			}
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		if r == '\n' {
			if row++; row == len(lines) {
				lines = append(lines, "")
			}
			continue
		}
		lines[row] += string(r)
		longest = max(longest, len([]rune(lines[row])))
	}
	return lines, longest
}

// stopLimit is how long a program may take to stop: a second, and as much more as a
// machine may be busy. What does not stop goes on for minutes.
const stopLimit = time.Minute

var (
	slowDown = faultproxy.Always(faultproxy.Fault{Kind: faultproxy.Trickle, At: 96 << 10})
	slowUp   = faultproxy.Always(faultproxy.Fault{Kind: faultproxy.Trickle, Up: true, At: 96 << 10})
)

// A pull on a terminal shows bars, stops when told, leaves the terminal clean, and
// the next one goes on.
func TestPullOnATerminal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for i := range 3 {
		s.put(fmt.Sprintf("small%d.csv", i), 2000)
	}
	s.put("big.csv", 1<<20)
	if code, _, stderr := s.run("push", "sales"); code != 0 {
		t.Fatal(stderr)
	}
	check(t, os.RemoveAll(s.here))

	s.front.Set(slowDown)
	term := s.terminal(60, "pull", "sales")
	term.expect(`files \[=+>? *\] 3 of 4`)
	term.expect(`bytes \[.*\] \d+ KiB of 1\.0 MiB, [^\n]+ left`)
	term.expect(`\nbig.csv *\r`)
	term.press("\x03")
	code, took := term.end()
	if code != exitInterrupted || took > stopLimit {
		t.Errorf("exit code %d after %v", code, took)
	}
	lines, longest := term.screen()
	text := strings.Join(lines, "\n")
	if !regexp.MustCompile(`^(\^C)?d6tpipe: pull sales: interrupted after 3 of 4 files, \d+ KiB of 1\.0 MiB\nThe next run goes on from there\.\n$`).MatchString(text) {
		t.Errorf("on the terminal stays %q", text)
	}
	if longest > 120 || term.out.Len() > 0 {
		t.Errorf("a line of %d characters, standard output %q", longest, term.out.String())
	}
	if _, err := os.Stat(filepath.Join(s.here, "big.csv")); err == nil {
		t.Error("a file that was cut is there")
	}

	s.front.Set(nil)
	again := s.terminal(60, "pull", "sales", "--json")
	if code, _ := again.end(); code != 0 {
		t.Fatalf("exit code %d: %q", code, again.written())
	}
	if n, err := decodeAll(again.out.String(), func() any { return new(d6tpipe.Report) }); n != 1 || err != nil {
		t.Errorf("%d reports: %v", n, err)
	}
	if lines, _ := again.screen(); strings.TrimSpace(strings.Join(lines, "")) != "" {
		t.Errorf("on the terminal stays %q", lines)
	}
	data, err := os.ReadFile(filepath.Join(s.here, "big.csv"))
	check(t, err)
	if !bytes.HasPrefix(data, []byte("big.csvbig.csv")) || len(data) != 1<<20/7*7 {
		t.Errorf("%d bytes", len(data))
	}
}

// An import of big files shows bars on a terminal, and says when it is stopped what is
// there and how to go on. So does a verification.
func TestImportOnATerminal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	sources := t.TempDir()
	check(t, os.WriteFile(filepath.Join(sources, "a.csv"), []byte("1"), 0o644))
	big := filepath.Join(sources, "big.bin") // with a hole as large as it is, which takes its time
	check(t, os.WriteFile(big, nil, 0o644))
	check(t, os.Truncate(big, 16<<30))
	if code, _, stderr := s.run("import", "sales", filepath.Join(sources, "a.csv")); code != 0 {
		t.Fatal(stderr)
	}
	term := s.terminal(80, "import", "sales", sources)
	term.expect(`files \[=+>? *\] 1 of 2`)
	term.expect(`bytes \[.*\] [\d.]+ [KMG]iB of 16 GiB`)
	term.press("\x03")
	if code, took := term.end(); code != exitInterrupted || took > stopLimit {
		t.Errorf("exit code %d after %v", code, took)
	}
	lines, _ := term.screen()
	if text := strings.Join(lines, "\n"); !regexp.MustCompile(`^(\^C)?d6tpipe: import into sales: interrupted after 1 of 2 files, .* of 16 GiB\nThe same command goes on: `).MatchString(text) {
		t.Errorf("on the terminal stays %q", text)
	}
	if entries, err := os.ReadDir(s.here); err != nil || len(entries) != 1 {
		t.Errorf("in the folder is %v: %v", entries, err)
	}

	s.front.Set(faultproxy.Always(faultproxy.Fault{Kind: faultproxy.Stall}))
	verify := s.terminal(80, "verify", "sales")
	verify.expect("looking at both sides")
	verify.press("\x03")
	code, took := verify.end()
	if code != exitInterrupted || took > stopLimit || !strings.Contains(verify.written(), "Nothing was changed. The next run begins anew") {
		t.Errorf("exit code %d after %v: %q", code, took, verify.written())
	}
	before := s.front.Moved()
	doctor := s.terminal(80, "doctor", "--timeout", "10m")
	for range mostLooks { // its results go elsewhere, and its server says nothing
		if s.front.Moved() > before {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	doctor.press("\x03")
	code, took = doctor.end()
	if code != exitInterrupted || took > stopLimit || strings.Contains(doctor.out.String(), "failed") || !strings.HasSuffix(doctor.written(), "d6tpipe: interrupted\r\n") {
		t.Errorf("exit code %d after %v: %s%q", code, took, doctor.out.String(), doctor.written())
	}
}

// A push that a signal ends says how far it came, without a terminal too.
func TestPushAndASignal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.put("small.csv", 2000)
	s.put("big.csv", 1<<20)
	s.front.Set(slowUp)
	var stderr bytes.Buffer
	r, w, err := os.Pipe()
	check(t, err)
	c := s.command("push", "sales", "--verbose")
	c.Stderr = w
	check(t, c.Start())
	check(t, w.Close())
	buf := make([]byte, 4096)
	for !strings.Contains(stderr.String(), "pushed small.csv") {
		n, err := r.Read(buf)
		stderr.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v: %s", err, &stderr)
		}
	}
	time.Sleep(300 * time.Millisecond) // in the middle of the other file, most likely
	check(t, c.Process.Signal(syscall.SIGTERM))
	start := time.Now()
	_, err = io.Copy(&stderr, r)
	check(t, err)
	code := exitOf(t, c.Wait())
	if took := time.Since(start); code != exitInterrupted || took > stopLimit {
		t.Errorf("exit code %d after %v", code, took)
	}
	text := stderr.String()
	if !strings.Contains(text, "push sales: interrupted after 1 of 2 files, ") || strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
	s.front.Set(nil)
	if code, _, stderr := s.run("push", "sales"); code != 0 || !strings.Contains(stderr, "pushed sales: 1 file") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// What is repeated is told to those who want to know.
func TestRepetitions(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.put("a.csv", 300<<10)
	s.front.Set(func(n int) faultproxy.Fault {
		if n < 4 {
			return faultproxy.Fault{Kind: faultproxy.Reset, Up: true, At: 64 << 10}
		}
		return faultproxy.Fault{}
	})
	code, _, stderr := s.run("push", "sales", "--verbose")
	if code != 0 || !regexp.MustCompile(`(?m)^again in \S+: a.csv: .`).MatchString(stderr) || !regexp.MustCompile(`\d calls were repeated|1 call was repeated`).MatchString(stderr) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// What cannot be interrupted, as a reader that does not read on, is ended by a second
// signal.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	hear(t, os.Interrupt)
	s := newStage(t)
	s.put("a.csv", 1<<20)
	if code, _, stderr := s.run("push", "sales"); code != 0 {
		t.Fatal(stderr)
	}
	for wait := 100 * time.Millisecond; ; wait *= 4 { // until it stands still, which cannot be seen from here
		first, second := s.signalBlocked(wait)
		if first || exitOf(t, second) == exitInterrupted { // the first one has ended it late
			if wait > 10*time.Second {
				t.Fatal("the first signal always ends it, so this tests nothing")
			}
			continue
		}
		var failed *exec.ExitError
		if !errors.As(second, &failed) || failed.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
			t.Error(second)
		}
		return
	}
}

// signalBlocked sends signals to a program that writes to a pipe which nobody reads,
// the first after some time. It reports whether that one ended it, or how the second
// did.
func (s *stage) signalBlocked(wait time.Duration) (first bool, second error) {
	s.t.Helper()
	r, w, err := os.Pipe()
	check(s.t, err)
	defer r.Close()
	c := s.command("cat", "sales", "a.csv")
	c.Stdout = w
	check(s.t, c.Start())
	check(s.t, w.Close())
	_, err = io.ReadFull(r, make([]byte, 1000)) // it is at work
	check(s.t, err)
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	time.Sleep(wait)
	check(s.t, c.Process.Signal(os.Interrupt))
	select {
	case <-ended:
		return true, nil
	case <-time.After(500 * time.Millisecond):
	}
	for range int(stopLimit / time.Second) { // one that comes before the last was noticed is none
		if err := c.Process.Signal(os.Interrupt); !errors.Is(err, os.ErrProcessDone) {
			check(s.t, err)
		}
		select {
		case err := <-ended:
			return false, err
		case <-time.After(time.Second):
		}
	}
	check(s.t, c.Process.Kill())
	return false, errors.Join(errors.New("the second signal did not end it"), <-ended)
}

// Results on a terminal have colours if they are wanted, and nothing that steers it.
func TestResultsOnATerminal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	check(t, os.MkdirAll(s.here, 0o755))
	check(t, os.WriteFile(filepath.Join(s.here, "a.txt"), []byte("red \x1b[31m \xff\n"), 0o644))
	for _, no := range []string{"", "NO_COLOR=1", "TERM=dumb"} {
		c := s.command("status", "sales")
		c.Env = append(c.Env, no)
		term := (&terminal{t: t}).start(c, 80)
		if code, _ := term.end(); code != 0 || strings.Contains(term.written(), "\x1b[32mnew") != (no == "") {
			t.Errorf("%s: exit code %d: %q", no, code, term.written())
		}
	}
	if code, _, stderr := s.run("push", "sales"); code != 0 {
		t.Fatal(stderr)
	}
	term := (&terminal{t: t}).start(s.command("cat", "sales", "a.txt"), 80)
	if code, _ := term.end(); code != 0 || !strings.HasSuffix(term.written(), "red \\u001b[31m \\xff\r\n") {
		t.Errorf("exit code %d: %q", code, term.written())
	}
}

// Ctrl-C ends the question for a password, and the terminal shows again what is typed.
func TestPasswordInterrupted(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	c := exec.Command("sh", "-c", `trap : INT; d6tpipe serve admin create root --email r@example.com; echo "code=$?"; stty -a`)
	c.Env, c.Dir = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "TERM=xterm"), home
	ask := (&terminal{t: t}).start(c, 80)
	ask.expect(`Password: $`)
	ask.press("hunter2\r")
	ask.expect(`Again: $`)
	ask.press("\x03")
	if code, took := ask.end(); code != 0 || took > stopLimit {
		t.Errorf("exit code %d after %v: %q", code, took, ask.written())
	}
	if text := ask.written(); !strings.Contains(text, "code=130") || !strings.Contains(text, " echo ") || strings.Contains(text, "hunter") {
		t.Errorf("%q", text)
	}
}

// Narrow terminals, questions, and no bars when they are not wanted.
func TestTerminals(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.put(strings.Repeat("long", 20)+".csv", 200<<10)
	s.front.Set(slowUp)
	narrow := s.terminal(30, "push", "sales")
	narrow.expect("bytes ")
	narrow.expect("longlong")
	narrow.press("\x03")
	if code, _ := narrow.end(); code != exitInterrupted {
		t.Errorf("exit code %d: %q", code, narrow.written())
	}
	for line := range strings.Lines(strings.ReplaceAll(narrow.written(), "\r", "")) {
		line = regexp.MustCompile(`\x1b\[[\d;]*[A-Za-z]`).ReplaceAllString(strings.TrimSpace(line), "")
		if bar := strings.HasPrefix(line, "files") || strings.HasPrefix(line, "bytes") || strings.HasPrefix(line, "longlong"); bar && len([]rune(line)) > 30 {
			t.Errorf("%q is wider than the terminal", line)
		}
	}
	s.front.Set(nil)
	quiet := s.terminal(80, "push", "sales", "--quiet")
	if code, _ := quiet.end(); code != 0 || quiet.written() != "" {
		t.Errorf("exit code %d: %q", code, quiet.written())
	}

	ask := s.terminal(80, "rm", "sales", "--all", "--where", "both")
	ask.expect(`Type sales to go on: $`)
	ask.press("\x03")
	if code, took := ask.end(); code != exitInterrupted || took > stopLimit || !strings.HasSuffix(ask.written(), "d6tpipe: interrupted\r\n") {
		t.Errorf("exit code %d after %v: %q", code, took, ask.written())
	}
	wait := s.terminal(80, "apply", "-")
	time.Sleep(300 * time.Millisecond) // it says nothing while it waits for a plan
	wait.press("\x03")
	if code, took := wait.end(); took > stopLimit || code != exitInterrupted && code != -1 {
		t.Errorf("exit code %d after %v: %q", code, took, wait.written())
	}
	if _, stdout, _ := s.run("ls", "sales"); !strings.Contains(stdout, "long") {
		t.Errorf("%q", stdout)
	}
}

// A watch tells of changes as they come, outlives a server that cannot be reached for a
// while, and ends at once with Ctrl-C, also while its command is at work.
func TestWatchOnATerminal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.put("a.csv", 100)
	if code, _, stderr := s.run("push", "sales"); code != 0 {
		t.Fatal(stderr)
	}
	term := (&terminal{t: t}).start(s.command("watch", "sales"), 80)
	term.expect(`new +100 B  a\.csv`)
	s.front.Set(faultproxy.Always(faultproxy.Fault{Kind: faultproxy.Refuse}))
	term.expect(`again in [^\n]+: `)
	s.front.Set(nil)
	s.put("b.csv", 200)
	if code, _, stderr := s.run("push", "sales"); code != 0 {
		t.Fatal(stderr)
	}
	term.expect(`new +200 B  b\.csv`)
	term.press("\x03")
	if code, took := term.end(); code != exitInterrupted || took > stopLimit {
		t.Errorf("exit code %d after %v", code, took)
	}
	if !strings.HasSuffix(term.written(), "d6tpipe: interrupted\r\n") {
		t.Errorf("on the terminal stays %q", term.written())
	}

	s.put("c.csv", 300)
	if code, _, stderr := s.run("push", "sales"); code != 0 {
		t.Fatal(stderr)
	}
	term = (&terminal{t: t}).start(s.command("watch", "sales", "--exec", `trap "" TERM INT; echo begun; sleep 1000; sleep 1000`), 80)
	term.expect(`begun`)
	term.press("\x03")
	if code, took := term.end(); code != exitInterrupted || took > 2*stopLimit {
		t.Errorf("exit code %d after %v", code, took)
	}

	s.front.Set(faultproxy.Always(faultproxy.Fault{Kind: faultproxy.Refuse})) // it need not be there at the start
	term = (&terminal{t: t}).start(s.command("watch", "sales"), 80)
	term.expect(`again in [^\n]+: `)
	s.front.Set(nil)
	term.expect(`new +300 B  c\.csv`)
	term.press("\x03")
	if code, _ := term.end(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	s.front.Set(faultproxy.Always(faultproxy.Fault{Kind: faultproxy.Refuse}))
	if code, _, stderr := s.run("watch", "sales", "--once"); code != exitFailure {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
