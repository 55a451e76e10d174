// Package mirror is what the server's mirrors are made of beside the engine that copies:
// what each remembers, how fast it may be, and what is told of a run.
//
// What a mirror remembers, which files it has copied and what of a big file has arrived,
// lies in a folder of the server that runs it, because it grows with every file; and in
// the database when a run ends, and now and then before, so that another server can go
// on. Losing it loses no file: both sides are compared anew.
package mirror

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// ErrLost says that another server holds what a mirror remembers.
var ErrLost = errors.New("another server has begun this mirror meanwhile")

// ErrDamaged says that what was kept of a mirror cannot be read.
var ErrDamaged = errors.New("what was kept cannot be read")

// A Keeper keeps what mirrors remember where all servers see it. A holder is the name of
// a folder's content: who has a folder of that name has what is newest.
type Keeper interface {
	// Holder returns the last one, "" when there was none.
	Holder(ctx context.Context, id string) (string, error)
	// Claim makes now the holder in the place of was, or fails with ErrLost.
	Claim(ctx context.Context, id, was, now string) error
	// Load returns what was kept last, nil when nothing was, or fails with ErrDamaged.
	Load(ctx context.Context, id string) (archive []byte, err error)
	// Save keeps an archive for the holder, or fails with ErrLost.
	Save(ctx context.Context, id, holder string, archive []byte) error
}

// A Memory is what one mirror remembers, for the time of a run.
type Memory struct {
	keeper     Keeper
	id, holder string
	dir        string
	forgot     error
}

const (
	holdersName = "holders" // the names that stand for the folder's content
	stateName   = "state"   // the engine's
)

// Open makes the folder dir what the mirror remembers, and its own. What lies there is
// used when nobody else has had the mirror since, also when a run that was killed is all
// that knows of it; else what was kept takes its place, unless that cannot be read.
func Open(ctx context.Context, keeper Keeper, id, dir string) (*Memory, error) {
	was, err := keeper.Holder(ctx, id)
	if err != nil {
		return nil, err
	}
	m := &Memory{keeper: keeper, id: id, holder: strings.ToLower(rand.Text()), dir: dir}
	mine, err := m.holders()
	if err != nil {
		return nil, err
	}
	if was == "" || !slices.Contains(mine, was) {
		if err := m.fetch(ctx, was); err != nil {
			return nil, fmt.Errorf("what the mirror remembers: %w", err)
		}
	}
	// The folder goes by both names until the keeper has the new one: a crash in between
	// loses nothing.
	if err := m.called(was, m.holder); err != nil {
		return nil, err
	}
	return m, keeper.Claim(ctx, id, was, m.holder)
}

// State is the folder for the engine.
func (m *Memory) State() string { return filepath.Join(m.dir, stateName) }

// Save keeps what the mirror remembers now. A run may be at work: what it writes
// meanwhile looks as after a crash, which it survives.
func (m *Memory) Save(ctx context.Context) error {
	archive, err := pack(m.State())
	if err != nil {
		return err
	}
	return m.keeper.Save(ctx, m.id, m.holder, archive)
}

func (m *Memory) holders() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(m.dir, holdersName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

func (m *Memory) called(names ...string) error {
	return atomicfile.Write(filepath.Join(m.dir, holdersName), []byte(strings.Join(names, "\n")+"\n"), 0o600)
}

// fetch puts what was kept in the place of what is here.
func (m *Memory) fetch(ctx context.Context, holder string) error {
	if err := os.RemoveAll(m.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(m.State(), 0o700); err != nil || holder == "" {
		return err
	}
	archive, err := m.keeper.Load(ctx, m.id)
	if err == nil && len(archive) > 0 {
		err = unpack(archive, m.State())
	}
	if errors.Is(err, ErrDamaged) {
		m.forgot = err
		return m.Forget()
	}
	return err
}

// Forgot returns why nothing is remembered that was kept; nil when nothing is amiss.
func (m *Memory) Forgot() error { return m.forgot }

// Forget empties the engine's folder.
func (m *Memory) Forget() error {
	if err := os.RemoveAll(m.State()); err != nil {
		return err
	}
	return os.MkdirAll(m.State(), 0o700)
}

// Sweep removes the folders in dir of mirrors that are no more: there asks for those that
// are, after the folders were listed.
func Sweep(dir string, there func() (map[string]bool, error)) error {
	folders, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(folders) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	ids, err := there()
	if err != nil {
		return err
	}
	for _, f := range folders {
		if !ids[f.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, f.Name())))
		}
	}
	return err
}
