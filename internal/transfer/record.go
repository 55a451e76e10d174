package transfer

import (
	"fmt"
	"time"
)

// How many files, and how long, may pass before they are recorded.
const (
	batchFiles = 256
	batchTime  = time.Second
)

// recorded is a file that went through, and the index of its step.
type recorded struct {
	step  int
	entry Entry
}

// record writes to the manifest what the workers have done, in batches. The
// folders are synced first, so that the manifest never claims a file that a power
// cut can take away. When it cannot write, it stops the run.
func (r *run) record(stop func(error)) (failed error) {
	var batch []recorded
	tick := time.NewTicker(batchTime)
	defer tick.Stop()
	flush := func() {
		if len(batch) == 0 {
			return
		}
		if failed == nil {
			if failed = r.flush(batch); failed != nil {
				failed = fmt.Errorf("write the manifest: %w", failed)
				stop(failed)
			}
		}
		r.acknowledge(batch, failed)
		batch = batch[:0]
	}
	for {
		select {
		case d, open := <-r.done:
			if !open {
				flush()
				return failed
			}
			if batch = append(batch, d); len(batch) >= batchFiles {
				flush()
			}
		case <-tick.C:
			flush()
		}
	}
}

func (r *run) flush(batch []recorded) error {
	if err := r.dir.sync(); err != nil {
		return err
	}
	entries := make([]Entry, len(batch))
	for i, d := range batch {
		entries[i] = d.entry
	}
	return r.book.append(entries)
}

func (r *run) acknowledge(batch []recorded, err error) {
	for _, d := range batch {
		s, res := &r.plan.Steps[d.step], &r.report.Results[d.step]
		if err != nil {
			res.Status, res.Err = StatusFailed, err
			r.tell(Event{Kind: Failed, Key: s.Key, Action: s.Action, Err: err})
			continue
		}
		res.Status, res.Bytes = StatusDone, s.Size
		r.tell(Event{Kind: Done, Key: s.Key, Action: s.Action})
	}
}
