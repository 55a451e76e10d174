package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// checkRemote runs the command as the program does, on the catalogue of a home.
func checkRemote(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err strings.Builder
	code = execute(t.Context(), append([]string{"remotes", "check"}, args...), strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func TestRemotesCheck(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("D6TPIPE_SERVER", "")
	cfg, err := d6tpipe.LoadConfig("")
	check(t, err)
	api, err := d6tpipe.NewAPILocal(cfg)
	check(t, err)
	folder := filepath.Join(home, "disk")
	check(t, os.Mkdir(folder, 0o755))
	_, err = api.Remotes().Create(context.Background(), d6tpipe.RemoteSettings{Name: "disk", Protocol: d6tpipe.ProtocolDir, Location: folder})
	check(t, err)

	code, stdout, stderr := checkRemote(t, "disk", "--local", "--verbose")
	if code != 0 || !strings.Contains(stdout, "0 failed") || !strings.Contains(stderr, "checking disk ...") || !strings.Contains(stderr, "ok ") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) > 0 {
		t.Errorf("it left %v behind: %v", entries, err)
	}
	code, stdout, stderr = checkRemote(t, "disk", "--local", "--read-only", "--json", "--quiet")
	if n, err := decodeAll(stdout, func() any { return new(d6tpipe.CheckReport) }); code != 0 || n != 1 || err != nil || stderr != "" {
		t.Errorf("exit code %d, %d reports, %v: %s", code, n, err, stderr)
	}
	if code, _, stderr = checkRemote(t, "none", "--local"); code != exitFailure || !strings.Contains(stderr, "none") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, _ = checkRemote(t); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	check(t, os.Remove(folder))
	if code, _, stderr = checkRemote(t, "disk", "--local"); code != exitFailure {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
