package server

import (
	"context"
	"errors"
	"time"

	"github.com/d6t/d6tpipe-go/server/internal/mirror"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

const (
	// keepRemoved is how long the files of a removed pipe stay: somebody may have
	// removed it by mistake.
	keepRemoved = 7 * 24 * time.Hour
	cleanUpTick = time.Hour

	// keepDeliveries is for how long what was sent to webhooks is remembered.
	keepDeliveries = 30 * 24 * time.Hour

	// removeLimit is how long a server removes the files of one pipe, before it leaves
	// the rest to the next time; and claimLimit is how long other servers keep away. A
	// request that is under way when the first is over has arrived when the second is, and
	// clocks may differ by less than what is between them.
	removeLimit = 30 * time.Minute
	claimLimit  = 50 * time.Minute
)

// cleanUp removes files of managed pipes that were removed a while ago, old lines of the
// audit log, and old changes.
func (s *Server) cleanUp(ctx context.Context) {
	if err := s.cleanUpOnce(ctx, time.Now().Add(-keepRemoved)); err != nil && ctx.Err() == nil {
		s.config.Log.Error("files of removed pipes could not be cleaned up", "error", err)
	}
	if err := mirror.Sweep(s.mirrorFolder(""), func() (map[string]bool, error) { return s.repo.MirrorIDs(ctx) }); err != nil && ctx.Err() == nil {
		s.config.Log.Error("what removed mirrors remembered could not be cleaned up", "error", err)
	}
	s.forget(ctx, "lines of the audit log", s.config.AuditAge, s.repo.Forget)
	s.forget(ctx, "changes of files", s.config.ChangesAge, s.repo.ForgetChanges)
	s.forget(ctx, "deliveries to webhooks", keepDeliveries, s.repo.ForgetDeliveries)
}

// forget drops what is older than an age; a negative one is for ever.
func (s *Server) forget(ctx context.Context, what string, age time.Duration, drop func(context.Context, time.Time) (int64, error)) {
	if age < 0 {
		return
	}
	n, err := drop(ctx, time.Now().Add(-age))
	switch {
	case err != nil && ctx.Err() == nil:
		s.config.Log.Error("old "+what+" could not be dropped", "error", err)
	case n > 0:
		s.config.Log.Info("dropped old "+what, "rows", n)
	}
}

// cleanUpOnce removes what pipes left before a time. What fails is left to the next
// time, and the others are removed all the same.
func (s *Server) cleanUpOnce(ctx context.Context, before time.Time) error {
	due, err := s.repo.Leftovers(ctx, before.UnixMicro())
	if err != nil {
		return err
	}
	var failed error
	for _, l := range due {
		if ctx.Err() != nil {
			return errors.Join(failed, ctx.Err())
		}
		failed = errors.Join(failed, s.cleanUpFolder(ctx, l))
	}
	return failed
}

// cleanUpFolder removes the files of one pipe, if it is this server who does.
func (s *Server) cleanUpFolder(ctx context.Context, l repo.Leftover) error {
	if l.InUse {
		s.config.Log.Warn("the files of a pipe that is gone stay: the folder is also that of another one", "folder", l.Prefix)
		return s.repo.Cleaned(ctx, l)
	}
	claimed, ok, err := s.repo.Claim(ctx, l, claimLimit)
	if err != nil || !ok {
		return err
	}
	if err := s.removeFolder(ctx, l.Prefix); err != nil {
		return err
	}
	if err := s.repo.Cleaned(ctx, claimed); err != nil {
		return err
	}
	s.config.Log.Info("removed the files of a pipe that is gone", "folder", l.Prefix)
	return nil
}

// removeFolder ends well before the claim does.
func (s *Server) removeFolder(ctx context.Context, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	return s.storage.Remove(ctx, prefix)
}
