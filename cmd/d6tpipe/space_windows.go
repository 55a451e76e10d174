package main

import "golang.org/x/sys/windows"

// freeSpace is how many bytes the user may still write to the drive of a folder; -1
// is unknown.
func freeSpace(folder string) int64 {
	name, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return -1
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return -1
	}
	return int64(free)
}
