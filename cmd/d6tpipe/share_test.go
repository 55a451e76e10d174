package main

import (
	"testing"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestPermissionUntil: the last day is part of the permission, everywhere on earth
// as it is in UTC.
func TestPermissionUntil(t *testing.T) {
	evening := time.Date(2026, 12, 31, 23, 59, 0, 0, time.UTC)
	for until, good := range map[string]bool{"": true, "2026-12-31": true, "2027-01-01": true, "2026-12-30": false, "2026-12-32": false, "2026-12-31T00:00": false, "31.12.2026": false} {
		p, err := readPermission("read", until, evening)
		if (err == nil) != good || good && p.Expires.String() != until {
			t.Errorf("%q: %v, %v", until, p, err)
		}
	}
	if _, err := readPermission("read", "2026-12-31", evening.In(time.FixedZone("", 14*3600))); err != nil {
		t.Error(err)
	}
}

// TestGrantee: the form of a name tells who is meant.
func TestGrantee(t *testing.T) {
	for who, want := range map[string]d6tpipe.Permission{
		"mary": {Username: "mary"}, "public": {Username: d6tpipe.Public}, "mary@example.com": {Email: "mary@example.com"},
		"acme/analysts": {Group: "acme/analysts"}, "a/b@example.com": {Email: "a/b@example.com"},
	} {
		got, err := grantee(who)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", who, got, err)
		}
	}
	for _, who := range []string{"", "a\x1bb", "a\u202eb", "a\nb"} {
		if got, err := grantee(who); err == nil {
			t.Errorf("%q: %+v", who, got)
		}
	}
}
