package gateway_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pythons are those that have boto3: the system's, which is older, and the user's.
func pythons(t testing.TB) (found []string) {
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.CommandContext(t.Context(), path, "-c", "import boto3").Run() == nil {
			found = append(found, path)
		}
	}
	if len(found) == 0 {
		t.Skip("needs apt package: python3-boto3")
	}
	return found
}

// cleanEnv is an environment without settings of Amazon's tools.
func cleanEnv(home string, more ...string) []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "AWS_") && !strings.HasPrefix(pair, "HOME=") {
			env = append(env, pair)
		}
	}
	return append(append(env, "HOME="+home, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+filepath.Join(home, "none"), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(home, "none")), more...)
}

// Python takes seconds to start, so these run beside each other.

// The Python client is luigi's S3Client on boto3, of any age.
func TestBoto3(t *testing.T) {
	for _, python := range pythons(t) {
		t.Run(python, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			put(t, w.client(t, write("bob/x/")), "bob/x/victim", "secret")
			sets := map[string]map[string]any{}
			for role, g := range map[string]string{"write": "alice/sales/", "read": "alice/sales/"} {
				grant := read(g)
				if role == "write" {
					grant = write(g)
				}
				c, err := w.Credentials(t.Context(), grant)
				require.NoError(t, err)
				sets[role] = c.Values
			}
			runClient(t, python, sets)
			body, err := get(t, w.client(t, read("bob/x/")), "bob/x/victim")
			require.NoError(t, err)
			require.Equal(t, "secret", body)
		})
	}
}

// runClient gives the sets of keys for reading and writing to testdata/client.py.
func runClient(t *testing.T, python string, sets map[string]map[string]any, args ...string) {
	t.Helper()
	script, err := filepath.Abs("testdata/client.py")
	require.NoError(t, err)
	in, err := json.Marshal(sets)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), python, append([]string{script}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = cleanEnv(cmd.Dir)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "done")
}

func TestAWSCLI(t *testing.T) {
	aws, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("needs apt package: awscli")
	}
	t.Parallel()
	w := start(t)
	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, "data/deep"), 0o755))
	big := bytes.Repeat([]byte("0123456789abcdef"), 9<<16) // 9 MiB: in parts
	for name, body := range map[string][]byte{"a.csv": []byte("a,b\n"), "deep/b c.csv": []byte("x"), "big": big} {
		require.NoError(t, os.WriteFile(filepath.Join(home, "data", name), body, 0o644))
	}
	run := func(k keys, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), aws, append([]string{"--endpoint-url", w.url, "--region", "us-east-1"}, args...)...)
		cmd.Dir = home
		cmd.Env = cleanEnv(home, "AWS_ACCESS_KEY_ID="+k.access, "AWS_SECRET_ACCESS_KEY="+k.secret, "AWS_SESSION_TOKEN="+k.token, "AWS_MAX_ATTEMPTS=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	writer, reader := w.keys(t, write("alice/x/")), w.keys(t, read("alice/x/"))
	out, err := run(writer, "s3", "sync", "data", "s3://managed/alice/x/")
	require.NoError(t, err, out)
	out, err = run(reader, "s3", "sync", "s3://managed/alice/x/", "back")
	require.NoError(t, err, out)
	back, err := os.ReadFile(filepath.Join(home, "back/big"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(big, back))
	out, err = run(reader, "s3", "rm", "s3://managed/alice/x/a.csv")
	require.Error(t, err)
	require.Contains(t, out, "AccessDenied")
	out, err = run(writer, "s3", "rm", "--recursive", "s3://managed/alice/x/")
	require.NoError(t, err, out)
	require.Empty(t, listed(t, w, read("alice/x/")))
}
