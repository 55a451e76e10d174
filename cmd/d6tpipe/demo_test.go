package main

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemoData: each file that the demo pushes is one of the sample data, unchanged,
// and its source and licence are told.
func TestDemoData(t *testing.T) {
	readme, err := demoData.ReadFile("demo/README.md")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = fs.WalkDir(demoData, "demo", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path == "demo/README.md" {
			return err
		}
		files++
		key := strings.TrimPrefix(path, "demo/")
		data, err := demoData.ReadFile(path)
		if string(data) != read(t, filepath.Join("..", "..", "testdata", "vega", key)) {
			t.Errorf("%s is not the sample data's", key)
		}
		if !strings.Contains(string(readme), "| "+key+" | ") {
			t.Errorf("README.md says nothing of %s", key)
		}
		return err
	})
	if err != nil || files != 3 {
		t.Errorf("%d files (%v)", files, err)
	}
}
