package d6tpipe

import (
	"fmt"
	"path/filepath"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
)

func openDir(s Storage, o OpenOptions) (storage.Store, error) {
	if err := checkLocalFolder(s.Location, o.LocalFolders); err != nil {
		return nil, err
	}
	return dir.New(s.Location)
}

// checkLocalFolder keeps a server from reading and writing wherever it likes on
// the machines of its users. Symbolic links are resolved first: one that lies in
// an allowed folder may lead out of it.
func checkLocalFolder(location string, allowed []string) error {
	if !filepath.IsAbs(location) {
		return &FieldError{Field: "location", Reason: "The folder must be an absolute path."}
	}
	if allowed == nil {
		return nil
	}
	real, err := realPath(location)
	if err != nil {
		return err
	}
	for _, folder := range allowed {
		abs, err := filepath.Abs(folder)
		if err == nil {
			abs, err = realPath(abs)
		}
		if err != nil {
			continue
		}
		if _, ok := inside(abs, real); ok {
			return nil
		}
	}
	return fmt.Errorf("%w: the remote's record names the local folder %q; the option LocalFolders (--local-folder) allows it", ErrRefused, location)
}
