package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A load is a number of clients, each with one connection that stays open and one
// request that it sends again and again, as fast as it is answered.
type load [][]byte

// A result is what a load was told.
type result struct {
	rate     float64 // answers 2xx per second
	p50, p99 time.Duration
	failed   int // answers of another status
	status   int // one of these
	answers  int // all of them, also of the warm-up
}

// warmUp is how long a load runs before it counts.
const warmUp = time.Second

// run lets the clients ask for lasts, after the warm-up.
func (l load) run(ctx context.Context, address string, lasts time.Duration) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, warmUp+lasts)
	defer cancel()
	from := time.Now().Add(warmUp)
	tallies := make([]tally, len(l))
	errs := make([]error, len(l))
	var running sync.WaitGroup
	for i, request := range l {
		running.Go(func() { errs[i] = tallies[i].ask(ctx, address, request, from) })
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return result{}, err
	}
	return sum(tallies, lasts), nil
}

// A tally is what one client was told.
type tally struct {
	took    []time.Duration
	failed  int
	status  int
	answers int
}

// ask asks until ctx ends.
func (t *tally) ask(ctx context.Context, address string, request []byte, from time.Time) error {
	c, err := connect(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	for ctx.Err() == nil {
		start := time.Now()
		status, err := c.do(request)
		switch {
		case ctx.Err() != nil: // the last one was cut
			return nil
		case err != nil:
			return err
		}
		t.answers++
		switch {
		case start.Before(from):
		case status/100 != 2:
			t.failed, t.status = t.failed+1, status
		default:
			t.took = append(t.took, time.Since(start))
		}
	}
	return nil
}

func sum(tallies []tally, lasts time.Duration) result {
	var r result
	var all []time.Duration
	for _, t := range tallies {
		all = append(all, t.took...)
		r.failed += t.failed
		r.answers += t.answers
		r.status = max(r.status, t.status)
	}
	slices.Sort(all)
	r.rate = float64(len(all)) / lasts.Seconds()
	r.p50, r.p99 = quantile(all, 50), quantile(all, 99)
	return r
}

// quantile is the value that percent of the sorted values do not exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)*percent+99)/100-1]
}

// A connection speaks as little HTTP/1.1 as it takes, so that the cores are the
// server's as far as possible.
type connection struct {
	net.Conn
	r    *bufio.Reader
	stop func() bool // waiting for ctx
}

// connect opens a connection that breaks when ctx ends.
func connect(ctx context.Context, address string) (*connection, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{c, bufio.NewReaderSize(c, 64<<10), context.AfterFunc(ctx, func() { _ = c.Close() })}, nil
}

// Close closes the connection.
func (c *connection) Close() error {
	c.stop()
	return c.Conn.Close()
}

// do sends a request and reads its answer to the end.
func (c *connection) do(request []byte) (status int, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	status, length, err := c.head()
	if err == nil {
		_, err = c.r.Discard(length)
	}
	return status, err
}

var contentLength = []byte("Content-Length: ")

// head reads the status and the headers.
func (c *connection) head() (status, length int, err error) {
	length = -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0 && length < 0:
			return 0, 0, errors.New("an answer has no Content-Length")
		case len(line) == 0:
			return status, length, nil
		case status == 0:
			if len(line) < len("HTTP/1.1 200") {
				return 0, 0, fmt.Errorf("%q is no answer", line)
			}
			status, err = strconv.Atoi(string(line[9:12]))
		case bytes.HasPrefix(line, contentLength):
			length, err = strconv.Atoi(string(line[len(contentLength):]))
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// get is a request for path with a token.
func get(path, token string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Token %s\r\n\r\n", path, token)
}

// post is a request with a body.
func post(path, token string, body []byte) []byte { return send("POST", path, token, body) }

func put(path, token string, body []byte) []byte { return send("PUT", path, token, body) }

func send(method, path, token string, body []byte) []byte {
	head := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", method, path, len(body))
	if token != "" {
		head = fmt.Appendf(head, "Authorization: Token %s\r\n", token)
	}
	return append(append(head, "\r\n"...), body...)
}

// answer sends a request and returns the body of its answer.
func (c *connection) answer(request []byte) ([]byte, error) {
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	status, length, err := c.head()
	if err != nil {
		return nil, err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return nil, err
	}
	if status/100 != 2 {
		return nil, fmt.Errorf("answer %d: %s", status, body)
	}
	return body, nil
}
