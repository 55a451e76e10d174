package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// leftoverKey begins the names under which the database has leftovers.
const leftoverKey = "leftover:"

// A Leftover is a folder of managed storage whose record is gone. As long as it is on
// the list, no record gets this folder.
type Leftover struct {
	Prefix string `json:"prefix"`
	Since  int64  `json:"since"` // Unix microseconds
	// Until is when a claim ends, in Unix microseconds: before, only who has claimed it
	// removes the files.
	Until int64 `json:"until,omitempty"`
	// InUse says that a record has its files in this folder, around it or within it, so
	// that they must stay.
	InUse bool `json:"-"`

	stored string // as it is in the database
}

// forgetManaged puts the folders of managed records that are about to be removed on
// the list of what is to be cleaned up, with the time.
func (s *session) forgetManaged(ctx context.Context, tx db.Tx, where string, arg string) error {
	gone, err := folders(ctx, tx, `SELECT id, body FROM records WHERE managed AND `+where, arg)
	if err != nil {
		return err
	}
	for _, prefix := range gone {
		value, err := json.Marshal(Leftover{Prefix: prefix, Since: s.now()})
		if err != nil {
			return err
		}
		// It is there already when former versions have given two records one folder.
		if _, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
			leftoverKey+prefix, string(value)); err != nil {
			return err
		}
	}
	return nil
}

// Leftovers lists what was left before a time, without what somebody else is
// removing.
func (r *Repo) Leftovers(ctx context.Context, before int64) (due []Leftover, err error) {
	err = r.o.DB.Read(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if due, err = r.due(ctx, tx, before); err != nil || len(due) == 0 {
			return err
		}
		used, err := folders(ctx, tx, `SELECT id, body FROM records WHERE managed`)
		if err != nil {
			return err
		}
		markUsed(due, used)
		return nil
	})
	return due, err
}

// due returns the leftovers, by their folders.
func (r *Repo) due(ctx context.Context, tx db.Tx, before int64) (due []Leftover, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT value FROM meta WHERE key >= $1 AND key < $2 ORDER BY key`, leftoverKey, strings.TrimSuffix(leftoverKey, ":")+";")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	now := r.now()
	for rows.Next() {
		var l Leftover
		if err := rows.Scan(&l.stored); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(l.stored), &l); err != nil {
			return nil, fmt.Errorf("what the database has of a removed pipe's files is damaged: %w", err)
		}
		if l.Since < before && l.Until <= now {
			due = append(due, l)
		}
	}
	return due, rows.Err()
}

// markUsed marks the leftovers, which are sorted, that overlap with a folder.
func markUsed(due []Leftover, used []string) {
	from := func(folder string) int {
		at, _ := slices.BinarySearchFunc(due, folder, func(l Leftover, folder string) int { return strings.Compare(l.Prefix, folder) })
		return at
	}
	for _, folder := range used {
		for i := from(folder); i < len(due) && strings.HasPrefix(due[i].Prefix, folder); i++ {
			due[i].InUse = true
		}
		for at := range folder { // what lies around it
			if folder[at] != '/' {
				continue
			}
			if i := from(folder[:at+1]); i < len(due) && due[i].Prefix == folder[:at+1] {
				due[i].InUse = true
			}
		}
	}
}

// Claim keeps others from removing a leftover's files for a while. It returns the
// leftover as it is then, for [Repo.Cleaned]. It is false when the leftover is no more
// what it was when it was listed: somebody else has claimed it, or it is off the list, and
// its folder may be a new record's.
//
// Whoever has it must have ended when the time is over. That nobody uses the folder needs
// no second look: no record gets it while it is on the list.
func (r *Repo) Claim(ctx context.Context, l Leftover, d time.Duration) (claimed Leftover, ok bool, err error) {
	if l.InUse {
		return l, false, nil
	}
	claimed = l
	claimed.Until = r.o.Now().Add(d).UnixMicro()
	value, err := json.Marshal(claimed)
	if err != nil {
		return l, false, err
	}
	claimed.stored = string(value)
	err = r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE meta SET value = $3 WHERE key = $1 AND value = $2`, leftoverKey+l.Prefix, l.stored, claimed.stored)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		ok = n == 1
		return err
	})
	return claimed, ok && err == nil, err
}

// Cleaned takes a leftover off the list: its files are gone, or are somebody's. It
// changes nothing when somebody else has claimed it meanwhile.
func (r *Repo) Cleaned(ctx context.Context, l Leftover) error {
	return r.o.DB.Write(ctx, func(ctx context.Context, tx db.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM meta WHERE key = $1 AND value = $2`, leftoverKey+l.Prefix, l.stored)
		return err
	})
}
