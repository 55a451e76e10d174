package server

import (
	"errors"
	"net/url"
	"strings"
)

// schemeOf returns what stands before "://", and false for a path.
func schemeOf(value string) (string, bool) {
	scheme, _, ok := strings.Cut(value, "://")
	return scheme, ok
}

var errURL = errors.New("this is no URL; a password in it has its special characters as %XX")

// parseURL is url.Parse, with an error that quotes nothing. It does not take what follows
// a "/", "?", "#" or "@" of a password, as many have, for a host or for the name of a
// database, which others print.
func parseURL(value string) (*url.URL, error) {
	u, err := url.Parse(value)
	if err != nil {
		return nil, errURL
	}
	ends := 0
	if u.User != nil {
		ends = 1
	}
	if strings.HasPrefix(u.Scheme, "postgres") && strings.Count(value, "@") != ends {
		return nil, errURL
	}
	return u, nil
}

// HasPassword reports whether a URL of [Config] holds a password, which does not
// belong on a command line: every user of the machine can read that.
func HasPassword(value string) bool {
	if _, ok := schemeOf(value); !ok {
		return false
	}
	u, err := parseURL(value)
	if err != nil {
		return strings.Contains(value, "@")
	}
	if _, ok := u.User.Password(); ok {
		return true
	}
	for name := range u.Query() {
		switch strings.ToLower(name) {
		case "password", "secret", "aws_secret_access_key", "secret_access_key":
			return true
		}
	}
	return false
}
