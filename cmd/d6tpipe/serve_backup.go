package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/d6t/d6tpipe-go/server"
)

func newBackup(s *serving) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a snapshot of the database to a file",
		Long: `Write one consistent snapshot of the database to FILE, which must not exist yet,
or to standard output when FILE is -. The server may run meanwhile. The snapshot
fits SQLite and PostgreSQL. Stored credentials in it are sealed: keep the key, too,
but elsewhere. The files of managed pipes are not in it.`,
		Example: "  d6tpipe serve backup /backup/d6tpipe-$(date +%F) --data /var/lib/d6tpipe\n  d6tpipe serve backup - | age -r KEY > backup.age",
		Args:    exactly(1),
		RunE:    func(c *cobra.Command, args []string) error { return s.backup(c, args[0]) },
	}
}

// backup leaves no half file behind.
func (s *serving) backup(c *cobra.Command, name string) (err error) {
	if name == "-" {
		return server.Backup(c.Context(), s.config, c.OutOrStdout())
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	err = server.Backup(c.Context(), s.config, w)
	if err == nil {
		err = errors.Join(w.Flush(), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func newRestore(s *serving) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Fill the database from a snapshot",
		Long: `Fill an empty database from FILE, which serve backup wrote, or from standard input
when FILE is -. A snapshot that is damaged, cut or of a newer program is refused
before anything is written. No server may run on the database meanwhile.
The key is not in the snapshot: start the server with the former --key-file.`,
		Example: "  d6tpipe serve restore /backup/d6tpipe-2026-11-25 --data /var/lib/d6tpipe",
		Args:    exactly(1),
		RunE:    func(c *cobra.Command, args []string) error { return s.restore(c, args[0], force) },
	}
	c.Flags().BoolVar(&force, "force", false, "replace what a database holds that is not empty")
	return c
}

func (s *serving) restore(c *cobra.Command, name string, force bool) error {
	var r io.Reader = c.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	if err := server.Restore(c.Context(), s.config, r, force); err != nil {
		return err
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), "restored")
	return err
}
