package server_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
)

// at serves on an address that was given before, and returns what ends it.
func (r *running) at(address string) (srv *server.Server, stop func()) {
	r.t.Helper()
	var l net.Listener
	require.Eventually(r.t, func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", address)
		return err == nil
	}, patience, 20*time.Millisecond)
	srv, err := server.New(context.Background(), r.config)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	r.url = "http://" + l.Addr().String()
	return srv, sync.OnceFunc(func() {
		cancel()
		require.NoError(r.t, <-done)
		require.NoError(r.t, srv.Close())
	})
}

// machine is a client of an account with a file repo of its own.
func (r *running) machine(name string) *d6tpipe.APIClient {
	c := r.client(name + "-elsewhere")
	_, err := c.Login(r.t.Context(), name, d6tpipe.Secret("canary-password-"+name))
	require.NoError(r.t, err)
	return c
}

// TestWatch: a watch is told what others push, without any look at the storage, goes on
// after the server was away, and ends when its right does.
func TestWatch(t *testing.T) {
	r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key")}}
	_, stop := r.at("127.0.0.1:0")
	defer func() { stop() }()
	me, reader := r.user("me"), r.user("reader")
	_, err := me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	require.NoError(t, me.Grant(t.Context(), "p", d6tpipe.Permission{Username: "reader", Role: d6tpipe.RoleRead}))
	push := func(key string) {
		p := r.open(me, "p")
		write(t, p, key, key)
		_, err := p.Push(t.Context(), d6tpipe.PushOptions{})
		require.NoError(t, err)
	}
	push("a")
	handed := func() (n int64) {
		usage, err := me.Analytics(t.Context(), "p")
		require.NoError(t, err)
		for _, u := range usage {
			if u.What == "read" {
				n += u.Count
			}
		}
		return n
	}
	type told struct {
		key string
		err error
	}
	seen, trouble := make(chan told), make(chan error, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var watch sync.WaitGroup
	watch.Go(func() {
		p := r.open(reader, "p")
		for c, err := range p.Watch(ctx, d6tpipe.WatchOptions{Trouble: func(err error, _ time.Duration) { trouble <- err }}) {
			seen <- told{string(c.Kind) + " " + c.Key, err}
		}
		close(seen)
	})
	require.Equal(t, told{"new a", nil}, <-seen)
	before := handed()
	for _, key := range []string{"b", "c"} {
		push(key)
		require.Equal(t, told{"new " + key, nil}, <-seen)
	}
	require.Equal(t, before, handed(), "nobody has asked for keys of the storage")

	address := r.url[len("http://"):]
	stop()
	require.ErrorIs(t, <-trouble, d6tpipe.ErrUnavailable)
	_, stop = r.at(address)
	push("d")
	require.Equal(t, told{"new d", nil}, <-seen)

	require.NoError(t, me.Grant(t.Context(), "p", d6tpipe.Permission{Username: "reader", Role: d6tpipe.RoleRevoke}))
	push("e")
	last := <-seen
	require.ErrorIs(t, last.err, d6tpipe.ErrPermission)
	_, more := <-seen
	require.False(t, more)
	watch.Wait()

	require.NoError(t, me.Grant(t.Context(), "p", d6tpipe.Permission{Username: "reader", Role: d6tpipe.RoleRead}))
	p := r.open(reader, "p")
	for c, err := range p.Watch(ctx, d6tpipe.WatchOptions{}) {
		require.NoError(t, err)
		require.Equal(t, "e", c.Key)
		cancel()
	}
}

// TestWatchLeavesNamesOut: names that cannot be used keep nobody from following the feed: the
// others are told of, no file is gone for them, and that they are there is told once.
func TestWatchLeavesNamesOut(t *testing.T) {
	s := newScheduled(t)
	scans := time.Hour
	scan := func() {
		scans += time.Hour // another schedule begins with a scan
		require.Equal(t, d6tpipe.RunDone, s.scan(every(scans)).Last.State)
	}
	handed := func() (n int64) {
		usage, err := s.client.Analytics(t.Context(), "p")
		require.NoError(t, err)
		for _, u := range usage {
			if u.What == "read" {
				n += u.Count
			}
		}
		return n
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watches sync.WaitGroup
	defer watches.Wait()
	defer cancel()
	watch := func(name string) (seen chan string, trouble chan error) {
		seen, trouble = make(chan string), make(chan error, 100)
		o := d6tpipe.WatchOptions{Trouble: func(err error, _ time.Duration) { trouble <- err }}
		o.Consumer = name
		p := s.open(s.client, "p")
		watches.Go(func() {
			for c, err := range p.Watch(ctx, o) {
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case seen <- string(c.Kind) + " " + c.Key:
				case <-ctx.Done():
					return
				}
			}
		})
		return seen, trouble
	}
	partial := func(trouble chan error) {
		err := <-trouble
		require.ErrorIs(t, err, d6tpipe.ErrPartial)
		require.ErrorContains(t, err, "left out: 2")
	}
	s.put("a", "1")
	first, told := watch("first")
	require.Equal(t, "new a", <-first)
	s.put("A", "some systems cannot have both")
	scan()
	partial(told)
	second, toldToo := watch("second") // begins with a listing that has such names
	partial(toldToo)
	before := handed()
	s.put("b", "1")
	scan()
	require.Equal(t, "new b", <-first)
	require.Equal(t, "new b", <-second)
	s.put("c", "1")
	s.remove("A")
	scan()
	require.Equal(t, "new c", <-first, "a is what it was")
	require.Equal(t, "new a", <-second)
	require.Equal(t, "new c", <-second)
	require.Equal(t, before, handed(), "nobody has asked for keys of the storage")
	require.Empty(t, told)
	require.Empty(t, toldToo)
}

// TestChangesByFeed: programs that process changes, on several machines, leave their
// loops anywhere, while files come and go, and changes of the feed go too early. All of them have seen the latest state of each file at last.
func TestChangesByFeed(t *testing.T) {
	rounds := 15
	if os.Getenv("D6TPIPE_PROOF") != "" {
		rounds = 600
	}
	r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key"), ListingAge: time.Millisecond}}
	srv, stop := r.at("127.0.0.1:0")
	defer stop()
	random := rand.New(rand.NewPCG(3, 3))
	me := r.user("me")
	_, err := me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	mine := r.open(me, "p")
	state := map[string]int64{} // key and size
	edit := func() {
		var gone []string
		for range 1 + random.IntN(4) {
			key := fmt.Sprintf("f%d", random.IntN(8))
			if _, ok := state[key]; ok && random.IntN(3) == 0 {
				gone = append(gone, key)
				delete(state, key)
				continue
			}
			gone = slices.DeleteFunc(gone, func(k string) bool { return k == key })
			text := make([]byte, 1+random.IntN(5000))
			state[key] = int64(len(text))
			write(t, mine, key, string(text))
		}
		if len(gone) > 0 {
			require.NoError(t, mine.DeleteRemote(t.Context(), d6tpipe.DeleteOptions{Files: gone}))
			for _, key := range gone {
				_ = os.Remove(filepath.Join(mine.Dir(), key))
			}
		}
		_, err := mine.Push(t.Context(), d6tpipe.PushOptions{})
		require.NoError(t, err)
	}
	consumers := make([]consumer, 3)
	for i := range consumers {
		consumers[i] = consumer{pipe: r.open(r.machine("me"), "p"), files: map[string]int64{}}
	}
	for range rounds {
		edit()
		if random.IntN(5) == 0 {
			require.NoError(t, srv.ForgetChanges(t.Context()))
		}
		for i := range consumers {
			if random.IntN(3) > 0 {
				require.NoError(t, consumers[i].run(t.Context(), random.IntN(8), d6tpipe.ChangesOptions{Force: true, Fresh: random.IntN(6) == 0}))
			}
		}
	}
	for i := range consumers {
		require.Eventually(t, func() bool { // the server looks when its last look is too old
			require.NoError(t, consumers[i].run(t.Context(), 0, d6tpipe.ChangesOptions{Force: true}))
			return maps.Equal(state, consumers[i].files)
		}, patience, 20*time.Millisecond)
	}
}

// A consumer keeps what it was told.
type consumer struct {
	pipe  *d6tpipe.Pipe
	files map[string]int64
}

// run leaves the loop at a change; 0 is none.
func (c *consumer) run(ctx context.Context, leave int, o d6tpipe.ChangesOptions) error {
	for change, err := range c.pipe.Changes(ctx, o) {
		if err != nil {
			return errors.Join(err)
		}
		if leave--; leave == 0 {
			return nil
		}
		if change.Kind == d6tpipe.ChangeGone {
			delete(c.files, change.Key)
			continue
		}
		c.files[change.Key] = change.File.Size
	}
	return nil
}
