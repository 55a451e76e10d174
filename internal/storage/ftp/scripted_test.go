package ftp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// TestPassiveHost: a server that names another host for the data gets them from its
// own, and the other sees nobody.
func TestPassiveHost(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.set("/a", "hello", time.Hour)
	script := m.script()
	script.On = func(verb, arg string) string {
		if verb == "EPSV" {
			return "500 what?"
		}
		return m.on(verb, arg)
	}
	var mu sync.Mutex
	var others []net.Listener
	var accepted atomic.Int32
	var group sync.WaitGroup
	script.Passive = func(port int) string {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.2:%d", port))
		if err == nil {
			mu.Lock()
			others = append(others, l)
			mu.Unlock()
			group.Go(func() {
				if _, err := l.Accept(); err == nil {
					accepted.Add(1)
				}
			})
		}
		return "127,0,0,2"
	}
	store := open(t, ftp.Options{Host: script.Start(t).Addr, Connections: 1})
	require.Equal(t, "hello", string(storagetest.Get(t, store, storage.Object{Key: "a"})))
	require.Len(t, storagetest.List(t, store, "").Objects(), 1)
	mu.Lock()
	defer mu.Unlock()
	require.NotEmpty(t, others)
	for _, l := range others {
		require.NoError(t, l.Close())
	}
	group.Wait()
	require.Zero(t, accepted.Load())
}

// TestListFormats: what MLSD and LIST may look like, and what must not pass for a
// listing.
func TestListFormats(t *testing.T) {
	t.Parallel()
	self := "drwxr-xr-x 2 a b 0 Nov 23 12:00 .\r\n"
	for name, c := range map[string]struct {
		mlsd bool
		text string
		end  string
		want []string // "key size"; nil for an error
	}{
		"unix":                {text: self + "total 3\r\n-rw-r--r--   1 user  group   1234 Jan  5  2020 a b.csv\r\n-rw-r--r--+ 1 user group 0 Nov  3 23:50  lead\r\n", want: []string{" lead 0", "a b.csv 1234"}},
		"unix, no group":      {text: self + "-rw-r--r-- 1 user 77 Jan  5  2020 x\n", want: []string{"x 77"}},
		"unix, iso":           {text: self + "-rw-r--r-- 1 user group 77 2020-01-05 10:11 x\r\n", want: []string{"x 77"}},
		"links and devices":   {text: self + "lrwxrwxrwx 1 a b 4 Jan  5  2020 l -> x\r\ncrw-r--r-- 1 a b 8, 0 Jan  5  2020 null\r\n-rw-r--r-- 1 a b 4 Jan  5  2020 n -> x\r\n", want: []string{"n -> x 4"}},
		"a file called total": {text: self + "-rw-r--r-- 1 a b 4 Jan  5  2020 total 3\r\n", want: []string{"total 3 4"}},
		"dos":                 {text: "05-20-26  03:19PM                 12 a b.txt\r\n10-19-2020  03:19AM   7 c\r\n01-02-26  11:00 9 d\r\n", want: []string{"a b.txt 12", "c 7", "d 9"}},
		"mlsd": {mlsd: true, text: "Type=cdir;Modify=20200101000000; .\r\ntype=file;SIZE=5;modify=20200101000000.123;UNIX.mode=0644; a b\r\ntype=OS.unix=slink:/x;size=3; l\r\nType=pdir; ..\r\n",
			want: []string{"a b 5"}},
		"empty mlsd":           {mlsd: true, want: []string{}},
		"mlsd without a size":  {mlsd: true, text: "type=file;modify=20200101000000; a\r\n"},
		"mlsd without a type":  {mlsd: true, text: "size=5;modify=20200101000000; a\r\n"},
		"mlsd, bad time":       {mlsd: true, text: "type=file;size=5;modify=yesterday; a\r\n"},
		"mlsd, no name":        {mlsd: true, text: "type=file;size=5;\r\n"},
		"mlsd, negative":       {mlsd: true, text: "type=file;size=-5;modify=20200101000000; a\r\n"},
		"not a listing":        {text: self + "<html>hello</html>\r\n"},
		"one odd line":         {text: self + "-rw-r--r-- 1 a b 4 Jan  5  2020 x\r\n-rw-r--r-- 1 a b 4 Januar 5 2020 y\r\n"},
		"a line cut off":       {text: self + "-rw-r--r-- 1 a b 4 Jan  5  2020 xyz"},
		"a very long line":     {text: self + strings.Repeat("x", 70_000) + "\r\n"},
		"truncated":            {text: self + "-rw-r--r-- 1 a b 4 Jan  5  2020 x\r\n", end: "226-Output truncated to 1 matches\r\n226 1 matches total"},
		"not opened":           {text: "", end: "226 Transfer done (but failed to open directory)."},
		"truncated mlsd":       {mlsd: true, text: "type=file;size=5;modify=20200101000000; a\r\n", end: "226 Output truncated to 1 matches"},
		"aborted":              {text: self, end: "426 Connection closed"},
		"cut":                  {text: self + "-rw-r--r-- 1 a b 4 Jan  5  2020 x\r\n", end: ftptest.Cut},
		"refused in the end":   {text: self, end: "550 no"},
		"a number out of hand": {text: self + "-rw-r--r-- 1 a b 99999999999999999999 Jan  5  2020 x\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := &ftptest.Script{Features: []string{"EPSV"}}
			if c.mlsd {
				script.Features = append(script.Features, "MLST type*;size*;modify*;")
			}
			script.Data = func(string, string, int64) string { return c.text }
			script.End = func(verb, _ string) string { return c.end }
			store := open(t, ftp.Options{Host: script.Start(t).Addr})
			l, err := storage.Collect(t.Context(), store, "")
			if c.want == nil {
				require.Error(t, err)
				require.False(t, l.Complete())
				return
			}
			require.NoError(t, err)
			got := []string{}
			for _, o := range l.Objects() {
				got = append(got, fmt.Sprint(o.Key, " ", o.Size))
			}
			require.Equal(t, c.want, got)
		})
	}
}

// TestDots: a folder that has itself or the one above in it as if they were any other
// does not make the listing endless, nor lead it out of the root. One that goes on to
// have folders in it is left where no key could lead.
func TestDots(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("d", 200)
	for _, folders := range [][]string{{"."}, {".."}, {".", ".."}, {deep}} {
		script := &ftptest.Script{Features: []string{"EPSV", "MLST type*;size*;modify*;"}}
		script.Data = func(string, string, int64) string {
			text := "type=file;size=5;modify=20200101000000; a\r\n"
			for _, folder := range folders {
				text += "type=dir;modify=20200101000000; " + folder + "\r\n"
			}
			return text
		}
		ctx, cancel := context.WithCancel(t.Context())
		var entered atomic.Int32
		script.On = func(verb, arg string) string {
			if verb == "CWD" && (entered.Add(1) > 10 || !strings.HasPrefix(arg, "/data/in")) {
				cancel()
			}
			return ""
		}
		store := open(t, ftp.Options{Host: script.Start(t).Addr, Root: "/data/in", Connections: 1})
		l, err := storage.Collect(ctx, store, "")
		cancel()
		require.NoError(t, err, folders)
		if folders[0] != deep {
			require.Equal(t, []string{"a"}, storagetest.Keys(l))
			require.Empty(t, l.Refused)
			continue
		}
		require.Len(t, l.Objects(), 6, "1,024 bytes hold five of them and a name")
		require.Len(t, l.Refused, 1)
		require.Equal(t, strings.Repeat(deep+"/", 6), l.Refused[0].Key)
	}
}

// TestNoCloseNotify: over TLS, who cuts a connection does not make a listing complete,
// nor a file of which nobody knows the size.
func TestNoCloseNotify(t *testing.T) {
	t.Parallel()
	cert := ftptest.NewCertificate(t, "127.0.0.1")
	pair, err := tls.X509KeyPair(cert.Cert, cert.Key)
	require.NoError(t, err)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, mute := range []bool{false, true} {
			m := newMemory()
			m.set("/a", "hello", time.Hour)
			script := m.script()
			script.Mute = mute
			script.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: version}
			store := open(t, ftp.Options{Host: script.Start(t).Addr, TLS: ftp.Implicit, CA: cert.CA})
			l, err := storage.Collect(t.Context(), store, "")
			require.Equal(t, mute, errors.Is(err, storage.ErrTemporary), "%v", err)
			require.Equal(t, !mute, l.Complete())
			obj, err := store.Stat(t.Context(), "a")
			require.NoError(t, err)
			require.Equal(t, "hello", string(storagetest.Get(t, store, obj)), "its size is the proof")
			r, err := store.Open(t.Context(), storage.Object{Key: "a"}, 0, -1)
			require.NoError(t, err)
			_, err = io.ReadAll(r)
			require.Equal(t, mute, errors.Is(err, storage.ErrTemporary), "%v", err)
			require.NoError(t, r.Close())
		}
	}
}

// TestHiddenFiles: a server that takes -a for a name is asked again without it.
func TestHiddenFiles(t *testing.T) {
	t.Parallel()
	script := &ftptest.Script{Data: func(_, arg string, _ int64) string {
		if arg == "-a" {
			return ""
		}
		return "-rw-r--r-- 1 a b 4 Jan  5  2020 x\r\n"
	}}
	store := open(t, ftp.Options{Host: script.Start(t).Addr})
	require.Equal(t, []string{"x"}, storagetest.Keys(storagetest.List(t, store, "")))
}

// TestNoMLSD: a server may say that it has MLST and know no MLSD.
func TestNoMLSD(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.set("/x", "abcd", time.Hour)
	script := m.script()
	script.Features = append(script.Features, "MLST type*;size*;modify*;")
	script.On = func(verb, arg string) string {
		if verb == "MLSD" || verb == "MLST" {
			return "502 what?"
		}
		return m.on(verb, arg)
	}
	store := open(t, ftp.Options{Host: script.Start(t).Addr})
	l := storagetest.List(t, store, "")
	require.Equal(t, []string{"x"}, storagetest.Keys(l))
	obj, err := store.Stat(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, l.Objects()[0], obj)
}

// TestNothingButLIST: without MLST, SIZE and MDTM there is still the size and a
// coarse time.
func TestNothingButLIST(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.set("/x", "abcd", 99*24*time.Hour)
	script := m.script()
	script.Features = nil
	script.On = func(verb, arg string) string {
		if verb == "SIZE" || verb == "MDTM" {
			return "500 what?"
		}
		return m.on(verb, arg)
	}
	store := open(t, ftp.Options{Host: script.Start(t).Addr})
	obj := storagetest.List(t, store, "").Objects()[0]
	stat, err := store.Stat(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, obj, stat)
	require.Equal(t, "abcd", string(storagetest.Get(t, store, obj)))
	_, err = store.Stat(t.Context(), "y")
	require.ErrorIs(t, err, fs.ErrNotExist)
	put := storagetest.Put(t, store, "new", []byte("hello"))
	require.Equal(t, "hello", string(storagetest.Get(t, store, put)))
}

// TestFewCommands: a small file is one transfer and one question, and one connection
// serves many.
func TestFewCommands(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.set("/x", "abcd", time.Hour)
	script := m.script()
	crowdInBubble(t, 4, script, func(t *testing.T, store *ftp.Store) {
		obj, err := store.Stat(t.Context(), "x")
		require.NoError(t, err)
		before := len(script.Commands())
		for range 3 {
			storagetest.Get(t, store, obj)
		}
		require.Equal(t, strings.Fields(strings.Repeat("EPSV RETR/x MDTM/x ", 3)), strings.Fields(strings.ReplaceAll(strings.Join(script.Commands()[before:], "\n"), " ", "")))
		_, most := script.Connections()
		require.LessOrEqual(t, most, 2, "control and data")
	})
}

func TestNoREST(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.noREST = true
	m.set("/x", "0123456789", time.Hour)
	store := open(t, ftp.Options{Host: m.script().Start(t).Addr})
	obj, err := store.Stat(t.Context(), "x")
	require.NoError(t, err)
	for _, tag := range []string{obj.Tag, ""} {
		obj.Tag = tag
		r, err := store.Open(t.Context(), obj, 3, 4)
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, errors.Join(err, r.Close()))
		require.Equal(t, "3456", string(data))
	}
}

// TestDeafServer: one that loses what comes too early is asked one by one.
func TestDeafServer(t *testing.T) {
	t.Parallel()
	m := newMemory()
	for i := range 5 {
		m.set(fmt.Sprint("/", i), "abcd", time.Hour)
	}
	script := m.script()
	script.Deaf = true
	store := open(t, ftp.Options{Host: script.Start(t).Addr})
	require.Len(t, storagetest.List(t, store, "").Objects(), 5)
	obj, err := store.Stat(t.Context(), "1")
	require.NoError(t, err)
	require.EqualValues(t, 4, obj.Size)
}

// TestDeafServerPut: what is put to such a server may be read only once.
func TestDeafServerPut(t *testing.T) {
	t.Parallel()
	for _, features := range []string{"", "MLST type*;size*;modify*;"} {
		m := newMemory()
		script := m.script()
		script.Deaf = true
		script.Features = append(script.Features, features) // MLST is one that it does not know
		inBubble(t, script, func(t *testing.T, store *ftp.Store) {
			once := io.LimitReader(strings.NewReader("hello"), 5)
			obj, err := store.Put(t.Context(), "a", once, 5, storage.Cond{})
			require.NoError(t, err)
			require.Equal(t, "hello", string(storagetest.Get(t, store, obj)))
			require.Equal(t, []string{"/a"}, m.names())
		})
	}
}

// TestRename: over a file that exists, where the server does not like it.
func TestRename(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.noOver = true
	m.set("/a", "old", time.Hour)
	store := open(t, ftp.Options{Host: m.script().Start(t).Addr})
	storagetest.Put(t, store, "a", []byte("newer"))
	require.Equal(t, []string{"/a"}, m.names())
	require.Equal(t, "newer", m.get("/a"))
	m.mu.Lock()
	m.noRename = "/a"
	m.mu.Unlock()
	_, err := store.Put(t.Context(), "a", strings.NewReader("x"), 1, storage.Cond{})
	require.ErrorIs(t, err, fs.ErrPermission)
	require.Len(t, m.names(), 1)
	aside := m.names()[0]
	require.True(t, strings.HasPrefix(aside, "/.d6tpipe-old-"), aside)
	require.ErrorContains(t, err, aside[1:], "it says where the old version is")
	require.Equal(t, "newer", m.get(aside))
	requireListed(t, store, aside[1:])
}

// requireListed makes sure that a listing names a file that was left aside.
func requireListed(t *testing.T, store storage.Store, name string) {
	t.Helper()
	l, err := storage.Collect(t.Context(), store, "")
	require.NoError(t, err)
	require.Len(t, l.Refused, 1)
	require.Equal(t, name, l.Refused[0].Key)
}

// TestRenameFails: the old version is back when the new one cannot take its place.
func TestRenameFails(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.noOver = true
	m.set("/a", "old", time.Hour)
	script := m.script()
	var moves atomic.Int32
	script.On = func(verb, arg string) string {
		if verb == "RNTO" && arg == "/a" && moves.Add(1) == 2 {
			return "550 no"
		}
		return m.on(verb, arg)
	}
	store := open(t, ftp.Options{Host: script.Start(t).Addr})
	_, err := store.Put(t.Context(), "a", strings.NewReader("newer"), 5, storage.Cond{})
	require.Error(t, err)
	require.Equal(t, []string{"/a"}, m.names())
	require.Equal(t, "old", m.get("/a"))
}

// TestAsideIsNotSwept: a client that dies between the two renames leaves the old
// version, which nobody removes however old it is.
func TestAsideIsNotSwept(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.noOver = true
	m.set("/a", "the only copy", 48*time.Hour)
	script := m.script()
	var moves atomic.Int32
	script.On = func(verb, arg string) string {
		if verb == "RNTO" && arg == "/a" && moves.Add(1) >= 2 || verb == "DELE" && moves.Load() == 3 {
			return ftptest.Cut // and nothing more is heard of the client
		}
		return m.on(verb, arg)
	}
	addr := script.Start(t).Addr
	_, err := open(t, ftp.Options{Host: addr}).Put(t.Context(), "a", strings.NewReader("newer"), 5, storage.Cond{})
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.EqualValues(t, 3, moves.Load(), "it was to be moved back")
	moves.Store(100)
	m.set("/.d6tpipe-tmp-"+strings.Repeat("a", 24), "stray", 48*time.Hour)
	other := open(t, ftp.Options{Host: addr})
	storagetest.Put(t, other, "b", []byte("b"))
	left := slices.DeleteFunc(m.names(), func(name string) bool { return m.get(name) != "the only copy" })
	require.Len(t, left, 1, "%v", m.names())
	require.ErrorContains(t, err, left[0][1:])
	requireListed(t, other, left[0][1:])
	require.NotContains(t, m.names(), "/.d6tpipe-tmp-"+strings.Repeat("a", 24), "the folder was swept")
}

// TestSweepWhileAside: another client's first Put comes between the two renames.
func TestSweepWhileAside(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.noOver = true
	m.set("/a", "the only copy", 48*time.Hour)
	script := m.script()
	var addr string
	var moves atomic.Int32
	script.On = func(verb, arg string) string {
		if verb == "RNTO" && arg == "/a" && moves.Add(1) == 2 {
			storagetest.Put(t, open(t, ftp.Options{Host: addr}), "b", []byte("b"))
			return "550 no"
		}
		return m.on(verb, arg)
	}
	addr = script.Start(t).Addr
	_, err := open(t, ftp.Options{Host: addr}).Put(t.Context(), "a", strings.NewReader("newer"), 5, storage.Cond{})
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ElementsMatch(t, []string{"/a", "/b"}, m.names())
	require.Equal(t, "the only copy", m.get("/a"))
}

// TestMovedBack: when an answer gets lost while the old version is aside, it is moved
// back over another connection, be it the only one or the context at its end.
func TestMovedBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verb   string // that gets no answer
		nth    int32
		before bool // it was not done either
	}{"not aside": {"RNFR", 2, true}, "aside": {"RNTO", 2, false}, "not in place": {"RNTO", 3, true}} {
		for _, canceled := range []bool{false, true} {
			t.Run(fmt.Sprint(name, canceled), func(t *testing.T) {
				t.Parallel()
				m := newMemory()
				m.noOver = true
				m.set("/a", "old", time.Hour)
				var cancel func()
				script := m.script()
				var count atomic.Int32
				script.On = func(verb, arg string) string {
					if verb != c.verb || count.Add(1) != c.nth {
						return m.on(verb, arg)
					}
					if !c.before {
						m.on(verb, arg)
					}
					if canceled {
						cancel()
						return ftptest.Hang
					}
					return ftptest.Cut
				}
				inBubble(t, script, func(t *testing.T, store *ftp.Store) { // the time for it is short
					var ctx context.Context
					ctx, cancel = context.WithCancel(t.Context())
					defer cancel()
					_, err := store.Put(ctx, "a", strings.NewReader("newer"), 5, storage.Cond{})
					require.Error(t, err)
					require.Equal(t, canceled, errors.Is(err, context.Canceled), "%v", err)
				})
				require.Equal(t, []string{"/a"}, m.names())
				require.Equal(t, "old", m.get("/a"))
			})
		}
	}
}

// TestTags: no two versions of one second have the same tag, also when there was another
// one between them, or one of another size.
func TestTags(t *testing.T) {
	t.Parallel()
	for _, stamps := range []string{"MFMT", "MDTM", ""} {
		for _, versions := range [][]string{{"v1", "v2", "v3", "v4"}, {"v1", "longer", "v3"}, {"v1", "v2", "", "v4"}, {"v1", "v2", "", "", "v5"}} {
			m := newMemory()
			m.stamps = stamps
			script := m.script()
			script.Features = append(script.Features, stamps)
			begin := m.now
			inBubble(t, script, func(t *testing.T, store *ftp.Store) {
				before := map[string]string{}
				for _, v := range versions {
					if stamps != "" {
						m.now = begin
					}
					obj := storagetest.Put(t, store, "a", []byte(v))
					if same, ok := before[obj.Tag]; ok && same != v {
						t.Errorf("%s, %q: %q and %q are both %s", stamps, versions, same, v, obj.Tag)
					}
					before[obj.Tag] = v
					now, err := store.Stat(t.Context(), "a")
					require.NoError(t, err)
					require.Equal(t, obj, now)
				}
			})
		}
	}
}

// TestFutureVersion: a file of the future can be replaced, whatever the server can do
// about times.
func TestFutureVersion(t *testing.T) {
	t.Parallel()
	for _, stamps := range []string{"MDTM", ""} {
		m := newMemory()
		m.stamps = stamps
		m.set("/a", "old", -99*time.Hour)
		inBubble(t, m.script(), func(t *testing.T, store *ftp.Store) {
			old, err := store.Stat(t.Context(), "a")
			require.NoError(t, err)
			obj := storagetest.Put(t, store, "a", []byte("new"))
			require.NotEqual(t, old.Tag, obj.Tag)
			require.Equal(t, stamps != "", obj.ModTime.After(old.ModTime))
		})
	}
}

// TestSweep: strays that are a day old by the server's clock go, and nothing else.
func TestSweep(t *testing.T) {
	t.Parallel()
	m := newMemory()
	temp := func(digit string) string { return "/.d6tpipe-tmp-" + strings.Repeat(digit, 24) }
	m.set(temp("a"), "old", 25*time.Hour)
	m.set(temp("b"), "young", 23*time.Hour)
	m.set("/.d6tpipe-tmp-other", "whose?", 99*time.Hour)
	m.set("/x", "data", 99*time.Hour)
	store := open(t, ftp.Options{Host: m.script().Start(t).Addr})
	storagetest.Put(t, store, "y", []byte("y"))
	require.ElementsMatch(t, []string{temp("b"), "/.d6tpipe-tmp-other", "/x", "/y"}, m.names())
	require.Equal(t, []string{"x", "y"}, storagetest.Keys(storagetest.List(t, store, "")))
}

// TestAppendingServer: one that takes REST for a wish to append loses the parts of
// an upload that it would spoil, and says so.
func TestAppendingServer(t *testing.T) {
	t.Parallel()
	for _, noREST := range []bool{false, true} {
		m := newMemory()
		m.appends, m.noREST = true, noREST
		store := open(t, ftp.Options{Host: m.script().Start(t).Addr})
		parts := store.Multipart()
		size := int64(partSize + 3)
		u, err := parts.Begin(t.Context(), "a", size, 1<<20)
		require.NoError(t, err)
		data := make([]byte, size)
		one, err := parts.Send(t.Context(), u, 0, bytes.NewReader(data[:partSize]), partSize)
		require.NoError(t, err)
		two, err := parts.Send(t.Context(), u, 1, bytes.NewReader(data[partSize:]), 3)
		require.NoError(t, err)
		_, err = parts.Send(t.Context(), u, 1, bytes.NewReader(data[partSize:]), 3)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = parts.Arrived(t.Context(), u)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = parts.Finish(t.Context(), u, []storage.Part{one, two}, storage.Cond{})
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Empty(t, m.names())
	}
}

// TestTooMany: a server's limit is kept, whichever way it says so.
func TestTooMany(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"connect:421 Too many connections", "PASS:530 Sorry, the maximum number of clients is reached", "PASS:530 Login incorrect"} {
		at, text, _ := strings.Cut(answer, ":")
		m := newMemory()
		m.set("/x", strings.Repeat("x", 1000), time.Hour)
		script := m.script()
		var mu sync.Mutex
		logins := 0
		script.On = func(verb, arg string) string {
			mu.Lock()
			defer mu.Unlock()
			if verb == at {
				if logins++; logins > 2 {
					return text
				}
			}
			return m.on(verb, arg)
		}
		crowdInBubble(t, 16, script, func(t *testing.T, store *ftp.Store) {
			obj, err := store.Stat(t.Context(), "x")
			require.NoError(t, err)
			var group sync.WaitGroup
			for range 16 {
				group.Go(func() {
					for range 5 {
						r, err := store.Open(t.Context(), obj, 0, -1)
						if err == nil {
							err = r.Close()
						}
						if err != nil {
							t.Errorf("%s: %v", answer, err)
						}
					}
				})
			}
			group.Wait()
		})
		mu.Lock()
		require.LessOrEqual(t, logins, 2+16, "it is not asked again and again")
		mu.Unlock()
	}
}

// TestErrors: what answers mean, and that none of them lets out the password.
func TestErrors(t *testing.T) {
	t.Parallel()
	const secret = "pass word 123"
	for name, c := range map[string]struct {
		verb, answer string
		is, not      error
	}{
		"wrong password":    {"PASS", "530 not " + secret, fs.ErrPermission, storage.ErrTemporary},
		"wrong user":        {"USER", "530 no", fs.ErrPermission, storage.ErrTemporary},
		"full":              {"connect", "421 Too many users", storage.ErrTemporary, fs.ErrPermission},
		"full at login":     {"PASS", "530 too many users", storage.ErrTemporary, fs.ErrPermission},
		"shutting down":     {"EPSV", "421 bye " + secret, storage.ErrTemporary, fs.ErrPermission},
		"no data":           {"STOR", "425 no data connection", storage.ErrTemporary, fs.ErrPermission},
		"busy":              {"STOR", "450 busy " + secret, storage.ErrTemporary, fs.ErrPermission},
		"local error":       {"STOR", "451 oops", storage.ErrTemporary, fs.ErrPermission},
		"no space":          {"STOR", "552 quota " + secret, nil, storage.ErrTemporary},
		"not allowed":       {"STOR", "553 no", fs.ErrPermission, storage.ErrTemporary},
		"not allowed 550":   {"STOR", "550 no " + secret, fs.ErrPermission, storage.ErrTemporary},
		"rename":            {"RNTO", "550 no " + secret, fs.ErrPermission, storage.ErrTemporary},
		"no more":           {"STOR", ftptest.Cut, storage.ErrTemporary, fs.ErrPermission},
		"passive nonsense":  {"EPSV", "229 whatever", nil, fs.ErrPermission},
		"an endless answer": {"STOR", "150-" + strings.Repeat("x\r\n", 1<<20), storage.ErrTemporary, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			script := m.script()
			var logins atomic.Int32
			script.On = func(verb, arg string) string {
				if verb == "PASS" {
					logins.Add(1)
				}
				if verb == c.verb {
					return c.answer
				}
				return m.on(verb, arg)
			}
			store := open(t, ftp.Options{Host: script.Start(t).Addr, User: "me", Password: secret})
			_, err := store.Put(t.Context(), "a", strings.NewReader("x"), 1, storage.Cond{})
			require.Error(t, err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			if c.not != nil {
				require.NotErrorIs(t, err, c.not)
			}
			require.NotContains(t, err.Error(), secret)
			require.NotContains(t, fmt.Sprintf("%+v %#v", err, ftp.Options{Password: secret}), secret)
			require.LessOrEqual(t, logins.Load(), int32(1), "a login is not tried again")
			require.Empty(t, m.names())
		})
	}
}

// TestRefusals: 550 for a file that is there is a matter of permission.
func TestRefusals(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.set("/x", "abcd", time.Hour)
	script := m.script()
	script.On = func(verb, arg string) string {
		if (verb == "RETR" || verb == "DELE") && arg == "/x" {
			return "550 no"
		}
		return m.on(verb, arg)
	}
	store := open(t, ftp.Options{Host: script.Start(t).Addr})
	_, err := store.Open(t.Context(), storage.Object{Key: "x"}, 0, -1)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorIs(t, store.Remove(t.Context(), "x"), fs.ErrPermission)
	_, err = store.Open(t.Context(), storage.Object{Key: "y"}, 0, -1)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, store.Remove(t.Context(), "y"))
}

// TestDeadConnections: what died in the pool is replaced without a word.
func TestDeadConnections(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.set("/x", "abcd", time.Hour)
	script := m.script()
	var timeout atomic.Bool
	script.On = func(verb, arg string) string {
		if verb != "connect" && timeout.CompareAndSwap(true, false) {
			return "421 Timeout"
		}
		return m.on(verb, arg)
	}
	store := open(t, ftp.Options{Host: script.Start(t).Addr})
	for i := range 6 {
		obj, err := store.Stat(t.Context(), "x")
		require.NoError(t, err)
		if i%2 == 0 {
			script.Drop()
		} else {
			timeout.Store(true)
		}
		require.Equal(t, "abcd", string(storagetest.Get(t, store, obj)))
		script.Drop()
		storagetest.Put(t, store, "y", []byte("y"))
	}
}

// TestCutTransfers: data that end early are no end of the file.
func TestCutTransfers(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"226 fine", "426 no", ftptest.Cut} {
		m := newMemory()
		m.set("/x", strings.Repeat("x", 200_000), time.Hour)
		script := m.script()
		script.Data = func(_, arg string, off int64) string { return m.send("RETR", arg, off)[:100_000] }
		script.End = func(string, string) string { return end }
		store := open(t, ftp.Options{Host: script.Start(t).Addr})
		obj, err := store.Stat(t.Context(), "x")
		require.NoError(t, err)
		r, err := store.Open(t.Context(), obj, 0, -1)
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, r)
		require.ErrorIs(t, err, storage.ErrTemporary, end)
		require.LessOrEqual(t, n, int64(100_000))
		require.NoError(t, r.Close())
	}
}

// TestLostBytes: a server that says that all went well and has not got all.
func TestLostBytes(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.set("/x", "old", time.Hour)
	script := m.script()
	script.Store = func(verb, arg string, off int64, data string) { m.store(verb, arg, off, data[:len(data)-1]) }
	store := open(t, ftp.Options{Host: script.Start(t).Addr})
	_, err := store.Put(t.Context(), "x", strings.NewReader("newer"), 5, storage.Cond{})
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.Equal(t, []string{"/x"}, m.names())
	require.Equal(t, "old", m.get("/x"))
}

// TestVanishedFiles: a file whose time cannot be had is left out when it is gone, and
// an error when it is not.
func TestVanishedFiles(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{true, false} {
		m := newMemory()
		m.set("/x", "x", time.Hour)
		m.set("/y", "y", time.Hour)
		script := m.script()
		script.On = func(verb, arg string) string {
			if verb == "MDTM" && arg == "/x" {
				if gone {
					m.mu.Lock()
					delete(m.files, "/x")
					m.mu.Unlock()
				}
				return "550 no"
			}
			return m.on(verb, arg)
		}
		store := open(t, ftp.Options{Host: script.Start(t).Addr})
		l, err := storage.Collect(t.Context(), store, "")
		require.Equal(t, gone, err == nil, "%v", err)
		require.Equal(t, gone, l.Complete())
		if gone {
			require.Equal(t, []string{"y"}, storagetest.Keys(l))
		}
	}
}

// TestCarelessServer: folders are not removed from a server that removes what is in
// them too.
func TestCarelessServer(t *testing.T) {
	t.Parallel()
	script := &ftptest.Script{
		Features: []string{"EPSV", "MLST type*;size*;modify*;"},
		Data: func(string, string, int64) string {
			return "type=file;size=5;modify=20200101000000; .d6tpipe-tmp-of-another\r\n"
		},
	}
	store := open(t, ftp.Options{Host: script.Start(t).Addr, Root: "/root"})
	require.NoError(t, store.Remove(t.Context(), "folder/a"))
	removed := 0
	for _, command := range script.Commands() {
		if dir, ok := strings.CutPrefix(command, "RMD "); ok {
			require.Contains(t, dir, "/.d6tpipe-tmp-", "only what was made to try it")
			removed++
		}
	}
	require.NotZero(t, removed)
}

// TestLeavingEarly: a server that says nothing on a transfer that was broken off, or
// too much, costs the connection and not the bytes.
func TestLeavingEarly(t *testing.T) {
	t.Parallel()
	for _, end := range []string{ftptest.Hang, "426 cut\r\n226 done", "226 done"} {
		m := newMemory()
		m.set("/x", strings.Repeat("x", 200_000), time.Hour)
		script := m.script()
		script.End = func(string, string) string { return end }
		store := open(t, ftp.Options{Host: script.Start(t).Addr, Connections: 1})
		obj, err := store.Stat(t.Context(), "x")
		require.NoError(t, err)
		r, err := store.Open(t.Context(), obj, 10, 20)
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, errors.Join(err, r.Close()))
		require.Len(t, data, 20)
	}
}

// TestSilence: whatever a server does not say, a call ends with its context.
func TestSilence(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"connect", "PASS", "FEAT", "CWD", "EPSV", "LIST", "RETR", "STOR", "SIZE", "MDTM", "RNFR", "DELE", "end", "data"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			m.set("/x", strings.Repeat("x", 100_000), time.Hour)
			ctx, cancel := context.WithCancel(t.Context())
			script := m.script()
			script.On = func(v, arg string) string {
				if v == verb {
					cancel()
					return ftptest.Hang
				}
				return m.on(v, arg)
			}
			script.End = func(string, string) string {
				switch verb {
				case "end":
					cancel()
					return ftptest.Hang
				case "data":
					cancel()
					return ftptest.Keep
				}
				return ""
			}
			store := open(t, ftp.Options{Host: script.Start(t).Addr})
			calls := map[string]func() error{
				"list": func() error { _, err := storage.Collect(ctx, store, ""); return err },
				"open": func() error {
					r, err := store.Open(ctx, storage.Object{Key: "x"}, 0, -1)
					if err != nil {
						return err
					}
					_, err = io.Copy(io.Discard, r)
					return errors.Join(err, r.Close())
				},
				"put": func() error {
					_, err := store.Put(ctx, "y", strings.NewReader("y"), 1, storage.Cond{})
					return err
				},
				"remove": func() error { return store.Remove(ctx, "x") },
			}
			for _, name := range []string{"list", "open", "put", "remove"} {
				if err := calls[name](); err != nil {
					require.ErrorIs(t, err, context.Canceled, name)
				}
			}
			require.ErrorIs(t, ctx.Err(), context.Canceled, "the silence was met")
		})
	}
}
