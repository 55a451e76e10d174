package sftp

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// TestAnswersAreNotIdle: a large folder takes its time, and nothing of it may be what
// the caller wants to see.
func TestAnswersAreNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		served := make(chan error)
		go func() { served <- serveFolder(theirs, 900*time.Millisecond, 20) }()
		c, err := startConn(ours, ours.Close)
		require.NoError(t, err)
		s := &Store{root: "/", pool: &pool{most: 1, conns: []*conn{c}}}
		l, err := storage.Collect(t.Context(), storage.Idle(s, time.Second), "other")
		require.NoError(t, err)
		require.Empty(t, l.Objects)
		_, err = storage.Idle(s, 800*time.Millisecond).Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrIdle)
		require.NoError(t, s.Close())
		require.Error(t, <-served)
	})
}

// serveFolder is a server with one folder and n answers that list it, each after a
// pause.
func serveFolder(network net.Conn, pause time.Duration, n int) error {
	defer network.Close()
	for {
		packet, err := readPacket(network)
		if err != nil {
			return err
		}
		var b builder
		id := binary.BigEndian.Uint32(packet[1:])
		switch kind := packet[0]; {
		case kind == typeInit:
			b.begin(typeVersion, 3)
		case kind == typeStat || kind == typeLstat:
			b.begin(typeAttrs, id)
			addFolder(&b)
		case kind == typeOpendir:
			b.begin(typeHandle, id)
			b.string("folder")
		case kind == typeReaddir && n > 0:
			n--
			b.begin(typeName, id)
			b.uint32(1)
			b.string(fmt.Sprint(n))
			b.string("")
			addFolder(&b)
		default:
			b.begin(typeStatus, id)
			b.uint32(1) // the end
			b.string("")
			b.string("")
		}
		b.end(0)
		time.Sleep(pause)
		if _, err := network.Write(b.buf); err != nil {
			return err
		}
	}
}

// addFolder adds the attributes of a folder.
func addFolder(b *builder) {
	b.uint32(attrSize | attrMode | attrTimes)
	b.uint64(0)
	b.uint32(0o040755)
	b.uint32(0)
	b.uint32(0)
}
