package pythontest

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

//go:embed testdata/*.py
var scripts embed.FS

// A row is a check that was carried out.
type row struct {
	ID         string `json:"id"`
	Mark       string `json:"mark"`
	Generation string `json:"generation"`
	What       string `json:"what"`
	State      string `json:"state"` // pass, fail, skip
	Text       string `json:"text"`
}

// runTable runs the table, or some checks of it, and returns its rows in order. That every check
// reports is checked here: a script that dies half way proves nothing.
func runTable(t *testing.T, interpreter string, target Target, only ...string) []row {
	t.Helper()
	out := run(t, interpreter, settings(t, target, only...), "checks.py")
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	var table struct {
		Table []string `json:"table"`
	}
	require.True(t, lines.Scan(), "the checks say nothing")
	require.NoError(t, json.Unmarshal(lines.Bytes(), &table))
	require.NotEmpty(t, table.Table)
	var rows []row
	var ids []string
	for lines.Scan() {
		var r row
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r), "%s", lines.Bytes())
		rows, ids = append(rows, r), append(ids, r.ID)
	}
	require.NoError(t, lines.Err())
	require.Equal(t, table.Table, ids, "not every check has reported")
	return rows
}

// settings are what the scripts read from their standard input, where no list of
// processes shows them.
func settings(t *testing.T, target Target, only ...string) []byte {
	t.Helper()
	lacks := map[Need]string{}
	for need, why := range target.Lacks {
		lacks[need] = why
	}
	in := map[string]any{"url": target.URL, "demo_password": target.DemoPassword, "lacks": lacks, "only": only}
	if b := target.Bucket; b != nil {
		in["bucket"] = b.Name
		in["s3"] = map[string]string{
			"aws_access_key_id": b.AccessKey, "aws_secret_access_key": b.SecretKey,
			"endpoint_url": b.Endpoint, "region_name": b.Region,
		}
	} else if lacks[NeedBucket] == "" {
		lacks[NeedBucket] = "the target comes without a bucket of one's own"
	}
	data, err := json.Marshal(in)
	require.NoError(t, err)
	return data
}

// run runs one of the scripts and returns what it printed. It has an empty home,
// and no proxy, no keys and no settings of whoever runs the tests.
func run(t *testing.T, interpreter string, in []byte, script string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, unpack(dir))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, append([]string{filepath.Join(dir, script)}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(environment(), "HOME="+dir, "PYTHONDONTWRITEBYTECODE=1", "PYTHONIOENCODING=utf-8", "NO_PROXY=*", "AWS_EC2_METADATA_DISABLED=true")
	cmd.Stdin = bytes.NewReader(in)
	var errors strings.Builder
	cmd.Stderr = &errors
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	require.NoError(t, err, "%s %s: %s", interpreter, script, errors.String())
	return out
}

// environment is ours without what would change the client's behaviour.
func environment() (kept []string) {
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		name = strings.ToUpper(name)
		if !strings.HasPrefix(name, "AWS_") && !strings.HasSuffix(name, "_PROXY") && !strings.HasPrefix(name, "D6TPIPE_") && name != "HOME" {
			kept = append(kept, setting)
		}
	}
	return kept
}

func unpack(dir string) error {
	files, err := fs.Glob(scripts, "testdata/*.py")
	if err != nil {
		return err
	}
	for _, name := range files {
		data, err := scripts.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// python returns an interpreter, if there is one with boto3.
func python(t *testing.T) string {
	t.Helper()
	var found string
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if exec.CommandContext(t.Context(), path, "-c", "import boto3").Run() == nil {
			return path
		}
		if found == "" {
			found = path
		}
	}
	if found == "" {
		t.Skip("needs apt package: python3")
	}
	return found
}
