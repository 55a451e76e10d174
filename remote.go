package d6tpipe

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// A Protocol is how the bytes of a remote are reached.
type Protocol string

// The protocols. Which of them this version can pull from and push to is told by
// [OpenPipe]; a catalogue may hold records of all of them.
const (
	ProtocolS3      Protocol = "s3"      // Location is a bucket
	ProtocolDir     Protocol = "dir"     // Location is a folder of this machine or a mounted share
	ProtocolSFTP    Protocol = "sftp"    // Location is a host, or host:port
	ProtocolFTP     Protocol = "ftp"     // Location is a host, or host:port
	ProtocolFTPS    Protocol = "ftps"    // Location is a host, or host:port
	ProtocolHTTP    Protocol = "http"    // Location is the URL of a folder or a file; read-only
	ProtocolHTTPS   Protocol = "https"   // as http, and the URL is an https one
	ProtocolManaged Protocol = "d6tfree" // the server owns the storage
)

var protocols = []Protocol{ProtocolS3, ProtocolDir, ProtocolSFTP, ProtocolFTP, ProtocolFTPS, ProtocolHTTP, ProtocolHTTPS, ProtocolManaged}

func checkProtocol(p Protocol) error {
	if p == "" || slices.Contains(protocols, p) {
		return nil
	}
	return &FieldError{Field: "protocol", Reason: "Unknown protocol; known are s3, dir, sftp, ftp, ftps, http, https and d6tfree."}
}

// checkLocation applies the rule for the location of a protocol.
func checkLocation(p Protocol, location string) error {
	if isSealed(location) {
		return nil
	}
	reason := ""
	switch {
	case strings.ContainsFunc(location, unicode.IsControl):
		reason = "The location must not contain control characters."
	case p == ProtocolS3 && strings.Contains(location, "://"):
		reason = "The location is the name of a bucket, without s3:// before it; a folder of it is the dir of the options."
	case p == ProtocolDir && location != "" && !isAbsolute(location):
		reason = "The location must be an absolute path."
	}
	if reason != "" {
		return &FieldError{Field: "location", Reason: reason}
	}
	switch {
	case location == "": // a pipe's parent may say it
	case p == ProtocolHTTP, p == ProtocolHTTPS:
		return checkURL(p, location)
	case p == ProtocolSFTP, p == ProtocolFTP, p == ProtocolFTPS:
		_, _, err := splitHost(location)
		return err
	}
	return nil
}

// checkURL does not quote the URL, which may be signed.
func checkURL(p Protocol, location string) error {
	u, err := url.Parse(location)
	switch {
	case err != nil || u.Host == "" || u.Scheme != string(ProtocolHTTP) && u.Scheme != string(ProtocolHTTPS):
		return &FieldError{Field: "location", Reason: "The location must be a URL, with http:// or https:// before the host."}
	case p == ProtocolHTTPS && u.Scheme != string(ProtocolHTTPS):
		return &FieldError{Field: "location", Reason: "The location of protocol https must be an https URL."}
	case u.User != nil:
		return &FieldError{Field: "location", Reason: "The location must not have a user in it: username and password belong to the credentials."}
	}
	return nil
}

// isAbsolute reports whether path is absolute on some system: a catalogue may be
// shared by machines of several.
func isAbsolute(path string) bool {
	return strings.HasPrefix(path, "/") || strings.HasPrefix(path, `\\`) || len(path) > 2 && path[1] == ':' && strings.ContainsRune(`\/`, rune(path[2]))
}

// RemoteSettings describe a remote: a storage place that several pipes share.
// The JSON names are those of the Python client's first generation.
type RemoteSettings struct {
	// Name is unique within the catalogue: letters, digits and hyphens.
	Name string `json:"name"`
	// Protocol is required.
	Protocol Protocol `json:"protocol,omitempty"`
	// Location is the bucket, host or folder; see the protocols.
	Location string `json:"location,omitempty"`
	// ReadCredentials open the remote for pulls.
	ReadCredentials Credentials `json:"readCredentials,omitempty"`
	// WriteCredentials open it for pushes. Who may only read does not get them.
	WriteCredentials Credentials `json:"writeCredentials,omitempty"`
	// Settings are options of the storage, a JSON object: "dir", a folder within
	// the location below which all pipes of the remote lie, and:
	//
	//   - S3: endpoint_url, region_name (found at Amazon, us-east-1 elsewhere, unless
	//     the environment says another one with its keys), path_style, insecure (http
	//     to another machine is meant so), unconditional (the storage does not know If-Match
	//     on a PUT), no_sums (its ETags are no MD5) and anonymous (nobody logs in).
	//   - SFTP: port, connections (at most so many), fingerprint ("SHA256:..." of the
	//     host key), and, of the machine that opens it and therefore only when
	//     [OpenOptions].LocalKeys allows it, known_hosts (files), agent (true or
	//     false) and private_key_file.
	//   - FTP, FTPS: port, connections, tls ("explicit" or "implicit"), ca (PEM) and
	//     fingerprint ("SHA256:..." of the certificate). ftps is explicit unless
	//     the port is 990.
	//   - HTTP: manifest (a URL, or a path below the location, of what lists the
	//     files) or files (a list of names), ca (PEM), and insecure (credentials may
	//     go over http). Without manifest and files the location is one file.
	Settings json.RawMessage `json:"settings,omitempty"`
	// ReadParams is any JSON that readers of the data want to know.
	ReadParams json.RawMessage `json:"readParams,omitempty"`

	// Extra holds the fields that this version does not know. They survive a
	// Get followed by a Replace.
	Extra map[string]json.RawMessage `json:"-"`
}

// Validate reports the first field that is malformed, as a [*FieldError].
func (r RemoteSettings) Validate() error {
	if err := checkName("name", r.Name); err != nil {
		return err
	}
	if r.Protocol == "" {
		return &FieldError{Field: "protocol", Reason: "This field is required."}
	}
	if err := checkProtocol(r.Protocol); err != nil {
		return err
	}
	if r.Location == "" && r.Protocol != ProtocolManaged {
		return &FieldError{Field: "location", Reason: "This field is required."}
	}
	if err := checkLocation(r.Protocol, r.Location); err != nil {
		return err
	}
	if err := checkSettings(r.Settings); err != nil {
		return err
	}
	return r.checkSecrets()
}

// MarshalJSON encodes the settings with "***" in the place of credentials.
func (r RemoteSettings) MarshalJSON() ([]byte, error) {
	type fields RemoteSettings
	return marshal(fields(r), r.Extra)
}

// UnmarshalJSON decodes the settings and keeps unknown fields in Extra.
func (r *RemoteSettings) UnmarshalJSON(data []byte) error {
	type fields RemoteSettings
	var f fields
	extra, err := unmarshal(data, &f)
	if err != nil {
		return err
	}
	*r = RemoteSettings(f)
	r.Extra = extra
	dropNull(&r.Settings, &r.ReadParams)
	return nil
}

func (r RemoteSettings) key() string { return r.Name }

func (r RemoteSettings) checkSecrets() error {
	if err := r.ReadCredentials.check("readCredentials"); err != nil {
		return err
	}
	return r.WriteCredentials.check("writeCredentials")
}

func (r RemoteSettings) reveal() (json.RawMessage, error) {
	type fields RemoteSettings
	return marshal(struct {
		fields
		ReadCredentials  map[string]any `json:"readCredentials,omitempty"`
		WriteCredentials map[string]any `json:"writeCredentials,omitempty"`
	}{fields(r), r.ReadCredentials.reveal(), r.WriteCredentials.reveal()}, r.Extra)
}

// checkSettings refuses settings that are not a JSON object, or in which a folder
// or a filter is no string: to read them as none would move the pipe.
func checkSettings(raw json.RawMessage) error {
	options, err := optionsOf(raw)
	if err != nil {
		return err
	}
	return checkDir("settings", options.Dir)
}

// optionsOf reads the first generation's settings as options: remotedir (dir)
// and pipedir are the folder.
func optionsOf(settings json.RawMessage) (PipeOptions, error) {
	var first struct {
		Dir       string `json:"dir"`
		RemoteDir string `json:"remotedir"`
		PipeDir   string `json:"pipedir"`
		Include   string `json:"include"`
		Exclude   string `json:"exclude"`
	}
	if len(settings) == 0 {
		return PipeOptions{}, nil
	}
	if decodeJSON(settings, &first) != nil {
		return PipeOptions{}, &FieldError{Field: "settings", Reason: "This field must be a JSON object, in which dir, remotedir, pipedir, include and exclude are strings."}
	}
	dir := joinDir(joinDir(first.Dir, first.RemoteDir), first.PipeDir)
	return PipeOptions{Dir: dir, Include: first.Include, Exclude: first.Exclude}, nil
}
