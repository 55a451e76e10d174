package freeport_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/freeport"
)

// A server can listen at the port, again and again, and in between nobody answers.
func TestLoopback(t *testing.T) {
	addr := freeport.Loopback(t)
	for range 2 {
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.NoError(t, l.Close())
		_, err = net.Dial("tcp", addr)
		require.Error(t, err)
	}
}
