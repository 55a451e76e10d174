package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestServeShowsNoSecret: what goes wrong with serve and its subcommands is told
// without the passwords and keys that they were given.
func TestServeShowsNoSecret(t *testing.T) {
	secret := `cAnary-"&é+` + rand.Text()
	database := "D6TPIPE_SERVE_DATABASE=postgres://someone:" + url.QueryEscape(secret) + "@127.0.0.1:1/none?connect_timeout=2"
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte(secret+"\n"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := func() []string {
		return []string{"D6TPIPE_SERVE_DATA=" + t.TempDir(), "D6TPIPE_SERVE_KEY_FILE=" + filepath.Join(t.TempDir(), "key")}
	}
	for name, c := range map[string]struct {
		args  []string
		env   []string
		input string
	}{
		"a database that is not there": {[]string{"serve", "--listen", "127.0.0.1:0"}, []string{database}, ""},
		"backup":                       {[]string{"serve", "backup", "-"}, []string{database}, ""},
		"restore":                      {[]string{"serve", "restore", garbage}, []string{database}, ""},
		"rotate":                       {[]string{"serve", "rotate-key", "--log-format", "json"}, []string{database}, ""},
		"prune":                        {[]string{"serve", "rotate-key", "--prune"}, []string{database}, ""},
		"an administrator":             {[]string{"serve", "admin", "create", "root", "--email", "r@example.com"}, []string{database}, secret + "\n"},
		"a wrong name":                 {[]string{"serve", "admin", "create", "a b", "--email", "r@example.com"}, fresh(), secret + "\n"},
		"a long password":              {[]string{"serve", "admin", "create", "root", "--email", "r@example.com"}, fresh(), strings.Repeat(secret, 100) + "\n"},
		"no backup":                    {[]string{"serve", "restore", "-"}, fresh(), secret},
		"a key that is none":           {[]string{"serve", "--listen", "127.0.0.1:0"}, append(fresh()[:1], "D6TPIPE_SERVE_KEY="+secret), ""},
		"a key file that is none":      {[]string{"serve", "admin", "create", "root", "--email", "r@example.com"}, append(fresh()[:1], "D6TPIPE_SERVE_KEY_FILE="+garbage), secret + "\n"},
		"a URL on the command line":    {[]string{"serve", "--database", "postgres://u:" + url.QueryEscape(secret) + "@h/d"}, nil, ""},
		"a bucket's keys":              {[]string{"serve", "--storage", "s3://b?secret_access_key=" + url.QueryEscape(secret)}, nil, ""},
		"a URL that is none":           {[]string{"serve"}, append(fresh(), "D6TPIPE_SERVE_DATABASE=mysql://u:"+secret+"@h/d"), ""},
		"a bucket with an option":      {[]string{"serve", "--listen", "127.0.0.1:0"}, append(fresh(), "D6TPIPE_SERVE_STORAGE=s3://b?wrong="+secret, "AWS_SECRET_ACCESS_KEY="+secret), ""},
		"a number":                     {[]string{"serve"}, append(fresh(), "D6TPIPE_SERVE_MAX_REQUESTS="+secret), ""},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "d6tpipe", c.args...)
			cmd.Env = append(os.Environ(), c.env...)
			cmd.Stdin = strings.NewReader(c.input)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("it works:\n%s", out)
			}
			for how, form := range forms(secret) {
				if bytes.Contains(out, []byte(form)) {
					t.Errorf("the secret as %s:\n%s", how, out)
				}
			}
			if len(bytes.TrimSpace(out)) == 0 {
				t.Error("it says nothing")
			}
		})
	}
}

// forms are the ways in which a program may spell a secret.
func forms(secret string) map[string]string {
	quoted := strconv.Quote(secret)
	return map[string]string{
		"text": secret, "query": url.QueryEscape(secret), "path": url.PathEscape(secret), "quoted": quoted[1 : len(quoted)-1], "its end": secret[len(secret)-20:],
		"hex": hex.EncodeToString([]byte(secret)), "base64": base64.RawStdEncoding.EncodeToString([]byte(secret))[:30],
	}
}
