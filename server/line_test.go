package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
)

// A farLine is the way to a machine elsewhere: so many bytes a second in all, and so long
// until each arrives.
type farLine struct {
	rate  *rate.Limiter
	delay time.Duration // one way
	ctx   context.Context
	group sync.WaitGroup
}

const (
	lineHost  = "127.0.0.2" // whose ports are free when those of 127.0.0.1 are not
	lineBlock = 32 << 10    // bytes on their way together
	lineBurst = 1 << 20     // that are made good when nobody woke in time
	linePorts = 200         // for data
)

// distantFTP starts an FTP server at the end of a line, and returns it with its address
// at this end.
func distantFTP(b *testing.B, bytes int, delay time.Duration) (*ftptest.Server, string) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &farLine{rate: rate.NewLimiter(rate.Limit(bytes), lineBurst), delay: delay, ctx: ctx}
	first := 20000 + rand.IntN(12000-linePorts)
	s := ftptest.VSFTPD(b, fmt.Sprint("pasv_min_port=", first), fmt.Sprint("pasv_max_port=", first+linePorts-1))
	b.Cleanup(func() { cancel(); l.group.Wait() })
	for port := first; port < first+linePorts; port++ {
		l.listen(b, strconv.Itoa(port), net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	return s, l.listen(b, "0", s.Addr)
}

// listen leads a port at this end to an address at the other.
func (l *farLine) listen(b *testing.B, port, to string) string {
	in, err := (&net.ListenConfig{}).Listen(l.ctx, "tcp", net.JoinHostPort(lineHost, port))
	require.NoError(b, err)
	context.AfterFunc(l.ctx, func() { in.Close() })
	l.group.Go(func() {
		for {
			near, err := in.Accept()
			if err != nil {
				return
			}
			l.group.Go(func() { l.connect(near.(*net.TCPConn), to) })
		}
	})
	return in.Addr().String()
}

func (l *farLine) connect(near *net.TCPConn, to string) {
	defer near.Close()
	conn, err := (&net.Dialer{}).DialContext(l.ctx, "tcp", to)
	if err != nil {
		return
	}
	far := conn.(*net.TCPConn)
	defer far.Close()
	defer context.AfterFunc(l.ctx, func() { near.Close(); far.Close() })()
	var both sync.WaitGroup
	both.Go(func() { l.carry(near, far) })
	both.Go(func() { l.carry(far, near) })
	both.Wait()
}

// A block is what is on its way.
type block struct {
	data []byte
	due  time.Time
}

// carry takes what one end says to the other.
func (l *farLine) carry(to, from *net.TCPConn) {
	way := make(chan block, 256) // more than a line holds
	l.group.Go(func() {
		defer close(way)
		for {
			data := make([]byte, lineBlock)
			n, err := from.Read(data)
			if n > 0 && l.rate.WaitN(l.ctx, n) == nil {
				way <- block{data[:n], time.Now().Add(l.delay)}
			}
			if err != nil {
				return
			}
		}
	})
	var err error
	for b := range way {
		time.Sleep(time.Until(b.due))
		if err == nil {
			_, err = to.Write(b.data)
		}
	}
	if err != nil {
		from.Close() // nobody listens any more
		return
	}
	_ = to.CloseWrite() // else it is closed altogether
}
