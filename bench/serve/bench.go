package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A bench is what measures, and what is measured.
type bench struct {
	server, limit *program
	world         *world
	lasts         time.Duration
}

// A trial is a load, what else goes on meanwhile, and what should come of it.
type trial struct {
	name    string
	load    load
	besides func(ctx context.Context, busy func()) error // calls busy once it is under way; nil is nothing
	bare    bool                                         // whether the bare handler is asked, too
	rate    float64                                      // at least; 0 is no target
	p99     time.Duration                                // at most
	maxMiB  float64                                      // at most, MiB of each process
}

// A row is a trial and what came of it.
type row struct {
	trial
	got    measured
	limit  measured // the same clients at the bare handler, if they were there
	memory memory
}

// measured is a result with what it cost.
type measured struct {
	result
	cpu time.Duration // of the program, for one answer
}

// The number of clients of each kind.
const (
	loggers = 8
	listers = 16
)

// trials are the targets of the server.
func (b bench) trials() []trial {
	const mib = 256
	lists := b.lists()
	many := fmt.Sprintf("lists of %d pipes, %d clients", pipes, listers)
	return []trial{
		{name: fmt.Sprintf("logins, %d clients", loggers), load: b.logins(loggers), bare: true, rate: 15, p99: time.Second, maxMiB: mib},
		{name: many, load: lists, bare: true, rate: 1500, p99: 50 * time.Millisecond, maxMiB: mib},
		{name: fmt.Sprintf("... while %d log in", accounts), load: lists, besides: b.flood, p99: 100 * time.Millisecond, maxMiB: mib},
		{name: fmt.Sprintf("... beside %d slow connections", slowConnections), load: lists, besides: b.dawdle, p99: 100 * time.Millisecond, maxMiB: mib},
	}
}

func (b bench) logins(clients int) load { return load(b.world.logins[:clients]) }

func (b bench) lists() load {
	return slices.Repeat(load{get(listPath, b.world.token)}, listers)
}

// flood logs all accounts in, again and again.
func (b bench) flood(ctx context.Context, busy func()) error {
	busy()
	got, err := b.logins(accounts).run(ctx, b.server.address, time.Hour)
	if err == nil && got.failed > 0 {
		err = fmt.Errorf("%d logins were answered with another status than 2xx, such as %d", got.failed, got.status)
	}
	return err
}

func (b bench) dawdle(ctx context.Context, busy func()) error {
	return dawdle(ctx, b.server.address, b.world.token, busy)
}

// all carries out the trials, one after the other.
func (b bench) all(ctx context.Context) (rows []row, err error) {
	if _, err := b.server.peaks(); err != nil { // of the start
		return nil, err
	}
	for _, t := range b.trials() {
		r, err := b.try(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
		rows = append(rows, r)
	}
	return rows, ctx.Err()
}

func (b bench) try(ctx context.Context, t trial) (row, error) {
	r := row{trial: t}
	err := beside(ctx, t.besides, func() (err error) {
		r.got, err = b.server.under(ctx, t.load, b.lasts)
		return err
	})
	if err != nil {
		return r, err
	}
	if r.memory, err = b.server.peaks(); err != nil || !t.bare {
		return r, err
	}
	r.limit, err = b.limit.under(ctx, t.load, b.lasts)
	return r, err
}

// beside calls do while something else is under way, which ends with it.
func beside(ctx context.Context, other func(context.Context, func()) error, do func() error) error {
	if other == nil {
		return do()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	busy, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- other(ctx, func() { close(busy) }) }()
	select {
	case err := <-ended:
		return errors.Join(errors.New("what was to go on meanwhile has ended"), err)
	case <-busy:
	}
	err := do()
	cancel()
	return errors.Join(err, <-ended)
}
