package transfer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A process that a test starts may write no file of more than so many bytes. What
// TestMain does is another file's.
var _ = func() bool {
	limit, err := strconv.ParseUint(os.Getenv("D6TPIPE_TRANSFER_FSIZE"), 10, 64)
	if err != nil {
		return false
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		panic(err)
	}
	return true
}()

// mounted is a file system of its own in memory, of so many MiB.
func mounted(t *testing.T, size string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.Mkdir(at, 0o755))
	require.NoError(t, syscall.Mount("none", at, "tmpfs", 0, "size="+size))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(at, 0)) })
	return at
}

// mountsElsewhere lets a process run the test that may mount, when this one may not:
// one that is root in a user namespace of its own. It reports whether it did.
func mountsElsewhere(t *testing.T) bool {
	t.Helper()
	probe := t.TempDir()
	err := syscall.Mount("none", probe, "tmpfs", 0, "size=64k")
	if err == nil {
		require.NoError(t, syscall.Unmount(probe, 0))
		return false
	}
	require.Empty(t, os.Getenv("D6TPIPE_TRANSFER_NAMESPACE"), "a namespace without rights: %v", err)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "D6TPIPE_TRANSFER_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "nobody may mount here: %v", err)
		t.Skipf("neither this process nor one in a namespace may mount: %v", err)
	}
	require.NoError(t, cmd.Wait(), "%s", &said)
	require.Contains(t, said.String(), "--- PASS: "+t.Name()+" ")
	return true
}

// smallDisk is a pipe on a disk of 6 MiB that has been pulled once.
func smallDisk(t *testing.T) (p *pipe, store *mem.Store, disk string) {
	disk = mounted(t, "6m")
	store = remote(map[string]string{"a.bin": string(noise(1, 100<<10)), "big.bin": string(noise(2, 1<<20)), "c.bin": string(noise(3, 50<<10))})
	p = newPipe(t, store, func(c *transfer.Config) {
		c.Dir, c.State, c.Range = filepath.Join(disk, "pipe"), filepath.Join(disk, "state"), 1<<20
	})
	p.dir = filepath.Join(disk, "pipe")
	p.must(pull, 3)
	return p, store, disk
}

func contents(t *testing.T, store *mem.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	for o, err := range store.List(t.Context(), "") {
		require.NoError(t, err)
		all[o.Key] = hash([]byte(stored(t, store, o.Key)))
	}
	return all
}

// converged: once there is room the next run brings everything, and the one after it
// nothing.
func (p *pipe) converged(req transfer.Request, store *mem.Store) {
	p.t.Helper()
	_, err := p.sync(req)
	require.NoError(p.t, err)
	require.Equal(p.t, contents(p.t, store), tree(p.t, p.dir))
	p.must(req, 0)
}

func TestDiskFull(t *testing.T) {
	if mountsElsewhere(t) {
		return
	}
	for name, size := range map[string]int{"in one piece": 1 << 20, "in pieces": 9<<20 + 7} {
		t.Run(name, func(t *testing.T) {
			p, store, disk := smallDisk(t)
			require.NoError(t, os.WriteFile(filepath.Join(disk, "others"), make([]byte, 4<<20+512<<10), 0o644))
			before := tree(t, p.dir)
			store.Plant("big.bin", noise(4, size))
			_, err := p.sync(pull)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.ErrorContains(t, err, "big.bin")
			require.Equal(t, before, tree(t, p.dir))
			require.NoError(t, syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, "size=40m"))
			p.converged(pull, store)
		})
	}
}

// TestDiskFullWhilePushing: with no byte left for what is to be remembered, a push
// says so or is done.
func TestDiskFullWhilePushing(t *testing.T) {
	if mountsElsewhere(t) {
		return
	}
	p, store, disk := smallDisk(t)
	p.write("big.bin", string(noise(5, 1<<20)))
	p.write("new.bin", string(noise(6, 10<<10)))
	f, err := os.Create(filepath.Join(disk, "others"))
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	before := tree(t, p.dir)
	if _, err = p.sync(push); err == nil {
		require.Equal(t, tree(t, p.dir), contents(t, store))
	} else {
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
	require.Equal(t, before, tree(t, p.dir))
	require.NoError(t, os.Remove(filepath.Join(disk, "others")))
	p.converged(push, store)
}

func TestReadOnlyDisk(t *testing.T) {
	if mountsElsewhere(t) {
		return
	}
	p, store, disk := smallDisk(t)
	before := tree(t, p.dir)
	store.Plant("a.bin", []byte("another"))
	require.NoError(t, syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=6m"))
	_, err := p.sync(pull)
	require.ErrorIs(t, err, syscall.EROFS)
	require.ErrorContains(t, err, disk)
	_, err = p.RemoveOrphans(t.Context(), transfer.OrphanOptions{Apply: true})
	require.ErrorIs(t, err, syscall.EROFS)
	require.Equal(t, before, tree(t, p.dir))
	require.NoError(t, syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, "size=6m"))
	p.converged(pull, store)
}

// TestPushFromReadOnlyDisk: who only sends does not write to the folder.
func TestPushFromReadOnlyDisk(t *testing.T) {
	if mountsElsewhere(t) {
		return
	}
	disk := mounted(t, "6m")
	store := mem.New()
	p := newPipe(t, store, func(c *transfer.Config) { c.Dir = filepath.Join(disk, "pipe") })
	p.dir = filepath.Join(disk, "pipe")
	p.write("a.bin", "a")
	p.write("d/b.bin", string(noise(1, 1<<20)))
	require.NoError(t, syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, "size=6m"))
	p.must(push, 2)
	require.Equal(t, tree(t, p.dir), contents(t, store))
	p.must(push, 0)
}

// TestRemoteDiskFull: what a remote has no room for is an error of that file, the old
// version stays, and nothing of the new one takes room.
func TestRemoteDiskFull(t *testing.T) {
	if mountsElsewhere(t) {
		return
	}
	for name, size := range map[string]int{"in one piece": 2 << 20, "in parts": 12 << 20} {
		t.Run(name, func(t *testing.T) {
			disk := mounted(t, "8m")
			folder := filepath.Join(disk, "remote")
			require.NoError(t, os.Mkdir(folder, 0o755))
			p := newPipe(t, openEnd(t, end{Kind: "dir", Folder: folder}))
			p.write("big.bin", "old")
			p.write("small.bin", "old")
			p.must(push, 2)
			require.NoError(t, os.WriteFile(filepath.Join(disk, "others"), make([]byte, 7<<20), 0o644))
			p.write("big.bin", string(noise(1, size)))
			p.write("small.bin", "newer")
			_, err := p.sync(push)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.ErrorContains(t, err, "big.bin")
			require.Equal(t, map[string]string{"big.bin": hash([]byte("old")), "small.bin": hash([]byte("newer"))}, tree(t, folder))
			var free syscall.Statfs_t
			require.NoError(t, syscall.Statfs(disk, &free))
			require.Greater(t, free.Bavail*uint64(free.Bsize), uint64(800<<10), "half a file is left behind")
			require.NoError(t, syscall.Mount("none", disk, "tmpfs", syscall.MS_REMOUNT, "size=40m"))
			_, err = p.sync(push)
			require.NoError(t, err)
			require.Equal(t, tree(t, p.dir), tree(t, folder))
			p.must(push, 0)
		})
	}
}

// TestFileSizeLimit: a process that may not write such big files does not leave half
// of one.
func TestFileSizeLimit(t *testing.T) {
	for name, size := range map[string]int{"in one piece": 900 << 10, "in pieces": 5 << 20} {
		for _, op := range []string{"pull", "push", "mirror"} {
			t.Run(op+" "+name, func(t *testing.T) {
				e := errand{Op: op, Remote: ends["dir"](t)(t), Repo: t.TempDir()}
				local, there := side{folder: e.local()}, side{folder: e.Remote.Folder}
				from, to := there, local
				switch op {
				case "push":
					from, to = local, there
				case "mirror":
					e.From = end{Kind: "dir", Folder: t.TempDir()}
					from, to = side{folder: e.From.Folder}, there
				}
				from.write(t, map[string][]byte{"big.bin": noise(1, 1000), "small.bin": noise(2, 10)})
				e.converges(t, from, to)
				before := to.visible(t)
				from.write(t, map[string][]byte{"big.bin": noise(3, size)})
				spec, err := json.Marshal(e)
				require.NoError(t, err)
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), "D6TPIPE_TRANSFER_ERRAND="+string(spec), "D6TPIPE_TRANSFER_FSIZE="+strconv.Itoa(size/2))
				said, err := cmd.CombinedOutput()
				require.Error(t, err)
				require.Equal(t, 1, cmd.ProcessState.ExitCode(), "%s", said)
				require.Contains(t, string(said), "big.bin")
				require.Contains(t, string(said), "file too large")
				require.Equal(t, before, to.visible(t))
				e.converges(t, from, to)
			})
		}
	}
}

// midway is a store that calls somebody when some of a file was read for a Put.
type midway struct {
	*mem.Store
	then func()
}

func (m *midway) Multipart() storage.Multipart { return nil }

func (m *midway) Put(ctx context.Context, key string, r io.Reader, size int64, cond storage.Cond) (storage.Object, error) {
	if key != "f.bin" {
		return m.Store.Put(ctx, key, r, size, cond)
	}
	head := make([]byte, size/2)
	if _, err := io.ReadFull(r, head); err != nil {
		return storage.Object{}, err
	}
	m.then()
	return m.Store.Put(ctx, key, io.MultiReader(strings.NewReader(string(head)), r), size, cond)
}

// TestFileChangesUnderAPush: what is stored is a version that there was. What is
// refused names the file, and the next push sends what there is.
func TestFileChangesUnderAPush(t *testing.T) {
	old, other := noise(1, 300<<10), noise(2, 300<<10)
	changes := map[string]func(t *testing.T, file string){
		"vanishes": func(t *testing.T, file string) { require.NoError(t, os.Remove(file)) },
		"grows": func(t *testing.T, file string) {
			require.NoError(t, os.WriteFile(file, append(old[:len(old):len(old)], 'x'), 0o644))
		},
		"shrinks":    func(t *testing.T, file string) { require.NoError(t, os.Truncate(file, 200<<10)) },
		"is emptied": func(t *testing.T, file string) { require.NoError(t, os.Truncate(file, 0)) },
		"is edited":  func(t *testing.T, file string) { require.NoError(t, os.WriteFile(file, other, 0o644)) },
		"becomes a folder": func(t *testing.T, file string) {
			require.NoError(t, os.Remove(file))
			require.NoError(t, os.Mkdir(file, 0o755))
		},
		"is replaced": func(t *testing.T, file string) {
			require.NoError(t, os.WriteFile(file+".new", other, 0o644))
			require.NoError(t, os.Rename(file+".new", file))
		},
		"becomes a link": func(t *testing.T, file string) {
			secret := filepath.Join(t.TempDir(), "secret")
			require.NoError(t, os.WriteFile(secret, other, 0o644))
			require.NoError(t, os.Remove(file))
			require.NoError(t, os.Symlink(secret, file))
		},
	}
	for name, change := range changes {
		for _, when := range []string{"before it is read", "while it is read"} {
			t.Run(name+" "+when, func(t *testing.T) {
				store := &midway{Store: mem.New(), then: func() {}}
				p := newPipe(t, store)
				p.write("f.bin", string(old))
				p.write("g.bin", "another")
				file := filepath.Join(p.dir, "f.bin")
				plan := p.plan(push)
				if when == "while it is read" {
					store.then = func() { change(t, file) }
				} else {
					change(t, file)
				}
				_, err := p.Apply(t.Context(), plan)
				if err != nil {
					require.ErrorContains(t, err, "f.bin")
				}
				there := contents(t, store.Store)
				require.Equal(t, hash([]byte("another")), there["g.bin"])
				if sum, ok := there["f.bin"]; ok {
					require.NoError(t, err)
					require.Equal(t, hash(old), sum)
				} else {
					require.Error(t, err, "a failure that looks like success")
				}
				store.then = func() {}
				_, err = p.sync(push)
				require.NoError(t, err)
				if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() {
					require.Equal(t, tree(t, p.dir), contents(t, store.Store))
				}
				p.must(push, 0)
			})
		}
	}
}

// TestFilesChangeUnderAScan: a plan is made of what there is, whatever comes and goes
// meanwhile.
func TestFilesChangeUnderAScan(t *testing.T) {
	p := newPipe(t, remote(many(60)))
	p.must(pull, 60)
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			folder := filepath.Join(p.dir, "dir9", strconv.Itoa(i%3))
			_ = os.MkdirAll(folder, 0o755)
			_ = os.WriteFile(filepath.Join(folder, "x"), make([]byte, i%100), 0o644)
			_ = os.Rename(filepath.Join(folder, "x"), filepath.Join(folder, "y"))
			_ = os.Symlink("x", filepath.Join(folder, "z"))
			_ = os.RemoveAll(folder)
		}
	})
	defer churn.Wait()
	defer close(stop)
	for range rounds(100, 2000) {
		plan := p.plan(pull)
		for key, action := range actions(plan) {
			require.True(t, strings.HasPrefix(key, "dir9/"), "%s %s", action, key)
			require.Equal(t, transfer.Skip, action)
		}
	}
}

// TestSyncedFileChangesUnderAScan: a file that was synced comes and goes. Each plan is
// made of what it was at some moment, and of the others as they are.
func TestSyncedFileChangesUnderAScan(t *testing.T) {
	p := newPipe(t, remote(many(60)))
	p.must(pull, 60)
	const key = "dir1/file0001.csv"
	file := filepath.Join(p.dir, filepath.FromSlash(key))
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Remove(file)
			_ = os.WriteFile(file, make([]byte, 1+i%100), 0o644)
			_ = os.Rename(file, file+".away")
			_ = os.Rename(file+".away", file)
		}
	})
	defer churn.Wait()
	defer close(stop)
	for range rounds(100, 2000) {
		for _, req := range []transfer.Request{pull, push} {
			for changed, action := range actions(p.plan(req)) {
				require.Contains(t, []string{key, key + ".away"}, changed, "%s", action)
			}
		}
	}
}

// TestOrphanChangesUnderARemoval: what somebody writes while orphans are looked for, or
// right before they are removed, is not removed; what goes by itself is no failure.
func TestOrphanChangesUnderARemoval(t *testing.T) {
	changes := map[string]func(t *testing.T, file string){
		"vanishes": func(t *testing.T, file string) { require.NoError(t, os.Remove(file)) },
		"is edited": func(t *testing.T, file string) {
			require.NoError(t, os.WriteFile(file, []byte("precious"), 0o644))
		},
		"is replaced": func(t *testing.T, file string) {
			require.NoError(t, os.WriteFile(file+".new", []byte("precious"), 0o644))
			require.NoError(t, os.Rename(file+".new", file))
		},
	}
	for name, change := range changes {
		for _, when := range []string{"during the scan", "before it is removed"} {
			t.Run(name+" "+when, func(t *testing.T) {
				store := &rushed{Store: remote(many(20))}
				p := newPipe(t, store)
				p.must(pull, 20)
				backdate(t, p, slices.Collect(maps.Keys(many(20)))...)
				p.must(pull, 0)
				file := filepath.Join(p.dir, "dir1", "file0001.csv")
				require.NoError(t, store.Store.Remove(t.Context(), "dir1/file0001.csv"))
				require.NoError(t, os.Remove(filepath.Join(p.dir, "dir0", "file0000.csv"))) // removed there first
				then := sync.OnceFunc(func() { change(t, file) })
				if when == "during the scan" {
					store.onList = then
				} else {
					store.onStat = then
				}
				_, err := p.RemoveOrphans(t.Context(), transfer.OrphanOptions{Apply: true})
				left := tree(t, p.dir)
				if name == "vanishes" {
					require.NoError(t, err)
					require.NotContains(t, left, "dir1/file0001.csv")
				} else {
					require.Equal(t, hash([]byte("precious")), left["dir1/file0001.csv"])
					delete(left, "dir1/file0001.csv")
				}
				require.Len(t, left, 18)
				require.Len(t, contents(t, store.Store), 18)
			})
		}
	}
}

// rushed is a store that calls somebody before it lists, or looks at a file.
type rushed struct {
	*mem.Store
	onList, onStat func()
}

func (r *rushed) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	if r.onList != nil {
		r.onList()
	}
	return r.Store.List(ctx, prefix)
}

func (r *rushed) Stat(ctx context.Context, key string) (storage.Object, error) {
	if r.onStat != nil {
		r.onStat()
	}
	return r.Store.Stat(ctx, key)
}

// TestFolderBecomesALink: nothing is written where a link leads that somebody puts in
// the place of a folder while files arrive.
func TestFolderBecomesALink(t *testing.T) {
	outside := t.TempDir()
	h := &faulty{Store: remote(map[string]string{"d/a": "1", "d/b": "2", "e": "3"})}
	p := newPipe(t, h)
	p.must(pull, 3)
	for _, key := range []string{"d/a", "d/b", "e"} {
		h.Store.(*mem.Store).Plant(key, []byte("new "+key))
	}
	folder := filepath.Join(p.dir, "d")
	var once sync.Once
	h.beforeOpen = func(string) {
		once.Do(func() {
			require.NoError(t, os.Rename(folder, folder+".away"))
			require.NoError(t, os.Symlink(outside, folder))
		})
	}
	_, err := p.sync(pull)
	require.ErrorContains(t, err, "d: is not a folder")
	require.Empty(t, tree(t, outside))
	require.Equal(t, "new e", p.read("e"))
	require.NoError(t, os.Remove(folder))
	require.NoError(t, os.Rename(folder+".away", folder))
	p.converged(pull, h.Store.(*mem.Store))
}
