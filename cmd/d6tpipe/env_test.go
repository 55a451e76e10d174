package main

import (
	"testing"

	"github.com/spf13/pflag"
)

// TestEnvironment: every flag of serve has a variable, a flag wins, and other
// commands take what they share and nothing else: no variable forces a restore.
func TestEnvironment(t *testing.T) {
	t.Setenv("D6TPIPE_SERVE_DATA", "/from/environment")
	t.Setenv("D6TPIPE_SERVE_DATABASE", "postgres://u:p@db/x")
	t.Setenv("D6TPIPE_SERVE_FORCE", "true")
	t.Setenv("D6TPIPE_SERVE_PUBLIC_URL", "https://data.example.com")
	t.Setenv("D6TPIPE_SERVE_TRUSTED_PROXY", "10.0.0.0/8, ::1")

	s := &serving{}
	c := s.command()
	if err := c.ParseFlags([]string{"--data", "/from/flag"}); err != nil {
		t.Fatal(err)
	}
	if err := s.complete(c); err != nil {
		t.Fatal(err)
	}
	got := s.config
	if got.Data != "/from/flag" || got.Database != "postgres://u:p@db/x" || got.PublicURL != "https://data.example.com" || len(got.TrustedProxies) != 2 {
		t.Errorf("%+v", got)
	}

	s = &serving{}
	restore, _, err := s.command().Find([]string{"restore"})
	if err != nil {
		t.Fatal(err)
	}
	if err := restore.ParseFlags(nil); err != nil {
		t.Fatal(err)
	}
	if err := s.complete(restore); err != nil {
		t.Fatal(err)
	}
	if force, err := restore.Flags().GetBool("force"); force || err != nil {
		t.Error("a variable forces a restore", err)
	}
	if s.config.Data != "/from/environment" || s.config.PublicURL != "" {
		t.Errorf("%+v", s.config)
	}
}

// TestFlagsHaveHelp: what has no help is not there for people.
func TestFlagsHaveHelp(t *testing.T) {
	n := 0
	new(serving).command().Flags().VisitAll(func(f *pflag.Flag) {
		if n++; f.Usage == "" {
			t.Error(f.Name)
		}
	})
	if n < 16 {
		t.Errorf("%d flags", n)
	}
}
