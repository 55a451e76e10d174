package storagetest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TreeHash is a hash of everything below dir: names, kinds, link targets and the
// bytes of files. Equal hashes before and after mean that nothing was made,
// changed or removed.
func TreeHash(t testing.TB, dir string) string {
	t.Helper()
	h := sha256.New() // whose Write never fails
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		_, _ = fmt.Fprintf(h, "%q %v\n", rel, d.Type())
		switch {
		case err != nil:
			return err
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			_, _ = fmt.Fprintf(h, "%x\n", sha256.Sum256(data))
			return err
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			_, _ = fmt.Fprintf(h, "%q\n", target)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
