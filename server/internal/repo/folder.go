package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// A folder of managed storage is OWNER/NAME/ or, where that is taken, OWNER/NAME.ID/ with
// a part of the record's id. It stays when the record goes to another owner. Neither part
// has a slash in it, so no folder lies within another one; and no name has a dot in it, so
// a folder with an id is never that of another name.
//
// Former versions wrote OWNER/NAME-ID/, which is what a record can be called. Those
// folders are still in use.
const (
	idMark    = "."
	oldIDMark = "-"
	idPart    = 8 // characters of the id
)

// rivals are the records that can have a folder which is also one of the record of a
// name: those of this name, and those whose folder has an id the old way. Others cannot,
// and reading them all would make it slower to create a record the more there are.
const rivals = `SELECT id, body FROM records WHERE kind IN ('pipes', 'remotes') AND name IN ($1, $2) AND managed`

// freeLocation is a folder in which nobody else's files are: neither those of a record
// that is there, nor those of one that is gone and whose files are not yet, or are just
// being removed.
func (s *session) freeLocation(ctx context.Context, tx db.Tx, x *row, name string) (string, error) {
	path := s.user.name + "/" + name
	choice := []string{path + "/", path + idMark + x.id[:idPart] + "/", path + idMark + x.id + "/"}
	used, err := folders(ctx, tx, rivals, name, oldName(name))
	if err != nil {
		return "", err
	}
	for _, folder := range choice {
		left, err := lookup(ctx, tx, `SELECT key FROM meta WHERE key = $1`, leftoverKey+folder)
		if err != nil {
			return "", err
		}
		if left == "" && !slices.ContainsFunc(used, func(other string) bool { return overlap(folder, other) }) {
			return s.o.Storage.Bucket() + "/" + strings.TrimSuffix(folder, "/"), nil
		}
	}
	return "", fmt.Errorf("no folder of managed storage is free for %s", path)
}

// oldName is what a record is called whose folder, with an id the old way, is that of
// the record name.
func oldName(name string) string {
	if at := len(name) - idPart - len(oldIDMark); at > 0 && name[at:at+len(oldIDMark)] == oldIDMark {
		return name[:at]
	}
	return name
}

// folders returns those of the managed records that a query finds.
func folders(ctx context.Context, tx db.Tx, query string, args ...any) (all []string, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var x row
		if err := rows.Scan(&x.id, &x.body); err != nil {
			return nil, err
		}
		folder, err := x.folder()
		if err != nil {
			return nil, err
		}
		all = append(all, folder)
	}
	return all, rows.Err()
}

// folder is where the files of a managed record lie, below the bucket.
func (x *row) folder() (string, error) {
	location, err := x.location()
	if err != nil {
		return "", fmt.Errorf("record %s is damaged: %w", x.id, err)
	}
	return folderOf(location), nil
}

// folderOf cuts the bucket off. That of all is "".
func folderOf(location string) string {
	_, path, _ := strings.Cut(location, "/")
	if path == "" {
		return ""
	}
	return path + "/"
}

// overlap reports whether a folder is, contains or lies within another one.
func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

// location is where the files of a record of its own lie.
func (x *row) location() (string, error) { return locationIn(x.body) }

func locationIn(record string) (string, error) {
	var said struct {
		Location string `json:"location"`
	}
	err := json.Unmarshal([]byte(record), &said)
	return said.Location, err
}
