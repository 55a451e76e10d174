package d6tpipe

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"
)

// hostSettings are the options of a remote that is a host with folders.
type hostSettings struct {
	Port           port     `json:"port"` // 0: the protocol's own, or in the location
	Connections    int      `json:"connections"`
	Fingerprint    string   `json:"fingerprint"` // of the host key, or the certificate
	KnownHosts     textList `json:"known_hosts"` // files
	Agent          *bool    `json:"agent"`
	PrivateKeyFile string   `json:"private_key_file"`
	TLS            string   `json:"tls"` // "explicit", "implicit"
	CA             string   `json:"ca"`  // PEM
}

// A port may be spelled as text, as in many settings of Python programs.
type port int

// UnmarshalJSON reads 22 and "22".
func (p *port) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	n, err := strconv.Atoi(strings.Trim(string(raw), `"`))
	if err != nil || n < 1 || n > 65535 {
		return &FieldError{Field: "port", Reason: "This field is a number from 1 to 65535."}
	}
	*p = port(n)
	return nil
}

// A textList is one text or several.
type textList []string

// UnmarshalJSON reads "a" and ["a","b"].
func (l *textList) UnmarshalJSON(raw []byte) error {
	if raw[0] == '"' {
		*l = textList{""}
		return json.Unmarshal(raw, &(*l)[0])
	}
	return json.Unmarshal(raw, (*[]string)(l))
}

// host reads the settings and the location of a remote that is a host. The port is
// 0 when neither says one.
func (s Storage) host() (set hostSettings, name string, err error) {
	if err := s.settings(&set); err != nil {
		return set, "", err
	}
	if err := checkLocation(s.Protocol, s.Location); err != nil { // a server's answer, not checked before
		return set, "", err
	}
	if set.Connections < 0 {
		return set, "", &FieldError{Field: "settings", Reason: "connections cannot be negative."}
	}
	name, in, err := splitHost(s.Location)
	switch {
	case err != nil:
		return set, "", err
	case in != 0 && set.Port != 0 && in != set.Port:
		return set, "", &FieldError{Field: "settings", Reason: "The port is another one in the location."}
	case in != 0:
		set.Port = in
	}
	return set, name, nil
}

// splitHost parts "host", "host:22", "2001:db8::1" and "[2001:db8::1]:22".
func splitHost(location string) (name string, at port, err error) {
	name = location
	if strings.HasPrefix(location, "[") || strings.Count(location, ":") == 1 {
		var text string
		if name, text, err = net.SplitHostPort(location); err != nil && strings.HasSuffix(location, "]") {
			return strings.Trim(location, "[]"), 0, nil
		}
		if err == nil {
			err = at.UnmarshalJSON([]byte(text))
		}
	}
	if err != nil || name == "" || strings.ContainsAny(name, "[]/@\\ ?#") || strings.Contains(name, ":") && net.ParseIP(name) == nil {
		return "", 0, &FieldError{Field: "location", Reason: "The location is a host, or a host and a port, without a scheme, a user or a folder."}
	}
	return name, at, nil
}

// The ports that the protocols have by themselves.
const (
	portFTP         = 21
	portSSH         = 22
	portImplicitFTP = 990
)

// hostPlace is the host in lower case, with a port that is not the protocol's own.
// FTP is the same place with TLS and without.
func hostPlace(s Storage) (Protocol, string, error) {
	set, name, err := s.host()
	if err != nil {
		return "", "", err
	}
	protocol, at := s.Protocol, strings.ToLower(name)
	own := set.Port == 0 || set.Port == portSSH
	if protocol != ProtocolSFTP {
		protocol, own = ProtocolFTP, set.Port == 0 || set.Port == portFTP || set.Port == portImplicitFTP
	}
	if !own {
		at = net.JoinHostPort(at, strconv.Itoa(int(set.Port)))
	}
	return protocol, at, nil
}

// inRoot parts the pipe's folder, which a push makes, from the remote's own, which
// must be there.
func (s Storage) inRoot() (root, folder string) {
	root, dir := trimDir(s.Root), trimDir(s.Dir)
	if root == "" {
		return "/", dir
	}
	if dir == root {
		return "/" + root, ""
	}
	return "/" + root, strings.TrimPrefix(dir, root+"/")
}
