package server

import "github.com/d6t/d6tpipe-go/server/internal/jobs"

// pools are what this server does by itself: how, and how much of it at a time.
func (s *Server) pools() map[jobs.Kind]jobs.Pool {
	return map[jobs.Kind]jobs.Pool{
		jobs.Scan: {Do: s.scan, Workers: s.config.Jobs, Time: scanTime, Backoff: scanBackoff},
	}
}
