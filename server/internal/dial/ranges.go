package dial

import "net/netip"

// What is not public, from IANA's registries of special-purpose addresses (RFC 6890
// and its updates).
var special = prefixes(
	"0.0.0.0/8",       // this network; 0.0.0.0 reaches this host
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // shared by carriers (CGNAT), and clouds' inner services
	"127.0.0.0/8",     // this host
	"169.254.0.0/16",  // link-local, and clouds' services of keys
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments; some clouds' inner services
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // relays of 6to4
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast

	"2001::/23",     // protocol assignments: Teredo, benchmarks, ORCHID
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4: an IPv4 address in disguise
	"3fff::/20",     // documentation
)

// unicast is all of IPv6 that is given out. What is outside is not public, among it
// ::1, fc00::/7, fe80::/10, ff00::/8, 64:ff9b::/96 and ::ffff:0:0/96.
var unicast = netip.MustParsePrefix("2000::/3")

// public reports whether the whole internet can reach addr, which is no IPv4 address
// in the form of IPv6.
func public(addr netip.Addr) bool {
	return (addr.Is4() || unicast.Contains(addr)) && !in(special, addr)
}

// The ranges of IPv6 whose addresses stand for IPv4 ones, and where those are in them.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052: the last 4 bytes
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215: the last 4 bytes, in a /96 of it
	compatible = netip.MustParsePrefix("::/96")          // RFC 4291, long gone: the last 4 bytes
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
	sixToFour  = netip.MustParsePrefix("2002::/16") // RFC 3056: bytes 2 to 5
	teredo     = netip.MustParsePrefix("2001::/32") // RFC 4380: the last 4 bytes, inverted
)

// embedded returns the IPv4 address that addr stands for.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return addr, false
	}
	b := addr.As16()
	last := [4]byte(b[12:])
	switch {
	case nat64.Contains(addr), nat64Local.Contains(addr), translated.Contains(addr):
		return netip.AddrFrom4(last), true
	case compatible.Contains(addr) && last != [4]byte{} && last != [4]byte{0, 0, 0, 1}: // but :: and ::1
		return netip.AddrFrom4(last), true
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case teredo.Contains(addr):
		for i := range last {
			last[i] ^= 0xff
		}
		return netip.AddrFrom4(last), true
	}
	return addr, false
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}
