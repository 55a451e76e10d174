package server

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
)

// scanTime is how long a scan may take, and wait for its turn among those that users
// ask for. The scan itself has a limit of its own.
const scanTime = time.Hour

// scanBackoff is how long a pipe whose scans fail is left alone: a minute, then twice as
// long each time, up to six hours.
func scanBackoff(failures int) time.Duration {
	return min(time.Minute<<min(max(failures-1, 0), 9), 6*time.Hour)
}

// scan scans a pipe on its schedule.
func (s *Server) scan(ctx context.Context, job jobs.Job) (json.RawMessage, error) {
	if err := s.repo.MayBeScanned(ctx, job.Subject); err != nil {
		return nil, s.told(ctx, job, err)
	}
	seen, err := s.scanner.Scan(ctx, job.Subject)
	if err != nil {
		return nil, s.told(ctx, job, err)
	}
	return json.Marshal(d6tpipe.ScanRun{Files: seen.Files, Bytes: seen.Bytes, Refused: seen.Refused, Changed: seen.Changed})
}

// told makes of what went wrong what those may hear who use the pipe; the log has the
// rest.
func (s *Server) told(ctx context.Context, job jobs.Job, err error) error {
	var failure *listing.Failure
	var refused *d6tpipe.StatusError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, jobs.ErrGone):
		return jobs.ErrGone
	case errors.As(err, &failure):
		return failure
	case errors.As(err, &refused):
		return errors.New(refused.Message)
	case errors.Is(err, d6tpipe.ErrInvalid):
		return errors.New("the settings of the pipe cannot be used")
	}
	s.config.Log.Error("a pipe could not be scanned", "record", job.Subject, "error", err)
	return errors.New("the server failed; its log says why")
}
