package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A lie is what is wrong with a listing: in what a driver hands on, or on the wire.
type lie struct {
	name   string
	fails  bool // the driver can tell: it is an error, which no force makes up for
	either bool // it is an error, or the truth
	list   func(all []storage.Object, cancel func(), yield func(storage.Object, error) bool)
	answer faultproxy.Twist // of S3
	ftp    *ftpLie
	cut    *faultproxy.Fault // of every connection
}

// some yields the first n objects and then an error, if there is one.
func some(n int, err error) func([]storage.Object, func(), func(storage.Object, error) bool) {
	return func(all []storage.Object, _ func(), yield func(storage.Object, error) bool) {
		for _, o := range all[:min(n, len(all))] {
			if !yield(o, nil) {
				return
			}
		}
		if err != nil {
			yield(storage.Object{}, err)
		}
	}
}

// changed yields what change makes of each object.
func changed(change func(o storage.Object) []storage.Object) func([]storage.Object, func(), func(storage.Object, error) bool) {
	return func(all []storage.Object, _ func(), yield func(storage.Object, error) bool) {
		for _, o := range all {
			for _, o := range change(o) {
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

var errRoot = &fs.PathError{Op: "list", Path: "bucket", Err: fs.ErrNotExist}

// What a driver could hand on. A listing that is short by a few files and says that
// it is whole can be told from the truth by nobody: the limits are for that.
var lies = []lie{
	{name: "missing folder", fails: true, list: some(0, errRoot)},
	{name: "permission denied in a subfolder", fails: true, list: some(9, fs.ErrPermission)},
	{name: "reset after a few", fails: true, list: some(5, fmt.Errorf("%w: reset", storage.ErrTemporary))},
	{name: "cut off at once", fails: true, list: some(0, io.ErrUnexpectedEOF)},
	{name: "error at the very end", fails: true, list: some(1000, errors.New("no end"))},
	{name: "expired on the way", fails: true, list: some(12, storage.ErrExpired)},
	{name: "empty and complete", list: some(0, nil)},
	{name: "stops early", list: some(3, nil)},
	{name: "less than half is left", list: some(11, nil)},
	{name: "each key twice", list: changed(func(o storage.Object) []storage.Object { return []storage.Object{o, o} })},
	{name: "another folder", list: changed(func(o storage.Object) []storage.Object {
		o.Key = "other/" + o.Key
		return []storage.Object{o}
	})},
	{name: "hostile names", list: changed(func(o storage.Object) []storage.Object {
		o.Key = "../" + o.Key
		return []storage.Object{o}
	})},
	{name: "names in capitals", list: changed(func(o storage.Object) []storage.Object {
		p := o
		p.Key = "D" + o.Key[1:]
		return []storage.Object{o, p}
	})},
	{name: "negative size", fails: true, list: changed(func(o storage.Object) []storage.Object {
		o.Size = -1
		return []storage.Object{o}
	})},
	{name: "cancelled on the way", fails: true, list: func(all []storage.Object, cancel func(), yield func(storage.Object, error) bool) {
		cancel()
		some(7, nil)(all, nil, yield)
	}},
}

var answerLies = []lie{
	{name: "cut XML", fails: true, answer: faultproxy.CutPage},
	{name: "empty answer", fails: true, answer: faultproxy.EmptyAnswer},
	{name: "a page of a portal", fails: true, answer: faultproxy.HTMLPage},
	{name: "no IsTruncated", fails: true, answer: faultproxy.NoEnd},
	{name: "truncated, no token", fails: true, answer: faultproxy.MoreNoToken},
	{name: "the same token again", fails: true, answer: faultproxy.SameToken},
	{name: "empty pages", fails: true, answer: faultproxy.EmptyPages},
	{name: "no bucket", fails: true, answer: faultproxy.Refusal(404, "NoSuchBucket", "")},
	{name: "denied", fails: true, answer: faultproxy.Refusal(403, "AccessDenied", "")},
	{name: "broken", fails: true, answer: faultproxy.Refusal(500, "InternalError", "")},
	{name: "throttled for long", fails: true, answer: faultproxy.Refusal(503, "SlowDown", "3600")},
	{name: "no objects", answer: faultproxy.Emptied},
	{name: "one object", answer: faultproxy.Shrunk},
	{name: "each object twice", answer: faultproxy.Doubled},
	{name: "another prefix", answer: faultproxy.OtherPrefix},
}

// cuts end connections for good, in the middle of a login, of a listing, or after it.
func cuts() (all []lie) {
	offsets := []int64{3000}
	if rounds(0, 1) == 1 {
		offsets = []int64{0, 100, 1000, 2000, 2500, 3000, 3500, 4000, 5000, 6000, 8000}
	}
	for _, kind := range []faultproxy.Kind{faultproxy.Reset, faultproxy.HalfClose} {
		for _, at := range offsets {
			f := &faultproxy.Fault{Kind: kind, At: at}
			all = append(all, lie{name: f.String(), either: true, cut: f})
		}
	}
	return all
}

// A liar is a store whose listings are wrong while lie is set.
type liar struct {
	storage.Store
	lie    *lie
	cancel func()
}

func (l *liar) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	if l.lie == nil || l.lie.list == nil {
		return l.Store.List(ctx, prefix)
	}
	return func(yield func(storage.Object, error) bool) {
		all, err := storage.Collect(context.WithoutCancel(ctx), l.Store, prefix)
		if err != nil {
			yield(storage.Object{}, err)
			return
		}
		l.lie.list(all.Objects(), l.cancel, yield)
	}
}

const safeFiles = 26

// A pen is a pipe, and a mirror from its remote to another, and nothing in any of the
// three places may go.
type pen struct {
	t              *testing.T
	source, target *liar
	wire           func(*lie) // makes it lie; nil when it is above the driver that lies are told
	pipe, mirror   *transfer.Sync
	dir            string
}

func newPen(t *testing.T, source, target storage.Store, wire func(*lie)) *pen {
	p := &pen{t: t, source: &liar{Store: source}, target: &liar{Store: target}, wire: wire}
	repo := t.TempDir()
	p.dir = filepath.Join(repo, "pipe")
	retry := storage.RetryPolicy{Attempts: 2, First: time.Millisecond, Longest: time.Millisecond, PatienceMax: time.Millisecond}
	var err error
	p.pipe, err = transfer.Open(transfer.Config{Store: p.source, Dir: p.dir, State: filepath.Join(repo, "state"), Retry: retry, Workers: 4})
	require.NoError(t, err)
	p.mirror, err = transfer.Open(transfer.Config{Store: p.target, From: p.source, State: filepath.Join(repo, "mirror"), Retry: retry, Workers: 4})
	require.NoError(t, err)
	files := map[string][]byte{}
	for key, text := range many(safeFiles) {
		files[key] = []byte(text)
	}
	side{store: source}.write(t, files)
	require.NoError(t, syncs(transfer.Pull)(t.Context(), p.pipe))
	_, report, _, err := p.mirror.Mirror(t.Context(), transfer.MirrorOptions{})
	require.NoError(t, err)
	require.Equal(t, safeFiles, report.Files)
	p.intact("")
	return p
}

// intact: nothing is missing, anywhere.
func (p *pen) intact(after string) {
	p.t.Helper()
	require.Len(p.t, tree(p.t, p.dir), safeFiles, after)
	for _, l := range []*liar{p.source, p.target} {
		store := storage.Retry(l.Store, storage.RetryPolicy{First: time.Millisecond}) // its connections may be cut
		listing, err := storage.Collect(p.t.Context(), store, "")
		require.NoError(p.t, err)
		require.Len(p.t, listing.Objects(), safeFiles, after)
	}
}

// ops are all that could delete, or be misled by what was listed. Those that are
// forced may only be tried where the listing is an error, or the truth.
var ops = map[string]struct {
	forced bool
	target bool // it is the target of the mirror of which the listing is wrong
	do     func(ctx context.Context, p *pen) error
}{
	"orphans here":           {do: removes(transfer.Local, false)},
	"orphans there":          {do: removes(transfer.Remote, false)},
	"orphans":                {do: removes(transfer.Both, false)},
	"orphans here, forced":   {forced: true, do: removes(transfer.Local, true)},
	"orphans there, forced":  {forced: true, do: removes(transfer.Remote, true)},
	"orphans, forced":        {forced: true, do: removes(transfer.Both, true)},
	"mirror":                 {do: mirrors(false)},
	"mirror, forced":         {forced: true, do: mirrors(true)},
	"mirror onto it":         {target: true, do: mirrors(false)},
	"mirror onto it, forced": {forced: true, target: true, do: mirrors(true)},
	"pull":                   {do: func(ctx context.Context, p *pen) error { return syncs(transfer.Pull)(ctx, p.pipe) }},
	"push":                   {do: func(ctx context.Context, p *pen) error { return syncs(transfer.Push)(ctx, p.pipe) }},
}

func removes(where transfer.Side, force bool) func(ctx context.Context, p *pen) error {
	return func(ctx context.Context, p *pen) error {
		_, err := p.pipe.RemoveOrphans(ctx, transfer.OrphanOptions{Side: where, Apply: true, Force: force})
		return err
	}
}

func mirrors(force bool) func(ctx context.Context, p *pen) error {
	return func(ctx context.Context, p *pen) error {
		_, _, _, err := p.mirror.Mirror(ctx, transfer.MirrorOptions{Merge: transfer.MergeKeep, Delete: true, Force: force})
		return err
	}
}

// cell lets op work while the listing is wrong, and counts.
func (p *pen) cell(l lie, name string) {
	t, op := p.t, ops[name]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	about := p.source
	if op.target {
		about = p.target
	}
	about.lie, about.cancel = &l, cancel
	if p.wire != nil {
		p.wire(&l)
	}
	err := op.do(ctx, p)
	about.lie = nil
	if p.wire != nil {
		p.wire(nil)
	}
	what := fmt.Sprintf("%s: %s: %v", name, l.name, err)
	if l.fails {
		require.Error(t, err, what)
	}
	p.intact(what)
}

// A farm is two remotes of a kind, and what can be wrong with their listings.
type farm struct {
	source, target storage.Store
	lies           []lie
	wire           func(*lie) // as in a pen
}

var farms = map[string]func(t *testing.T) farm{
	"mem": func(*testing.T) farm { return farm{source: mem.New(), target: mem.New(), lies: lies} },
	"dir": func(t *testing.T) farm {
		return farm{source: openEnd(t, end{Kind: "dir", Folder: t.TempDir()}), target: openEnd(t, end{Kind: "dir", Folder: t.TempDir()}), lies: lies}
	},
	"s3": func(t *testing.T) farm {
		g := s3test.Start(t)
		p := faultproxy.StartHTTP(t, g.Endpoint)
		g2 := g
		g2.Endpoint = p.URL
		return farm{openEnd(t, endOfS3(g2, g.Bucket(t))), openEnd(t, endOfS3(g2, g.Bucket(t))), answerLies, func(l *lie) {
			p.Set(nil)
			if l != nil {
				p.Set(l.answer)
			}
		}}
	},
	"sftp": func(t *testing.T) farm {
		remote := ends["sftp"](t)
		source, target := remote(t), remote(t)
		p := faultproxy.Start(t, source.Login.Host)
		source.Login.Host, target.Login.Host = p.Addr, p.Addr
		return farm{openEnd(t, source), openEnd(t, target), cuts(), cutter(p)}
	},
	"ftp": func(t *testing.T) farm {
		remote := ends["ftp"](t)
		source, target := remote(t), remote(t)
		p := faultproxy.Start(t, "")
		source.Via, target.Via = p.Addr, p.Addr
		return farm{openEnd(t, source), openEnd(t, target), cuts(), cutter(p)}
	},
	"ftp, what it says": func(t *testing.T) farm {
		remote := ends["ftp"](t)
		var both []storage.Store
		var liars []*lyingFTP
		for range 2 {
			l := remote(t).Login
			liar := &lyingFTP{server: l.Host}
			store, err := ftp.New(ftp.Options{Host: l.Host, Root: l.Root, Connections: 1, Dial: liar.Dial})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			both, liars = append(both, store), append(liars, liar)
		}
		return farm{both[0], both[1], ftpLies, func(l *lie) {
			for _, liar := range liars {
				liar.set(nil)
				if l != nil {
					liar.set(l.ftp)
				}
			}
		}}
	},
}

func cutter(p *faultproxy.Proxy) func(*lie) {
	return func(l *lie) {
		p.Set(nil)
		if l != nil {
			p.Set(faultproxy.Always(*l.cut))
		}
	}
}

// TestDeletionSafety: of broken, short, empty and interrupted listings follows no
// deletion, on either side, whoever asks for it. Where there is a wire it is there that
// they are broken; what a driver makes of it is its own.
func TestDeletionSafety(t *testing.T) {
	var safe, onWire atomic.Int64
	t.Run("all", func(t *testing.T) {
		for kind, open := range farms {
			t.Run(kind, func(t *testing.T) {
				t.Parallel() // they wait for servers
				f := open(t)
				p := newPen(t, f.source, f.target, f.wire)
				for _, l := range f.lies {
					for name, op := range ops {
						if op.forced && !l.fails && !l.either {
							continue
						}
						p.cell(l, name)
						safe.Add(1)
						if f.wire != nil {
							onWire.Add(1)
						}
					}
				}
				p.removesWhatItShould()
			})
		}
	})
	if !t.Failed() {
		t.Logf("%d cells, %d of them on the wire, no wrong deletion", safe.Load(), onWire.Load())
		if os.Getuid() == 0 { // as vsftpd wants it
			require.GreaterOrEqual(t, safe.Load(), int64(480))
			require.GreaterOrEqual(t, onWire.Load(), int64(360))
		}
	}
}

func openEnd(t *testing.T, e end) storage.Store {
	store, err := e.open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// removesWhatItShould: it was not for want of anything that nothing went.
func (p *pen) removesWhatItShould() {
	t := p.t
	require.NoError(t, os.Remove(filepath.Join(p.dir, "dir1", "file0001.csv")))
	require.NoError(t, p.source.Remove(t.Context(), "dir2/file0002.csv"))
	require.NoError(t, removes(transfer.Both, false)(t.Context(), p))
	require.Len(t, tree(t, p.dir), safeFiles-2)
	_, err := p.source.Stat(t.Context(), "dir1/file0001.csv")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, mirrors(false)(t.Context(), p))
	left, err := storage.Collect(t.Context(), p.target.Store, "")
	require.NoError(t, err)
	require.Len(t, left.Objects(), safeFiles-2)
}

// TestDeletionSafetyOfFolders: a folder that is not there, or not the one it was, is
// no reason to remove what it should have.
func TestDeletionSafetyOfFolders(t *testing.T) {
	for name, hide := range map[string]func(t *testing.T, p *pen, remote string){
		"the pipe's folder is gone": func(t *testing.T, p *pen, _ string) { require.NoError(t, os.Rename(p.dir, p.dir+".away")) },
		"the pipe's folder is empty": func(t *testing.T, p *pen, _ string) {
			require.NoError(t, os.Rename(p.dir, p.dir+".away"))
			require.NoError(t, os.Mkdir(p.dir, 0o755))
		},
		"the pipe's folder is a file": func(t *testing.T, p *pen, _ string) {
			require.NoError(t, os.Rename(p.dir, p.dir+".away"))
			require.NoError(t, os.WriteFile(p.dir, nil, 0o644))
		},
		"the remote is gone": func(t *testing.T, _ *pen, remote string) { require.NoError(t, os.Rename(remote, remote+".away")) },
		"the remote is empty": func(t *testing.T, _ *pen, remote string) {
			require.NoError(t, os.Rename(remote, remote+".away"))
			require.NoError(t, os.Mkdir(remote, 0o755))
		},
	} {
		for op := range ops {
			if ops[op].forced {
				continue
			}
			t.Run(name+"/"+op, func(t *testing.T) {
				remote := filepath.Join(t.TempDir(), "remote")
				require.NoError(t, os.Mkdir(remote, 0o755))
				source, err := dir.New(remote)
				require.NoError(t, err)
				defer source.Close()
				p := newPen(t, source, mem.New(), nil)
				hide(t, p, remote)
				_ = ops[op].do(t.Context(), p) // whether it is an error is not what this is about
				for _, folder := range []string{p.dir, remote} {
					if _, err := os.Stat(folder + ".away"); err == nil {
						folder += ".away"
					}
					require.Len(t, tree(t, folder), safeFiles)
				}
				left, err := storage.Collect(t.Context(), p.target.Store, "")
				require.NoError(t, err)
				require.Len(t, left.Objects(), safeFiles)
			})
		}
	}
}
