package transfer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/faultproxy"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
	"github.com/d6t/d6tpipe-go/internal/storage/httpfile"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp/sftptest"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

const (
	matrixIdle  = 300 * time.Millisecond // until a silent remote is given up
	matrixBound = time.Minute            // no call stands still for longer, on however slow a machine
	matrixLimit = 5 * time.Minute        // and none goes on for longer, whatever it tells of its progress
	matrixBig   = 5<<20 + 3<<19 + 7      // two parts of S3, seven pieces of a pull
)

// A wire is how a scene's remote is reached: with or without faults.
type wire struct {
	direct, faulty end
	set            func(fault) // breaks it
	heal           func()
	hits           func() int64 // answers that were changed so far; nil where it is bytes that are
}

// A fault is one that is set for a while: on the TCP connections, or on answers.
type fault struct {
	name  string
	tcp   *faultproxy.Fault
	http  faultproxy.Twist
	seed  uint64
	blind bool // what a remote says in the clear is other than it was, and nobody can know
	// bare means that no sums come with what the remote says: its driver is alone.
	bare   bool
	ranges bool // it is done to answers to questions for a range
	writes bool // it is done to answers to what changes something, and to no other
}

// hits says which connections or requests the fault is done to: all of them, or as
// the seed has it.
func (f fault) hits(n int) bool {
	return f.seed%2 == 0 || rand.New(rand.NewPCG(f.seed, uint64(n))).IntN(2) == 0
}

// mustHit says whether there is something to do it to in a cell.
func (f fault) mustHit(cell string) bool {
	return f.http != nil && f.seed%2 == 0 && (!f.writes && cell == "pull" || f.writes && (cell == "push" || cell == "mirror"))
}

// idle is how long nothing may move. Answers that are wrong come all the same, and on
// a busy machine they come late.
func (f fault) idle() time.Duration {
	if f.http != nil {
		return 20 * time.Second
	}
	return matrixIdle
}

func (f fault) slow() bool { return f.tcp != nil && f.tcp.Kind == faultproxy.Trickle }

// tcpFaults are done at a byte that the seed chooses: in the first answer, in a file,
// or far into one.
func tcpFaults(seed uint64) (all []fault) {
	rnd := rand.New(rand.NewPCG(seed, 11))
	at := []int64{rnd.Int64N(200), rnd.Int64N(8 << 10), rnd.Int64N(300 << 10)}[seed%3]
	for _, kind := range []faultproxy.Kind{faultproxy.Refuse, faultproxy.Blackhole} {
		all = append(all, fault{name: string(kind), tcp: &faultproxy.Fault{Kind: kind}, seed: seed})
	}
	for _, kind := range []faultproxy.Kind{faultproxy.Delay, faultproxy.Reset, faultproxy.Stall, faultproxy.Trickle, faultproxy.HalfClose, faultproxy.Corrupt} {
		for _, up := range []bool{false, true} {
			f := faultproxy.Fault{Kind: kind, Up: up, At: at}
			all = append(all, fault{name: strings.ReplaceAll(f.String(), " ", "-"), tcp: &f, seed: seed, blind: kind == faultproxy.Corrupt})
		}
	}
	return all
}

// What is done to the answers of servers that speak HTTP: with the bytes of a file,
// with any, and with those of S3 alone.
var (
	objectTwists = map[string]faultproxy.Twist{
		"range ignored": faultproxy.WholeForRange, "range other": faultproxy.OtherRange, "range short": faultproxy.ShortRange,
		"new tag": faultproxy.NewTag, "new version": faultproxy.NewVersion, "long length": faultproxy.LongLength, "short length": faultproxy.ShortLength,
	}
	anyTwists = map[string]faultproxy.Twist{
		"flipped byte": faultproxy.Flipped, "500": faultproxy.Refusal(500, "InternalError", ""),
		"503": faultproxy.Refusal(503, "SlowDown", "1"), "403": faultproxy.Refusal(403, "AccessDenied", ""),
	}
	s3Twists = map[string]faultproxy.Twist{
		"answer lost": faultproxy.Lost, "cut page": faultproxy.CutPage, "no end": faultproxy.NoEnd, "no token": faultproxy.MoreNoToken,
		"same token": faultproxy.SameToken, "empty pages": faultproxy.EmptyPages, "html": faultproxy.HTMLPage,
	}
)

func twisted(twists map[string]faultproxy.Twist, f fault) (all []fault) {
	prefix := ""
	if f.bare {
		prefix = "bare "
	}
	for _, name := range slices.Sorted(maps.Keys(twists)) {
		f.name, f.http = strings.ReplaceAll(prefix+name, " ", "-"), twists[name]
		f.ranges, f.writes = strings.HasPrefix(name, "range"), name == "answer lost"
		all = append(all, f)
	}
	return all
}

// faultsOf are what goes wrong between us and a kind of remote.
func faultsOf(kind string, seed uint64) []fault {
	all, f, bare := tcpFaults(seed), fault{seed: seed}, fault{seed: seed, bare: true}
	switch kind {
	case "s3":
		all = slices.Concat(all, twisted(objectTwists, f), twisted(anyTwists, f), twisted(s3Twists, f), twisted(objectTwists, bare))
	case "http":
		all = slices.Concat(all, twisted(objectTwists, f), twisted(anyTwists, f), twisted(objectTwists, bare))
	}
	return all
}

// matrixWires start a server of each kind; the result makes a new remote behind
// proxies of its own. A folder has no wire: what can go wrong with a disk is in the
// tests of disks.
var matrixWires = map[string]func(t *testing.T) func(t *testing.T, f fault) wire{
	"s3": func(t *testing.T) func(t *testing.T, f fault) wire {
		g := s3test.Start(t)
		return func(t *testing.T, f fault) wire {
			w := wire{direct: endOfS3(g, g.Bucket(t))}
			w.faulty = w.direct
			if f.http != nil {
				w.faulty.S3.Endpoint = w.twisted(t, g.Endpoint, f.bare)
				return w
			}
			p := faultproxy.Start(t, strings.TrimPrefix(g.Endpoint, "http://"))
			w.faulty.S3.Endpoint = "http://" + p.Addr
			w.through(p)
			return w
		}
	},
	"http": func(*testing.T) func(t *testing.T, f fault) wire {
		return func(t *testing.T, f fault) wire {
			w := wire{direct: end{Kind: "http", Folder: t.TempDir()}}
			url := publisher(t, w.direct.Folder, !f.bare)
			w.direct.HTTP = httpfile.Options{Location: url + "/files", Manifest: url + "/manifest.json"}
			w.faulty = w.direct
			var faulty string
			if f.http != nil {
				faulty = w.twisted(t, url, false)
			} else {
				p := faultproxy.Start(t, strings.TrimPrefix(url, "http://"))
				faulty = "http://" + p.Addr
				w.through(p)
			}
			w.faulty.HTTP = httpfile.Options{Location: faulty + "/files", Manifest: faulty + "/manifest.json"}
			return w
		}
	},
	// In the clear, but where a byte is another: over TLS that is noticed.
	"ftp": func(t *testing.T) func(t *testing.T, f fault) wire {
		clear := ftptest.VSFTPD(t)
		cert := ftptest.NewCertificate(t, "127.0.0.1")
		secure := ftptest.VSFTPD(t, cert.Files(t)...)
		return func(t *testing.T, f fault) wire {
			server, fingerprint := clear, ""
			if f.blind {
				server, fingerprint = secure, cert.Fingerprint
			}
			root := server.Folder(t)
			w := wire{direct: end{Kind: "ftp", Folder: filepath.Join(server.Dir, root), Login: login{Host: server.Addr, Root: root, Fingerprint: fingerprint}}}
			w.faulty = w.direct
			p := faultproxy.Start(t, "") // data connections go to many ports
			w.faulty.Via = p.Addr
			w.through(p)
			return w
		}
	},
	"sftp": func(t *testing.T) func(t *testing.T, f fault) wire {
		server := sftptest.Start(t)
		return func(t *testing.T, _ fault) wire {
			folder, err := os.MkdirTemp(server.Dir, "remote")
			require.NoError(t, err)
			w := wire{direct: end{Kind: "sftp", Folder: folder, Login: login{Host: server.Host, User: server.User, Key: server.Key, Fingerprint: server.Fingerprint, Root: folder}}}
			w.faulty = w.direct
			p := faultproxy.Start(t, server.Host)
			w.faulty.Login.Host = p.Addr
			w.through(p)
			return w
		}
	},
}

func endOfS3(g s3test.Gateway, bucket string) end {
	e := end{Kind: "s3", Folder: filepath.Join(g.Dir, bucket)}
	e.S3.Endpoint, e.S3.Region, e.S3.Bucket, e.S3.AccessKey, e.S3.SecretKey, e.S3.PartSize = g.Endpoint, g.Region, bucket, g.AccessKey, g.SecretKey, 5<<20
	return e
}

// publisher serves a folder, and a manifest of it with or without sums. Files have
// strong ETags.
func publisher(t *testing.T, folder string, sums bool) (url string) {
	mux := http.NewServeMux()
	at := side{folder: folder}
	mux.HandleFunc("/manifest.json", func(w http.ResponseWriter, _ *http.Request) {
		type file struct {
			Key    string `json:"key"`
			Size   int64  `json:"size"`
			SHA256 string `json:"sha256,omitempty"`
		}
		files := []file{}
		for _, key := range at.names(t) {
			name := filepath.Join(folder, filepath.FromSlash(key))
			info, err := os.Stat(name)
			if err != nil { // nobody writes meanwhile
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			f := file{Key: key, Size: info.Size()}
			if sums {
				f.SHA256, _ = hashFile(name)
			}
			files = append(files, f)
		}
		_ = json.NewEncoder(w).Encode(files) // the client may be gone
	})
	mux.HandleFunc("/files/{key...}", func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Join(folder, filepath.FromSlash(r.PathValue("key")))
		f, err := os.Open(name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		sum, err := hashFile(name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", `"`+sum[:32]+`"`)
		http.ServeContent(w, r, r.PathValue("key"), time.Time{}, f)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// twisted leads the faulty way through a proxy of answers, whose URL it returns.
func (w *wire) twisted(t *testing.T, target string, unvouched bool) (url string) {
	p := faultproxy.StartHTTP(t, target)
	p.Unvouched = unvouched
	w.set = func(f fault) { p.Set(faultproxy.Sometimes(f.hits, f.http)) }
	w.heal = func() { p.Set(nil) }
	w.hits = p.Hits.Load
	return p.URL
}

// through leads the faulty way through p.
func (w *wire) through(p *faultproxy.Proxy) {
	w.set = func(f fault) {
		p.Set(func(n int) faultproxy.Fault {
			if f.hits(n) {
				return *f.tcp
			}
			return faultproxy.Fault{}
		})
	}
	w.heal = func() { p.Set(nil) }
}

// A scene is a remote, a folder, and another remote to copy from.
type scene struct {
	t     *testing.T
	wire  wire
	fault fault
	store storage.Store // of the tests, without faults
	repo  string
	from  string // what a mirror copies
	known map[string]bool
	big   bool // whether there is a file that is moved in pieces
	found int  // orphans, by the last removal or mirror
	cells *tally
}

// A tally counts cells, and those in which the fault was felt.
type tally struct{ cells, failed atomic.Int64 }

// What is published is files, and their hashes. Nobody changes it: many scenes publish it.
type published struct {
	files map[string][]byte
	sums  map[string]string
}

var (
	editions   = map[string]published{}
	editionsMu sync.Mutex
)

// matrixEdition is a small number of files, with or without a big one.
func matrixEdition(n int, big bool) published {
	editionsMu.Lock()
	defer editionsMu.Unlock()
	name := fmt.Sprint(n, big)
	if e, ok := editions[name]; ok {
		return e
	}
	e := published{matrixFiles(n, big), map[string]string{}}
	for key, data := range e.files {
		e.sums[key] = hash(data)
	}
	editions[name] = e
	return e
}

func matrixFiles(n int, big bool) map[string][]byte {
	files := map[string][]byte{}
	for i, size := range []int{0, 1, 700, 9 << 10, 70 << 10, 200 << 10} {
		files[fmt.Sprintf("d%d/f%d.bin", i%3, i)] = noise(uint64(n*10+i), size)
	}
	if big {
		files["big.bin"] = noise(uint64(200+n), matrixBig)
	}
	return files
}

// works are the cells of a fault with a kind of remote. What is only read when files
// are pulled is pulled twice: when nothing is there, and when something is.
func (f fault) works(kind string) []func(*scene) {
	if kind == "http" || f.bare {
		return []func(*scene){(*scene).pull, (*scene).pullAgain}
	}
	return []func(*scene){(*scene).pull, (*scene).push, (*scene).plan, (*scene).orphans, (*scene).mirror}
}

// drawn are the cells of a fault that are played. The one of S3, where most of them
// are, has them all in a proof only: else each fault is played with one seed of two,
// and below a pull and two of the other calls, all of which come equally often.
func (f fault) drawn(kind string, draw *rand.Rand) []func(*scene) {
	all := f.works(kind)
	if kind != "s3" || rounds(0, 1) == 1 || len(all) == 2 {
		return all
	}
	some := draw.Perm(len(all) - 1)[:2]
	slices.Sort(some) // they build upon each other
	return []func(*scene){all[0], all[1+some[0]], all[1+some[1]]}
}

// seeds are those that faults are played with.
func seeds(kind string) uint64 {
	if kind == "s3" { // the one that most of it is about
		return uint64(rounds(2, 20))
	}
	return uint64(rounds(1, 20))
}

// passes reports whether a fault of S3 is not played with a seed: see drawn.
func passes(kind string, seed uint64, number int, offset uint64) bool {
	return kind == "s3" && rounds(0, 1) == 0 && (uint64(number)+offset)%2 != seed
}

// TestFaultMatrix breaks the network and the server's answers in every way, below
// every kind of call. Whatever happens, every visible file is whole, old or new; each
// call ends; one that says that all is well has done all; and when the fault is gone
// the next one converges and the one after it moves nothing.
//
// What a remote says in the clear of names and contents nobody can check when a byte
// of the answer is another: S3 over http:// can list a name that is not there, and a
// removal of orphans then believes it. Over TLS, and over SSH, the byte is noticed.
// Such cells (fault.blind on S3) are run, and only the promise that cannot be kept is
// not asked for.
func TestFaultMatrix(t *testing.T) {
	var all tally
	for kind, start := range matrixWires {
		t.Run(kind, func(t *testing.T) {
			var cells tally
			want := cells.play(t, kind, start(t))
			if t.Failed() {
				return
			}
			t.Logf("%d cells, in %d of them the call failed", cells.cells.Load(), cells.failed.Load())
			require.EqualValues(t, want, cells.cells.Load(), "cells")
			require.Greater(t, 4*cells.failed.Load(), cells.cells.Load(), "the faults miss")
			all.cells.Add(cells.cells.Load())
		})
	}
	t.Logf("%d cells", all.cells.Load())
}

// play does all of a kind, and returns how many cells there are.
func (c *tally) play(t *testing.T, kind string, remote func(t *testing.T, f fault) wire) (want int64) {
	var scenes sync.WaitGroup
	defer scenes.Wait()
	free := make(chan struct{}, 10) // most of the time they wait: more at once than there are processors
	draw := lot(t)
	offset := draw.Uint64N(2)
	for seed := range seeds(kind) {
		for i, f := range faultsOf(kind, seed) {
			if passes(kind, seed, i, offset) {
				continue
			}
			works := f.drawn(kind, draw)
			want += int64(len(works))
			free <- struct{}{}
			scenes.Go(func() {
				defer func() { <-free }()
				t.Run(fmt.Sprintf("%s/%d", f.name, seed), func(t *testing.T) {
					s := newScene(t, remote(t, f), f, c)
					for _, work := range works {
						work(s)
					}
				})
			})
		}
	}
	return want
}

func newScene(t *testing.T, w wire, f fault, cells *tally) *scene {
	s := &scene{t: t, wire: w, fault: f, repo: t.TempDir(), from: t.TempDir(), known: map[string]bool{}, cells: cells, big: rounds(0, 1) == 1 || f.seed == 1 || f.ranges}
	if w.direct.Kind != "http" { // which is written to behind its server's back
		s.store = openEnd(t, w.direct)
	}
	s.publish(s.there(), 0)
	return s
}

func (s *scene) here() side   { return side{folder: filepath.Join(s.repo, "pipe")} }
func (s *scene) there() side  { return side{folder: s.wire.direct.Folder, store: s.store} }
func (s *scene) origin() side { return side{folder: s.from} }

func (s *scene) publish(to side, n int) {
	e := matrixEdition(n, s.big)
	to.write(s.t, e.files)
	for key, sum := range e.sums {
		s.known[key+" "+sum] = true
	}
}

// with calls do on a Sync, and makes sure that it ends.
func (s *scene) with(e end, idle time.Duration, mirror bool, do func(ctx context.Context, y *transfer.Sync) error) (moved int64, err error) {
	s.t.Helper()
	store, err := e.open()
	require.NoError(s.t, err)
	defer store.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), matrixLimit)
	defer cancel()
	var bytes atomic.Int64
	defer func() { moved = bytes.Load() }()
	count := func(_ string, n int) { bytes.Add(int64(max(n, -n))) }
	watch := func(store storage.Store) storage.Store {
		return storage.Watch(store, storage.Meter{Read: count, Written: count})
	}
	bound := time.AfterFunc(matrixBound, cancel)
	defer bound.Stop()
	cfg := transfer.Config{
		Store: watch(storage.Idle(store, idle)), State: filepath.Join(s.repo, ".d6tpipe", "pipe"), Dir: s.here().folder, Workers: 4, Range: 1 << 20,
		Retry:    storage.RetryPolicy{Attempts: 2, First: time.Millisecond, Longest: 20 * time.Millisecond, PatienceMax: 50 * time.Millisecond},
		Progress: func(transfer.Event) { bound.Reset(matrixBound) },
	}
	if mirror {
		from, err := dir.New(s.from)
		require.NoError(s.t, err)
		defer from.Close()
		cfg.Dir, cfg.From, cfg.State = "", watch(from), filepath.Join(s.repo, ".d6tpipe", "mirror")
	}
	y, err := transfer.Open(cfg)
	require.NoError(s.t, err)
	defer y.Close()
	given, giveUp := ctx, func() {}
	if idle == matrixIdle && s.fault.slow() { // it would take hours, and does not stand still
		given, giveUp = context.WithTimeout(ctx, time.Second)
	}
	defer giveUp()
	err = do(given, y)
	require.NoError(s.t, ctx.Err(), "hangs")
	return moved, err
}

// cell does something with the fault, and then without. The third time nothing is
// left to do.
func (s *scene) cell(name string, mirror bool, equal func() (want, got map[string]string), do func(ctx context.Context, y *transfer.Sync) error) {
	t := s.t
	s.wire.set(s.fault)
	before := s.wire.felt()
	_, err := s.with(s.wire.faulty, s.fault.idle(), mirror, do)
	s.whole(name)
	if s.fault.mustHit(name) {
		require.Greater(t, s.wire.felt(), before, "%s: the fault was not done to anything: %v", name, err)
	}
	if err != nil {
		s.cells.failed.Add(1)
	}
	if want, got := equal(); err == nil {
		require.Equal(t, want, got, "%s: a failure that looks like success", name)
	}
	s.wire.heal()
	_, again := s.with(s.wire.faulty, 20*time.Second, mirror, do)
	require.NoError(t, again, "%s does not converge after: %v", name, err)
	want, got := equal()
	require.Equal(t, want, got, "%s, after: %v", name, err)
	moved, err := s.with(s.wire.faulty, 20*time.Second, mirror, do)
	require.NoError(t, err, name)
	require.Zero(t, moved, "%s moves what is there", name)
	require.Zero(t, s.found, "%s finds orphans where it has removed them", name)
	s.whole(name)
	s.cells.cells.Add(1)
}

// felt is how many answers were changed.
func (w wire) felt() int64 {
	if w.hits == nil {
		return 0
	}
	return w.hits()
}

// whole: nobody sees half a file, or another.
func (s *scene) whole(name string) {
	s.t.Helper()
	for _, at := range []side{s.here(), s.there()} {
		for key, sum := range at.visible(s.t) {
			require.True(s.t, s.known[key+" "+sum], "%s: %s in %s is not whole", name, key, at.folder)
		}
	}
}

func (s *scene) both() (want, got map[string]string) {
	return s.there().visible(s.t), s.here().visible(s.t)
}

func syncs(direction transfer.Direction) func(ctx context.Context, y *transfer.Sync) error {
	return func(ctx context.Context, y *transfer.Sync) error {
		p, err := y.Plan(ctx, transfer.Request{Direction: direction})
		if err != nil {
			return err
		}
		_, err = y.Apply(ctx, p)
		return err
	}
}

func (s *scene) pull() { s.cell("pull", false, s.both, syncs(transfer.Pull)) }

func (s *scene) pullAgain() {
	s.publish(s.there(), 1)
	s.pull()
}

func (s *scene) push() {
	s.publish(s.here(), 1)
	s.cell("push", false, s.both, syncs(transfer.Push))
}

// plan plans what a pull and a push would do. A plan that is made is the right one.
func (s *scene) plan() {
	s.publish(s.there(), 2)
	look := func(e end, idle time.Duration) (plans []map[string]transfer.Action, err error) {
		for _, direction := range []transfer.Direction{transfer.Pull, transfer.Push} {
			_, err = s.with(e, idle, false, func(ctx context.Context, y *transfer.Sync) error {
				p, err := y.Plan(ctx, transfer.Request{Direction: direction, Merge: transfer.MergeKeep})
				if err == nil && len(p.Refused) > 0 {
					return p.Refused[0] // it is told to everybody
				}
				if err == nil {
					plans = append(plans, actions(p))
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		return plans, nil
	}
	want, err := look(s.wire.direct, 20*time.Second)
	require.NoError(s.t, err)
	s.wire.set(s.fault)
	got, err := look(s.wire.faulty, s.fault.idle())
	if err == nil && !s.unseen() {
		require.Equal(s.t, want, got)
	}
	s.wire.heal()
	got, err = look(s.wire.faulty, 20*time.Second)
	require.NoError(s.t, err)
	require.Equal(s.t, want, got)
	s.cells.cells.Add(1)
}

// unseen reports whether nobody can notice what the fault does to a listing.
func (s *scene) unseen() bool {
	return s.fault.blind && (s.wire.direct.Kind == "s3" || s.wire.direct.Kind == "http")
}

// orphans removes one file of each side.
func (s *scene) orphans() {
	_, err := s.with(s.wire.direct, 20*time.Second, false, syncs(transfer.Pull))
	require.NoError(s.t, err)
	s.here().remove(s.t, "d1/f1.bin")
	s.there().remove(s.t, "d2/f2.bin")
	kept := s.here().visible(s.t)
	delete(kept, "d2/f2.bin")
	s.cell("remove", false, func() (want, got map[string]string) {
		if !s.unseen() {
			for _, at := range []side{s.here(), s.there()} {
				left := at.visible(s.t)
				for key := range kept {
					require.Contains(s.t, left, key, "a wrong deletion in %s", at.folder)
				}
			}
		}
		return s.both()
	}, func(ctx context.Context, y *transfer.Sync) error {
		orphans, err := y.RemoveOrphans(ctx, transfer.OrphanOptions{Apply: true})
		s.found = len(orphans)
		return err
	})
}

// mirror copies a folder to the remote, removes what it does not have, and tells a
// refusal from a failure.
func (s *scene) mirror() {
	s.found = 0
	s.publish(s.origin(), 3)
	s.cell("mirror", true, func() (want, got map[string]string) {
		return s.origin().visible(s.t), s.there().visible(s.t)
	}, func(ctx context.Context, y *transfer.Sync) error {
		_, _, orphans, err := y.Mirror(ctx, transfer.MirrorOptions{Merge: transfer.MergeOverwrite, Delete: true, Force: true})
		s.found = len(orphans)
		if errors.Is(err, transfer.ErrRefused) {
			return fmt.Errorf("refused though forced: %w", err)
		}
		return err
	})
}
