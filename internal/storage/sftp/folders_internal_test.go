package sftp

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// onlyFolders is a server of folders which all hold the same folders. It needs no
// network, so that it can be in a bubble of testing/synctest.
type onlyFolders struct {
	names  []string
	pause  time.Duration // before an answer
	opened []string
	left   map[string][]string // of names, by handle
}

// with runs test with a store on the server.
func (f *onlyFolders) with(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f.left = map[string][]string{}
		ours, theirs := net.Pipe()
		ended := make(chan error)
		go func() { ended <- f.serve(theirs) }()
		c, err := startConn(ours, ours.Close)
		require.NoError(t, err)
		s := &Store{root: "/root", pool: &pool{most: 1, conns: []*conn{c}}}
		test(t, s)
		require.NoError(t, s.Close())
		require.Error(t, <-ended)
	})
}

func (f *onlyFolders) serve(network net.Conn) error {
	defer network.Close()
	for {
		packet, err := readPacket(network)
		if err != nil {
			return err
		}
		answer := f.answer(packet)
		time.Sleep(f.pause)
		if _, err := network.Write(answer); err != nil {
			return err
		}
	}
}

func (f *onlyFolders) answer(packet []byte) []byte {
	var b builder
	id := binary.BigEndian.Uint32(packet[1:])
	p := parser{buf: packet[5:]}
	switch packet[0] {
	case typeInit:
		b.begin(typeVersion, 3)
	case typeStat, typeLstat:
		b.begin(typeAttrs, id)
		addFolder(&b)
	case typeOpendir:
		f.opened = append(f.opened, p.string())
		handle := fmt.Sprint(len(f.opened))
		f.left[handle] = f.names
		b.begin(typeHandle, id)
		b.string(handle)
	case typeReaddir:
		f.list(&b, id, p.string())
	default:
		addEnd(&b, id)
	}
	b.end(0)
	return b.buf
}

// list names the next folder that is in another.
func (f *onlyFolders) list(b *builder, id uint32, handle string) {
	names := f.left[handle]
	if len(names) == 0 {
		addEnd(b, id)
		return
	}
	f.left[handle] = names[1:]
	b.begin(typeName, id)
	b.uint32(1)
	b.string(names[0])
	b.string("")
	addFolder(b)
}

func addEnd(b *builder, id uint32) {
	b.begin(typeStatus, id)
	b.uint32(1)
	b.string("")
	b.string("")
}

// addFolder adds the attributes of a folder.
func addFolder(b *builder) {
	b.uint32(attrSize | attrMode | attrTimes)
	b.uint64(0)
	b.uint32(modeFolder | 0o755)
	b.uint32(0)
	b.uint32(0)
}

// TestAnswersAreNotIdle: a large folder takes its time, and nothing of it may be what
// the caller wants to see.
func TestAnswersAreNotIdle(t *testing.T) {
	server := &onlyFolders{names: make([]string, 20), pause: 900 * time.Millisecond}
	for i := range server.names {
		server.names[i] = strings.Repeat("x", i+1)
	}
	server.with(t, func(t *testing.T, s *Store) {
		l, err := storage.Collect(t.Context(), storage.Idle(s, time.Second), "other")
		require.NoError(t, err)
		require.Empty(t, l.Objects())
		_, err = storage.Idle(s, 800*time.Millisecond).Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrIdle)
	})
}

// TestDots: a folder that has itself or the one above in it, as most have, does not
// make the listing endless. One that goes on to have folders in it is left where no
// key could lead.
func TestDots(t *testing.T) {
	deep := strings.Repeat("d", 200)
	for _, names := range [][]string{{"."}, {".."}, {".", ".."}, {".", "..", deep}} {
		server := &onlyFolders{names: names, pause: time.Second}
		server.with(t, func(t *testing.T, s *Store) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			l, err := storage.Collect(ctx, s, "")
			require.NoError(t, err, names)
			if len(names) < 3 {
				require.Equal(t, []string{"/root"}, server.opened)
				return
			}
			require.Len(t, server.opened, 6)
			require.Len(t, l.Refused, 1)
			require.Equal(t, strings.Repeat(deep+"/", 6), l.Refused[0].Key)
		})
	}
}
