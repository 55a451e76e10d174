package sftp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/user"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// Options say where the folder is and how to log in. Key, agent and password are
// tried in this order, as far as they are given.
type Options struct {
	Host        string   // "host" or "host:port", also "[2001:db8::1]:2222"; port 22 when there is none
	User        string   // "" is the user of this process
	Password    string   // also the answer to what the server asks on the keyboard
	Key         []byte   // a private key: PEM, or OpenSSH's format
	Passphrase  string   // opens Key
	Agent       bool     // also ask the agent at SSH_AUTH_SOCK
	Fingerprint string   // "SHA256:..." of the host key, as ssh-keygen -l prints it; known_hosts is not asked then
	KnownHosts  []string // files; nil is ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts, as far as they exist
	Root        string   // an absolute folder on the server, which must exist; "" is "/"
	Keep        string   // a folder below Root, in the form of a key, that Remove leaves however empty it gets
	Connections int      // at most so many at once; 0 is 4
	PartSize    int64    // of uploads, in bytes; 0 is 16 MiB

	// Dial replaces a [net.Dialer].
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) `json:"-"`
}

const (
	dialTimeout        = 15 * time.Second
	defaultConnections = 4
	defaultPartSize    = 16 << 20
)

// withDefaults returns o with all that was left out, or what is wrong with it.
func (o Options) withDefaults() (Options, error) {
	var err error
	if o.Host, err = address(o.Host); err != nil {
		return o, err
	}
	if o.User == "" {
		me, err := user.Current()
		if err != nil {
			return o, fmt.Errorf("sftp: no user is given, and who runs this is not known: %w", err)
		}
		o.User = me.Username
	}
	if o.Connections <= 0 {
		o.Connections = defaultConnections
	}
	if o.PartSize <= 0 {
		o.PartSize = defaultPartSize
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	return o, errors.Join(o.checkFolders(), o.checkFingerprint())
}

func (o *Options) checkFolders() error {
	if o.Root == "" {
		o.Root = "/"
	}
	if !path.IsAbs(o.Root) || strings.Contains(o.Root, "\x00") {
		return fmt.Errorf("sftp: the folder %q is not absolute: %w", o.Root, fs.ErrInvalid)
	}
	o.Root = path.Clean(o.Root)
	o.Keep = strings.TrimSuffix(o.Keep, "/")
	if o.Keep != "" {
		return storage.CheckKey(o.Keep)
	}
	return nil
}

func (o *Options) checkFingerprint() error {
	if o.Fingerprint == "" {
		return nil
	}
	text, ok := strings.CutPrefix(o.Fingerprint, "SHA256:")
	text = strings.TrimRight(text, "=")
	sum, err := base64.RawStdEncoding.DecodeString(text)
	if !ok || err != nil || len(sum) != 32 {
		return fmt.Errorf("sftp: the fingerprint %q is not of the form SHA256:<43 characters>, as ssh-keygen -lf prints it: %w", o.Fingerprint, fs.ErrInvalid)
	}
	o.Fingerprint = "SHA256:" + text
	return nil
}

// address adds the port.
func address(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), "22"
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if name == "" || err != nil || number == 0 || strings.ContainsAny(name, "[]/@ ") {
		return "", fmt.Errorf("sftp: %q is not a host, or a host and a port: %w", host, fs.ErrInvalid)
	}
	return net.JoinHostPort(name, port), nil
}

// signer opens the key; nil when there is none.
func (o *Options) signer() (ssh.Signer, error) {
	if len(o.Key) == 0 {
		return nil, nil
	}
	signer, err := ssh.ParsePrivateKey(o.Key)
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		return signer, keyError(err)
	}
	if o.Passphrase == "" {
		return nil, fmt.Errorf("sftp: the private key is locked: give its passphrase: %w", fs.ErrInvalid)
	}
	signer, err = ssh.ParsePrivateKeyWithPassphrase(o.Key, []byte(o.Passphrase))
	return signer, keyError(err)
}

func keyError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sftp: the private key cannot be used (%w): %w", err, fs.ErrInvalid)
}
