// Package ftptest starts FTP servers for tests, all on loopback: a real one,
// vsftpd from Debian; one within the process that speaks TLS; and one that follows
// a script and does what real ones rarely do. Only _test files may import it.
package ftptest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/d6t/d6tpipe-go/internal/freeport"
)

// A Server is a running FTP server. It takes anonymous users unless told otherwise.
type Server struct {
	Addr string // "127.0.0.1:12345"
	Dir  string // what clients see as "/" and may not write to
	User string // of the process that serves; empty when it is the test's own

	cmd *exec.Cmd
}

// VSFTPD starts vsftpd, which runs until the test ends, with more lines for its
// configuration. It takes root: vsftpd changes its user.
func VSFTPD(t testing.TB, lines ...string) *Server {
	t.Helper()
	bin, err := exec.LookPath("vsftpd")
	if err != nil {
		bin = "/usr/sbin/vsftpd" // which is not on everybody's PATH
	}
	if _, err := os.Stat(bin); err != nil {
		t.Skip("needs apt package: vsftpd")
	}
	if os.Getuid() != 0 {
		t.Skip("vsftpd must be started by root")
	}
	s := &Server{Dir: t.TempDir(), User: "ftp"}
	open(t, s.Dir)
	for range 3 { // elsewhere than on Linux another process may take the free port first
		if s.run(t, bin, lines) {
			return s
		}
	}
	t.Fatal("ftptest: vsftpd does not start")
	return nil
}

// open lets vsftpd's user into dir and the test's folder above it.
func open(t testing.TB, dir string) {
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal("ftptest:", err)
		}
	}
}

// Folder makes a folder that clients may write to, and returns its name for them.
func (s *Server) Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(s.Dir, "remote-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	return "/" + filepath.Base(dir)
}

// Kill ends the server at once, with everything that it is doing.
func (s *Server) Kill() { killAll(s.cmd) }

func (s *Server) run(t testing.TB, bin string, lines []string) bool {
	t.Helper()
	host, port, err := net.SplitHostPort(freeport.Loopback(t))
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	s.Addr = net.JoinHostPort(host, port)
	config := filepath.Join(t.TempDir(), "vsftpd.conf")
	text := fmt.Sprintf(`listen=YES
listen_address=%s
listen_port=%s
background=NO
seccomp_sandbox=NO
anonymous_enable=YES
no_anon_password=YES
local_enable=NO
anon_root=%s
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
xferlog_enable=NO
pasv_min_port=20000
pasv_max_port=32000
`, host, port, s.Dir)
	for _, line := range lines {
		text += line + "\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal("ftptest:", err)
	}
	s.cmd = exec.CommandContext(t.Context(), bin, config)
	dieWithParent(s.cmd)
	if err := s.cmd.Start(); err != nil {
		t.Fatal("ftptest:", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		s.Kill()
		<-ended
	})
	return answers(t, s.Addr, ended)
}

func answers(t testing.TB, addr string, ended <-chan struct{}) bool {
	for range 2400 {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr); err == nil {
			return conn.Close() == nil
		}
		select {
		case <-ended:
			return false
		case <-time.After(25 * time.Millisecond):
		}
	}
	return false
}
