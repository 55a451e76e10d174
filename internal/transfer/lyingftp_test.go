package transfer_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
)

// A lyingFTP stands between a driver with one connection and its server, and says
// other things of folders than the server has said.
type lyingFTP struct {
	server string // the address of the control connection

	mu   sync.Mutex
	lie  *ftpLie
	last string // command
}

// An ftpLie changes what is said of a folder. What is nil stays as it is.
type ftpLie struct {
	answer func(command, line string) string // "" resets the connection
	data   func(listing string) (changed string, end error)
}

func (f *lyingFTP) set(lie *ftpLie) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lie = lie
}

func (f *lyingFTP) now() (ftpLie, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lie == nil {
		return ftpLie{}, f.last
	}
	return *f.lie, f.last
}

// Dial is the driver's.
func (f *lyingFTP) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if addr == f.server {
		return &lyingControl{Conn: conn, f: f, in: bufio.NewReader(conn)}, nil
	}
	return &lyingData{Conn: conn, f: f}, nil
}

func (f *lyingFTP) sent(command string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = command
}

// isLast reports whether a line ends the answer to a command.
func isLast(line string) bool {
	return len(line) > 3 && line[0] >= '2' && line[0] <= '5' && line[3] == ' '
}

func isListing(command string) bool {
	return strings.HasPrefix(command, "LIST") || strings.HasPrefix(command, "MLSD")
}

// lyingControl changes lines of answers.
type lyingControl struct {
	net.Conn
	f  *lyingFTP
	in *bufio.Reader

	mu       sync.Mutex
	commands []string // that have no last answer yet
	over     bool     // the first of them has, if you ask the client
	rest     string
}

func (c *lyingControl) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for command := range strings.SplitSeq(strings.TrimSuffix(string(p), "\r\n"), "\r\n") {
		c.commands = append(c.commands, command)
		c.f.sent(command)
	}
	return c.Conn.Write(p)
}

func (c *lyingControl) Read(p []byte) (int, error) {
	for c.rest == "" {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		told, lost := c.told(line)
		if lost {
			_ = c.Close()
			return 0, syscall.ECONNRESET
		}
		c.rest = told
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// told is what the client gets for a line of the server: it, another, nothing, or the
// end of the connection.
func (c *lyingControl) told(line string) (told string, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.commands) == 0 { // the greeting
		return line, false
	}
	command := c.commands[0]
	if isLast(line) {
		c.commands = c.commands[1:]
	}
	if c.over { // the client does not wait for it
		c.over = !isLast(line)
		return "", false
	}
	lie, _ := c.f.now()
	if lie.answer == nil {
		return line, false
	}
	told = lie.answer(command, line)
	c.over = isLast(told) && !isLast(line)
	return told, told == ""
}

// lyingData changes listings.
type lyingData struct {
	net.Conn
	f    *lyingFTP
	read bool
	rest string
	end  error
}

func (d *lyingData) Read(p []byte) (int, error) {
	lie, command := d.f.now()
	if lie.data == nil || !isListing(command) {
		return d.Conn.Read(p)
	}
	if !d.read {
		all, err := io.ReadAll(d.Conn)
		if err != nil {
			return 0, err
		}
		d.read = true
		if d.rest, d.end = lie.data(string(all)); d.end == nil {
			d.end = io.EOF
		}
	}
	if d.rest == "" {
		return 0, d.end
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// ended changes the last answer to a listing.
func ended(with string) func(command, line string) string {
	return func(command, line string) string {
		if isListing(command) && strings.HasPrefix(line, "226") {
			return with
		}
		return line
	}
}

// answered changes the only answer to a command.
func answered(verb, with string) func(command, line string) string {
	return func(command, line string) string {
		if strings.HasPrefix(command, verb) {
			return with
		}
		return line
	}
}

// lines keeps the first n lines of a listing, those of the folder itself among them.
func lines(n int) func(string) (string, error) {
	return func(listing string) (string, error) {
		all := strings.SplitAfter(listing, "\n")
		return strings.Join(all[:min(n, len(all))], ""), nil
	}
}

func nothing(string) (string, error) { return "", nil }

// What servers for files have been seen to say. A listing that is cut at the end of a
// line, with a 226, can be told from the truth by nobody.
var ftpLies = []lie{
	{name: "no folder", fails: true, ftp: &ftpLie{answer: answered("CWD", "550 Failed to change directory.\r\n")}},
	{name: "no listing", fails: true, ftp: &ftpLie{answer: answered("LIST", "450 File busy.\r\n")}},
	{name: "truncated, it says", fails: true, ftp: &ftpLie{answer: ended("226 Output truncated to 2000 matches\r\n"), data: lines(4)}},
	{name: "empty, it says why", fails: true, ftp: &ftpLie{answer: ended("226 Transfer done (but failed to open directory).\r\n"), data: nothing}},
	{name: "426 after some", fails: true, ftp: &ftpLie{answer: ended("426 Failure writing network stream.\r\n"), data: lines(4)}},
	{name: "451 after all", fails: true, ftp: &ftpLie{answer: ended("451 Local error in processing.\r\n")}},
	{name: "421 after all", fails: true, ftp: &ftpLie{answer: ended("421 Timeout.\r\n")}},
	{name: "lost after all", fails: true, ftp: &ftpLie{answer: ended("")}},
	{name: "reset in the middle", fails: true, ftp: &ftpLie{data: func(l string) (string, error) { return l[:len(l)/2], syscall.ECONNRESET }}},
	{name: "ends within a line", fails: true, ftp: &ftpLie{data: func(l string) (string, error) { return l[:len(l)-5], nil }}},
	{name: "a line of something else", fails: true, ftp: &ftpLie{data: func(l string) (string, error) { return l + "?? out of memory\r\n", nil }}},
	{name: "empty", fails: true, ftp: &ftpLie{data: nothing}}, // it lacks the folder itself
	{name: "a few lines", ftp: &ftpLie{data: lines(3)}},
	{name: "each line twice", ftp: &ftpLie{data: func(l string) (string, error) { return l + l, nil }}},
}
