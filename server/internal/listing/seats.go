package listing

import "context"

// sit waits for the slots of a scan. When the scanner is closed, scans end as they begin,
// so that there is always one some time. Schedules have slots of their own: however long
// storages let theirs hang, nobody who asks waits for that.
func (s *Scanner) sit(id string, p *flights, f *flight) {
	s.mu.Lock()
	ours := s.ours
	if f.ofUser() {
		ours = nil
	}
	s.mu.Unlock()
	select {
	case ours <- struct{}{}:
		f.seats = append(f.seats, ours)
		return
	case <-f.users:
	}
	s.mu.Lock()
	of := p.of
	s.mu.Unlock()
	if of != nil { // first, so that who waits for himself keeps nobody else waiting
		_ = f.take(context.Background(), of.slots)
	}
	_ = f.take(context.Background(), s.slots)
	if head, err := s.cfg.Cache.Head(s.ctx, id); err == nil && head.Files > s.cfg.Small {
		_ = s.sitLarge(context.Background(), p, f)
	}
}

// sitLarge waits for the slots of a user's scan that has more than [Config.Small] files. A
// scan at work learns that on its way.
func (s *Scanner) sitLarge(ctx context.Context, p *flights, f *flight) error {
	s.mu.Lock()
	of := p.of
	s.mu.Unlock()
	if f.large || f.seats[0] == s.ours {
		return nil
	}
	f.large = true
	if of != nil {
		if err := f.take(ctx, of.large); err != nil {
			return err
		}
	}
	return f.take(ctx, s.large)
}

// take waits for a seat.
func (f *flight) take(ctx context.Context, seat chan struct{}) error {
	select {
	case seat <- struct{}{}:
		f.seats = append(f.seats, seat)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
