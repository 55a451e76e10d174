package d6tpipe_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
)

// No test leaves a goroutine behind, but for those of the one connection to the
// session bus that the keyring's library keeps for the life of the process.
func TestMain(m *testing.M) {
	leaktest.Main(m,
		goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.newConn.func1"),
		goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.(*Conn).inWorker"),
		goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.(*signalChannelData).deferredDeliver"))
}
