package ftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// publish gives the temporary file its name.
func (u *upload) publish(c *conn) (storage.Object, error) {
	e, err := c.look(u.temp)
	if err != nil {
		return storage.Object{}, err
	}
	if e.size != u.size {
		return storage.Object{}, fmt.Errorf("%w: the server has %d bytes instead of %d", storage.ErrTemporary, e.size, u.size)
	}
	if err := c.sweep(path.Dir(u.temp), e.time); err != nil {
		return storage.Object{}, err
	}
	old, err := c.look(u.path)
	exists := err == nil && old.kind == isFile
	switch {
	case err != nil && !refused(err) && !errors.Is(err, fs.ErrNotExist):
		return storage.Object{}, err
	case u.cond.Absent && exists, u.cond.Tag != "" && (!exists || old.tag() != u.cond.Tag):
		return storage.Object{}, storage.ErrChanged
	case exists && !e.time.After(old.time):
		if e, err = u.later(c, e, old); err != nil {
			return storage.Object{}, err
		}
	}
	if err := u.rename(c, exists); err != nil {
		return storage.Object{}, err
	}
	return e.object(u.key), nil
}

// later moves the time of the temporary file past that of the version it is to
// replace, so that they have different tags. It must be a later one, not just another,
// and whatever their sizes are, because the same holds for the versions before.
func (u *upload) later(c *conn, e, old entry) (entry, error) {
	if e.time.IsZero() {
		return e, nil // of what has no time nothing can be told
	}
	stamp := old.time.Add(time.Second).Format("20060102150405") + " " + u.temp
	for _, command := range []string{"MFMT ", "MDTM "} { // the second is vsftpd's; for others it names a file that is not there
		verb := strings.TrimSpace(command)
		if verb == "MFMT" && !c.store.lists(verb) || !c.store.has("MDTM") && verb == "MDTM" {
			continue
		}
		if err := c.expect(2, command+stamp); err != nil && !refused(err) {
			return e, err
		} else if err == nil {
			if now, err := c.look(u.temp); err != nil || now.size == e.size && now.time.After(old.time) {
				return now, err
			}
		}
	}
	return u.touch(c, e, old)
}

// touch writes the last byte again until the server's clock shows a later second. When
// it does not get there, because the old version is of the future or the clock has
// only minutes, any other tag will do.
func (u *upload) touch(c *conn, e, old entry) (entry, error) {
	const pause, tries = 300 * time.Millisecond, 5
	if u.size == 0 {
		return e, nil // what is empty is the same, and the next version will see to its own time
	}
	last, err := c.content(u.temp, u.size-1)
	for try := 0; err == nil && try < tries && !e.time.After(old.time) && e.size == u.size; try++ {
		if err = sleep(c.ctx, pause); err == nil {
			err = c.write(u.temp, u.size-1, strings.NewReader(last))
		}
		if err == nil {
			e, err = c.look(u.temp)
		}
	}
	if err == nil && (e.size != u.size || e.tag() == old.tag()) {
		err = fmt.Errorf("%w: the new version cannot be told from the old one", storage.ErrTemporary)
	}
	return e, err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rename moves the temporary file to its name.
func (u *upload) rename(c *conn, exists bool) error {
	err := c.move(u.temp, u.path)
	if err == nil || !refused(err) {
		return err
	}
	if !exists {
		return u.noName(c, err)
	}
	return u.replace(c)
}

// replace moves the old version aside, and back when the new one cannot take its
// place. If it cannot tell where the old one is, u.aside remains set.
func (u *upload) replace(c *conn) error {
	aside := path.Join(path.Dir(u.path), oldName())
	err := c.move(u.path, aside)
	if refused(err) {
		return denied(err)
	}
	u.aside = aside
	if err == nil {
		err = c.move(u.temp, u.path)
	}
	if refused(err) {
		err = denied(err)
		if back := c.moveBack(aside, u.path); back == nil || refused(back) {
			u.aside = ""
			return leftAs(aside, err, back)
		}
	}
	if err != nil {
		return err
	}
	u.aside = ""
	return leftAs(aside, nil, c.expect(2, "DELE "+aside))
}

// leftAs joins the errors of a replacement and of what was to be done about the old
// version, which is still aside after the second one.
func leftAs(aside string, err, left error) error {
	if left == nil {
		return err
	}
	left = fmt.Errorf("the old version is left as %q: %w", path.Base(aside), left)
	if err == nil {
		return left
	}
	return fmt.Errorf("%w; %w", err, left)
}

// moveBack gives a file that may have been moved aside its name again. When it is
// not aside, the answer that got lost was no.
func (c *conn) moveBack(aside, name string) error {
	err := c.move(aside, name)
	if !refused(err) {
		return err
	}
	if _, gone := c.file(aside); errors.Is(gone, fs.ErrNotExist) {
		return nil
	}
	return err
}

// noName says why a file cannot get a name that no file has.
func (u *upload) noName(c *conn, refusal error) error {
	e, err := c.find(u.path)
	if err == nil && e.kind == isFolder {
		return fmt.Errorf("%q on the server is a folder", u.path)
	}
	return denied(refusal)
}

func (c *conn) move(from, to string) error {
	if err := c.expect(350, "RNFR "+from); err != nil {
		return err
	}
	return c.expect(2, "RNTO "+to)
}

// sweep removes the temporary files in dir that nobody will finish, once in the
// life of a Store. The server's clock is that of now, the time of a file that it
// has just got.
func (c *conn) sweep(dir string, now time.Time) error {
	if now.IsZero() || !c.store.firstVisit(dir) {
		return nil
	}
	entries, err := c.everything(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.kind != isFile || !isTemp(e.name) {
			continue
		}
		p := path.Join(dir, e.name)
		e, err := c.look(p)
		if err == nil && e.time.Before(now.Add(-staleAfter)) {
			err = c.expect(2, "DELE "+p)
		}
		if err != nil && !refused(err) { // it is gone, or somebody else's
			return err
		}
	}
	return nil
}

// mostFolders is how many a Store remembers.
const mostFolders = 10_000

// firstVisit reports whether dir was not swept yet.
func (l *learned) firstVisit(dir string) bool { return l.note(&l.swept, dir) }

// firstPut reports whether dir is not known to be there.
func (l *learned) firstPut(dir string) bool { return l.note(&l.folders, dir) }

// left forgets that dir was there.
func (l *learned) left(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.folders, dir)
}

// note adds dir to a set, and reports whether it was not in it.
func (l *learned) note(set *map[string]bool, dir string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *set == nil || len(*set) >= mostFolders {
		*set = map[string]bool{}
	}
	first := !(*set)[dir]
	(*set)[dir] = true
	return first
}
