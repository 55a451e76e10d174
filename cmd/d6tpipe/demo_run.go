package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// demoData are the files that are pushed.
//
//go:embed demo
var demoData embed.FS

// A demo is the story under way: a folder, a server, and an environment in which
// nothing of the user's is known. Close gives the environment back.
type demo struct {
	dir   string
	url   string // of the server
	out   io.Writer
	color bool

	restore    []func()
	end        func() error // of the server
	printError error
}

// openDemo makes the folder, and hides the user's settings from the commands, which
// read the environment as always.
func openDemo(out io.Writer, color bool) (*demo, error) {
	dir, err := os.MkdirTemp("", "d6tpipe-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{dir: dir, out: out, color: color, end: func() error { return nil }}
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); strings.HasPrefix(name, "D6TPIPE_") {
			d.setenv(name, "")
		}
	}
	d.setenv("D6TPIPE_CONFIG", d.path("cfg.json"))
	d.say("cd %s", dir)
	return d, nil
}

// setenv sets a variable until close; "" takes it out.
func (d *demo) setenv(name, value string) {
	before, was := os.LookupEnv(name)
	d.restore = append(d.restore, func() {
		if was {
			_ = os.Setenv(name, before) // it was one
		} else {
			_ = os.Unsetenv(name)
		}
	})
	if value == "" {
		_ = os.Unsetenv(name)
	} else {
		_ = os.Setenv(name, value)
	}
}

// close ends the server and gives the environment back. The folder stays.
func (d *demo) close() error {
	err := d.end()
	for _, restore := range slices.Backward(d.restore) {
		restore()
	}
	return err
}

// path is that of a file of the stage.
func (d *demo) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

// printf prints to the output. When nobody takes it any more, the story ends with the
// next command.
func (d *demo) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(d.out, format, args...); d.printError == nil {
		d.printError = err
	}
}

// say tells what happens next.
func (d *demo) say(format string, args ...any) {
	text := "# " + fmt.Sprintf(format, args...)
	if d.color {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	d.printf("\n%s\n", text)
}

// show prints a command line as its user would have typed it in the folder.
func (d *demo) show(who, line string) {
	prompt := who + "$"
	if d.color {
		prompt = map[string]string{ann: "\x1b[36m", bob: "\x1b[33m"}[who] + prompt + "\x1b[0m"
	}
	line = strings.ReplaceAll(line, d.dir+string(filepath.Separator), "")
	d.printf("%s %s\n", prompt, line)
}

// all carries out simple command lines, which must go well.
func (d *demo) all(ctx context.Context, who string, lines ...string) error {
	for _, line := range lines {
		args := strings.Fields(line)
		for i, arg := range args {
			if strings.HasPrefix(arg, "data/") {
				args[i] = d.path(arg)
			}
		}
		if err := d.run(ctx, who, exitOK, args...); err != nil {
			return err
		}
	}
	return nil
}

// run shows a command line, carries it out and shows what it prints. At its end "<"
// and a file are its standard input, ">" and one say that its result is not shown. It
// must end with the exit code want.
func (d *demo) run(ctx context.Context, who string, want int, args ...string) error {
	if err := errors.Join(ctx.Err(), d.printError); err != nil {
		return err
	}
	d.show(who, "d6tpipe "+strings.Join(quoteForShell(args), " "))
	var in io.Reader = strings.NewReader("")
	out := d.out
	switch n := len(args); {
	case n > 2 && args[n-2] == "<":
		f, err := os.Open(args[n-1])
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was only read
		in, args = f, args[:n-2]
	case n > 2 && args[n-2] == ">":
		out, args = io.Discard, args[:n-2]
	}
	d.setenv("D6TPIPE_PROFILE", who)
	code := execute(ctx, args, in, out, d.out)
	if err := ctx.Err(); err != nil {
		return err
	}
	if code != exitOK {
		d.printf("(exit code %d)\n", code)
	}
	if d.printError != nil { // the command may have failed for the same reason
		return d.printError
	}
	if code != want {
		return fmt.Errorf("the demo is wrong: d6tpipe %s ended with exit code %d, not %d", strings.Join(args, " "), code, want)
	}
	return nil
}

// quoteForShell quotes what a shell would not leave alone.
func quoteForShell(args []string) []string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		if strings.ContainsAny(arg, "*? |") {
			arg = "'" + arg + "'"
		}
		quoted[i] = arg
	}
	return quoted
}

// appendLine adds a line to a file of somebody, as a shell would.
func (d *demo) appendLine(who, file, line string) error {
	d.show(who, "echo "+line+" >> "+who+"/"+file)
	f, err := os.OpenFile(d.path(who+"/"+file), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

func (d *demo) write(file, text string) error {
	return os.WriteFile(d.path(file), []byte(text), 0o600)
}

// unpack copies the sample data into a folder of the stage.
func (d *demo) unpack(folder string) error {
	data, err := fs.Sub(demoData, "demo")
	if err != nil {
		return err
	}
	return os.CopyFS(d.path(folder), data)
}

// serverLine is how the server is started, on its address when that is known.
func (d *demo) serverLine() string {
	address := strings.TrimPrefix(d.url, "http://")
	if address == "" {
		address = "127.0.0.1:0"
	}
	return "d6tpipe serve --listen " + address + " --data server --key-file server.key"
}

// serve starts a server on a free port, in this process, and waits until it serves.
func (d *demo) serve(ctx context.Context) error {
	d.say("A server for a team is one command. Port 0 is any port that is free.")
	d.show("", d.serverLine()+" &")
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // it ends after the last command, Ctrl-C or not
	log := &addressLog{found: make(chan string, 1)}
	done := make(chan int, 1)
	go func() {
		done <- execute(serving, []string{"serve", "--listen", "127.0.0.1:0", "--data", d.path("server"), "--key-file", d.path("server.key"), "--shutdown-timeout", "2s"},
			strings.NewReader(""), io.Discard, log)
	}()
	d.end = func() error {
		stop()
		if code := <-done; code != exitOK {
			return fmt.Errorf("the server ended with exit code %d: %s", code, log.last())
		}
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case code := <-done:
		d.end = func() error { stop(); return nil }
		return fmt.Errorf("the server ended at once, with exit code %d: %s", code, log.last())
	case address := <-log.found:
		d.url = "http://" + address
	}
	d.printf("serving %s\n", d.url)
	return nil
}

// An addressLog is the log of a server, in which it tells its address.
type addressLog struct {
	found chan string // the address, once

	mu   sync.Mutex
	text bytes.Buffer
	told bool
}

var servingAt = regexp.MustCompile(`msg=serving address=(\S+)`)

func (l *addressLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if m := servingAt.FindSubmatch(l.text.Bytes()); m != nil && !l.told {
		l.told = true
		l.found <- string(m[1])
	}
	return len(p), nil
}

// last is the last line of the log.
func (l *addressLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(l.text.String()), "\n")
	return lines[len(lines)-1]
}
