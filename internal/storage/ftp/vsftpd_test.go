package ftp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

// TestSymlinks: links are no objects, and a listing enters none.
func TestSymlinks(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	root := server.Folder(t)
	dir := filepath.Join(server.Dir, root)
	store := open(t, ftp.Options{Host: server.Addr, Root: root})
	storagetest.Put(t, store, "real/a", []byte("inside"))
	for name, target := range map[string]string{"file": "real/a", "dir": "real", "out": "..", "dangling": "nowhere", "loop": "loop", "real/up": ".."} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	require.Equal(t, []string{"real/a"}, storagetest.Keys(storagetest.List(t, store, "")))
	storagetest.Put(t, store, "file", []byte("new"))
	require.NoError(t, store.Remove(t.Context(), "dangling"))
	require.Equal(t, []string{"file", "real/a"}, storagetest.Keys(storagetest.List(t, store, "")))
	require.Equal(t, "inside", string(storagetest.Get(t, store, storage.Object{Key: "real/a"})), "the link was replaced, not written through")
}

// TestTagsOfOneSecond: many versions, of which each replaces the one before at once.
func TestTagsOfOneSecond(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	store := open(t, ftp.Options{Host: server.Addr, Root: server.Folder(t)})
	tags := map[string]int{}
	for v := range 8 {
		obj := storagetest.Put(t, store, "a", []byte{byte(v)})
		require.NotContains(t, tags, obj.Tag)
		tags[obj.Tag] = v
	}
}

// TestPermissions: what may not be read is an error, and neither empty nor missing.
func TestPermissions(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	root := server.Folder(t)
	dir := filepath.Join(server.Dir, root)
	store := open(t, ftp.Options{Host: server.Addr, Root: root})
	for _, mode := range []os.FileMode{0o711, 0o700} { // may be entered but not read; neither
		closed := filepath.Join(dir, "closed")
		require.NoError(t, os.MkdirAll(closed, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(closed, "a"), []byte("a"), 0o600))
		require.NoError(t, os.Chmod(closed, mode))
		for _, prefix := range []string{"", "closed/", "closed/a"} {
			l, err := storage.Collect(t.Context(), store, prefix)
			require.Error(t, err, "%v %q", mode, prefix)
			require.NotErrorIs(t, err, fs.ErrNotExist)
			require.False(t, l.Complete())
		}
		_, err := store.Open(t.Context(), storage.Object{Key: "closed/a"}, 0, -1)
		require.Error(t, err)
		require.NotErrorIs(t, err, fs.ErrNotExist)
		require.Error(t, store.Remove(t.Context(), "closed/a"))
		_, err = store.Put(t.Context(), "closed/b", strings.NewReader("b"), 1, storage.Cond{})
		require.ErrorIs(t, err, fs.ErrPermission)
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, "closed"), 0o755))
	_, err := store.Open(t.Context(), storage.Object{Key: "closed/a"}, 0, -1)
	require.ErrorIs(t, err, fs.ErrPermission)
	_, err = store.Put(t.Context(), "closed/a", strings.NewReader("b"), 1, storage.Cond{})
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorIs(t, store.Remove(t.Context(), "closed/a"), fs.ErrPermission)
	require.NoError(t, store.Remove(t.Context(), "closed/b"))
	require.Equal(t, []string{"closed/a"}, storagetest.Keys(storagetest.List(t, store, "")))
}

// TestKeep: Remove leaves the pipe's own folder.
func TestKeep(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	root := server.Folder(t)
	store := open(t, ftp.Options{Host: server.Addr, Root: root, Keep: "pipe/data"})
	storagetest.Put(t, store, "pipe/data/a/b/c", nil)
	storagetest.Put(t, store, "other/x", nil)
	require.NoError(t, store.Remove(t.Context(), "pipe/data/a/b/c"))
	require.NoError(t, store.Remove(t.Context(), "other/x"))
	dir := filepath.Join(server.Dir, root)
	require.DirExists(t, filepath.Join(dir, "pipe", "data"))
	require.NoDirExists(t, filepath.Join(dir, "pipe", "data", "a"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "and nothing of ours is left")
}

// TestFullServer: 32 callers get along with a server that takes 3 connections.
func TestFullServer(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t, "max_clients=3")
	store := open(t, ftp.Options{Host: server.Addr, Root: server.Folder(t)})
	var group sync.WaitGroup
	for i := range 32 {
		group.Go(func() {
			key, data := fmt.Sprint("f/", i), storagetest.Bytes(uint64(i), 1000)
			obj, err := store.Put(t.Context(), key, bytes.NewReader(data), 1000, storage.Cond{})
			if err != nil {
				t.Error(err)
				return
			}
			r, err := store.Open(t.Context(), obj, 0, -1)
			if err != nil {
				t.Error(err)
				return
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(data, got) || r.Close() != nil {
				t.Error(key, err)
			}
		})
	}
	group.Wait()
	require.Len(t, storagetest.List(t, store, "").Objects(), 32)
}

// TestKilledServer: a server that dies in the middle is a temporary failure in both
// directions, and afterwards too.
func TestKilledServer(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	store := open(t, ftp.Options{Host: server.Addr, Root: server.Folder(t)})
	obj := storagetest.Put(t, store, "big", make([]byte, 32<<20))
	r, err := store.Open(t.Context(), obj, 0, -1)
	require.NoError(t, err)
	_, err = io.ReadFull(r, make([]byte, 1000))
	require.NoError(t, err)
	source, sink := io.Pipe()
	result := make(chan error)
	go func() {
		_, err := store.Put(t.Context(), "other", source, 32<<20, storage.Cond{})
		_ = source.Close() // so that the writer below ends
		result <- err
	}()
	_, err = sink.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	server.Kill()
	_, err = io.Copy(io.Discard, r)
	require.ErrorIs(t, err, storage.ErrTemporary)
	require.NoError(t, r.Close())
	for err = nil; err == nil; {
		_, err = sink.Write(make([]byte, 1<<20))
	}
	require.ErrorIs(t, <-result, storage.ErrTemporary)
	_, err = store.Stat(t.Context(), "big")
	require.ErrorIs(t, err, storage.ErrTemporary)
	_, err = storage.Collect(t.Context(), store, "")
	require.ErrorIs(t, err, storage.ErrTemporary)
}

// TestConnectionsAreKept: readers that end early leave a connection that can be used,
// and what it says next is right.
func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	dials := 0
	store := open(t, ftp.Options{Host: server.Addr, Root: server.Folder(t), Connections: 1, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == server.Addr {
			dials++
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}})
	data := storagetest.Bytes(1, 1<<20)
	obj := storagetest.Put(t, store, "a", data)
	for off := int64(0); off < 1<<20; off += 100_003 {
		for _, n := range []int64{1, 1000, 90_000} {
			r, err := store.Open(t.Context(), obj, off, n)
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, data[off:min(off+n, 1<<20)], got)
			require.NoError(t, r.Close())
		}
		r, err := store.Open(t.Context(), obj, off, -1)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	require.Less(t, dials, 10, "of more than forty: one that the server does not answer in time is given up")
}

// TestTails: what an attempt left behind is written over, and what cannot be right is
// thrown away.
func TestTails(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	root := server.Folder(t)
	store := open(t, ftp.Options{Host: server.Addr, Root: root})
	m := store.Multipart()
	data := storagetest.Bytes(5, 3*partSize-7)
	begin := func() (storage.Upload, string) {
		u, err := m.Begin(t.Context(), "f/a", int64(len(data)), 1<<20)
		require.NoError(t, err)
		return u, filepath.Join(server.Dir, root, "f", u.ID)
	}
	send := func(u storage.Upload, n int) storage.Part {
		off, size := u.Part(n)
		part, err := m.Send(t.Context(), u, n, bytes.NewReader(data[off:off+size]), size)
		require.NoError(t, err)
		return part
	}
	grow := func(path string, by int) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		_, err = f.Write(bytes.Repeat([]byte("!"), by))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	u, path := begin()
	parts := []storage.Part{send(u, 0)}
	grow(path, 12_345)
	arrived, err := m.Arrived(t.Context(), u)
	require.NoError(t, err)
	require.Equal(t, parts, arrived)
	parts = append(parts, send(u, 1), send(u, 2))
	obj, err := m.Finish(t.Context(), u, parts, storage.Cond{})
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, storagetest.Get(t, store, obj)))

	u, path = begin()
	_, err = m.Finish(t.Context(), u, parts, storage.Cond{})
	require.Error(t, err, "nothing has arrived")
	_, err = m.Send(t.Context(), u, 1, bytes.NewReader(data[:partSize]), partSize)
	require.Error(t, err, "the part before is missing")
	for n := range u.Parts() {
		send(u, n)
	}
	grow(path, 1)
	_, err = m.Finish(t.Context(), u, parts, storage.Cond{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoFileExists(t, path)

	u, path = begin()
	for n := range u.Parts() {
		send(u, n)
	}
	grow(path, 1)
	_, err = m.Arrived(t.Context(), u)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoFileExists(t, path)
}

// TestForeignUploads: an ID from a file names nothing but a temporary file.
func TestForeignUploads(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	store := open(t, ftp.Options{Host: server.Addr, Root: server.Folder(t)})
	storagetest.Put(t, store, "a", []byte("precious"))
	m := store.Multipart()
	for _, id := range []string{"", "a", "../a", "x\r\nDELE a", ".d6tpipe-tmp-", ".d6tpipe-tmp-x", ".d6tpipe-tmp-" + strings.Repeat("A", 24), ".d6tpipe-tmp-" + strings.Repeat("a", 24) + "/../a"} {
		u := storage.Upload{Key: "b", ID: id, Size: 8, PartSize: 1 << 20, Serial: true}
		_, err := m.Arrived(t.Context(), u)
		require.ErrorIs(t, err, fs.ErrInvalid, id)
		_, err = m.Send(t.Context(), u, 0, strings.NewReader("12345678"), 8)
		require.ErrorIs(t, err, fs.ErrInvalid, id)
		_, err = m.Finish(t.Context(), u, []storage.Part{{Size: 8}}, storage.Cond{})
		require.ErrorIs(t, err, fs.ErrInvalid, id)
		require.ErrorIs(t, m.Abort(t.Context(), u), fs.ErrInvalid, id)
	}
	require.Equal(t, "precious", string(storagetest.Get(t, store, storage.Object{Key: "a"})))
}

// TestCertificates: only the right server is told a password.
func TestCertificates(t *testing.T) {
	t.Parallel()
	cert, other := ftptest.NewCertificate(t, "127.0.0.1"), ftptest.NewCertificate(t, "127.0.0.1")
	misnamed := ftptest.NewCertificate(t, "ftp.example.com")
	server, elsewhere := ftptest.FTPS(t, cert), ftptest.FTPS(t, misnamed)
	for name, c := range map[string]struct {
		server *ftptest.Server
		ca     []byte
		pin    string
		good   bool
	}{
		"signed":              {server, cert.CA, "", true},
		"pinned":              {server, nil, cert.Fingerprint, true},
		"pinned, other name":  {elsewhere, nil, misnamed.Fingerprint, true},
		"unknown authority":   {server, nil, "", false},
		"another authority":   {server, other.CA, "", false},
		"another name":        {elsewhere, misnamed.CA, "", false},
		"another pin":         {server, nil, other.Fingerprint, false},
		"signed, another pin": {server, cert.CA, other.Fingerprint, false},
	} {
		t.Run(name, func(t *testing.T) {
			opts := ftp.Options{Host: c.server.Addr, User: ftptest.User, Password: ftptest.Password, TLS: ftp.Explicit, CA: c.ca, Fingerprint: c.pin}
			opts.Root = c.server.Folder(t)
			store := open(t, opts)
			_, err := store.Put(t.Context(), "a", strings.NewReader("hello"), 5, storage.Cond{})
			if c.good {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			require.NotErrorIs(t, err, storage.ErrTemporary, "it does not pass")
			require.NotContains(t, err.Error(), ftptest.Password)
		})
	}
	opts := tlsOptions(server, cert)
	opts.Password = "wrong password"
	_, err := open(t, opts).Stat(t.Context(), "a")
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NotContains(t, err.Error(), opts.Password)
}

// TestSilentTLS: a server that accepts and says nothing more.
func TestSilentTLS(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	store := open(t, ftp.Options{Host: l.Addr().String(), TLS: ftp.Implicit})
	_, err = store.Stat(ctx, "a")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestWaitingForAConnection: who waits for one stops waiting with its context.
func TestWaitingForAConnection(t *testing.T) {
	t.Parallel()
	server := ftptest.VSFTPD(t)
	store := open(t, ftp.Options{Host: server.Addr, Root: server.Folder(t), Connections: 1})
	obj := storagetest.Put(t, store, "a", make([]byte, 1<<20))
	r, err := store.Open(t.Context(), obj, 0, -1)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = store.Stat(ctx, "a")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, r.Close())
	_, err = store.Stat(t.Context(), "a")
	require.NoError(t, err)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	pin := "SHA256:" + strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		opts ftp.Options
		good bool
	}{
		"least":             {ftp.Options{Host: "ftp.example.com"}, true},
		"port":              {ftp.Options{Host: "ftp.example.com:2121"}, true},
		"ipv6":              {ftp.Options{Host: "::1"}, true},
		"ipv6 and port":     {ftp.Options{Host: "[::1]:2121"}, true},
		"pin":               {ftp.Options{Host: "h", TLS: ftp.Explicit, Fingerprint: pin}, true},
		"pin with colons":   {ftp.Options{Host: "h", TLS: ftp.Implicit, Fingerprint: "SHA256:" + strings.Repeat("AB:", 31) + "AB"}, true},
		"keep":              {ftp.Options{Host: "h", Root: "/a b/c", Keep: "d/e"}, true},
		"no host":           {ftp.Options{}, false},
		"a URL":             {ftp.Options{Host: "ftp://h"}, false},
		"user in host":      {ftp.Options{Host: "me@h"}, false},
		"line break":        {ftp.Options{Host: "h\r\nx"}, false},
		"user":              {ftp.Options{Host: "h", User: "a\r\nDELE b"}, false},
		"password":          {ftp.Options{Host: "h", User: "a", Password: "b\nQUIT"}, false},
		"root":              {ftp.Options{Host: "h", Root: "/a\r\nDELE b"}, false},
		"relative root":     {ftp.Options{Host: "h", Root: "a"}, false},
		"root up":           {ftp.Options{Host: "h", Root: "/a/../b"}, false},
		"keep up":           {ftp.Options{Host: "h", Keep: "../b"}, false},
		"connections":       {ftp.Options{Host: "h", Connections: -1}, false},
		"mode":              {ftp.Options{Host: "h", TLS: 7}, false},
		"pin without TLS":   {ftp.Options{Host: "h", Fingerprint: pin}, false},
		"no pin":            {ftp.Options{Host: "h", TLS: ftp.Explicit, Fingerprint: "SHA1:abc"}, false},
		"half a pin":        {ftp.Options{Host: "h", TLS: ftp.Explicit, Fingerprint: pin[:30]}, false},
		"no CA":             {ftp.Options{Host: "h", TLS: ftp.Explicit, CA: []byte("hello")}, false},
		"a CA without TLS":  {ftp.Options{Host: "h", CA: []byte("hello")}, false},
		"a dot in the root": {ftp.Options{Host: "h", Root: "/a/./b"}, false},
	} {
		store, err := ftp.New(c.opts)
		require.Equal(t, c.good, err == nil, "%s: %v", name, err)
		if err != nil {
			require.ErrorIs(t, err, fs.ErrInvalid, name)
			continue
		}
		require.NoError(t, store.Close())
		require.True(t, storage.Streams(store))
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", c.opts, c.opts, c.opts), "secret")
	}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", ftp.Options{Host: "h", Password: "secret"}, ftp.Options{Password: "secret"}, ftp.Options{Password: "secret"}), "secret")
}
