package d6tpipe_test

import (
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSampleData holds the sample data to what its README says: every file is
// there, unchanged in size, with source and licence.
func TestSampleData(t *testing.T) {
	data := os.DirFS("testdata/vega")
	readme, err := fs.ReadFile(data, "README.md")
	require.NoError(t, err)
	row := regexp.MustCompile(`(?m)^\| (\S+/\S+) \| ([\d,]+) \| [^|]+ \| [^|]*https?://[^|]+ \| \[(US government|public domain|CC0-1\.0|CC-BY-4\.0|OGL-UK-3\.0)\]`)
	told := map[string]int64{}
	for _, m := range row.FindAllStringSubmatch(string(readme), -1) {
		size, err := strconv.ParseInt(strings.ReplaceAll(m[2], ",", ""), 10, 64)
		require.NoError(t, err)
		told[m[1]] = size
	}

	found, total := map[string]int64{}, int64(0)
	require.NoError(t, fs.WalkDir(data, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == "README.md" || path == "LICENSE.md" {
			return err
		}
		info, err := d.Info()
		if err == nil {
			found[path], total = info.Size(), total+info.Size()
		}
		return err
	}))
	require.Equal(t, found, told)
	require.GreaterOrEqual(t, len(found), 25)
	require.GreaterOrEqual(t, total, int64(5_000_000))
}
