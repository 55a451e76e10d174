//go:build !linux

package transfer

// openScan opens a folder for a scan.
func openScan(path string) (scanFolder, error) { return openRoot(path) }
