package d6tpipe

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp"
)

func openSFTP(s Storage, o OpenOptions) (storage.Store, error) {
	opts, err := sftpOptions(s, o)
	if err != nil {
		return nil, err
	}
	if opts.Dial = o.Dial; o.Dial != nil && opts.User == "" && !o.LocalKeys {
		return nil, &FieldError{Field: "credentials", Reason: "username is required."} // who runs this program is nobody's business
	}
	return sftp.New(opts)
}

// sftpOptions reads the settings and credentials. What lies on this machine is used
// when its user says so: the catalogue, or the credentials, are the user's own.
func sftpOptions(s Storage, o OpenOptions) (opts sftp.Options, err error) {
	set, name, err := s.host()
	if err != nil {
		return opts, err
	}
	if set.Port == 0 {
		set.Port = portSSH
	}
	opts = sftp.Options{
		Host: net.JoinHostPort(name, strconv.Itoa(int(set.Port))), User: s.credential("username"), Password: s.credential("password"),
		Key: []byte(s.credential("private_key")), Passphrase: s.credential("passphrase"),
		Fingerprint: set.Fingerprint, Connections: set.Connections,
	}
	opts.Root, opts.Keep = s.inRoot()
	if !o.LocalKeys {
		if what := set.local(); what != "" {
			return opts, refuseLocal(what)
		}
	}
	for _, file := range set.KnownHosts {
		if file, err = ownFile(file); err != nil {
			return opts, err
		}
		opts.KnownHosts = append(opts.KnownHosts, file)
	}
	file := set.PrivateKeyFile
	if own := s.credential("private_key_file"); own != "" {
		if file = own; !o.LocalKeys && o.Credentials == nil && o.CredentialSource == nil {
			return opts, refuseLocal("private_key_file")
		}
	}
	if file != "" && len(opts.Key) == 0 {
		if opts.Key, err = readOwnFile(file); err != nil {
			return opts, err
		}
	}
	if set.Agent != nil {
		opts.Agent = *set.Agent
	} else {
		opts.Agent = o.LocalKeys && opts.Password == "" && len(opts.Key) == 0
	}
	return opts, nil
}

// local names a setting that is about the machine of who opens the remote.
func (set hostSettings) local() string {
	switch {
	case set.Agent != nil && *set.Agent:
		return "agent"
	case set.KnownHosts != nil:
		return "known_hosts"
	case set.PrivateKeyFile != "":
		return "private_key_file"
	}
	return ""
}

func refuseLocal(what string) error {
	return fmt.Errorf("%w: the record's %s is about what lies on this machine; the option LocalKeys (--local-keys) allows it", ErrRefused, what)
}

// ownFile returns the path of a file that is named as in a shell.
func ownFile(path string) (string, error) {
	if below, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		return filepath.Join(home, below), err
	}
	if !filepath.IsAbs(path) {
		return "", &FieldError{Field: "settings", Reason: "private_key_file and known_hosts are absolute paths, or begin with ~/."}
	}
	return path, nil
}

func readOwnFile(path string) ([]byte, error) {
	path, err := ownFile(path)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
