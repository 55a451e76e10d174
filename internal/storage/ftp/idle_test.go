package ftp_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// idleFor is how long nothing may move in these tests, by a clock that does not tick
// while anybody works.
const idleFor = time.Second

// inBubble runs test with a store that has one connection to script, and no network.
func inBubble(t *testing.T, script *ftptest.Script, test func(t *testing.T, store *ftp.Store)) {
	t.Helper()
	crowdInBubble(t, 1, script, test)
}

// crowdInBubble is inBubble with several connections.
func crowdInBubble(t *testing.T, connections int, script *ftptest.Script, test func(t *testing.T, store *ftp.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dial, stop := script.Pipes()
		defer stop()
		store, err := ftp.New(ftp.Options{Host: "ftp.example.com", Connections: connections, Dial: dial})
		require.NoError(t, err)
		defer func() { require.NoError(t, store.Close()) }()
		test(t, store)
	})
}

// TestWaitingIsNotIdle: who waits for a connection goes on to do so while bytes move
// on it, in whichever direction.
func TestWaitingIsNotIdle(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.set("/a", strings.Repeat("x", 1<<20), time.Hour)
	inBubble(t, m.script(), func(t *testing.T, inner *ftp.Store) {
		store := storage.Idle(inner, idleFor)
		obj, err := store.Stat(t.Context(), "a")
		require.NoError(t, err)
		r, err := store.Open(t.Context(), obj, 0, -1)
		require.NoError(t, err)
		waiter := make(chan error)
		stat := func() {
			_, err := store.Stat(t.Context(), "a")
			waiter <- err
		}
		go stat()
		for err == nil {
			time.Sleep(9 * idleFor / 10)
			_, err = io.CopyN(io.Discard, r, 100<<10)
		}
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, r.Close())
		require.NoError(t, <-waiter)

		_, err = store.Put(t.Context(), "b", &slowSource{began: func() { go stat() }, left: 10}, 10, storage.Cond{})
		require.NoError(t, err)
		require.NoError(t, <-waiter)
	})
}

// slowSource has a byte now and then.
type slowSource struct {
	began func()
	left  int
}

func (s *slowSource) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.left--; s.began != nil {
		s.began()
		s.began = nil
	}
	time.Sleep(9 * idleFor / 10)
	return copy(p, "x"), nil
}

// TestWaitingEnds: who waits for a connection that hangs gets it when who has it has
// given up, and who waits for one that nobody uses does not wait for ever.
func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.set("/a", strings.Repeat("x", 1<<20), time.Hour)
	m.set("/b", "", time.Hour)
	script := m.script()
	var hung chan bool
	script.On = func(verb, arg string) string {
		if verb == "SIZE" && arg == "/b" {
			hung <- true
			return ftptest.Hang
		}
		return m.on(verb, arg)
	}
	inBubble(t, script, func(t *testing.T, inner *ftp.Store) {
		store := storage.Idle(inner, idleFor)
		hung = make(chan bool, 1)
		obj, err := store.Stat(t.Context(), "a")
		require.NoError(t, err)
		begin := time.Now()
		stuck := make(chan error)
		go func() {
			_, err := store.Stat(t.Context(), "b")
			stuck <- err
		}()
		<-hung
		_, err = store.Stat(t.Context(), "a")
		require.NoError(t, err)
		require.ErrorIs(t, <-stuck, storage.ErrIdle)
		require.Equal(t, idleFor, time.Since(begin))

		r, err := store.Open(t.Context(), obj, 0, -1)
		require.NoError(t, err)
		begin = time.Now()
		_, err = store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrIdle)
		require.LessOrEqual(t, time.Since(begin), 2*idleFor)
		require.NoError(t, r.Close())
	})
}

// TestAnswersAreNotIdle: a large folder whose files the server must be asked about one
// by one takes its time, and a server that stops answering is noticed.
func TestAnswersAreNotIdle(t *testing.T) {
	t.Parallel()
	m := newMemory()
	for i := range 60 {
		m.set(fmt.Sprint("/", i), "x", time.Hour)
	}
	script := m.script()
	stop := -1
	script.On = func(verb, arg string) string {
		if verb == "MDTM" {
			time.Sleep(9 * idleFor / 10)
			if stop--; stop == 0 {
				return ftptest.Hang
			}
		}
		return m.on(verb, arg)
	}
	inBubble(t, script, func(t *testing.T, inner *ftp.Store) {
		store := storage.Idle(inner, idleFor)
		require.Len(t, storagetest.List(t, store, "").Objects(), 60)
		stop = 10
		begin := time.Now()
		_, err := storage.Collect(context.Background(), store, "")
		require.ErrorIs(t, err, storage.ErrIdle)
		require.Less(t, time.Since(begin), 11*idleFor)
	})
}
