package sftp

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A HostKeyError says that the server could not prove who it is. Nothing was sent
// to it by then, and the same call will not succeed later.
type HostKeyError struct {
	Host        string // with its port
	Type        string // of the key that it showed: "ssh-ed25519"
	Fingerprint string // of that key: "SHA256:..."
	Reason      string // "is not known"
}

func (e *HostKeyError) Error() string {
	return fmt.Sprintf("the host key of %s %s: it showed the %s key %s. If its owner confirms that this is the key, set fingerprint to it, or add it to known_hosts",
		e.Host, e.Reason, e.Type, e.Fingerprint)
}

// hostKeys decides about the keys that a server shows.
type hostKeys struct {
	host  string
	pin   string              // a fingerprint, or ""
	known ssh.HostKeyCallback // nil when there is a pin
	order []string            // the algorithms to ask for, the best first
}

// plainAlgorithms are those of host keys without a certificate, in the order in
// which OpenSSH prefers them: the fingerprint that a user has is most likely of
// the first.
var plainAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512,
}

func newHostKeys(o Options) (*hostKeys, error) {
	h := &hostKeys{host: o.Host, pin: o.Fingerprint, order: plainAlgorithms}
	if h.pin != "" {
		return h, nil
	}
	files, err := knownHostsFiles(o.KnownHosts)
	if err != nil {
		return nil, err
	}
	if h.known, err = knownhosts.New(files...); err != nil {
		return nil, fmt.Errorf("sftp: known_hosts: %w", err)
	}
	h.order, err = h.knownFirst()
	return h, err
}

func knownHostsFiles(named []string) ([]string, error) {
	if named != nil {
		return named, nil
	}
	files := []string{"/etc/ssh/ssh_known_hosts"}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".ssh", "known_hosts"))
	}
	var there []string
	for _, name := range files {
		_, err := os.Stat(name)
		if err == nil {
			there = append(there, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return there, nil
}

// check is an [ssh.HostKeyCallback].
func (h *hostKeys) check(host string, remote net.Addr, key ssh.PublicKey) error {
	refused := &HostKeyError{Host: h.host, Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key)}
	if h.pin != "" {
		if refused.Fingerprint == h.pin {
			return nil
		}
		refused.Reason = "is not the pinned one, " + h.pin
		return refused
	}
	err := h.known(host, remote, key)
	var unlike *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unlike) && len(unlike.Want) == 0:
		refused.Reason = "is not known"
	case errors.As(err, &unlike):
		refused.Reason = fmt.Sprintf("HAS CHANGED, or somebody stands in between; known is another (%s, line %d)", unlike.Want[0].Filename, unlike.Want[0].Line)
	case errors.As(err, &revoked):
		refused.Reason = "is revoked"
	default:
		refused.Reason = "is not accepted (" + err.Error() + ")"
	}
	return refused
}

// knownFirst orders the algorithms so that the server shows a key of a type that
// is known, if it has one: with any other type, a known host looks like a changed
// one. An authority may have signed any type, so then certificates come first.
func (h *hostKeys) knownFirst() ([]string, error) {
	lines, err := h.knownLines()
	if err != nil {
		return nil, err
	}
	var first []string
	for _, line := range lines {
		authority, err := isAuthority(line)
		if err != nil {
			return nil, err
		}
		if authority {
			return slices.Concat(certificates(), plainAlgorithms), nil
		}
		first = append(first, algorithmsOf(line.Key.Type())...)
	}
	return distinct(append(first, plainAlgorithms...)), nil
}

// knownLines asks for a key that no host has.
func (h *hostKeys) knownLines() ([]knownhosts.KnownKey, error) {
	var unlike *knownhosts.KeyError
	if err := h.known(h.host, &net.TCPAddr{IP: net.IPv4zero}, noKey{}); !errors.As(err, &unlike) {
		return nil, fmt.Errorf("sftp: known_hosts: %w", err)
	}
	return unlike.Want, nil
}

// noKey is a public key that is in no file.
type noKey struct{ ssh.PublicKey }

func (noKey) Type() string    { return "none" }
func (noKey) Marshal() []byte { return []byte("none") }

func isAuthority(line knownhosts.KnownKey) (bool, error) {
	f, err := os.Open(line.Filename)
	if err != nil {
		return false, err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		if n == line.Line {
			return strings.HasPrefix(strings.TrimSpace(scanner.Text()), "@cert-authority"), nil
		}
	}
	return false, scanner.Err()
}

// algorithmsOf returns the algorithms in which keys of a type sign.
func algorithmsOf(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}
	}
	return []string{keyType}
}

func certificates() []string {
	return []string{
		ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01, ssh.CertAlgoRSASHA256v01, ssh.CertAlgoRSASHA512v01,
	}
}

func distinct(all []string) (once []string) {
	for _, s := range all {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}
