package server

import (
	"context"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/d6t/d6tpipe-go/server/internal/dial"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

// hookWorkers is how many webhooks are delivered to at a time. They wait for others most
// of the time.
const hookWorkers = 8

// newHooks makes what sends to webhooks: to where users say, under the rules of where the
// server may connect to.
func (s *Server) newHooks() *hook.Sender {
	return hook.New(hook.Config{Dial: dial.Policy{Allow: s.config.AllowDial}, HTTP: s.config.WebhookHTTP, Version: s.config.Version})
}

// pools are what this server does by itself: how, and how much of it at a time.
func (s *Server) pools() map[jobs.Kind]jobs.Pool {
	pools := map[jobs.Kind]jobs.Pool{
		jobs.Scan:    {Do: s.scan, Workers: s.config.Jobs, Time: scanTime, Backoff: scanBackoff},
		jobs.Webhook: s.repo.Delivery(hookWorkers),
	}
	if s.config.Mirrors > 0 {
		pools[jobs.Mirror] = jobs.Pool{Do: s.mirror, Workers: s.config.Mirrors, Backoff: mirrorBackoff}
	}
	return pools
}

// openJobs begins to do it, unless that is left to other servers.
func (s *Server) openJobs(ctx context.Context, metrics prometheus.Registerer) (err error) {
	if s.config.Jobs < 0 {
		return nil
	}
	s.jobs, err = jobs.Open(ctx, jobs.Config{DB: s.db, Queue: s.config.queue(), Pools: s.pools(), Lease: s.config.lease, Log: s.config.Log, Registry: metrics})
	return err
}

// queue is where what is due waits for a worker: with SQLite a file of its own, which
// holds nothing that would be missed.
func (c Config) queue() string {
	if scheme, _ := schemeOf(c.Database); scheme == "postgres" || scheme == "postgresql" {
		return c.Database
	}
	return filepath.Join(c.Data, "jobs.db")
}

// kick has what was just asked for begin at once.
func (s *Server) kick() {
	if s.jobs != nil {
		s.jobs.Kick()
	}
}
