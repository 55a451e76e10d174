package d6tpipe

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Origin returns the origin of a server's URL as RFC 6454 has it: scheme, host
// and port in lower case, without the port that the scheme implies. Two servers
// are the same for a token exactly when their origins are equal; a dot at the
// end of a host name makes another host. Errors are [*FieldError].
func Origin(server string) (string, error) {
	u, err := parseServer(server)
	if err != nil {
		return "", err
	}
	return originOf(u), nil
}

// Origin returns the origin of the profile's server, after checking that a token
// may be sent there: by https, or by http to this machine, or by http anywhere
// when the profile is Insecure. Errors are [*FieldError].
func (c Config) Origin() (string, error) {
	if err := checkServer(c.Server, c.Insecure); err != nil {
		return "", err
	}
	return Origin(c.Server)
}

func originOf(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	host := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		host = "[" + ip.String() + "]"
	}
	if n, err := strconv.Atoi(port); err == nil {
		port = strconv.Itoa(n) // 0443 is 443
	}
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return scheme + "://" + host
	}
	return scheme + "://" + host + ":" + port
}

// parseServer takes a server's URL apart. The reasons of its errors show nothing
// of the URL, because somebody may have put a password into it.
func parseServer(server string) (*url.URL, error) {
	bad := func(reason string) (*url.URL, error) { return nil, &FieldError{Field: "server", Reason: reason} }
	if server == "" {
		return bad("There is no server: set one in the profile, or D6TPIPE_SERVER.")
	}
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return bad("The server must be a URL such as https://example.com.")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("The server must begin with https:// or http://.")
	case u.User != nil || strings.Contains(u.Host, "@"):
		return bad("The server must not have a user or a password in it.")
	case strings.ContainsAny(server, "?#"):
		return bad("The server must not have a query or a fragment.")
	case !goodHost(u.Hostname()):
		return bad("The server has no valid host name; international names are written in their xn-- form.")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return bad("The server's port must be between 1 and 65535.")
		}
	}
	return u, nil
}

// goodHost allows what a host name may consist of. Letters beyond ASCII would
// need a mapping that is the same everywhere.
func goodHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == ""
	}
	return strings.Trim(host, ".") != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_", r)
	})
}

// checkServer refuses to send tokens in clear text to another machine.
func checkServer(server string, insecure bool) error {
	u, err := parseServer(server)
	if err != nil || insecure || u.Scheme == "https" || isLoopback(u.Hostname()) {
		return err
	}
	return &FieldError{Field: "server", Reason: "A server on another machine needs https, or the setting insecure, with which everybody on the way can read the token."}
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func sameOrigin(a, b string) bool {
	if a == b {
		return true
	}
	one, err1 := Origin(a)
	two, err2 := Origin(b)
	return err1 == nil && err2 == nil && one == two
}
