package repo_test

import (
	"net/netip"
	"testing"

	"github.com/d6t/d6tpipe-go/server/internal/dial"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
)

// localHooks sends to this machine only, also without TLS.
func localHooks(t testing.TB) *hook.Sender {
	s := hook.New(hook.Config{Dial: dial.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, HTTP: true})
	t.Cleanup(s.Close)
	return s
}
