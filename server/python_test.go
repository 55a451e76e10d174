package server_test

import (
	"testing"

	"github.com/d6t/d6tpipe-go/server"
	"github.com/d6t/d6tpipe-go/server/pythontest"
)

// TestPython: the Python client of both generations works against the server.
func TestPython(t *testing.T) {
	r := start(t, func(c *server.Config) { c.Demo, c.ShareUnfiltered = true, true })
	pythontest.Run(t, pythontest.Target{URL: r.url, DemoPassword: "demo", Known: map[string]string{
		"object-options-false": "the catalogue leaves out options that are false or empty",
	}, Lacks: map[pythontest.Need]string{
		pythontest.NeedBucket: "there is only the server's own",
	}})
}
