package transfer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sharedBig is the size of a file that takes a while to write: whoever looks on sees
// half of it if half of it can be seen.
const sharedBig = 3 << 20

// A shared is a folder and a remote on which processes work at the same time.
type shared struct {
	t        *testing.T
	remote   end
	repo     string
	unlocked bool            // as on a file system without locks
	known    map[string]bool // "key hash" of all that there was
	cleaned  int             // how often a manifest was damaged without locks, and said so
}

func (s *shared) errand(op string) errand { return errand{Op: op, Remote: s.remote, Repo: s.repo} }
func (s *shared) sides() []side {
	return []side{{folder: s.errand("").local()}, {folder: s.remote.Folder}}
}

// write writes edition n of the files that fall to one of two sides.
func (s *shared) write(to side, n, part, parts int) {
	files := map[string][]byte{}
	for i := range 12 {
		if i%parts == part {
			files[fmt.Sprintf("d%d/f%02d.bin", i%4, i)] = noise(uint64(n*20+i), 1000+(n*7919+i*4001)%(48<<10))
		}
	}
	files[fmt.Sprintf("big%d.bin", part)] = noise(uint64(1000+n*2+part), sharedBig+n)
	to.write(s.t, files)
	for key, data := range files {
		s.known[key+" "+hash(data)] = true
	}
}

// TestTwoProcesses lets processes work on one folder at the same time. At no moment
// there is a file that is not whole, here or there; and what they remember is true:
// one more sync converges, and the one after it moves nothing. Where the file system
// has no locks a process may fail, and neither may happen all the same.
func TestTwoProcesses(t *testing.T) {
	for _, pair := range [][]string{{"pull", "pull", "pull"}, {"pull", "push"}, {"pull", "remove"}, {"push", "push"}} {
		for _, unlocked := range []bool{false, true} {
			name, count := strings.Join(pair, "-"), 500
			if unlocked {
				name, count = name+"-unlocked", 100
			}
			t.Run(name, func(t *testing.T) {
				s := &shared{t: t, remote: end{Kind: "dir", Folder: t.TempDir()}, repo: t.TempDir(), unlocked: unlocked, known: map[string]bool{}}
				for n := range rounds(2, count) {
					s.round(pair, n)
				}
			})
		}
	}
}

func (s *shared) round(pair []string, n int) {
	here, there := s.sides()[0], s.sides()[1]
	switch pair[1] {
	case "push":
		s.write(here, n, 0, 2)
		if pair[0] == "pull" {
			s.write(there, n, 1, 2)
		}
	default:
		s.write(there, n, 0, 1)
	}
	if pair[1] == "remove" && n > 0 {
		there.remove(s.t, fmt.Sprintf("d%d/f%02d.bin", n%4, n%12))
		here.remove(s.t, fmt.Sprintf("d%d/f%02d.bin", (n+1)%4, (n+1)%12))
	}
	s.together(pair)
	s.whole("after")
	s.settles(pair)
}

// together runs the errands at once, and looks on.
func (s *shared) together(ops []string) {
	var running sync.WaitGroup
	for _, op := range ops {
		cmd, said := s.start(op)
		running.Go(func() {
			err := cmd.Wait()
			// A push that looks while a pull is at it may find both sides changed. It says
			// so and does nothing.
			if err != nil && !s.unlocked && (op != "push" || cmd.ProcessState.ExitCode() != exitConflict) {
				s.t.Errorf("%s: %v: %s", op, err, said)
			}
		})
	}
	s.t.Cleanup(running.Wait) // when the test ends early, its context has ended them
	over := make(chan struct{})
	go func() { running.Wait(); close(over) }()
	if s.unlocked {
		go s.breakLocks(over)
	}
	for {
		s.whole("meanwhile")
		select {
		case <-over:
			return
		default:
		}
	}
}

func (s *shared) start(op string) (*exec.Cmd, *bytes.Buffer) {
	spec, err := json.Marshal(s.errand(op))
	require.NoError(s.t, err)
	said := new(bytes.Buffer)
	cmd := exec.CommandContext(s.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "D6TPIPE_TRANSFER_ERRAND="+string(spec))
	cmd.Stderr = said
	require.NoError(s.t, cmd.Start())
	return cmd, said
}

// breakLocks takes the lock's file away again and again: who asks for the lock then
// locks another file and gets it.
func (s *shared) breakLocks(over <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
			_ = os.Remove(filepath.Join(s.repo, ".d6tpipe", "pipe", ".d6tpipe-lock-manifest")) // it may not be there
		}
	}
}

// whole: every file that can be seen is one that there was.
func (s *shared) whole(when string) {
	s.t.Helper()
	for _, at := range s.sides() {
		for _, key := range at.names(s.t) {
			sum, err := hashFile(filepath.Join(at.folder, filepath.FromSlash(key)))
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since
			}
			require.NoError(s.t, err)
			require.True(s.t, s.known[key+" "+sum], "%s: %s in %s is not whole", when, key, at.folder)
		}
	}
}

// names returns the files that can be seen, while they come and go.
func (s side) names(t *testing.T) (keys []string) {
	err := filepath.WalkDir(s.folder, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".d6tpipe") {
			return err
		}
		rel, _ := filepath.Rel(s.folder, p)
		keys = append(keys, filepath.ToSlash(rel))
		return nil
	})
	require.NoError(t, err)
	slices.Sort(keys)
	return keys
}

// settles: one after the other, the same errands bring both sides together, twice.
func (s *shared) settles(pair []string) {
	s.t.Helper()
	ops := slices.Compact(slices.Clone(pair))
	here, there := s.sides()[0], s.sides()[1]
	before := [2]map[string]string{here.visible(s.t), there.visible(s.t)}
	for _, op := range ops {
		_, err := s.errand(op).do(s.t.Context())
		if err != nil && s.unlocked && strings.Contains(err.Error(), "reset the pipe") {
			s.cleaned++ // it does not know, and says so
			require.NoError(s.t, os.RemoveAll(filepath.Join(s.repo, ".d6tpipe")))
			_, err = s.errand(op).do(s.t.Context())
		}
		if err != nil && s.unlocked && op == "push" && strings.Contains(err.Error(), "pull first") {
			// Each has replaced what the other one had sent, and remembers its own.
			_, err = s.errand("pull").do(s.t.Context())
			require.NoError(s.t, err)
			_, err = s.errand(op).do(s.t.Context())
		}
		require.NoError(s.t, err, "%s after %v", op, before)
	}
	require.Equal(s.t, there.visible(s.t), here.visible(s.t))
	for _, op := range ops {
		did, err := s.errand(op).do(s.t.Context())
		require.NoError(s.t, err)
		require.Zero(s.t, did, op)
	}
	s.whole("settled")
	require.NotEmpty(s.t, slices.Collect(maps.Keys(here.visible(s.t))))
}
