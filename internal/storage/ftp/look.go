package ftp

import (
	"path"
	"strings"
)

// find says what p is by looking into the folder that it lies in. Servers give one
// and the same answer for what is not there and what is not allowed.
func (c *conn) find(p string) (entry, error) {
	if p == "/" {
		return entry{name: "/", kind: isFolder}, nil
	}
	dir, name := path.Dir(p), path.Base(p)
	entries, err := c.everything(dir)
	if refused(err) {
		e, above := c.find(dir)
		switch {
		case above != nil:
			return entry{}, above
		case e.kind == isFolder:
			return entry{}, denied(err)
		}
		return entry{}, missing(p)
	}
	if err != nil {
		return entry{}, err
	}
	for _, e := range entries {
		if e.name == name && e.kind != isSelf {
			return e, nil
		}
	}
	return entry{}, missing(p)
}

// look returns what p is, a refusal when it is no file or there is none.
func (c *conn) look(p string) (entry, error) {
	if c.store.has("MLST") {
		text, err := c.ask(250, "MLST "+p)
		if !unsupported(err) {
			e, err := parseMLST(text, err)
			if err != nil || e.kind != isFile {
				return e, err
			}
			one := []entry{e}
			err = c.fillIn(path.Dir(p), one)
			return one[0], err
		}
		c.store.miss("MLST")
	}
	if !c.store.has("SIZE") || !c.store.has("MDTM") {
		return c.lookAround(p)
	}
	commands := []string{"SIZE " + p, "MDTM " + p}
	replies, err := c.batch(commands...)
	if err != nil {
		return entry{}, err
	}
	e := entry{name: path.Base(p), kind: isFile}
	if replies[0].code != 213 {
		err = newReplyError(commands[0], replies[0], c.store.opts.Password)
	} else if e.size, err = parseSize(strings.TrimSpace(replies[0].text)); err == nil {
		e.time, err = mdtm(commands[1], replies[1], c.store)
	}
	if unsupported(err) {
		for i, r := range replies {
			if kindOf(r.code) != nil {
				c.store.miss(commands[i][:4])
			}
		}
		return c.lookAround(p)
	}
	return e, err
}

// lookAround is look for servers that cannot be asked about one file.
func (c *conn) lookAround(p string) (entry, error) {
	e, err := c.find(p)
	if err != nil {
		return entry{}, err
	}
	one := []entry{e}
	err = c.fillIn(path.Dir(p), one)
	return one[0], err
}

func parseMLST(text string, err error) (entry, error) {
	if err != nil {
		return entry{}, err
	}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimLeft(line, " ")
		if facts, _, ok := strings.Cut(line, " "); ok && strings.Contains(facts, "=") && strings.HasSuffix(facts, ";") {
			return parseFacts(strings.TrimSuffix(line, "\r"))
		}
	}
	return entry{}, &lineError{text}
}

// file returns the regular file at p, or the error that says why there is none.
func (c *conn) file(p string) (entry, error) {
	e, err := c.look(p)
	switch {
	case refused(err):
		return entry{}, c.noFile(p, err)
	case err != nil:
		return entry{}, err
	case e.kind != isFile:
		return entry{}, missing(p)
	}
	return e, nil
}

// noFile finds out what a refusal to give the file at p means.
func (c *conn) noFile(p string, cause error) error {
	e, err := c.find(p)
	switch {
	case err != nil:
		return err
	case e.kind != isFile:
		return missing(p)
	}
	return denied(cause)
}
