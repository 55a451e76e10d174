//go:build !unix

package dir

import "os"

// lockUpload has nothing to do: a file that somebody has open cannot be renamed.
func lockUpload(*os.File) error { return nil }
