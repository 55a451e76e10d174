package d6tpipe

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// Unfinished is what an interrupted pull has left of a pipe, or what a pull that
// runs has not finished yet. The next pull goes on with it, or removes it.
type Unfinished struct {
	Pipe  string    `json:"pipe"`
	Files int       `json:"files"`      // part files
	Last  time.Time `json:"written_at"` // when the newest of them was written to, in UTC
}

// Unfinished lists the pipes of the file repo that have part files, by name.
func (c Config) Unfinished() (all []Unfinished, err error) {
	folder := filepath.Join(c.FileRepo, stateFolder)
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if !e.IsDir() || err != nil {
			continue
		}
		var u Unfinished
		if u.Files, u.Last, err = transfer.Unfinished(filepath.Join(folder, e.Name())); u.Files > 0 {
			u.Pipe, u.Last = e.Name(), u.Last.UTC()
			all = append(all, u)
		}
	}
	if err != nil {
		return all, &Error{Op: "list unfinished pulls of profile", Name: c.Profile, Err: withKind(err)}
	}
	return all, nil
}
