package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// slowConnections are how many dawdle at a time.
const slowConnections = 500

// fillTime is how long they get to become slow.
const fillTime = 5 * time.Second

// dawdle keeps slowConnections open until ctx ends, and calls busy once all of them
// are. A third send headers a byte at a time, a third a body, and a third ask for a lot
// and hardly read it. Those that the server is rid of come back.
func dawdle(ctx context.Context, address, token string, busy func()) error {
	sloth := []func(context.Context, net.Conn, string) error{slowHeader, slowBody, slowReader}
	errs := make([]error, slowConnections)
	var opened, running sync.WaitGroup
	opened.Add(slowConnections)
	for i := range slowConnections {
		running.Go(func() {
			opening := sync.OnceFunc(opened.Done)
			defer opening()
			for ctx.Err() == nil && errs[i] == nil {
				errs[i] = once(ctx, address, func(c net.Conn) error {
					opening()
					return sloth[i%len(sloth)](ctx, c, token)
				})
			}
		})
	}
	opened.Wait()
	select { // what the kernel keeps for slow readers has to fill up before they hold the server up
	case <-ctx.Done():
	case <-time.After(fillTime):
	}
	busy()
	running.Wait()
	return errors.Join(errs...)
}

// once opens a connection and is slow on it until the server or ctx ends it. That it
// cannot be opened is an error, that it is cut is not.
func once(ctx context.Context, address string, slow func(net.Conn) error) error {
	dialer := net.Dialer{Control: smallBuffer}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_ = slow(c)
	return nil
}

// smallBuffer keeps the kernel from taking what a slow reader does not.
func smallBuffer(_, _ string, raw syscall.RawConn) (err error) {
	controlErr := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	return errors.Join(err, controlErr)
}

// slowTick is the time between two bytes.
const slowTick = 500 * time.Millisecond

func slowHeader(ctx context.Context, c net.Conn, token string) error {
	return trickle(ctx, c, get(listPath, token))
}

func slowBody(ctx context.Context, c net.Conn, _ string) error {
	request := post(loginPath, "", make([]byte, 1000))
	head := len(request) - 1000
	if _, err := c.Write(request[:head]); err != nil {
		return err
	}
	return trickle(ctx, c, request[head:])
}

// trickle writes a byte at a time, and notices when nobody listens any more.
func trickle(ctx context.Context, c net.Conn, data []byte) error {
	tick := time.NewTicker(slowTick)
	defer tick.Stop()
	for i := range data {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := c.Write(data[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// slowReader asks for a large page many times over, more than the kernel keeps between
// the two programs, and reads a few bytes now and then.
func slowReader(ctx context.Context, c net.Conn, token string) error {
	for range 60 {
		if _, err := c.Write(get("/v1/openapi.json", token)); err != nil {
			return err
		}
	}
	tick := time.NewTicker(slowTick)
	defer tick.Stop()
	some := make([]byte, 64)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := c.Read(some); err != nil {
			return err
		}
	}
}
