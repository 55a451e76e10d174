// Package dial says to which hosts the server connects on behalf of its users:
// their remotes, and the addresses that are told of changes. Somebody who may name
// a host could else make the server speak to what only it can reach: itself, the
// machines beside it, the service that hands out a cloud's keys.
//
// A [Policy] judges the address that is connected to, not the name: right before
// each connection, after names were resolved, for every one of a name's addresses.
// So neither a spelling (0x7f.1, ::ffff:127.0.0.1) nor a name server that changes
// its mind gets past it. Allowed is what the whole internet can reach, and what the
// administrator lists.
package dial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// A Policy says which addresses may be connected to. The zero value allows those of
// the public internet. It is safe for concurrent use.
type Policy struct {
	// Allow are ranges that may be connected to although they are not public.
	Allow []netip.Prefix
	// Deny are ranges that may not, whatever else is allowed: public addresses behind
	// which there is something of one's own.
	Deny []netip.Prefix
	// Resolver looks up names; nil is the system's.
	Resolver *net.Resolver
}

// ErrForbidden says that an address is not one to connect to.
var ErrForbidden = errors.New("the server does not connect there")

// A ForbiddenError is the refusal of a dial. It matches [ErrForbidden] and
// [fs.ErrPermission], so that nobody tries again. Its text holds what was asked for
// and not what a name was resolved to: who only knows names does not learn the
// addresses of a network inside.
type ForbiddenError struct {
	Host string     // as it was asked for, with the port
	Addr netip.Addr // what it was resolved to, for the administrator's log
}

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("%q: %v; its administrator can list the address as allowed", e.Host, ErrForbidden)
}

// Is reports whether target is [ErrForbidden] or [fs.ErrPermission].
func (e *ForbiddenError) Is(target error) bool {
	return target == ErrForbidden || target == fs.ErrPermission
}

// Ranges reads ranges such as "10.0.0.0/8", "fd00::/8" and, for one address,
// "192.168.1.7".
func Ranges(texts []string) (ranges []netip.Prefix, err error) {
	for _, text := range texts {
		text = strings.TrimSpace(text)
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil || addr.Zone() != "" {
				return nil, fmt.Errorf("%q is not a range of addresses such as 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		ranges = append(ranges, p.Masked())
	}
	return ranges, nil
}

// Check reports whether addr may be connected to.
func (p Policy) Check(addr netip.Addr) error {
	if !p.permits(addr) {
		return &ForbiddenError{Host: addr.String(), Addr: addr}
	}
	return nil
}

// permits judges the address, and the one that it stands for in a translator of
// IPv6 to IPv4: whoever allows the translator does not allow all behind it.
func (p Policy) permits(addr netip.Addr) bool {
	addr = addr.WithZone("").Unmap()
	if !addr.IsValid() || in(p.Deny, addr) {
		return false
	}
	if inner, ok := embedded(addr); ok && !p.permits(inner) {
		return false
	}
	return public(addr) || in(p.Allow, addr)
}

func in(ranges []netip.Prefix, addr netip.Addr) bool {
	for _, r := range ranges {
		if r.Addr().Is4In6() && r.Bits() >= 96 { // ::ffff:10.0.0.0/104 is 10.0.0.0/8
			r = netip.PrefixFrom(r.Addr().Unmap(), r.Bits()-96)
		}
		if r.Contains(addr) {
			return true
		}
	}
	return false
}

const (
	timeout   = 10 * time.Second
	keepAlive = 30 * time.Second
)

// Dialer returns a dialer that keeps to the policy. Its errors name the addresses
// that it tried; [Policy.DialContext] is the same without that.
func (p Policy) Dialer() *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAlive: keepAlive, Resolver: p.Resolver, ControlContext: p.control}
}

// control is called with the address of each attempt to connect, when there is a
// socket and before it is used.
func (p Policy) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	refusal := &ForbiddenError{Host: address}
	if network != "tcp4" && network != "tcp6" {
		return refusal
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return refusal
	}
	if refusal.Addr = at.Addr(); !p.permits(at.Addr()) {
		return refusal
	}
	return nil
}

// DialContext connects to a host by TCP, if the policy allows it. It fits into
// [http.Transport] and into the options of the storage drivers.
func (p Policy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := p.Dialer().DialContext(ctx, network, address)
	var no *ForbiddenError
	if errors.As(err, &no) {
		return nil, &ForbiddenError{Host: address, Addr: no.Addr}
	}
	return conn, err
}

// Transport returns a transport whose every connection keeps to the policy. It uses
// no proxy: that would connect in its stead to wherever it is told.
func (p Policy) Transport() *http.Transport {
	return &http.Transport{
		DialContext:           p.DialContext,
		TLSHandshakeTimeout:   timeout,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   8,
		ForceAttemptHTTP2:     true,
	}
}

// Client returns a client over [Policy.Transport] for requests to what users name. A
// redirect is the answer: it is not followed.
func (p Policy) Client(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport:     p.Transport(),
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
