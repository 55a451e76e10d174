// Package sftptest starts SFTP servers for tests: OpenSSH's sshd on loopback, and
// one in this process that can also do what sshd never would. Only _test files may
// import it.
package sftptest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/d6t/d6tpipe-go/internal/freeport"
)

// A Server is a running sshd. Its data lie in a folder of this machine.
type Server struct {
	Host        string // "127.0.0.1:12345"
	User        string
	Key         []byte // the user's private key, in OpenSSH's format
	HostKey     ssh.PublicKey
	Fingerprint string // of HostKey
	Dir         string // a new, empty folder, absolute

	config  string // file
	process *os.Process
}

// Start starts an sshd that runs until the test ends. Without OpenSSH's server the
// test is skipped. The server neither offers nor takes the requests that are
// named, as sftp-server(8) lists them: "posix-rename", "fsync".
func Start(t testing.TB, without ...string) *Server {
	t.Helper()
	bin, err := exec.LookPath("sshd")
	if err != nil {
		bin = "/usr/sbin/sshd" // which is not on everybody's path
	}
	if _, err := os.Stat(bin); err != nil {
		t.Skip("needs apt package: openssh-server")
	}
	for range 3 { // elsewhere than on Linux another process may take the free port first
		s := configure(t, without)
		if s.run(t, bin) {
			return s
		}
	}
	t.Fatal("sftptest: sshd does not start")
	return nil
}

// Kill ends sshd and all its sessions, as a crash of the machine would.
func (s *Server) Kill() {
	sessions := children(s.process.Pid)
	_ = s.process.Kill() // it may be gone
	for _, pid := range sessions {
		killTree(pid)
	}
}

// KillSessions ends the sessions; new ones can be opened.
func (s *Server) KillSessions() {
	for _, pid := range children(s.process.Pid) {
		killTree(pid)
	}
}

// killTree ends a session: a monitor and the process that it started for the user.
func killTree(pid int) {
	for _, child := range children(pid) {
		killTree(child)
	}
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill() // it may be gone
	}
}

// configure writes what sshd wants to a folder: keys of its own, nothing of the
// machine's.
func configure(t testing.TB, without []string) *Server {
	t.Helper()
	me, err := user.Current()
	must(t, err)
	s := &Server{Host: freeport.Loopback(t), User: me.Username, Dir: realPath(t, t.TempDir())}
	run := realPath(t, t.TempDir())
	hostPEM, hostKey := NewKey(t)
	userPEM, userKey := NewKey(t)
	s.Key, s.HostKey, s.Fingerprint = userPEM, hostKey.PublicKey(), ssh.FingerprintSHA256(hostKey.PublicKey())
	write := func(name string, data []byte) string {
		path := filepath.Join(run, name)
		must(t, os.WriteFile(path, data, 0o600))
		return path
	}
	subsystem := "internal-sftp"
	if len(without) > 0 {
		subsystem += " -P " + strings.Join(without, ",")
	}
	s.config = write("sshd_config", fmt.Appendf(nil, `ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PidFile none
LogLevel ERROR
StrictModes no
UsePAM no
MaxStartups 1000
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp %s
`, s.Host, write("host_key", hostPEM), write("authorized_keys", ssh.MarshalAuthorizedKey(userKey.PublicKey())), subsystem))
	if os.Geteuid() == 0 {
		must(t, os.MkdirAll("/run/sshd", 0o755)) // compiled into it
	}
	return s
}

// run starts sshd and waits until it answers.
func (s *Server) run(t testing.TB, bin string) bool {
	t.Helper()
	cmd := exec.Command(bin, "-D", "-e", "-f", s.config)
	var log bytes.Buffer
	cmd.Stderr = &log
	dieWithParent(cmd)
	must(t, cmd.Start())
	s.process = cmd.Process
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		s.Kill()
		<-ended
		if t.Failed() {
			t.Logf("sshd: %s", &log)
		}
	})
	return answers(t, s.Host, ended)
}

func answers(t testing.TB, addr string, ended <-chan struct{}) bool {
	for range 1200 {
		if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr); err == nil {
			return conn.Close() == nil
		}
		select {
		case <-ended:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

// NewKey makes a key, and returns it in OpenSSH's format too.
func NewKey(t testing.TB) ([]byte, ssh.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	must(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	must(t, err)
	return pem.EncodeToMemory(block), signer
}

func realPath(t testing.TB, path string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(path)
	must(t, err)
	return real
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal("sftptest:", err)
	}
}
