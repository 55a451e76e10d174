package d6tpipe_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadme compiles the Go that the README shows: its blocks, and the calls in
// the right column of the table for those who come from Python.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	blocks, calls := readmeBlocks(string(text)), readmeCalls(string(text))
	require.GreaterOrEqual(t, len(blocks), 3)
	require.GreaterOrEqual(t, len(calls), 40)
	var src strings.Builder
	src.WriteString("package readme\n\nimport (\n\t\"context\"\n\n\t\"github.com/d6t/d6tpipe-go\"\n\t. \"github.com/d6t/d6tpipe-go\"\n)\n\nfunc discard(...any) {}\n\n")
	src.WriteString("func calls(ctx context.Context, cfg Config, api *APIClient, pipe *Pipe, settings PipeSettings, u, e, path, dir string, p Secret, files []string) {\n")
	for _, call := range calls {
		fmt.Fprintf(&src, "\tdiscard(%s)\n", call)
	}
	src.WriteString("}\n")
	for i, block := range blocks {
		fmt.Fprintf(&src, "\nfunc block%d(ctx context.Context, server, local API) {\n%s}\n", i, block)
	}
	compile(t, src.String())
}

// TestReadmeLinks looks for what the README leads to in this repository.
func TestReadmeLinks(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, link := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(string(text), -1) {
		require.FileExists(t, link[1])
	}
}

// readmeBlocks returns the blocks of Go, with every variable used.
func readmeBlocks(text string) (blocks []string) {
	declared := regexp.MustCompile(`(?m)^(\w+), err :=`)
	for _, block := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(text, -1) {
		code := block[1]
		for _, name := range declared.FindAllStringSubmatch(code, -1) {
			code += "discard(" + name[1] + ", err)\n"
		}
		blocks = append(blocks, code)
	}
	return blocks
}

// readmeCalls returns the calls in the table. Where arguments are left out, it is
// the method alone; ".Delete" goes on from the call before it.
func readmeCalls(text string) (calls []string) {
	leftOut := regexp.MustCompile(`\([^()]*\.\.\.\)|\.\.\.`)
	on := ""
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| `") || strings.Count(line, " | ") != 1 || strings.HasPrefix(line, "| `D6TPIPE_") {
			continue
		}
		_, right, _ := strings.Cut(line, " | ")
		for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(right, -1) {
			call := leftOut.ReplaceAllString(quoted[1], "")
			if strings.HasPrefix(call, ".") {
				call = on + call
			}
			on = call[:max(0, strings.LastIndex(call, "."))]
			calls = append(calls, call)
		}
	}
	return calls
}

// compile compiles a package of one file that is nowhere but in an overlay.
func compile(t *testing.T, src string) {
	t.Helper()
	root, err := os.Getwd()
	require.NoError(t, err)
	file, overlay := filepath.Join(t.TempDir(), "readme.go"), filepath.Join(t.TempDir(), "overlay.json")
	require.NoError(t, os.WriteFile(file, []byte(src), 0o600))
	raw, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, "examples", "readme", "readme.go"): file}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, raw, 0o600))
	out, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-e", "-overlay="+overlay, "./examples/readme").CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, src)
}
