package server_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
)

// TestWaitingForChanges: who waits keeps nobody from anything, is told what others push,
// and is sent away at once when the server ends. Old changes are dropped.
func TestWaitingForChanges(t *testing.T) {
	r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key"), MaxRequests: 1}}
	r.config.Log = slog.New(slog.NewTextHandler(r.log, nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r.url = "http://" + l.Addr().String()
	srv, err := server.New(t.Context(), r.config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()

	me := r.user("me")
	_, err = me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	push := func(key string) {
		p := r.open(me, "p")
		write(t, p, key, key)
		_, err := p.Push(t.Context(), d6tpipe.PushOptions{})
		require.NoError(t, err)
	}
	push("a")
	now, err := me.ChangeFeed(t.Context(), "p", d6tpipe.FeedOptions{})
	require.NoError(t, err)
	old := now.Cursor
	wait := func(n int) (pages []d6tpipe.ChangePage, errs []error, all *sync.WaitGroup) {
		pages, errs, all = make([]d6tpipe.ChangePage, n), make([]error, n), &sync.WaitGroup{}
		hasty := me.WithLimits(d6tpipe.Limits{Retries: -1})
		for i := range n {
			all.Go(func() {
				pages[i], errs[i] = hasty.ChangeFeed(t.Context(), "p", d6tpipe.FeedOptions{Cursor: now.Cursor, Wait: time.Minute})
			})
			require.Eventually(t, func() bool { return srv.Waiting() == i+1 }, patience, 5*time.Millisecond)
		}
		return pages, errs, all
	}
	pages, errs, all := wait(3)
	push("b")
	all.Wait()
	for i := range pages {
		require.NoError(t, errs[i])
		require.Equal(t, "b", pages[i].Changes[0].Key)
	}
	now = pages[0]
	_, errs, all = wait(3)
	cancel()
	all.Wait()
	for _, err := range errs {
		require.ErrorIs(t, err, d6tpipe.ErrUnavailable)
		require.ErrorContains(t, err, "shutting down")
	}
	require.NoError(t, <-done)
	require.NoError(t, srv.Close())
	require.Contains(t, string(r.log.bytes()), "shutting down")
	require.NotContains(t, string(r.log.bytes()), "requests are cut")

	r.config.ChangesAge = time.Nanosecond
	stop := r.run()
	defer stop()
	again := r.client("again")
	_, err = again.Login(t.Context(), "me", "canary-password-me")
	require.NoError(t, err)
	first, err := again.ChangeFeed(t.Context(), "p", d6tpipe.FeedOptions{})
	require.NoError(t, err)
	require.Equal(t, now.Cursor, first.Cursor, "a restart is no break")
	require.Eventually(t, func() bool {
		_, err := again.ChangeFeed(t.Context(), "p", d6tpipe.FeedOptions{Cursor: old})
		return errors.Is(err, d6tpipe.ErrCursorExpired)
	}, patience, 20*time.Millisecond, "what is older than the administrator wants is gone")
}
