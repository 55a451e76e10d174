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
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp/sftptest"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A lie is what is wrong with a listing.
type lie struct {
	name   string
	fails  bool // the driver can tell: it is an error, which no force makes up for
	list   func(all []storage.Object, cancel func(), yield func(storage.Object, error) bool)
	answer faultproxy.Twist // of S3
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
		l.lie.list(all.Objects, l.cancel, yield)
	}
}

const safeFiles = 26

// A pen is a pipe, and a mirror from its remote to another, and nothing in any of the
// three places may go.
type pen struct {
	t              *testing.T
	source, target *liar
	http           *faultproxy.HTTP
	pipe, mirror   *transfer.Sync
	dir            string
}

func newPen(t *testing.T, source, target storage.Store, http *faultproxy.HTTP) *pen {
	p := &pen{t: t, source: &liar{Store: source}, target: &liar{Store: target}, http: http}
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
		listing, err := storage.Collect(p.t.Context(), l.Store, "")
		require.NoError(p.t, err)
		require.Len(p.t, listing.Objects, safeFiles, after)
	}
}

// ops are all that could delete, or be misled by what was listed. Those that are
// forced may only be tried where the listing is an error.
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
	if l.answer != nil {
		p.http.Set(l.answer)
	}
	err := op.do(ctx, p)
	about.lie = nil
	if l.answer != nil {
		p.http.Set(nil)
	}
	what := fmt.Sprintf("%s: %s: %v", name, l.name, err)
	if l.fails {
		require.Error(t, err, what)
	}
	p.intact(what)
}

// TestDeletionSafety: of broken, short, empty and interrupted listings follows no
// deletion, on either side, whoever asks for it.
func TestDeletionSafety(t *testing.T) {
	open := map[string]func(t *testing.T) (source, target storage.Store, http *faultproxy.HTTP){
		"mem": func(*testing.T) (source, target storage.Store, http *faultproxy.HTTP) {
			return mem.New(), mem.New(), nil
		},
		"dir": func(t *testing.T) (source, target storage.Store, http *faultproxy.HTTP) {
			return openEnd(t, end{Kind: "dir", Folder: t.TempDir()}), openEnd(t, end{Kind: "dir", Folder: t.TempDir()}), nil
		},
		"sftp": func(t *testing.T) (source, target storage.Store, http *faultproxy.HTTP) {
			server := sftptest.Start(t)
			both := []storage.Store{}
			for range 2 {
				folder, err := os.MkdirTemp(server.Dir, "remote")
				require.NoError(t, err)
				both = append(both, openEnd(t, end{Kind: "sftp", Login: login{Host: server.Host, User: server.User, Key: server.Key, Fingerprint: server.Fingerprint, Root: folder}}))
			}
			return both[0], both[1], nil
		},
		"s3": func(t *testing.T) (source, target storage.Store, http *faultproxy.HTTP) {
			g := s3test.Start(t)
			http = faultproxy.StartHTTP(t, g.Endpoint)
			g2 := g
			g2.Endpoint = http.URL
			return openEnd(t, endOfS3(g2, g.Bucket(t))), openEnd(t, endOfS3(g2, g.Bucket(t))), http
		},
	}
	cells, safe := 0, 0
	for kind, open := range open {
		t.Run(kind, func(t *testing.T) {
			source, target, http := open(t)
			p := newPen(t, source, target, http)
			wrong := lies
			if http != nil {
				wrong = answerLies
			}
			for _, l := range wrong {
				for name, op := range ops {
					if op.forced && !l.fails {
						continue
					}
					cells++
					p.cell(l, name)
					safe++
				}
			}
			p.removesWhatItShould()
		})
	}
	if !t.Failed() {
		t.Logf("%d cells, no wrong deletion", safe)
		require.Equal(t, cells, safe)
		require.GreaterOrEqual(t, safe, 160)
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
	require.Len(t, left.Objects, safeFiles-2)
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
				require.Len(t, left.Objects, safeFiles)
			})
		}
	}
}
