package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan is for those who make packages, and hidden from the others.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:     "man FOLDER",
		Short:   "Write a manual page for each command",
		Long:    "Write a manual page of section 1 for each command into a folder, which is made.",
		Example: "  d6tpipe man ./man && man ./man/d6tpipe-pull.1",
		Hidden:  true,
		Args:    exactly(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			date, err := manDate(thisBuild())
			if err != nil {
				return err
			}
			root := c.Root()
			root.DisableAutoGenTag = true // it has a date of its own
			return doc.GenManTree(root, &doc.GenManHeader{Title: "D6TPIPE", Section: "1", Source: "d6tpipe", Manual: "d6tpipe", Date: &date}, args[0])
		},
	}
}

// manDate is when the sources were last changed, so that the same sources make the
// same pages: the time of the commit, or what SOURCE_DATE_EPOCH says.
func manDate(b build) (time.Time, error) {
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		var seconds int64
		if _, err := fmt.Sscanf(epoch, "%d", &seconds); err != nil {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q and no number of seconds", epoch)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	if at, err := time.Parse(time.RFC3339, b.Time); err == nil {
		return at.UTC(), nil
	}
	return time.Unix(0, 0).UTC(), nil
}
