package transfer_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// slowAnswers is a target that answers to the first part only when the second one was
// read, and then with refusal, which is what that error is.
type slowAnswers struct {
	storage.Store
	second  chan struct{} // is closed when the second part was read
	once    sync.Once
	refusal error
	mu      sync.Mutex
	sent    map[int]int // how often each part was sent
}

func (s *slowAnswers) Multipart() storage.Multipart {
	return &slowParts{storage.MultipartOf(s.Store), s}
}

type slowParts struct {
	storage.Multipart
	s *slowAnswers
}

// waitForSecond is far more than reading takes.
const waitForSecond = time.Minute

func (p *slowParts) Send(ctx context.Context, u storage.Upload, n int, r io.Reader, size int64) (storage.Part, error) {
	part, err := p.Multipart.Send(ctx, u, n, r, size)
	p.s.mu.Lock()
	p.s.sent[n]++
	first := n == 0 && p.s.sent[n] == 1
	p.s.mu.Unlock()
	if n == 1 {
		p.s.once.Do(func() { close(p.s.second) })
	}
	if err != nil || !first {
		return part, err
	}
	select {
	case <-p.s.second:
		return part, p.s.refusal
	case <-time.After(waitForSecond):
		return part, context.DeadlineExceeded
	}
}

// A source that is read in one stream is read on while the target has not yet answered to
// a part. One that has to be sent again then is read again, beside the stream.
func TestMirrorReadsOnBeforeTheAnswer(t *testing.T) {
	big := bigFile(1)
	for name, sum := range map[string]string{"no sum": "", "crc64nvme": "crc64nvme:" + transfer.CRCHex(big), "sha256": "sha256:" + hash(big)} {
		for answer, refusal := range map[string]error{"arrived": nil, "corrupt": storage.ErrCorrupt} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				t.Parallel()
				target := &slowAnswers{second: make(chan struct{}), refusal: refusal, sent: map[int]int{}}
				m := newMirror(t, func(s storage.Store) storage.Store {
					from := newBreaking(s, 1<<40)
					from.serial, from.sum = true, sum
					return from
				}, func(s storage.Store) storage.Store {
					target.Store = s
					return target
				})
				m.from.Plant("big.bin", big)
				report := m.run(transfer.MirrorOptions{}, 1)
				require.EqualValues(t, bigSize, report.Bytes)
				require.Equal(t, string(big), stored(t, m.to, "big.bin"))
				require.Zero(t, m.to.Uploads())
				want := 1
				if refusal != nil {
					want = 2
				}
				require.Equal(t, want, target.sent[0])
				require.Equal(t, 1, target.sent[1])
			})
		}
	}
}

// A part that is sent again, and is read wrong then, would not be seen by the sum of the
// whole, which took in what was read at first: the file is copied once more.
func TestMirrorReadsAPartWrongWhenItIsSentAgain(t *testing.T) {
	big := bigFile(1)
	target := &slowAnswers{second: make(chan struct{}), refusal: storage.ErrCorrupt, sent: map[int]int{}}
	m := newMirror(t, func(s storage.Store) storage.Store {
		from := newBreaking(s, 1<<40)
		from.serial, from.sum = true, "sha256:"+hash(big)
		var begun atomic.Int64
		from.wrong = func(p []byte) {
			if len(p) > 500 && bytes.HasPrefix(big, p) && begun.Add(1) == 2 {
				p[len(p)/2] ^= 4
			}
		}
		return from
	}, func(s storage.Store) storage.Store {
		target.Store = s
		return target
	})
	m.from.Plant("big.bin", big)
	m.run(transfer.MirrorOptions{}, 1)
	require.True(t, string(big) == stored(t, m.to, "big.bin"))
	require.Zero(t, m.to.Uploads())
	require.Equal(t, 3, target.sent[0], "refused, sent wrong, and with the whole file")
}
