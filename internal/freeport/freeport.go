// Package freeport finds an address for a server that a test starts as another program,
// which must be told where to listen. Only tests, and what they are made of, import it.
package freeport

import "testing"

// Loopback returns an address, "127.0.0.1:12345", at which a server can listen. On Linux
// no other process is given the port until the test ends: neither before the server
// listens nor when it is gone. Elsewhere somebody may be faster.
func Loopback(t testing.TB) string {
	t.Helper()
	addr, release, err := reserve()
	if err != nil {
		t.Fatal("freeport:", err)
	}
	t.Cleanup(release)
	return addr
}
