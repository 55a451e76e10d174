package d6tpipe

import (
	"net/url"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/httpfile"
)

func openHTTP(s Storage, o OpenOptions) (storage.Store, error) {
	opts, err := httpOptions(s)
	if err != nil {
		return nil, err
	}
	opts.Dial, opts.SameOrigin = o.Dial, o.Dial != nil
	return httpfile.New(opts)
}

// httpSettings are the options of a remote on a web server.
type httpSettings struct {
	Manifest string   `json:"manifest"`
	Files    []string `json:"files"`
	Insecure bool     `json:"insecure"`
	CA       string   `json:"ca"` // PEM
}

func httpOptions(s Storage) (httpfile.Options, error) {
	var set httpSettings
	if err := s.settings(&set); err != nil {
		return httpfile.Options{}, err
	}
	if err := checkLocation(s.Protocol, s.Location); err != nil { // a server's answer, not checked before
		return httpfile.Options{}, err
	}
	return httpfile.Options{
		Location: s.Location, Manifest: set.Manifest, Files: set.Files, Insecure: set.Insecure, CA: []byte(set.CA),
		Username: s.credential("username"), Password: s.credential("password"), Token: s.credential("token"),
	}, nil
}

// settings reads the remote's settings.
func (s Storage) settings(into any) error {
	if len(s.Options) == 0 {
		return nil
	}
	if err := decodeJSON(s.Options, into); err != nil {
		return &FieldError{Field: "settings", Reason: err.Error()}
	}
	return nil
}

func (s Storage) credential(name string) string { return string(s.Credentials.Value(name)) }

// httpPlace is the address without its query, which may be a signature.
func httpPlace(location string) (Protocol, string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", "", checkURL(ProtocolHTTP, location)
	}
	scheme := Protocol(strings.ToLower(u.Scheme))
	place := url.URL{Scheme: string(scheme), Host: strings.ToLower(u.Host), Path: strings.TrimSuffix(u.Path, "/")}
	if port := u.Port(); scheme == ProtocolHTTP && port == "80" || scheme == ProtocolHTTPS && port == "443" {
		place.Host = strings.TrimSuffix(place.Host, ":"+port)
	}
	return scheme, place.String(), nil
}
