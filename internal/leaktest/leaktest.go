// Package leaktest makes the tests of a package fail when they leave goroutines behind.
// Only tests import it.
package leaktest

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end. Goleak itself waits for half a
// second, which a machine with other work may stand still for.
const patience = 30 * time.Second

// Main runs the tests, and then waits for the goroutines that they have started, but for
// those that the options name. It never returns. m is a *testing.M, or what runs one.
func Main(m goleak.TestingM, options ...goleak.Option) {
	code := m.Run()
	if code == 0 {
		code = check(patience, options...)
	}
	os.Exit(code)
}

// check returns 1, and says which, when there are goroutines that do not end in time.
func check(patience time.Duration, options ...goleak.Option) int {
	for began := time.Now(); ; {
		err := goleak.Find(options...)
		if err == nil {
			return 0
		}
		if time.Since(began) > patience {
			fmt.Fprintln(os.Stderr, "leaktest:", err)
			return 1
		}
	}
}
