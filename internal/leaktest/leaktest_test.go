package leaktest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		<-stop
	}()
	require.Equal(t, 1, check(0), "it never ends")
	slow := time.AfterFunc(time.Second, func() { close(stop) }) // longer than goleak waits
	defer slow.Stop()
	require.Zero(t, check(patience))
	<-ended
}
