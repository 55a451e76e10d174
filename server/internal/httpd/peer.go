package httpd

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwarding are the headers by which proxies tell of whom they speak for.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Real-Ip"}

// origin sets the peer and whether it speaks TLS, and reports whether a trusted
// proxy sent the request.
func (q *request) origin(r *http.Request, proxies []netip.Prefix) (trusted bool) {
	q.https = r.TLS != nil
	q.bare = !slices.ContainsFunc(forwarding, func(name string) bool { return len(r.Header.Values(name)) > 0 })
	other, ok := address(r.RemoteAddr)
	if !ok {
		return false
	}
	q.peer = other
	if !within(other, proxies) {
		return false
	}
	q.bare = true // what the proxy says has been heard
	q.peer = forwardedFor(other, r.Header.Values("X-Forwarded-For"), proxies)
	if proto := lastOf(r.Header.Values("X-Forwarded-Proto")); proto != "" {
		q.https = strings.EqualFold(proto, "https")
	}
	return true
}

// forwardedFor walks the addresses from the nearest proxy outwards and returns the
// first that is not a trusted proxy's: what stands left of it, its sender may have
// made up. An entry that is no address ends the walk at the proxy that wrote it.
func forwardedFor(proxy netip.Addr, headers []string, proxies []netip.Prefix) netip.Addr {
	entries := strings.Split(strings.Join(headers, ","), ",")
	for _, entry := range slices.Backward(entries) {
		addr, ok := address(strings.TrimSpace(entry))
		if !ok {
			return proxy
		}
		if !within(addr, proxies) {
			return addr
		}
		proxy = addr
	}
	return proxy
}

// address reads an IP address with or without a port, as connections and proxies
// write it. IPv4 in IPv6 is IPv4, and a zone says nothing to anybody else.
func address(s string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	addr, err := netip.ParseAddr(s)
	return addr.Unmap().WithZone(""), err == nil
}

func within(addr netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// lastOf returns the last value of a header that lists some: what the nearest
// proxy wrote.
func lastOf(headers []string) string {
	if len(headers) == 0 {
		return ""
	}
	last := headers[len(headers)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}
