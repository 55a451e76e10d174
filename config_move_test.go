package d6tpipe_test

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// repoFiles are the files of a file repo as the tests fill it.
var repoFiles = map[string]string{
	"sales/2026/a.csv":           "a,b\n1,2\n",
	"sales/.hidden":              "",
	"weather/b.csv":              strings.Repeat("0123456789", 50_000),
	".d6tpipe/sales/manifest":    "{}",
	".filedb.json":               "{}",
	"weather/deep/er/c d é.json": "[]",
}

var repoTime = time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC)

// newRepo makes a profile with pulled files, and another one beside it.
func newRepo(t *testing.T, s d6tpipe.ConfigSettings) d6tpipe.Config {
	newHome(t)
	_, err := d6tpipe.InitConfig(t.Context(), "other", d6tpipe.InitOptions{})
	require.NoError(t, err)
	cfg, err := d6tpipe.InitConfig(t.Context(), "", d6tpipe.InitOptions{Settings: s})
	require.NoError(t, err)
	fillRepo(t, cfg.FileRepo)
	cfg.Tokens = d6tpipe.MemoryTokens()
	return cfg
}

func fillRepo(t *testing.T, repo string) {
	for name, text := range repoFiles {
		path := filepath.Join(repo, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o640))
		require.NoError(t, os.Chtimes(path, repoTime, repoTime))
	}
	require.NoError(t, os.Symlink("2026/a.csv", filepath.Join(repo, "sales", "newest.csv")))
}

func requireRepo(t *testing.T, repo string) {
	for name, text := range repoFiles {
		path := filepath.Join(repo, name)
		require.Equal(t, text, readText(t, path))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.True(t, info.ModTime().Equal(repoTime), "a sync tells changed files by their time")
		require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	}
	target, err := os.Readlink(filepath.Join(repo, "sales", "newest.csv"))
	require.NoError(t, err)
	require.Equal(t, "2026/a.csv", target)
}

// elsewhere returns a folder on another file system than the temporary folder.
func elsewhere(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "d6tpipe-test-") // t.TempDir is on the first file system
	if err != nil {
		t.Skip("there is no second file system at /dev/shm")
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	probe := filepath.Join(t.TempDir(), "probe")
	require.NoError(t, os.WriteFile(probe, nil, 0o600))
	if os.Rename(probe, filepath.Join(dir, "probe")) == nil {
		t.Skip("/dev/shm is not another file system")
	}
	return dir
}

func TestMoveRepo(t *testing.T) {
	for name, place := range map[string]func(*testing.T) string{
		"rename":                func(t *testing.T) string { return filepath.Join(t.TempDir(), "new", "repo") },
		"into an empty folder":  func(t *testing.T) string { return t.TempDir() },
		"to another disk":       func(t *testing.T) string { return filepath.Join(elsewhere(t), "new", "repo") },
		"to another disk's own": elsewhere,
	} {
		t.Run(name, func(t *testing.T) {
			to := place(t)
			cfg := newRepo(t, d6tpipe.ConfigSettings{})
			moved, err := cfg.MoveRepo(t.Context(), to)
			require.NoError(t, err)
			require.Equal(t, to, moved.FileRepo)
			require.Equal(t, filepath.Join(to, ".filedb.json"), moved.FileDB, "it lies in the file repo")
			require.Equal(t, cfg.FileRepoRoot, moved.FileRepoRoot)
			require.Equal(t, cfg.Catalog, moved.Catalog)
			require.Equal(t, cfg.Tokens, moved.Tokens)
			requireRepo(t, to)
			require.NoDirExists(t, cfg.FileRepo)
			require.NotContains(t, readText(t, cfg.File), "movingto")
			require.Empty(t, strayFiles(t, to))

			pipes, err := moved.LocalPipes()
			require.NoError(t, err)
			require.Equal(t, []string{"sales", "weather"}, pipes)
		})
	}
}

// TestMoveRepoOfAMountPoint moves to a disk that is mounted for a process of its
// own: an empty folder that can be neither removed nor replaced.
func TestMoveRepoOfAMountPoint(t *testing.T) {
	const mounted = "D6TPIPE_TEST_MOUNTED"
	if to := os.Getenv(mounted); to != "" {
		cfg := newRepo(t, d6tpipe.ConfigSettings{})
		require.Error(t, os.Remove(to))
		moved, err := cfg.MoveRepo(t.Context(), to)
		require.NoError(t, err)
		requireRepo(t, moved.FileRepo)
		require.NoDirExists(t, cfg.FileRepo)
		return
	}
	to := t.TempDir()
	alone := []string{"-m", "sh", "-c", `mount -t tmpfs none "$1" && shift && exec "$@"`, "sh", to}
	if exec.CommandContext(t.Context(), "unshare", append(alone, "true")...).Run() != nil {
		t.Skip("only root may mount, and not everywhere")
	}
	cmd := exec.CommandContext(t.Context(), "unshare", append(alone, os.Args[0], "-test.run=^TestMoveRepoOfAMountPoint$")...)
	cmd.Env = append(os.Environ(), mounted+"="+to)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestMoveRepoOfLink(t *testing.T) {
	real := t.TempDir()
	cfg := newRepo(t, d6tpipe.ConfigSettings{})
	require.NoError(t, os.Rename(cfg.FileRepo, filepath.Join(real, "data")))
	require.NoError(t, os.Symlink(filepath.Join(real, "data"), cfg.FileRepo))
	moved, err := cfg.MoveRepo(t.Context(), filepath.Join(real, "new"))
	require.NoError(t, err)
	requireRepo(t, moved.FileRepo)
	require.Equal(t, []string{"new"}, entries(t, real))
	_, err = os.Lstat(cfg.FileRepo)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestMoveRepoThroughLink(t *testing.T) {
	disk := t.TempDir()
	link := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.Symlink(disk, link))
	moved, err := newRepo(t, d6tpipe.ConfigSettings{}).MoveRepo(t.Context(), link)
	require.NoError(t, err)
	requireRepo(t, disk)
	require.Equal(t, disk, moved.FileRepo)
	target, err := os.Readlink(link)
	require.NoError(t, err)
	require.Equal(t, disk, target, "the link stays")
}

func TestMoveRepoWithoutFiles(t *testing.T) {
	newHome(t)
	cfg, err := d6tpipe.InitConfig(t.Context(), "", d6tpipe.InitOptions{})
	require.NoError(t, err)
	moved, err := cfg.MoveRepo(t.Context(), "~/data")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(os.Getenv("HOME"), "data"), moved.FileRepo)
}

func TestMoveRepoRefuses(t *testing.T) {
	cfg := newRepo(t, d6tpipe.ConfigSettings{})
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
	linked := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(cfg.FileRepo, linked))
	before := readText(t, cfg.File)
	for name, c := range map[string]struct {
		to   string
		kind error
	}{
		"nowhere":                {"", d6tpipe.ErrInvalid},
		"itself":                 {cfg.FileRepo, d6tpipe.ErrInvalid},
		"into itself":            {filepath.Join(cfg.FileRepo, "sales", "new"), d6tpipe.ErrInvalid},
		"into itself by a link":  {filepath.Join(linked, "new", "er"), d6tpipe.ErrInvalid},
		"over a file":            {filepath.Join(full, "mine"), d6tpipe.ErrExists},
		"over a folder":          {full, d6tpipe.ErrExists},
		"over the parent folder": {filepath.Dir(cfg.FileRepo), d6tpipe.ErrExists},
	} {
		_, err := cfg.MoveRepo(t.Context(), c.to)
		require.ErrorIs(t, err, c.kind, name)
	}
	require.Equal(t, before, readText(t, cfg.File))
	requireRepo(t, cfg.FileRepo)
}

func TestMoveRepoCancelled(t *testing.T) {
	to := elsewhere(t)
	cfg := newRepo(t, d6tpipe.ConfigSettings{})
	ctx := &countdown{Context: t.Context(), left: 25}
	_, err := cfg.MoveRepo(ctx, filepath.Join(to, "new"))
	require.ErrorIs(t, err, context.Canceled)
	requireRepo(t, cfg.FileRepo)
	require.Empty(t, entries(t, to), "the half copy is gone")
	again, err := d6tpipe.LoadConfig("")
	require.NoError(t, err)
	require.Equal(t, cfg.FileRepo, again.FileRepo)
	_, err = cfg.MoveRepo(t.Context(), filepath.Join(to, "new"))
	require.NoError(t, err)
	requireRepo(t, filepath.Join(to, "new"))
}

// countdown is a context that is cancelled after it was asked some times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestMoveRepoInterrupted looks at what a kill can leave behind.
func TestMoveRepoInterrupted(t *testing.T) {
	for name, c := range map[string]struct {
		leave   func(t *testing.T, from, to string)
		arrived bool
	}{
		"before it began":  {func(t *testing.T, from, to string) {}, false},
		"in the copy":      {func(t *testing.T, from, to string) { require.NoError(t, os.MkdirAll(to, 0o755)) }, false},
		"after the rename": {func(t *testing.T, from, to string) { require.NoError(t, os.Rename(from, to)) }, true},
		"and Python came": {func(t *testing.T, from, to string) {
			require.NoError(t, os.Rename(from, to))
			require.NoError(t, os.Mkdir(from, 0o755))
		}, true},
		"both are there":    {func(t *testing.T, from, to string) { fillRepo(t, to) }, false},
		"and both are gone": {func(t *testing.T, from, to string) { require.NoError(t, os.RemoveAll(from)) }, false},
		"the old one is bare": {func(t *testing.T, from, to string) {
			require.NoError(t, os.RemoveAll(from))
			require.NoError(t, os.Mkdir(from, 0o755))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newRepo(t, d6tpipe.ConfigSettings{})
			to := filepath.Join(t.TempDir(), "new")
			mark := strings.Replace(readText(t, cfg.File), `"filerepo": "~/d6tpipe/files/default"`, `"filerepo": "~/d6tpipe/files/default", "filerepomovingto": "`+to+`"`, 1)
			require.Contains(t, mark, to)
			require.NoError(t, os.WriteFile(cfg.File, []byte(mark), 0o600))
			c.leave(t, cfg.FileRepo, to)
			want, db := cfg.FileRepo, cfg.FileDB
			if c.arrived {
				want, db = to, filepath.Join(to, ".filedb.json")
			}
			got, err := d6tpipe.LoadConfig("")
			require.NoError(t, err)
			require.Equal(t, want, got.FileRepo)
			require.Equal(t, db, got.FileDB)

			got, err = got.Update(t.Context(), func(s *d6tpipe.ConfigSettings) { s.Username = "x" })
			require.NoError(t, err)
			require.Equal(t, want, got.FileRepo)
			require.NotContains(t, readText(t, cfg.File), "movingto", "the next change writes it down")
			got, err = got.Update(t.Context(), func(s *d6tpipe.ConfigSettings) { s.FileRepo = "~/third" })
			require.NoError(t, err)
			require.Equal(t, filepath.Join(os.Getenv("HOME"), "third"), got.FileRepo)
		})
	}
}

func TestWipeAll(t *testing.T) {
	cfg := newRepo(t, d6tpipe.ConfigSettings{Server: "https://example.com"})
	require.NoError(t, os.MkdirAll(filepath.Dir(cfg.Catalog), 0o755))
	require.NoError(t, os.WriteFile(cfg.Catalog, []byte("{}"), 0o600))
	key := d6tpipe.TokenKey{Profile: "default", Origin: "https://example.com"}
	require.NoError(t, cfg.TokenStore().SetToken(t.Context(), key, "canary"))

	for _, confirmation := range []string{"", "other", "Default"} {
		err := cfg.WipeAll(t.Context(), d6tpipe.WipeOptions{Profile: confirmation})
		require.ErrorIs(t, err, d6tpipe.ErrRefused)
	}
	requireRepo(t, cfg.FileRepo)

	t.Setenv("D6TPIPE_SERVER", "https://elsewhere.example")
	elsewhere, err := d6tpipe.LoadConfig("")
	require.NoError(t, err)
	elsewhere.Tokens = cfg.Tokens
	require.NoError(t, elsewhere.WipeAll(t.Context(), d6tpipe.WipeOptions{Profile: "default"}))
	require.NoDirExists(t, cfg.FileRepo)
	require.NoFileExists(t, cfg.Catalog)
	names, err := d6tpipe.ListProfiles("")
	require.NoError(t, err)
	require.Equal(t, []string{"other"}, names)
	_, err = cfg.Tokens.Token(t.Context(), key)
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)

	err = cfg.WipeAll(t.Context(), d6tpipe.WipeOptions{Profile: "default"})
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
}

func TestWipeAllOfLink(t *testing.T) {
	cfg := newRepo(t, d6tpipe.ConfigSettings{})
	real := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Rename(cfg.FileRepo, real))
	require.NoError(t, os.Symlink(real, cfg.FileRepo))
	require.NoError(t, cfg.WipeAll(t.Context(), d6tpipe.WipeOptions{Profile: "default"}))
	require.NoDirExists(t, real)
	_, err := os.Lstat(cfg.FileRepo)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWipeAllKeepsACatalogOfOnesOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "catalog.json")
	require.NoError(t, os.WriteFile(file, []byte("{}"), 0o600))
	cfg := newRepo(t, d6tpipe.ConfigSettings{Catalog: file})
	require.NoError(t, cfg.WipeAll(t.Context(), d6tpipe.WipeOptions{Profile: "default"}))
	require.FileExists(t, file)
}

func TestWipeAllRefuses(t *testing.T) {
	plain := func(t *testing.T) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.doc"), nil, 0o600))
		return dir
	}
	for name, place := range map[string]func(t *testing.T) string{
		"the home folder":         func(*testing.T) string { return "~" },
		"above the home folder":   func(*testing.T) string { return "~/.." },
		"the profiles":            func(*testing.T) string { return "~/d6tpipe" },
		"another profile's files": func(*testing.T) string { return "~/d6tpipe/files" },
		"no sign of a file repo":  plain,
		"the working folder": func(t *testing.T) string {
			dir := plain(t)
			t.Chdir(dir)
			require.NoError(t, os.Mkdir(filepath.Join(dir, ".d6tpipe"), 0o700))
			return dir
		},
		"home by a link": func(t *testing.T) string {
			link := filepath.Join(t.TempDir(), "link")
			require.NoError(t, os.Symlink(os.Getenv("HOME"), link))
			return link
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newRepo(t, d6tpipe.ConfigSettings{})
			sign := filepath.Join(os.Getenv("HOME"), ".d6tpipe")
			require.NoError(t, os.Mkdir(sign, 0o700))
			cfg, err := cfg.Update(t.Context(), func(s *d6tpipe.ConfigSettings) { s.FileRepo = place(t) })
			require.NoError(t, err)
			err = cfg.WipeAll(t.Context(), d6tpipe.WipeOptions{Profile: "default"})
			require.ErrorIs(t, err, d6tpipe.ErrRefused)
			t.Log(err)
			require.DirExists(t, sign)
			names, err := d6tpipe.ListProfiles("")
			require.NoError(t, err)
			require.Equal(t, []string{"other", "default"}, names)
		})
	}
	t.Run("a config that is out of date", func(t *testing.T) {
		cfg := newRepo(t, d6tpipe.ConfigSettings{})
		old := cfg
		_, err := cfg.MoveRepo(t.Context(), filepath.Join(t.TempDir(), "new"))
		require.NoError(t, err)
		require.ErrorIs(t, old.WipeAll(t.Context(), d6tpipe.WipeOptions{Profile: "default"}), d6tpipe.ErrRefused)
	})
}

// TestMoveRepoSurvivesKills kills a move between two disks at random instants:
// all files are in the file repo that the profile names, each time.
func TestMoveRepoSurvivesKills(t *testing.T) {
	const moving = "D6TPIPE_TEST_MOVING"
	if to := os.Getenv(moving); to != "" {
		cfg, err := d6tpipe.LoadConfig("")
		require.NoError(t, err)
		_, _ = os.Stdout.WriteString("moving\n")
		_, err = cfg.MoveRepo(t.Context(), to)
		require.NoError(t, err)
		return
	}
	disks := []string{elsewhere(t), t.TempDir()}
	cfg := newRepo(t, d6tpipe.ConfigSettings{})
	done := 0
	for i := range proofs(30, 300) {
		to := filepath.Join(disks[i%2], strconv.Itoa(i))
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMoveRepoSurvivesKills$")
		cmd.Env = append(os.Environ(), moving+"="+to)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = out.Read(make([]byte, 7))
		require.NoError(t, err)
		time.Sleep(rand.N(60 * time.Millisecond))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()

		cfg, err = d6tpipe.LoadConfig("")
		require.NoError(t, err)
		requireRepo(t, cfg.FileRepo)
		if cfg.FileRepo == to {
			done++
		}
	}
	t.Logf("%d moves were done before the kill", done)
}

func TestMoveRepoKeepsWhatIsNotItsOwn(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "cfg.json")
	b, err := d6tpipe.InitConfig(t.Context(), "b", d6tpipe.InitOptions{File: file, Settings: d6tpipe.ConfigSettings{FileRepo: filepath.Join(home, "b")}})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(b.FileRepo, "sales"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(b.FileRepo, "sales", "x"), nil, 0o644))
	a, err := d6tpipe.InitConfig(t.Context(), "a", d6tpipe.InitOptions{File: file, Settings: d6tpipe.ConfigSettings{FileRepo: home}})
	require.NoError(t, err)
	to := filepath.Join(t.TempDir(), "new")
	_, err = a.MoveRepo(t.Context(), to)
	require.ErrorIs(t, err, d6tpipe.ErrRefused)
	require.FileExists(t, file)
	require.DirExists(t, b.FileRepo)
}
