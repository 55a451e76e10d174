package freeport_test

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/freeport"
)

// portRange is IP_LOCAL_PORT_RANGE of ip(7): which ports a socket may be given.
const portRange = 51

// TestReserved: who asks for any port and may have this one only gets none.
func TestReserved(t *testing.T) {
	_, text, err := net.SplitHostPort(freeport.Loopback(t))
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	require.ErrorIs(t, anyOf(t, port), syscall.EADDRINUSE)
}

// anyOf asks for any port when port is the only one.
func anyOf(t *testing.T, port int) error {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer syscall.Close(fd)
	require.NoError(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)) // as net does
	if err = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, portRange, port|port<<16); errors.Is(err, syscall.ENOPROTOOPT) {
		t.Skip("needs Linux 6.3")
	}
	require.NoError(t, err)
	return syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
}
