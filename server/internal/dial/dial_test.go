package dial_test

import (
	"context"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func ranges(t *testing.T, texts ...string) []netip.Prefix {
	t.Helper()
	all, err := dial.Ranges(texts)
	require.NoError(t, err)
	return all
}

// TestCheck: what is not public is refused, at both ends of each range and in every
// disguise; what is right beside it is not.
func TestCheck(t *testing.T) {
	for addr, ok := range map[string]bool{
		"0.0.0.0": false, "0.255.255.255": false, "1.0.0.0": true,
		"9.255.255.255": true, "10.0.0.0": false, "10.255.255.255": false, "11.0.0.0": true,
		"100.63.255.255": true, "100.64.0.0": false, "100.127.255.255": false, "100.128.0.0": true,
		"126.255.255.255": true, "127.0.0.1": false, "127.255.255.255": false, "128.0.0.0": true,
		"169.253.255.255": true, "169.254.169.254": false, "169.255.0.0": true,
		"172.15.255.255": true, "172.16.0.0": false, "172.31.255.255": false, "172.32.0.0": true,
		"192.0.0.192": false, "192.0.1.0": true, "192.0.2.255": false, "192.0.3.0": true, "192.88.99.1": false,
		"192.167.255.255": true, "192.168.0.0": false, "192.168.255.255": false, "192.169.0.0": true,
		"198.17.255.255": true, "198.18.0.0": false, "198.19.255.255": false, "198.20.0.0": true,
		"198.51.100.7": false, "203.0.113.7": false, "223.255.255.255": true,
		"224.0.0.1": false, "239.255.255.255": false, "240.0.0.0": false, "255.255.255.255": false, "8.8.8.8": true,

		"::": false, "::1": false, "::2": false, "fc00::1": false, "fd00:ec2::254": false, "fe80::1": false, "fe80::1%eth0": false,
		"fec0::1": false, "ff02::1": false, "100::1": false, "5f00::1": false,
		"2001:db8::1": false, "2001::1": false, "2001:1ff:ffff::": false, "2001:200::1": true, "2002::1": false, "3fff::1": false, "3fff:1000::1": true,
		"2606:4700:4700::1111": true, "4000::1": false,

		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:8.8.8.8": true, "::ffff:0:127.0.0.1": false, "::127.0.0.1": false, "::8.8.8.8": false,
		"64:ff9b::127.0.0.1": false, "64:ff9b::8.8.8.8": false, "64:ff9b:1::10.0.0.1": false, "2002:7f00:1::": false, "2002:808:808::": false,
		"2001:0:4136:e378:8000:63bf:80ff:fffe": false,
	} {
		err := dial.Policy{}.Check(netip.MustParseAddr(addr))
		if ok {
			require.NoError(t, err, addr)
			continue
		}
		require.ErrorIs(t, err, dial.ErrForbidden, addr)
		require.ErrorIs(t, err, fs.ErrPermission, addr)
	}
	require.ErrorIs(t, dial.Policy{}.Check(netip.Addr{}), dial.ErrForbidden)
}

// TestAllow: the administrator's list opens what it names, also behind a translator
// of IPv6, and a denial wins.
func TestAllow(t *testing.T) {
	p := dial.Policy{Allow: ranges(t, "127.0.0.1", "10.0.0.0/8", "fd00::/8", "64:ff9b::/96", "2002::/16"), Deny: ranges(t, "10.1.0.0/16", "8.8.8.8", "fd00:ec2::/32")}
	for addr, ok := range map[string]bool{
		"127.0.0.1": true, "127.0.0.2": false, "::1": false, "::ffff:127.0.0.1": true, "::ffff:127.0.0.2": false,
		"10.0.0.1": true, "10.1.0.1": false, "8.8.8.8": false, "8.8.4.4": true, "fd12::1": true, "fd00:ec2::254": false, "fe80::1": false,
		"64:ff9b::8.8.4.4": true, "64:ff9b::8.8.8.8": false, "64:ff9b::169.254.169.254": false, "64:ff9b::10.2.0.1": true, "64:ff9b::10.1.0.1": false,
		"2002:808:404::": true, "2002:a9fe:a9fe::": false,
	} {
		if ok {
			require.NoError(t, p.Check(netip.MustParseAddr(addr)), addr)
		} else {
			require.ErrorIs(t, p.Check(netip.MustParseAddr(addr)), dial.ErrForbidden, addr)
		}
	}
	mapped := dial.Policy{Allow: ranges(t, "::ffff:10.0.0.0/104")}
	require.NoError(t, mapped.Check(netip.MustParseAddr("10.9.9.9")))
	require.Error(t, mapped.Check(netip.MustParseAddr("192.168.0.1")))
}

func TestRanges(t *testing.T) {
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.168.1.7/32"), netip.MustParsePrefix("fd00::/8")},
		ranges(t, "10.1.2.3/8", " 192.168.1.7 ", "fd00::1/8"))
	for _, bad := range []string{"", "10.0.0.0/33", "localhost", "10.0.0", "fe80::1%eth0", "10.0.0.0/8,11.0.0.0/8", "0x7f.1/8"} {
		_, err := dial.Ranges([]string{bad})
		require.Error(t, err, bad)
	}
}

// TestNetworks: nothing but TCP is dialled.
func TestNetworks(t *testing.T) {
	p := dial.Policy{Allow: ranges(t, "127.0.0.1")}
	socket, err := net.Listen("unix", t.TempDir()+"/socket")
	require.NoError(t, err)
	defer socket.Close()
	_, err = p.DialContext(t.Context(), "unix", socket.Addr().String())
	require.ErrorIs(t, err, dial.ErrForbidden)
	_, err = p.DialContext(t.Context(), "udp", "127.0.0.1:53")
	require.ErrorIs(t, err, dial.ErrForbidden)
	_, err = p.Dialer().DialContext(t.Context(), "tcp", "127.0.0.2:53")
	require.ErrorIs(t, err, dial.ErrForbidden)
}

// TestErrors: the text has what was asked for and not what it was resolved to.
func TestErrors(t *testing.T) {
	p := dial.Policy{Resolver: resolver(t, map[string][]string{"db.inside.test.": {"10.11.12.13"}})}
	_, err := p.DialContext(t.Context(), "tcp", "db.inside.test:5432")
	require.ErrorIs(t, err, dial.ErrForbidden)
	require.Contains(t, err.Error(), "db.inside.test:5432")
	require.NotContains(t, err.Error(), "10.11")
	var no *dial.ForbiddenError
	require.ErrorAs(t, err, &no)
	require.Equal(t, "10.11.12.13", no.Addr.String())
	var network net.Error
	require.NotErrorAs(t, err, &network, "such an error would be tried again")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.DialContext(ctx, "tcp", "127.0.0.1:1")
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, strings.Contains(err.Error(), "forbidden"))
}
