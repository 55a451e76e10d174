package server

import (
	"context"
	"time"

	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

// CleanUp removes what was left until now.
func (s *Server) CleanUp(ctx context.Context) error {
	return s.cleanUpOnce(ctx, time.Now().Add(time.Second))
}

// BeforeRemove has a function called before a folder of a bucket is removed. An error of it
// is that of the removal. It is called before the server serves.
func (s *Server) BeforeRemove(do func(prefix string) error) {
	s.storage = interrupted{s.storage, do}
}

type interrupted struct {
	gateway.Storage
	before func(prefix string) error
}

func (i interrupted) Remove(ctx context.Context, prefix string) error {
	if err := i.before(prefix); err != nil {
		return err
	}
	return i.Storage.Remove(ctx, prefix)
}

// Waiting returns how many requests wait for changes.
func (s *Server) Waiting() int { return s.waiters.Waiting() }

// CheckMirrors says how often a run of a mirror looks whether it may go on.
func (c *Config) CheckMirrors(every time.Duration) { c.mirrorCheck = every }

// TurnMirrors says after how long a run of a mirror lets others have its worker.
func (c *Config) TurnMirrors(after time.Duration) { c.mirrorTurn = after }

// LeaseJobs says for how long a run belongs to a server that may have died.
func (c *Config) LeaseJobs(d time.Duration) { c.lease = d }

// ForgetChanges drops all changes that were seen until now.
func (s *Server) ForgetChanges(ctx context.Context) error {
	_, err := s.repo.ForgetChanges(ctx, time.Now().Add(time.Second))
	return err
}
