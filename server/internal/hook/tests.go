package hook

import (
	"errors"
	"sync"
)

const (
	mostTests        = 16 // at a time
	mostTestsAccount = 2  // of one account
)

// ErrBusy says that too many tests are under way.
var ErrBusy = errors.New("too many tests of webhooks")

// tests counts those that are under way: somebody waits for each of them.
type tests struct {
	mu        sync.Mutex
	n         int
	byAccount map[string]int
}

// BeginTest is called before an account's test, and end after it. The error is
// [ErrBusy].
func (s *Sender) BeginTest(account string) (end func(), err error) {
	t := &s.tests
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n >= mostTests || t.byAccount[account] >= mostTestsAccount {
		return nil, ErrBusy
	}
	if t.byAccount == nil {
		t.byAccount = map[string]int{}
	}
	t.n++
	t.byAccount[account]++
	return func() { t.done(account) }, nil
}

func (t *tests) done(account string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.byAccount[account]--; t.byAccount[account] == 0 {
		delete(t.byAccount, account)
	}
}
