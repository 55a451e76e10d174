package listing

import "context"

// A Seen is what a listing has that a scan has made or confirmed.
type Seen struct {
	Files   int
	Bytes   int64
	Refused int  // names that cannot be used, which are none of Files
	Changed bool // it is another one than before
}

// A Failure is why a scan failed, in words for those who use the pipe. What the storage
// says may name hosts and folders that are not for them; that is in the log.
type Failure struct {
	Reason string
	Err    error
}

// Error is the reason.
func (f *Failure) Error() string { return f.Reason }

// Unwrap returns what it really was.
func (f *Failure) Unwrap() error { return f.Err }

// Scan scans the pipe whose record has the id, on nobody's account, and waits for it.
// The scan begins after the call and is shared with all who want one of the same pipe.
// It is one of [Config.Scheduled], unless a user wants the same, and is not refused
// because many wait. When it fails the listing stays what it was, and the error is a [*Failure]. When ctx ends the
// scan ends too, unless somebody else waits for it.
func (s *Scanner) Scan(ctx context.Context, id string) (Seen, error) {
	before, err := s.cfg.Cache.Head(ctx, id)
	if err != nil {
		return Seen{}, err
	}
	f, err := s.join(Pipe{ID: id}, s.cfg.Now(), false)
	if err != nil {
		return Seen{}, err
	}
	select {
	case <-ctx.Done():
		if s.leave(f) {
			<-f.done
		}
		return Seen{}, ctx.Err()
	case <-f.done:
	}
	if f.err != nil {
		return Seen{}, &Failure{reason(f.err), f.err}
	}
	head, err := s.cfg.Cache.Head(ctx, id)
	if err == nil && head.Tag == "" {
		err = &Failure{reason(errMoved), errMoved}
	}
	return Seen{head.Files, head.Bytes, f.refused, head.Tag != before.Tag}, err
}
