package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

const (
	block   = 256 << 10
	bigSize = 40*block + 17
)

// bigFile is made once for each seed: it is not to be written to.
func bigFile(seed byte) []byte {
	bigMu.Lock()
	defer bigMu.Unlock()
	if bigFiles[seed] == nil {
		data := make([]byte, bigSize)
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
		bigFiles[seed] = data
	}
	return bigFiles[seed]
}

var (
	bigMu    sync.Mutex
	bigFiles = map[byte][]byte{}
)

// inPieces moves files above 1 MiB in pieces of that size.
func inPieces(c *transfer.Config) {
	c.Range = 4 * block
	c.Workers = 4
	c.Retry = storage.RetryPolicy{Attempts: 1}
}

// meter counts the bytes that cross to and from a store.
type meter struct{ read, written atomic.Int64 }

func metered(store storage.Store) (storage.Store, *meter) {
	m := &meter{}
	return storage.Watch(store, storage.Meter{
		Read:    func(_ string, n int) { m.read.Add(int64(n)) },
		Written: func(_ string, n int) { m.written.Add(int64(max(n, 0))) },
	}), m
}

// breaking fails for good once so many bytes have passed.
type breaking struct {
	storage.Store
	left   atomic.Int64
	wrong  func(p []byte) // is shown what is read
	sum    string         // that readers have learned
	serial bool
}

var errBroken = errors.New("broken")

func newBreaking(store storage.Store, after int64) *breaking {
	b := &breaking{Store: store}
	b.left.Store(after)
	return b
}

func (b *breaking) Streams() bool { return b.serial }

func (b *breaking) Open(ctx context.Context, obj storage.Object, off, n int64) (io.ReadCloser, error) {
	body, err := b.Store.Open(ctx, obj, off, n)
	if err != nil {
		return nil, err
	}
	return &breakingReader{body, b}, nil
}

type breakingReader struct {
	io.ReadCloser
	b *breaking
}

func (r *breakingReader) Sum() string { return r.b.sum }

func (r *breakingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.b.left.Add(-int64(n)) < 0 {
		return 0, errBroken
	}
	if r.b.wrong != nil {
		r.b.wrong(p[:n])
	}
	return n, err
}

func (b *breaking) Multipart() storage.Multipart {
	return &breakingParts{storage.MultipartOf(b.Store), b}
}

type breakingParts struct {
	storage.Multipart
	b *breaking
}

func (m *breakingParts) Begin(ctx context.Context, key string, size, unit int64) (storage.Upload, error) {
	u, err := m.Multipart.Begin(ctx, key, size, unit)
	u.Serial = m.b.serial
	return u, err
}

func (m *breakingParts) Send(ctx context.Context, u storage.Upload, n int, r io.Reader, size int64) (storage.Part, error) {
	if m.b.left.Add(-size) < 0 {
		_, _ = io.CopyN(io.Discard, r, size/2)
		return storage.Part{}, errBroken
	}
	return m.Multipart.Send(ctx, u, n, r, size)
}

func TestPullInPieces(t *testing.T) {
	for _, serial := range []bool{false, true} {
		store := mem.New()
		big := bigFile(1)
		store.Plant("big.bin", big)
		store.Plant("small.csv", []byte("small"))
		b := newBreaking(store, 1<<40)
		b.serial = serial
		watched, bytes := metered(b)
		p := newPipe(t, watched, inPieces)
		report := p.must(pull, 2)
		require.EqualValues(t, bigSize+5, report.Bytes)
		require.EqualValues(t, bigSize+5, bytes.read.Load())
		require.Equal(t, string(big), p.read("big.bin"))
		files, err := p.Files(t.Context())
		require.NoError(t, err)
		require.Equal(t, "crc64nvme:"+transfer.CRCHex(big), files[0].Sum.String())
		p.must(pull, 0)
		requireNothingLeft(t, p)
	}
}

func requireAbsent(t *testing.T, store storage.Store, key string) {
	t.Helper()
	_, err := store.Stat(t.Context(), key)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func requireNothingLeft(t *testing.T, p *pipe) {
	t.Helper()
	for _, folder := range []string{"parts", "uploads"} {
		entries, err := os.ReadDir(filepath.Join(p.state, folder))
		if !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
		}
		require.Empty(t, entries)
	}
}

// What has arrived of a file is not fetched again, by whatever process.
func TestPullGoesOn(t *testing.T) {
	for _, serial := range []bool{false, true} {
		store := mem.New()
		big := bigFile(1)
		store.Plant("big.bin", big)
		b := newBreaking(store, 0)
		b.serial = serial
		watched, bytes := metered(b)
		p := newPipe(t, watched, inPieces)
		p.write("big.bin", "")
		require.NoError(t, os.Remove(filepath.Join(p.dir, "big.bin")))
		tries := 0
		for ; ; tries++ {
			require.Less(t, tries, 20)
			b.left.Store(12 * block)
			_, err := p.sync(pull)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, errBroken)
			require.NoFileExists(t, filepath.Join(p.dir, "big.bin"))
			require.NoError(t, p.Close())
			p.Sync, err = transfer.Open(transfer.Config{Store: watched, Dir: p.dir, State: p.state, Range: 4 * block, Workers: 4, Retry: storage.RetryPolicy{Attempts: 1}})
			require.NoError(t, err)
		}
		require.GreaterOrEqual(t, tries, 3)
		require.Equal(t, string(big), p.read("big.bin"))
		require.LessOrEqual(t, bytes.read.Load(), int64(bigSize+4*block*tries), "no more than the blocks that were under way")
		p.must(pull, 0)
		requireNothingLeft(t, p)
	}
}

// interrupted leaves half of a pull of big.bin.
func interrupted(t *testing.T, store *mem.Store) (*pipe, *breaking) {
	b := newBreaking(store, 20*block)
	p := newPipe(t, b, inPieces)
	_, err := p.sync(pull)
	require.ErrorIs(t, err, errBroken)
	b.left.Store(1 << 40)
	return p, b
}

// Bytes of two versions never meet.
func TestPullOfAnotherVersionStartsOver(t *testing.T) {
	store := mem.New()
	store.Plant("big.bin", bigFile(1))
	p, _ := interrupted(t, store)
	store.Plant("big.bin", bigFile(2))
	p.must(pull, 1)
	require.Equal(t, string(bigFile(2)), p.read("big.bin"))
	requireNothingLeft(t, p)
}

// A power cut may take away what the record tells of.
func TestPullDoesNotTrustWhatIsLeft(t *testing.T) {
	for _, name := range []string{"a byte", "cut short", "record cut", "record damaged", "no data", "no record"} {
		t.Run(name, func(t *testing.T) {
			store := mem.New()
			store.Plant("big.bin", bigFile(1))
			p, _ := interrupted(t, store)
			matches, err := filepath.Glob(filepath.Join(p.state, "parts", "big-*"))
			require.NoError(t, err)
			require.Len(t, matches, 2)
			data, rec := matches[0], matches[1]
			require.True(t, strings.HasSuffix(rec, ".rec"))
			switch name {
			case "a byte":
				flip(t, data, 100)
			case "cut short":
				require.NoError(t, os.Truncate(data, block+5))
			case "record cut":
				info, err := os.Stat(rec)
				require.NoError(t, err)
				require.NoError(t, os.Truncate(rec, info.Size()-3))
			case "record damaged":
				flip(t, rec, 200)
			case "no data":
				require.NoError(t, os.Remove(data))
			case "no record":
				require.NoError(t, os.Remove(rec))
			}
			p.must(pull, 1)
			require.Equal(t, string(bigFile(1)), p.read("big.bin"))
			requireNothingLeft(t, p)
		})
	}
}

func flip(t *testing.T, path string, at int) {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[at] ^= 1
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

// A process that dies when the file has its name, and before the record is gone, leaves
// a record that nobody will need.
func TestRecordOfAPlacedFileIsSwept(t *testing.T) {
	store := mem.New()
	store.Plant("big.bin", bigFile(1))
	p, _ := interrupted(t, store)
	data, err := filepath.Glob(filepath.Join(p.state, "parts", "big-*[^c]"))
	require.NoError(t, err)
	require.Len(t, data, 1)
	require.NoError(t, os.MkdirAll(p.dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "big.bin"), bigFile(1), 0o600))
	require.NoError(t, os.Remove(data[0]))
	p.must(pull, 0)
	requireNothingLeft(t, p)
}

// Damage on the way is fetched once more, and then an error that names both sums.
func TestPullInPiecesVerifies(t *testing.T) {
	for _, sum := range []string{"", "crc64nvme:", "sha256:"} {
		for _, times := range []int{1, 2} {
			store := mem.New()
			store.Plant("big.bin", bigFile(1))
			b := newBreaking(store, 1<<40)
			switch sum {
			case "crc64nvme:":
				b.sum = sum + transfer.CRCHex(bigFile(1))
			case "sha256:":
				b.sum = sum + hash(bigFile(1))
			}
			damage := atomic.Int64{}
			b.wrong = func(p []byte) {
				if first := bigFile(1)[:block]; len(p) > 0 && (bytes.Contains(first, p) || bytes.HasPrefix(p, first)) && damage.Add(1) <= int64(times) {
					p[len(p)/2] ^= 4
				}
			}
			p := newPipe(t, b, inPieces)
			_, err := p.sync(pull)
			if times == 1 {
				require.NoError(t, err)
				require.Equal(t, string(bigFile(1)), p.read("big.bin"))
			} else {
				var verify *transfer.VerifyError
				require.ErrorAs(t, err, &verify)
				require.NotEqual(t, verify.Want, verify.Got)
				require.Contains(t, err.Error(), verify.Want)
				require.Contains(t, err.Error(), verify.Got)
				require.NoFileExists(t, filepath.Join(p.dir, "big.bin"))
			}
			requireNothingLeft(t, p)
		}
	}
}

func TestPushInParts(t *testing.T) {
	for _, serial := range []bool{false, true} {
		store := mem.New()
		b := newBreaking(store, 1<<40)
		b.serial = serial
		watched, bytes := metered(b)
		p := newPipe(t, watched, inPieces)
		p.write("big.bin", string(bigFile(1)))
		p.write("small.csv", "small")
		report := p.must(push, 2)
		require.EqualValues(t, bigSize+5, report.Bytes)
		require.EqualValues(t, bigSize+5, bytes.written.Load())
		require.Equal(t, string(bigFile(1)), stored(t, store, "big.bin"))
		files, err := p.Files(t.Context())
		require.NoError(t, err)
		require.Equal(t, "crc64nvme:"+transfer.CRCHex(bigFile(1)), files[0].Sum.String())
		p.must(push, 0)
		p.must(pull, 0)
		require.Zero(t, store.Uploads())
		requireNothingLeft(t, p)
	}
}

func TestPushGoesOn(t *testing.T) {
	for _, serial := range []bool{false, true} {
		store := mem.New()
		b := newBreaking(store, 0)
		b.serial = serial
		watched, bytes := metered(b)
		p := newPipe(t, watched, inPieces)
		p.write("big.bin", string(bigFile(1)))
		tries := 0
		for ; ; tries++ {
			require.Less(t, tries, 20)
			b.left.Store(12 * block)
			_, err := p.sync(push)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, errBroken)
			requireAbsent(t, store, "big.bin")
		}
		require.GreaterOrEqual(t, tries, 3)
		require.Equal(t, string(bigFile(1)), stored(t, store, "big.bin"))
		require.LessOrEqual(t, bytes.written.Load(), int64(bigSize+4*block*tries), "no more than the parts that were under way")
		p.must(push, 0)
		require.Zero(t, store.Uploads())
		requireNothingLeft(t, p)
	}
}

// interruptedPush leaves half of a push of big.bin.
func interruptedPush(t *testing.T, store *mem.Store) (*pipe, *breaking) {
	b := newBreaking(store, 20*block)
	p := newPipe(t, b, inPieces)
	p.write("big.bin", string(bigFile(1)))
	_, err := p.sync(push)
	require.ErrorIs(t, err, errBroken)
	require.Equal(t, 1, store.Uploads())
	b.left.Store(1 << 40)
	return p, b
}

func TestPushOfAnEditedFileStartsOver(t *testing.T) {
	for name, edit := range map[string]func(p *pipe){
		"edited":           func(p *pipe) { p.write("big.bin", string(bigFile(2))) },
		"edited, same age": func(p *pipe) { sameAge(p, "big.bin", bigFile(2)) },
		"shorter":          func(p *pipe) { p.write("big.bin", string(bigFile(1)[:30*block])) },
		"small":            func(p *pipe) { p.write("big.bin", "small now") },
	} {
		t.Run(name, func(t *testing.T) {
			store := mem.New()
			p, _ := interruptedPush(t, store)
			edit(p)
			p.must(push, 1)
			require.Equal(t, p.read("big.bin"), stored(t, store, "big.bin"))
			require.Zero(t, store.Uploads(), "nothing is left on the remote")
			requireNothingLeft(t, p)
		})
	}
}

// sameAge edits a file so that neither size nor time tell.
func sameAge(p *pipe, key string, data []byte) {
	path := filepath.Join(p.dir, key)
	info, err := os.Stat(path)
	require.NoError(p.t, err)
	p.write(key, string(data))
	require.NoError(p.t, os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func TestAbandonedUploadsAreAborted(t *testing.T) {
	for name, leave := range map[string]func(p *pipe){
		"gone": func(p *pipe) { require.NoError(t, os.Remove(filepath.Join(p.dir, "big.bin"))) },
		"old": func(p *pipe) {
			logs, err := filepath.Glob(filepath.Join(p.state, "uploads", "*"))
			require.NoError(t, err)
			require.Len(t, logs, 1)
			long := time.Now().Add(-30 * 24 * time.Hour)
			require.NoError(t, os.Chtimes(logs[0], long, long))
			require.NoError(t, os.Remove(filepath.Join(p.dir, "big.bin")))
		},
	} {
		for _, others := range []int{0, 1} { // files that the next push has to send
			t.Run(fmt.Sprint(name, others), func(t *testing.T) {
				store := mem.New()
				p, _ := interruptedPush(t, store)
				leave(p)
				if others > 0 {
					p.write("other.csv", "other")
				}
				p.must(push, others)
				require.Zero(t, store.Uploads())
				requireNothingLeft(t, p)
			})
		}
	}
}

// So does a mirror whose source is gone, also when nothing is left to do.
func TestMirrorAbortsAbandonedUploads(t *testing.T) {
	var to *breaking
	m := newMirror(t, nil, func(s storage.Store) storage.Store {
		to = newBreaking(s, 20*block)
		return to
	})
	m.from.Plant("big.bin", bigFile(1))
	_, _, _, err := m.Mirror(t.Context(), transfer.MirrorOptions{})
	require.ErrorIs(t, err, errBroken)
	require.Equal(t, 1, m.to.Uploads())
	to.left.Store(1 << 40)
	require.NoError(t, m.from.Remove(t.Context(), "big.bin"))
	m.run(transfer.MirrorOptions{}, 0)
	require.Zero(t, m.to.Uploads())
}

// An upload that the remote has forgotten, or of which the log is damaged, starts
// over.
func TestPushWithoutItsPast(t *testing.T) {
	for _, name := range []string{"forgotten", "damaged log", "torn log", "foreign log"} {
		t.Run(name, func(t *testing.T) {
			store := mem.New()
			p, _ := interruptedPush(t, store)
			logs, err := filepath.Glob(filepath.Join(p.state, "uploads", "*"))
			require.NoError(t, err)
			require.Len(t, logs, 1)
			data, err := os.ReadFile(logs[0])
			require.NoError(t, err)
			switch name {
			case "forgotten":
				store.Forget()
			case "damaged log":
				data[3] ^= 1
			case "torn log":
				data = data[:len(data)-9]
			case "foreign log":
				data = bytes.Replace(data, []byte(`"big.bin"`), []byte(`"../evil"`), 1)
			}
			require.NoError(t, os.WriteFile(logs[0], data, 0o600))
			p.must(push, 1)
			require.Equal(t, string(bigFile(1)), stored(t, store, "big.bin"))
		})
	}
}

// A file that changes while it is sent never appears as a mixture.
func TestPushInPartsOfAFileThatChanges(t *testing.T) {
	store := mem.New()
	b := newBreaking(store, 1<<40)
	edited := false
	p := newPipe(t, b, inPieces, func(c *transfer.Config) { c.Workers = 1 })
	p.write("big.bin", string(bigFile(1)))
	p.Sync, _ = transfer.Open(transfer.Config{Store: b, Dir: p.dir, State: p.state, Range: 4 * block, Workers: 1, Progress: func(e transfer.Event) {
		if e.Kind == transfer.Moved && !edited {
			edited = true
			flip(t, filepath.Join(p.dir, "big.bin"), bigSize-5)
		}
	}})
	_, err := p.sync(push)
	require.ErrorIs(t, err, transfer.ErrEdited)
	requireAbsent(t, store, "big.bin")
	require.Zero(t, store.Uploads())
	p.must(push, 1)
	require.Equal(t, p.read("big.bin"), stored(t, store, "big.bin"))
}

// Somebody else's version that appears meanwhile is not replaced.
func TestPushInPartsKeepsOthersVersion(t *testing.T) {
	store := mem.New()
	p := newPipe(t, store, inPieces)
	p.write("big.bin", string(bigFile(1)))
	plan := p.plan(push)
	store.Plant("big.bin", []byte("theirs"))
	report, err := p.Apply(t.Context(), plan)
	require.ErrorIs(t, err, transfer.ErrConflict)
	require.Equal(t, []string{"big.bin"}, report.Keys(transfer.StatusConflict))
	require.Equal(t, "theirs", stored(t, store, "big.bin"))
	require.Zero(t, store.Uploads())
}

func TestRetriesAreCounted(t *testing.T) {
	l := &lossy{Store: mem.New(), fails: 2}
	var waits []time.Duration
	p := newPipe(t, l, func(c *transfer.Config) {
		c.Retry = storage.RetryPolicy{First: time.Millisecond}
		c.Progress = func(e transfer.Event) {
			if e.Kind == transfer.Retried {
				require.Equal(t, "a.csv", e.Key)
				require.ErrorIs(t, e.Err, storage.ErrTemporary)
				waits = append(waits, e.Wait)
			}
		}
	})
	p.write("a.csv", "content")
	require.Equal(t, 2, p.must(push, 1).Retries)
	require.Len(t, waits, 2)
	require.Zero(t, p.must(push, 0).Retries)
}

// So are those of the listing that a plan is made from.
func TestRetriesOfAPlanAreCounted(t *testing.T) {
	policy := func(c *transfer.Config) { c.Retry = storage.RetryPolicy{First: time.Millisecond} }
	f := &faulty{Store: remote(many(1)), lists: 2}
	p := newPipe(t, f, policy)
	require.Equal(t, 2, p.must(pull, 1).Retries)
	f.lists = 1
	require.Equal(t, 1, p.must(pull, 0).Retries)
	f.lists = 1
	m := newPipe(t, mem.New(), policy, func(c *transfer.Config) { c.Dir, c.From = "", f })
	_, report, _, err := m.Mirror(t.Context(), transfer.MirrorOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, report.Retries)
}

// A CRC that the remote vouches for is enough to remember a big file by.
func TestBigFilesAreRememberedByTheirCRC(t *testing.T) {
	for _, size := range []int{2 << 20, bigSize} { // in one piece, in several
		store := mem.New()
		data := bigFile(1)[:size]
		store.Plant("big.bin", data)
		b := newBreaking(store, 1<<40)
		b.sum = "crc64nvme:" + transfer.CRCHex(data)
		p := newPipe(t, b, func(c *transfer.Config) { c.Range = 20 * block })
		p.must(pull, 1)
		files, err := p.Files(t.Context())
		require.NoError(t, err)
		require.Equal(t, b.sum, files[0].Sum.String())
		require.Empty(t, files[0].Sum.SHA256())
		text, err := files[0].Sum.MarshalText()
		require.NoError(t, err)
		var again transfer.Hash
		require.NoError(t, again.UnmarshalText(text))
		require.Equal(t, files[0].Sum, again)

		p.must(push, 0)
		backdate(t, p, "big.bin") // touched, and the same
		p.must(push, 0)
		data[size/2] ^= 1
		sameAge(p, "big.bin", data) // edited, and neither size nor time tell
		require.NoError(t, os.Chtimes(filepath.Join(p.dir, "big.bin"), time.Now(), time.Now()))
		require.Equal(t, map[string]transfer.Action{"big.bin": transfer.Upload}, actions(p.plan(push)))
		p.must(push, 1)
		require.Equal(t, string(data), stored(t, store, "big.bin"))
	}
}
