package sftp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp/sftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// The types of packets that the tests look for.
const (
	version = 2
	status  = 101
	handle  = 102
	data    = 103
	name    = 104
	attrs   = 105
)

// no is a status packet that answers another.
func no(packet []byte, code uint32) []byte {
	p := append([]byte{status}, packet[1:5]...)
	p = binary.BigEndian.AppendUint32(p, code)
	return append(p, 0, 0, 0, 0, 0, 0, 0, 0)
}

func fastRetry(store storage.Store) storage.Store {
	return storage.Retry(store, storage.RetryPolicy{Attempts: 20, First: 10 * time.Millisecond, Longest: 100 * time.Millisecond})
}

// TestSessionsKilled kills the server's processes in the middle of reads, writes
// and listings; a retry goes on with what follows.
func TestSessionsKilled(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t)
	store := open(t, overSSHD(t, s))
	content := storagetest.Bytes(1, 20<<20)
	obj := storagetest.Put(t, store, "folder/a", content)

	r, err := store.Open(t.Context(), obj, 0, -1)
	require.NoError(t, err)
	_, err = io.ReadFull(r, make([]byte, 1000))
	require.NoError(t, err)
	s.KillSessions()
	_, err = io.Copy(io.Discard, r)
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.NoError(t, r.Close())
	require.True(t, bytes.Equal(content, storagetest.Get(t, store, obj)), "the next call has a connection of its own")

	kill := &killer{r: bytes.NewReader(content), at: 10 << 20, kill: s.KillSessions}
	_, err = store.Put(t.Context(), "folder/b", kill, int64(len(content)), storage.Cond{})
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.Equal(t, []string{"folder/a"}, storagetest.Keys(storagetest.List(t, store, "")))
	storagetest.Put(t, store, "folder/c", nil)
	require.Eventually(t, func() bool {
		names, err := filepath.Glob(filepath.Join(s.Dir, "*", "folder", ".*"))
		return err == nil && len(names) == 0
	}, time.Minute, time.Millisecond, "the next Put removes what the connection left")

	kill = &killer{r: bytes.NewReader(content), at: 10 << 20, kill: s.KillSessions}
	put, err := fastRetry(store).Put(t.Context(), "folder/b", kill, int64(len(content)), storage.Cond{})
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, storagetest.Get(t, store, put)))

	s.Kill()
	for range 2 {
		_, err = store.Stat(t.Context(), "folder/a")
		require.ErrorIs(t, err, storage.ErrTemporary, "nobody listens")
	}
}

// killer calls kill when so many bytes have been read, once.
type killer struct {
	r    *bytes.Reader
	at   int64
	kill func()
}

func (k *killer) Read(p []byte) (int, error) {
	if k.kill != nil && k.r.Size()-int64(k.r.Len()) >= k.at {
		k.kill()
		k.kill = nil
	}
	return k.r.Read(p)
}

func (k *killer) Seek(off int64, whence int) (int64, error) { return k.r.Seek(off, whence) }

// calls are all that a Store can be asked.
func calls(store storage.Store) map[string]func(context.Context) error {
	one := strings.NewReader("x")
	m := storage.MultipartOf(store)
	u := storage.Upload{Key: "a", ID: strings.Repeat("0", 32), Size: 1, PartSize: 1}
	return map[string]func(context.Context) error{
		"list": func(ctx context.Context) error { _, err := storage.Collect(ctx, store, ""); return err },
		"stat": func(ctx context.Context) error { _, err := store.Stat(ctx, "a"); return err },
		"open": func(ctx context.Context) error {
			_, err := store.Open(ctx, storage.Object{Key: "a"}, 0, -1)
			return err
		},
		"open tag": func(ctx context.Context) error {
			_, err := store.Open(ctx, storage.Object{Key: "a", Tag: "1-1"}, 0, -1)
			return err
		},
		"put":     func(ctx context.Context) error { _, err := store.Put(ctx, "a", one, 1, storage.Cond{}); return err },
		"remove":  func(ctx context.Context) error { return store.Remove(ctx, "a") },
		"begin":   func(ctx context.Context) error { _, err := m.Begin(ctx, "a", 1, 1); return err },
		"arrived": func(ctx context.Context) error { _, err := m.Arrived(ctx, u); return err },
		"send":    func(ctx context.Context) error { _, err := m.Send(ctx, u, 0, one, 1); return err },
		"finish":  func(ctx context.Context) error { _, err := m.Finish(ctx, u, nil, storage.Cond{}); return err },
		"abort":   func(ctx context.Context) error { return m.Abort(ctx, u) },
	}
}

// TestSilentServers cancels calls to servers that stop at some point of the way.
func TestSilentServers(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{}, 1)
	signal := func() {
		select {
		case reached <- struct{}{}:
		default:
		}
	}
	swallow := func(net net.Conn) { signal(); _, _ = io.Copy(io.Discard, net) }
	mute := func(first byte) func([]byte) []byte {
		return func(packet []byte) []byte {
			if packet[0] < first {
				return packet
			}
			signal()
			return nil
		}
	}
	for name, config := range map[string]sftptest.LocalConfig{
		"no SSH":  {Greet: swallow},
		"no SFTP": {Password: "secret", Answer: mute(version)},
		"answers": {Password: "secret", Answer: mute(version + 1)},
	} {
		l := sftptest.StartLocal(t, config)
		opts := overLocal(t, l)
		opts.Password = "secret"
		for call, run := range calls(open(t, opts)) {
			select {
			case <-reached: // by what the last call left
			default:
			}
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan error, 1)
			go func() { result <- run(ctx) }()
			select {
			case <-reached:
			case err := <-result:
				t.Fatalf("%s, %s: nobody was asked: %v", name, call, err)
			}
			cancel()
			select {
			case err := <-result:
				require.ErrorIs(t, err, context.Canceled, "%s, %s", name, call)
			case <-time.After(time.Minute):
				t.Fatalf("%s, %s: hangs", name, call)
			}
		}
	}
}

// TestStuckConnection: one that stays silent after a call was given up is replaced.
func TestStuckConnection(t *testing.T) {
	t.Parallel()
	var silent atomic.Bool
	asked := make(chan struct{}, 100)
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
		if !silent.Load() || packet[0] == version {
			return packet
		}
		asked <- struct{}{}
		return nil
	}})
	opts := overLocal(t, l)
	opts.Connections = 1
	store := open(t, opts)
	storagetest.Put(t, store, "a", nil)
	silent.Store(true)
	other := make(chan error, 1)
	go func() {
		_, err := store.Stat(t.Context(), "a")
		other <- err
	}()
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	_, err := store.Stat(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, <-other, storage.ErrTemporary, "it shares the connection, and must not wait for ever")
	silent.Store(false)
	_, err = store.Stat(t.Context(), "a")
	require.NoError(t, err)
	require.EqualValues(t, 2, l.Opened.Load())
}

// TestCanceledCallsKeepTheConnection: while the server answers, a call that is
// given up costs nobody else anything.
func TestCanceledCallsKeepTheConnection(t *testing.T) {
	t.Parallel()
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	opts := overLocal(t, l)
	opts.Connections = 1
	store := open(t, opts)
	obj := storagetest.Put(t, store, "a", storagetest.Bytes(1, 4<<20))
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*10)*time.Microsecond)
		if r, err := store.Open(ctx, obj, 0, -1); err == nil {
			_, err = io.Copy(io.Discard, r)
			require.NoError(t, r.Close())
			require.True(t, err == nil || errors.Is(err, context.DeadlineExceeded), "%v", err)
		}
		cancel()
	}
	require.Len(t, storagetest.Get(t, store, obj), 4<<20)
	require.Less(t, l.Opened.Load(), int64(10), "one that is silent for seconds is replaced")
	require.Eventually(t, func() bool { return timesOpen(filepath.Join(opts.Root, "a")) <= 1 }, time.Minute, time.Millisecond, "files that nobody wants any more are closed")
}

// timesOpen is how often this process has a file open.
func timesOpen(file string) (n int) {
	handles, _ := filepath.Glob("/proc/self/fd/*") // the pattern is good
	for _, fd := range handles {
		if target, err := os.Readlink(fd); err == nil && target == file {
			n++
		}
	}
	return n
}

// TestBrokenListing breaks a listing of some folders in every way: never is what
// came until then taken for all.
func TestBrokenListing(t *testing.T) {
	t.Parallel()
	for fault, spoil := range map[string]func(l *sftptest.Local, packet []byte) []byte{
		"permission":   func(_ *sftptest.Local, p []byte) []byte { return no(p, 3) },
		"failure":      func(_ *sftptest.Local, p []byte) []byte { return no(p, 4) },
		"not found":    func(_ *sftptest.Local, p []byte) []byte { return no(p, 2) },
		"unsupported":  func(_ *sftptest.Local, p []byte) []byte { return no(p, 8) },
		"lost":         func(_ *sftptest.Local, p []byte) []byte { return no(p, 7) },
		"success":      func(_ *sftptest.Local, p []byte) []byte { return no(p, 0) },
		"cut":          func(_ *sftptest.Local, p []byte) []byte { return p[:len(p)-3] },
		"other type":   func(_ *sftptest.Local, p []byte) []byte { p[0] = data; return p },
		"other id":     func(_ *sftptest.Local, p []byte) []byte { p[1] ^= 0x40; return p },
		"endless":      func(_ *sftptest.Local, p []byte) []byte { return binary.BigEndian.AppendUint32(p[:5], 1<<31) },
		"too long":     func(_ *sftptest.Local, p []byte) []byte { return append(p, make([]byte, 2<<20)...) },
		"disconnect":   func(l *sftptest.Local, p []byte) []byte { l.Break(); return nil },
		"session ends": func(l *sftptest.Local, p []byte) []byte { l.EndSessions(); return nil },
	} {
		for _, nth := range []int64{1, 2, 3} {
			t.Run(fmt.Sprint(fault, nth), func(t *testing.T) {
				var count atomic.Int64
				var on atomic.Bool
				var l *sftptest.Local
				l = sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
					if on.Load() && packet[0] == name && count.Add(1) == nth {
						return spoil(l, packet)
					}
					return packet
				}})
				store := open(t, overLocal(t, l))
				for i := range 30 {
					storagetest.Put(t, store, fmt.Sprintf("folder%d/%d", i%3, i), nil)
				}
				on.Store(true)
				listing, err := storage.Collect(t.Context(), store, "")
				require.Error(t, err)
				require.False(t, listing.Complete())
				require.NotErrorIs(t, err, fs.ErrNotExist)
				if strings.Contains("disconnect session ends lost", fault) {
					require.ErrorIs(t, err, storage.ErrTemporary)
				}
				if fault == "permission" {
					require.ErrorIs(t, err, fs.ErrPermission)
				}
			})
		}
	}
}

// TestForbiddenFolder: the folder that may not be opened is an error, the one that
// is gone is not.
func TestForbiddenFolder(t *testing.T) {
	t.Parallel()
	var code atomic.Uint32
	var handles atomic.Int64
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
		if packet[0] == handle && code.Load() != 0 && handles.Add(1) == 2 {
			return no(packet, code.Load())
		}
		return packet
	}})
	store := open(t, overLocal(t, l))
	storagetest.Put(t, store, "a", nil)
	storagetest.Put(t, store, "folder/b", nil)
	code.Store(3)
	listing, err := storage.Collect(t.Context(), store, "")
	require.ErrorIs(t, err, fs.ErrPermission)
	require.False(t, listing.Complete())
	code.Store(2)
	handles.Store(0)
	require.Equal(t, []string{"a"}, storagetest.Keys(storagetest.List(t, store, "")))
}

// TestHostileNames has a server that lists names which no file can have.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	for planted, refused := range map[string]bool{
		"../../x": false, "/etc/pw": false, "a/b/c/d": false, "folder/": false, "\x00bcdefg": false,
		"a\nbcdef": true, "a\x1b[2Jbc": true, `..\..\x`: true, "C:evil1": true, "\xff\xfe\xfdabcd": true,
	} {
		t.Run(fmt.Sprintf("%q", planted), func(t *testing.T) {
			plain := "plain01"
			l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
				if packet[0] == name {
					return bytes.ReplaceAll(packet, []byte(plain), []byte(planted)[:len(plain)])
				}
				return packet
			}})
			store := open(t, overLocal(t, l))
			storagetest.Put(t, store, "good", nil)
			storagetest.Put(t, store, plain, nil)
			listing, err := storage.Collect(t.Context(), store, "")
			if refused {
				require.NoError(t, err)
				require.Equal(t, []string{"good"}, storagetest.Keys(listing))
				require.Len(t, listing.Refused, 1)
				return
			}
			require.Error(t, err)
			require.False(t, listing.Complete(), "who lies about one name cannot be trusted with the others")
			require.NotErrorIs(t, err, storage.ErrTemporary)
		})
	}
}

// TestNamesOnly: some servers list names, and no more.
func TestNamesOnly(t *testing.T) {
	t.Parallel()
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
		if packet[0] != name {
			return packet
		}
		out := bytes.Clone(packet[:9])
		rest := packet[9:]
		for range binary.BigEndian.Uint32(packet[5:]) {
			n := 4 + binary.BigEndian.Uint32(rest)
			long := n + 4 + binary.BigEndian.Uint32(rest[n:])
			out = append(out, rest[:long]...)
			out = binary.BigEndian.AppendUint32(out, 0)
			rest = rest[long:]
			flags := binary.BigEndian.Uint32(rest)
			size := 4 + 8*(flags&1) + 4*(flags&2) + (flags & 4) + (flags & 8)
			if flags>>31 != 0 {
				panic("extended attributes")
			}
			rest = rest[size:]
		}
		return out
	}})
	store := open(t, overLocal(t, l))
	obj := storagetest.Put(t, store, "folder/a", []byte("hello"))
	require.Equal(t, []storage.Object{obj}, storagetest.List(t, store, "").Objects())
}

// TestNoKind: a file of which the server does not say what it is cannot be left
// out of a listing.
func TestNoKind(t *testing.T) {
	t.Parallel()
	var on atomic.Bool
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
		if on.Load() && (packet[0] == name || packet[0] == attrs) {
			return bytes.ReplaceAll(packet, []byte{0, 0, 0x81, 0xa4}, []byte{0, 0, 0x01, 0xa4}) // 0100644
		}
		return packet
	}})
	opts := overLocal(t, l)
	store := open(t, opts)
	storagetest.Put(t, store, "a", nil)
	require.NoError(t, os.Chmod(filepath.Join(opts.Root, "a"), 0o644))
	on.Store(true)
	listing, err := storage.Collect(t.Context(), store, "")
	require.ErrorContains(t, err, "does not tell")
	require.False(t, listing.Complete())
}

// TestShortReads: a server may send less than it was asked for.
func TestShortReads(t *testing.T) {
	t.Parallel()
	var count atomic.Int64
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
		n := binary.BigEndian.Uint32(packet[5:])
		if packet[0] != data || n < 2 || count.Add(1)%3 != 0 {
			return packet
		}
		binary.BigEndian.PutUint32(packet[5:], n/2)
		return packet[:9+n/2]
	}})
	store := open(t, overLocal(t, l))
	content := storagetest.Bytes(1, 3<<20+17)
	obj := storagetest.Put(t, store, "a", content)
	require.True(t, bytes.Equal(content, storagetest.Get(t, store, obj)))
	require.True(t, bytes.Equal(content, storagetest.Get(t, store, storage.Object{Key: "a"})))
	require.Greater(t, count.Load(), int64(100))
}

// TestLyingReads: more bytes than asked for, none at all, an end that comes early.
func TestLyingReads(t *testing.T) {
	t.Parallel()
	for fault, spoil := range map[string]func([]byte) []byte{
		"more": func(p []byte) []byte {
			binary.BigEndian.PutUint32(p[5:], binary.BigEndian.Uint32(p[5:])+1)
			return append(p, 'x')
		},
		"none":  func(p []byte) []byte { return append(p[:5], 0, 0, 0, 0) },
		"end":   func(p []byte) []byte { return no(p, 1) },
		"cut":   func(p []byte) []byte { return p[:len(p)-1] },
		"full":  func(p []byte) []byte { return no(p, 4) },
		"fatal": func(p []byte) []byte { return no(p, 3) },
	} {
		l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
			if packet[0] == data {
				return spoil(packet)
			}
			return packet
		}})
		store := open(t, overLocal(t, l))
		obj := storagetest.Put(t, store, "a", storagetest.Bytes(1, 1000))
		r, err := store.Open(t.Context(), obj, 0, -1)
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.Error(t, err, fault)
		require.Equal(t, fault == "end", errors.Is(err, storage.ErrChanged), "%s: %v", fault, err)
		require.NoError(t, r.Close())
	}
}

// TestFewExtensions has a real server that cannot rename over a file, nor sync.
func TestFewExtensions(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t, "posix-rename", "fsync", "limits")
	storagetest.Run(t, func(t *testing.T) storage.Store { return fresh(t, overSSHD(t, s)) })
}

// TestMovedAside: where a file must make room for the new one and that cannot take
// its place, the old one comes back.
func TestMovedAside(t *testing.T) {
	t.Parallel()
	s := sftptest.Start(t, "posix-rename")
	opts := overSSHD(t, s)
	stop := make(chan struct{})
	opts.Root = filepath.Join(opts.Root, "r")
	require.NoError(t, os.Mkdir(opts.Root, 0o755))
	store := open(t, opts)
	storagetest.Put(t, store, "a", []byte("old"))
	var group sync.WaitGroup
	group.Go(func() { // it takes the name in the moment when it is free
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.Mkdir(filepath.Join(opts.Root, "a"), 0o755) // mostly there is a file
			}
		}
	})
	defer group.Wait()
	defer close(stop)
	for i := range 200 {
		_, err := store.Put(t.Context(), "a", strings.NewReader("new"), 3, storage.Cond{})
		if err == nil {
			continue
		}
		old, err := filepath.Glob(filepath.Join(opts.Root, ".d6tpipe-old-*"))
		require.NoError(t, err)
		require.Len(t, old, 1, "after %d tries: the data are there, under a name that is listed", i)
		listing, err := storage.Collect(t.Context(), store, "")
		require.NoError(t, err)
		require.Len(t, listing.Refused, 1)
		return
	}
}

// TestLessThanHello: what is no SFTP server at all.
func TestLessThanHello(t *testing.T) {
	t.Parallel()
	for fault, answer := range map[string]func([]byte) []byte{
		"version 2": func(p []byte) []byte { p[4] = 2; return p },
		"no hello":  func(p []byte) []byte { p[0] = status; return p },
		"cut":       func(p []byte) []byte { return p[:len(p)-1] },
	} {
		l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: answer})
		_, err := open(t, overLocal(t, l)).Stat(t.Context(), "a")
		require.ErrorContains(t, err, "makes no sense", fault)
		require.NotErrorIs(t, err, storage.ErrTemporary)
	}
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Greet: func(c net.Conn) { _, _ = c.Write([]byte("220 FTP here\r\n")) }})
	opts := overLocal(t, l)
	opts.Password = "secret"
	_, err := open(t, opts).Stat(t.Context(), "a")
	require.Error(t, err)
}

// TestConnections: a second connection comes when the first is busy, and no more
// than allowed.
func TestConnections(t *testing.T) {
	t.Parallel()
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	opts := overLocal(t, l)
	opts.Connections = 3
	store := open(t, opts)
	obj := storagetest.Put(t, store, "a", storagetest.Bytes(1, 1000))
	for range 10 {
		storagetest.Get(t, store, obj)
	}
	require.EqualValues(t, 1, l.Opened.Load())
	var readers []io.ReadCloser
	require.Eventually(t, func() bool {
		r, err := store.Open(t.Context(), obj, 0, -1)
		require.NoError(t, err)
		readers = append(readers, r)
		return l.Opened.Load() == 3
	}, time.Minute, time.Millisecond)
	for range 50 {
		storagetest.Get(t, store, obj)
	}
	require.EqualValues(t, 3, l.Opened.Load())
	for _, r := range readers {
		require.NoError(t, r.Close())
	}
}

// TestPutFails lets the server refuse each step of a Put that replaces a file, on
// a server that does not say that it can rename over one: there always is a whole
// file, old or new.
func TestPutFails(t *testing.T) {
	t.Parallel()
	for nth := int64(1); ; nth++ {
		var count atomic.Int64
		count.Store(-1 << 40)
		l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
			switch {
			case packet[0] == version:
				return packet[:5] // without the extensions
			case packet[0] == status && count.Add(1) == nth:
				return no(packet, 4)
			}
			return packet
		}})
		store := open(t, overLocal(t, l))
		storagetest.Put(t, store, "a", []byte("old"))
		count.Store(0)
		_, err := store.Put(t.Context(), "a", strings.NewReader("new"), 3, storage.Cond{})
		got := string(storagetest.Get(t, store, storage.Object{Key: "a"}))
		require.Contains(t, []string{"old", "new"}, got, nth)
		if err == nil && count.Load() < nth {
			require.Greater(t, nth, int64(4))
			return
		}
	}
}

// TestRootVanishes: when the root goes in the middle of a listing, its folders
// have not just been removed.
func TestRootVanishes(t *testing.T) {
	t.Parallel()
	var handles atomic.Int64
	var root atomic.Value
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Answer: func(packet []byte) []byte {
		if path, ok := root.Load().(string); ok && packet[0] == handle && handles.Add(1) == 2 {
			_ = os.RemoveAll(path) // the listing shows it
			return no(packet, 2)
		}
		return packet
	}})
	opts := overLocal(t, l)
	store := open(t, opts)
	storagetest.Put(t, store, "a", nil)
	storagetest.Put(t, store, "folder/b", nil)
	root.Store(opts.Root)
	listing, err := storage.Collect(t.Context(), store, "")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.False(t, listing.Complete())
}
