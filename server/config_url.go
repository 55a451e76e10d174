package server

import (
	"net/url"
	"strings"
)

// schemeOf returns what stands before "://", and false for a path.
func schemeOf(value string) (string, bool) {
	scheme, _, ok := strings.Cut(value, "://")
	return scheme, ok
}

// HasPassword reports whether a URL of [Config] holds a password, which does not
// belong on a command line: every user of the machine can read that.
func HasPassword(value string) bool {
	if _, ok := schemeOf(value); !ok {
		return false
	}
	u, err := url.Parse(value)
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
