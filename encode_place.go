package d6tpipe

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// A place is what a record itself said of where its files lie when it was encrypted;
// long texts by their hashes.
type place struct {
	Protocol Protocol `json:"protocol,omitempty"`
	Remote   string   `json:"remote,omitempty"`
	Location string   `json:"location,omitempty"`
	Settings string   `json:"settings,omitempty"`
	Params   string   `json:"readParams,omitempty"`
}

func (f *sealedFields) place() place {
	return place{f.protocol, f.remote, digestText([]byte(*f.location)), digestText(*f.settings), digestText(*f.params)}
}

func digestText(text []byte) string {
	if len(text) == 0 {
		return ""
	}
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// learn remembers what the record of that name says of its place.
func (s *sealer) learn(name string, p place) {
	if known, ok := s.places[name]; ok && known != p {
		s.torn = true
	}
	s.places[name] = p
}

// check makes sure that credentials go only where they were encrypted for: whoever
// runs the repo API can put anything in the place of an encrypted field, or leave it
// out. What a pipe does not say itself is its parent's.
func (s *sealer) check(f *sealedFields) error {
	if !s.secrets {
		return nil
	}
	got := f.place()
	field := s.expected(got).differs(got)
	switch {
	case field != "":
	case s.torn:
		field = "location"
	case !f.pathFits():
		field = "options"
	default:
		return nil
	}
	bad := &FieldError{Field: field, Reason: "It is not what the credentials were encrypted for. Who changes it gives the credentials again."}
	return &kinded{bad, []error{ErrDamaged}}
}

// expected is the place that the records add up to.
func (s *sealer) expected(got place) (want place) {
	for _, name := range s.names {
		p := s.places[name]
		want.Protocol = cmp.Or(want.Protocol, p.Protocol)
		want.Remote = cmp.Or(want.Remote, p.Remote)
		want.Location = cmp.Or(want.Location, p.Location)
		want.Settings = cmp.Or(want.Settings, p.Settings)
	}
	want.Params = got.Params
	if own, ok := s.places[s.names[0]]; ok { // nobody inherits them
		want.Params = own.Params
	}
	return want
}

// differs names a field that is another, "" when there is none.
func (p place) differs(other place) string {
	switch {
	case p.Protocol != other.Protocol:
		return "protocol"
	case p.Remote != other.Remote:
		return "remote"
	case p.Location != other.Location:
		return "location"
	case p.Settings != other.Settings:
		return "settings"
	case p.Params != other.Params:
		return "readParams"
	}
	return ""
}

// pathFits reports whether the path that the repo API has added up lies in the
// location, where it is more than a folder.
func (f *sealedFields) pathFits() bool {
	if f.path == nil || *f.path == "" {
		return true
	}
	switch f.protocol {
	case ProtocolS3, ProtocolManaged:
		return strings.HasPrefix(*f.path, "s3://"+*f.location+"/")
	case ProtocolDir, ProtocolHTTP, ProtocolHTTPS:
		return strings.HasPrefix(*f.path, strings.TrimSuffix(*f.location, "/")+"/")
	}
	return true
}
