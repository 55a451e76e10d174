package ftp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// walkers is how many folders are listed at once.
const walkers = 8

// maxLine is longer than any line of a listing may be.
const maxLine = 64 << 10

// List implements [storage.Store]. A file that vanishes meanwhile is left out.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		base := prefix[:strings.LastIndexByte(prefix, '/')+1]
		if base != "" {
			if err := storage.CheckKey(strings.TrimSuffix(base, "/")); err != nil {
				yield(storage.Object{}, err)
				return
			}
		}
		err := s.walk(ctx, base, func(obj storage.Object) bool {
			return !strings.HasPrefix(obj.Key, prefix) || yield(obj, nil)
		}, prefix)
		if err != nil && !errors.Is(err, errStopped) {
			yield(storage.Object{}, fail(ctx, "list", prefix, err))
		}
	}
}

// content is what a folder holds: objects, and the keys of its folders with a slash
// at the end.
type content struct {
	objects []storage.Object
	folders []string
	err     error
}

// walk lists folders, several at once, and yields from the caller's goroutine. It
// holds no connection while it yields.
func (s *Store) walk(ctx context.Context, base string, yield func(storage.Object) bool, prefix string) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan content)
	todo, running := []string{base}, 0
	defer func() {
		cancel()
		for ; running > 0; running-- {
			<-results
		}
	}()
	for len(todo) > 0 || running > 0 {
		for len(todo) > 0 && running < min(walkers, s.opts.Connections) {
			folder := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			running++
			go func() { results <- s.folder(ctx, folder, folder == base) }()
		}
		found := <-results
		running--
		if found.err != nil {
			return found.err
		}
		for _, folder := range found.folders {
			if strings.HasPrefix(folder, prefix) || strings.HasPrefix(prefix, folder) {
				todo = append(todo, folder)
			}
		}
		for _, obj := range found.objects {
			if err := outer.Err(); err != nil {
				return err
			}
			if !yield(obj) {
				return errStopped
			}
		}
	}
	return outer.Err()
}

// folder lists the folder whose keys begin with base. One that was listed and is
// gone is empty, and so is a first one that is not there, below a root that is.
func (s *Store) folder(ctx context.Context, base string, first bool) (found content) {
	found.err = s.with(ctx, "list", base, func(c *conn) error {
		dir := s.path(base)
		entries, err := c.entries(dir)
		if refused(err) {
			return c.noFolder(dir, err)
		}
		if err == nil {
			err = c.fillIn(dir, entries)
		}
		if err == nil {
			found = sortOut(base, entries)
		}
		return err
	})
	return found
}

// noFolder finds out why dir cannot be listed: nil when it is not there and the
// root is.
func (c *conn) noFolder(dir string, cause error) error {
	e, err := c.find(dir)
	switch {
	case err == nil && e.kind == isFolder:
		return denied(cause)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return c.enter(c.store.opts.Root)
}

// enter makes sure that dir is a folder.
func (c *conn) enter(dir string) error {
	err := c.expect(2, "CWD "+dir)
	if !refused(err) {
		return err
	}
	e, found := c.find(dir)
	switch {
	case found != nil:
		return found
	case e.kind == isFolder:
		return denied(err)
	}
	return missing(dir)
}

func missing(p string) error {
	return fmt.Errorf("%w: %q on the server", fs.ErrNotExist, p)
}

// sortOut makes keys of names. A folder that cannot be entered, because its name
// cannot be sent or would lead elsewhere, or that lies too deep for a key below it,
// becomes an object that nobody may use: it is refused by its name, and not lost.
func sortOut(base string, entries []entry) (found content) {
	for _, e := range entries {
		key := base + e.name
		switch {
		case e.kind == isFile:
			found.objects = append(found.objects, e.object(key))
		case e.kind != isFolder:
		case unsafeCommand(e.name), strings.Contains(e.name, "/"), isDots(e.name), len(key) >= storage.MaxKey:
			found.objects = append(found.objects, storage.Object{Key: key + "/"})
		default:
			found.folders = append(found.folders, key+"/")
		}
	}
	return found
}

// entries lists dir: all but links, devices, and names of our own. A refusal means
// that dir is missing, no folder, or closed to us.
//
// The folder is entered first. That is the proof that it is there: asked for one
// that is not, servers answer LIST with an empty listing. And a name that is no
// argument cannot be taken for an option or a pattern.
func (c *conn) entries(dir string) ([]entry, error) {
	all, err := c.everything(dir)
	entries := all[:0]
	for _, e := range all {
		if (e.kind == isFile || e.kind == isFolder) && !strings.HasPrefix(e.name, tempPrefix) {
			entries = append(entries, e)
		}
	}
	return entries, err
}

// everything is entries with links and names of our own.
func (c *conn) everything(dir string) ([]entry, error) {
	if err := c.expect(2, "CWD "+dir); err != nil {
		return nil, err
	}
	if c.store.has("MLST") {
		entries, err := c.listing("MLSD", func(line string) (entry, error) { return parseFacts(line) })
		if !unsupported(err) {
			return entries, err
		}
		c.store.miss("MLST")
	}
	now := time.Now()
	parse := func(line string) (entry, error) { return parseLine(line, now) }
	l := &c.store.learned
	if l.get(&l.hidden) != no {
		entries, err := c.listing("LIST -a", parse)
		if err != nil && !refused(err) {
			return nil, err
		}
		if err == nil && showsHidden(entries) {
			l.set(&l.hidden, yes)
			return entries, nil
		}
		if l.get(&l.hidden) == yes {
			return nil, fmt.Errorf("%w: the server's listing of %q lacks the folder itself", storage.ErrTemporary, dir)
		}
		l.set(&l.hidden, no) // "-a" may have been taken for a name
	}
	return c.listing("LIST", parse)
}

// showsHidden reports whether the server has understood -a: then the listing names
// the folder itself.
func showsHidden(entries []entry) bool {
	for _, e := range entries {
		if isDots(e.name) {
			return true
		}
	}
	return false
}

// listing runs a command that lists the current folder. Its last line must be
// whole, TLS must say that it was the last, and the server that all went well, in
// words too: vsftpd has
// "226 Transfer done (but failed to open directory)", Pure-FTPd "226-Output
// truncated".
func (c *conn) listing(command string, parse func(string) (entry, error)) (entries []entry, err error) {
	t, err := c.begin(0, command)
	if err != nil {
		return nil, err
	}
	entries, err = readLines(t, parse)
	if err == nil && t.cut() {
		err = errNoEnd
	}
	if err != nil {
		t.abandon()
		return nil, err
	}
	r, err := t.end()
	if err != nil {
		return nil, err
	}
	text := strings.ToLower(r.text)
	for _, bad := range []string{"truncat", "fail", "denied", "incomplete"} {
		if strings.Contains(text, bad) {
			e := newReplyError(command, r, c.store.opts.Password)
			return nil, fmt.Errorf("the listing is not complete: %w", e)
		}
	}
	return entries, nil
}

func readLines(r io.Reader, parse func(string) (entry, error)) (entries []entry, err error) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			return entries, nil
		case err == io.EOF:
			return nil, errCut
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, &lineError{string(line[:100])}
		case err != nil:
			return nil, brokenError(err)
		}
		e, err := parse(strings.TrimSuffix(string(line[:len(line)-1]), "\r"))
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
}

// fillIn asks for the times of files that the listing has only coarsely.
func (c *conn) fillIn(dir string, entries []entry) error {
	if !c.store.has("MDTM") {
		return nil
	}
	var asked []int
	var commands []string
	for i, e := range entries {
		if e.kind == isFile && (e.coarse || e.time.IsZero()) && storage.CheckKey(e.name) == nil { // others are refused anyway
			asked = append(asked, i)
			commands = append(commands, "MDTM "+path.Join(dir, e.name))
		}
	}
	replies, err := c.batch(commands...)
	if err != nil {
		return err
	}
	var gone []int
	for n, i := range asked {
		t, err := mdtm(commands[n], replies[n], c.store)
		switch {
		case unsupported(err):
			c.store.miss("MDTM")
			return nil
		case refused(err):
			gone = append(gone, i)
		case err != nil:
			return err
		default:
			entries[i].time, entries[i].coarse = t, false
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return c.reallyGone(dir, entries, gone)
}

// reallyGone checks that the files whose times could not be had are not there any
// more, and marks them so.
func (c *conn) reallyGone(dir string, entries []entry, gone []int) error {
	now, err := c.entries(dir)
	if err != nil && !refused(err) {
		return err
	}
	there := map[string]bool{}
	for _, e := range now {
		there[e.name] = true
	}
	for _, i := range gone {
		if there[entries[i].name] {
			return fmt.Errorf("%w: the server does not say when %q was changed", storage.ErrTemporary, entries[i].name)
		}
		entries[i].kind = isOther
	}
	return nil
}

// mdtm reads the answer to MDTM.
func mdtm(command string, r reply, s *Store) (time.Time, error) {
	if r.code != 213 {
		return time.Time{}, newReplyError(command, r, s.opts.Password)
	}
	t, err := parseTime(r.text)
	if err != nil {
		return time.Time{}, fmt.Errorf("the server's time %.40q is not one", r.text)
	}
	return t, nil
}
