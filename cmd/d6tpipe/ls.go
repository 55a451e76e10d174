package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newLs(p *program) *cobra.Command {
	var r reach
	var long, deep bool
	c := &cobra.Command{
		Use:   "ls PIPE [DIR]",
		Short: "List a folder of the remote, without a pull",
		Long: `List a folder of the remote, or with -R all files below it. Folders end in a slash.
Names that cannot be used are not there; d6tpipe scan remote tells of them.`,
		Example: "  d6tpipe ls sales\n  d6tpipe ls sales 2026 -l\n  d6tpipe ls sales -R --json | jq .key",
	}
	c.Flags().BoolVarP(&long, "long", "l", false, "with sizes and times")
	c.Flags().BoolVarP(&deep, "recursive", "R", false, "all files below")
	r.flags(c)
	return p.pipeFirst(c, -1, func(c *cobra.Command, name string, rest []string) (err error) {
		if len(rest) > 1 {
			return usage(c, errors.New("it lists one folder at a time"))
		}
		dir := "."
		if len(rest) == 1 {
			dir = path.Clean(rest[0])
		}
		pipe, err := p.open(c.Context(), name, r.options())
		if err != nil {
			return err
		}
		remote := pipe.FS(c.Context())
		defer func() { err = errors.Join(err, remote.Close()) }()
		files, err := list(remote, dir, deep)
		if err != nil {
			return noSuchFile(err, name)
		}
		return p.showListing(c, files, long)
	})
}

// list returns what lies in dir, or dir itself when it is a file. A folder has a key
// that ends in a slash.
func list(remote *d6tpipe.FS, dir string, deep bool) (files []d6tpipe.File, err error) {
	err = fs.WalkDir(remote, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir && d.IsDir() || deep && d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f, ok := info.Sys().(d6tpipe.File)
		if !ok {
			f = d6tpipe.File{Key: name + "/", ModTime: info.ModTime()}
		}
		files = append(files, f)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	return files, err
}

func (p *program) showListing(c *cobra.Command, files []d6tpipe.File, long bool) error {
	if p.asJSON || long {
		return showList(p, c, files, newTable(">SIZE", "MODIFIED", "FILE"), fileRow)
	}
	for _, f := range files {
		if _, err := fmt.Fprintln(c.OutOrStdout(), safe(f.Key)); err != nil {
			return err
		}
	}
	return nil
}
