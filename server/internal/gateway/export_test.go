package gateway

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// KeysUntil makes keys that end at any time, also in the past.
func (e *Embedded) KeysUntil(g Grant, end time.Time) (access, secret, token string, err error) {
	g.Expires = end
	k, err := e.keys.mint(e.cfg.Bucket, g)
	return k.access, k.secret, k.token, err
}

// Socket is where the child listens.
func (e *Embedded) Socket() string { return e.super.config.Socket }

// Sweep removes what was left behind, as if it were now.
func (e *Embedded) Sweep(ctx context.Context, now time.Time) error {
	sidecar := filepath.Join(e.cfg.Dir, sidecarDir)
	if _, err := os.Stat(sidecar); err != nil {
		sidecar = ""
	}
	return sweep(ctx, e.cfg.Dir, sidecar, e.cfg.Bucket, now)
}

// SessionPolicy is the text of a policy.
func SessionPolicy(bucket string, g Grant, deadline time.Time) (string, error) {
	return sessionPolicy("aws", bucket, g, deadline)
}
