package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

func newCat(p *program) *cobra.Command {
	var r reach
	c := &cobra.Command{
		Use:   "cat PIPE KEY...",
		Short: "Write files of the remote to standard output, without a pull",
		Long: `Write files of the remote to standard output, one after the other, without a pull.
When the bytes are not those that the remote vouches for, the exit code is 1.

The bytes go out as they are. On a terminal, control characters are shown as \u001b.`,
		Example: "  d6tpipe cat sales README.md\n  d6tpipe cat sales 2026/11.csv | head",
	}
	r.flags(c)
	return p.pipeFirst(c, -1, func(c *cobra.Command, name string, keys []string) (err error) {
		if len(keys) == 0 {
			return usage(c, errors.New("say which files: their keys are missing"))
		}
		pipe, err := p.open(c.Context(), name, r.options())
		if err != nil {
			return err
		}
		remote := pipe.FS(c.Context())
		defer func() { err = errors.Join(err, remote.Close()) }()
		for _, key := range keys {
			if err := catFile(c.OutOrStdout(), remote, key); err != nil {
				return noSuchFile(err, name)
			}
		}
		return nil
	})
}

// noSuchFile says where names can be seen.
func noSuchFile(err error, pipe string) error {
	if errors.Is(err, d6tpipe.ErrNotFound) {
		return hint(err, "d6tpipe ls "+pipe+" -R lists the files.")
	}
	return err
}

func catFile(out io.Writer, remote *d6tpipe.FS, key string) error {
	f, err := remote.Open(key)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("%w: %s is a folder", d6tpipe.ErrInvalid, key)
	}
	if isTerminal(out) {
		return copyVisible(out, f)
	}
	_, err = io.Copy(out, f)
	return err
}

// copyVisible copies text for a terminal, which what comes from elsewhere must not
// steer.
func copyVisible(out io.Writer, in io.Reader) error {
	r, w := bufio.NewReader(in), bufio.NewWriter(out)
	for {
		c, n, err := r.ReadRune()
		switch {
		case err == io.EOF:
			return w.Flush()
		case err != nil:
			return errors.Join(err, w.Flush())
		case c == utf8.RuneError && n == 1:
			_ = r.UnreadRune() // it was just read
			b, _ := r.ReadByte()
			_, err = fmt.Fprintf(w, `\x%02x`, b)
		case c == '\n' || c == '\t' || c == '\r':
			err = w.WriteByte(byte(c))
		default:
			_, err = w.WriteString(safe(string(c)))
		}
		if err != nil {
			return err
		}
	}
}
