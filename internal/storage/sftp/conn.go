package sftp

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// conn is one SFTP session. Many calls use it at once; requests are answered in
// any order.
type conn struct {
	stream   io.ReadWriter
	hangUp   func() error // ends the connection below
	ext      map[string]string
	maxRead  int // bytes of a file in one answer
	maxWrite int // and in one request

	// ordered says that the server does one thing after the other, as OpenSSH's
	// does. Section 4.1 of the draft demands it of all for requests about one
	// file; but the servers made with github.com/pkg/sftp, among others, answer an
	// fstat before the write that came first.
	ordered bool

	inUse int // calls, for the pool

	wake chan struct{} // something is in the queue
	done chan struct{} // closed when the connection is no more
	wg   sync.WaitGroup

	mu       sync.Mutex
	queue    [][]byte // packets to send
	pending  map[uint32]*request
	lastID   uint32
	received uint64 // packets
	err      error  // why it ended
}

// startConn says hello to the server at the other end of stream.
func startConn(stream io.ReadWriter, hangUp func() error) (*conn, error) {
	c := &conn{
		stream: stream, hangUp: hangUp, ext: map[string]string{}, maxRead: safeChunk, maxWrite: safeChunk,
		wake: make(chan struct{}, 1), done: make(chan struct{}), pending: map[uint32]*request{},
	}
	r := bufio.NewReaderSize(stream, 64<<10)
	if err := c.hello(r); err != nil {
		return nil, err
	}
	c.wg.Go(func() { c.fail(c.receive(r)) })
	c.wg.Go(func() { c.fail(c.transmit()) })
	return c, nil
}

func (c *conn) hello(r *bufio.Reader) error {
	var b builder
	b.begin(typeInit, 3)
	b.end(0)
	if _, err := c.stream.Write(b.buf); err != nil {
		return err
	}
	packet, err := readPacket(r)
	if err != nil {
		return err
	}
	p := parser{buf: packet[1:]}
	if version := p.uint32(); packet[0] != typeVersion || version != 3 {
		return fmt.Errorf("%w: it does not speak version 3 of SFTP", errMalformed)
	}
	for len(p.buf) > 0 && !p.bad {
		name := p.string()
		c.ext[name] = p.string()
	}
	if p.bad {
		return errMalformed
	}
	return nil
}

// readPacket reads a packet without its length.
func readPacket(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 5 || n > maxPacket {
		return nil, fmt.Errorf("%w: a packet of %d bytes", errMalformed, n)
	}
	packet := buffers.get(int(n))
	_, err := io.ReadFull(r, packet)
	return packet, err
}

// receive hands out the answers until the connection ends.
func (c *conn) receive(r io.Reader) error {
	for {
		packet, err := readPacket(r)
		if err != nil {
			return err
		}
		if err := c.deliver(packet); err != nil {
			return err
		}
	}
}

func (c *conn) deliver(packet []byte) error {
	id := binary.BigEndian.Uint32(packet[1:])
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received++
	r, ok := c.pending[id]
	if !ok {
		return fmt.Errorf("%w: nobody asked for it", errMalformed)
	}
	delete(c.pending, id)
	if r.orphan {
		c.bury(answer{packet: packet})
	} else {
		r.answer <- answer{packet: packet}
	}
	return nil
}

// bury takes care of an answer that nobody wants: an open file must be closed
// even then. The caller holds the lock.
func (c *conn) bury(a answer) {
	defer a.free()
	if a.kind() != typeHandle {
		return
	}
	p := parser{buf: a.body()}
	c.lastID++
	c.pending[c.lastID] = &request{conn: c, id: c.lastID, orphan: true}
	var b builder
	b.begin(typeClose, c.lastID)
	b.string(p.string())
	b.end(0)
	c.enqueue(b.buf)
}

// transmit sends what is in the queue. What has gathered there meanwhile goes out
// as one: for small requests the cost is in the packets of SSH, not in the bytes.
func (c *conn) transmit() error {
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return nil
		}
		c.mu.Lock()
		queue := c.queue
		c.queue = nil
		c.mu.Unlock()
		for len(queue) > 0 {
			var packets []byte
			packets, queue = join(queue)
			_, err := c.stream.Write(packets)
			buffers.put(packets)
			if err != nil {
				return err
			}
		}
	}
}

// join takes from the head of a queue what fits into one packet of SSH.
func join(queue [][]byte) (joined []byte, rest [][]byte) {
	joined, rest = queue[0], queue[1:]
	for len(rest) > 0 && len(joined)+len(rest[0]) <= safeChunk {
		if cap(joined)-len(joined) < len(rest[0]) {
			grown := append(buffers.get(safeChunk)[:0], joined...)
			buffers.put(joined)
			joined = grown
		}
		joined = append(joined, rest[0]...)
		buffers.put(rest[0])
		rest = rest[1:]
	}
	return joined, rest
}

// enqueue takes over packets; the caller holds the lock.
func (c *conn) enqueue(packets []byte) {
	c.queue = append(c.queue, packets)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// fail ends the connection and all that waits for it.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if err == nil {
		err = io.EOF
	}
	c.err = broken(err)
	close(c.done)
	_ = c.hangUp() // it is of no use any more, whatever the answer
	for _, r := range c.pending {
		if !r.orphan {
			r.answer <- answer{err: c.err}
		}
	}
	c.pending, c.queue = nil, nil
}

// close ends the connection and waits for its goroutines.
func (c *conn) close(err error) {
	c.fail(err)
	c.wg.Wait()
}

func (c *conn) dead() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *conn) has(extension string) bool {
	_, ok := c.ext[extension]
	return ok
}

// learnLimits asks how long packets may be, where the server can tell.
func (c *conn) learnLimits(ctx context.Context) error {
	if !c.has(extLimits) {
		return nil
	}
	b := c.newBatch()
	r := b.add(typeExtended, extLimits)
	b.send()
	a, err := r.expect(ctx, typeReply)
	if err != nil {
		return err
	}
	defer a.free()
	p := parser{buf: a.body()}
	p.uint64() // of a packet
	read, write := p.uint64(), p.uint64()
	if p.bad {
		return errMalformed
	}
	c.maxRead, c.maxWrite = chunkSize(read), chunkSize(write)
	return nil
}

// chunkSize is what is asked for at once from a server with this limit.
func chunkSize(limit uint64) int {
	const most = 128 << 10
	if limit < safeChunk {
		return safeChunk // zero means that it does not know
	}
	return int(min(limit, most))
}
