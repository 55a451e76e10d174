package main

import (
	"fmt"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// eachOf does something for each name, until there is an error. It says then what was
// done before, if anything was.
func eachOf(names []string, do func(i int) error) error {
	for i := range names {
		if err := do(i); err != nil {
			return partly(err, names[:i], names[i:])
		}
	}
	return nil
}

// partly says of an error what was done before it and what was not. Without the former
// it stays as it is.
func partly(err error, done, left []string) error {
	if len(done) == 0 {
		return err
	}
	return fmt.Errorf("%w, for %s but not for %s: %w", d6tpipe.ErrPartial, nameList(done), nameList(left), err)
}

// nameList names the first of many.
func nameList(names []string) string {
	const most = 10
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}
