package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// show prints a result to standard output: as one JSON document if that is wanted,
// else as text writes it.
func (p *program) show(c *cobra.Command, result any, text func(w io.Writer) error) error {
	if p.asJSON {
		return printJSON(c.OutOrStdout(), result, "  ")
	}
	return text(c.OutOrStdout())
}

// showJSON prints a result for which people get a sentence, if JSON is wanted.
func (p *program) showJSON(c *cobra.Command, result any) error {
	return p.show(c, result, func(io.Writer) error { return nil })
}

// A deletion is what those print with --json that remove a record.
type deletion struct {
	Name    string `json:"name"`
	Deleted bool   `json:"deleted"`
}

// showList prints the things of a list: as a line of JSON each, or as a table.
func showList[T any](p *program, c *cobra.Command, list []T, t table, row func(T) []string) error {
	out := c.OutOrStdout()
	if !p.asJSON {
		for _, thing := range list {
			t.add(row(thing)...)
		}
		return t.print(out)
	}
	for _, thing := range list {
		if err := printJSON(out, thing, ""); err != nil {
			return err
		}
	}
	return nil
}

// printJSON does not escape < and >: no browser reads this.
func printJSON(w io.Writer, v any, indent string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	return e.Encode(v)
}

// say tells people something on standard error, unless they want it quiet.
func (p *program) say(c *cobra.Command, format string, args ...any) {
	if !p.quiet {
		_, _ = fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...) // there is nobody else to tell
	}
}

// safeLines is safe for a text of several lines, which stay lines.
func safeLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = safe(l)
	}
	return strings.Join(lines, "\n")
}

// safe makes names and texts that came from elsewhere fit for a terminal: what
// could move the cursor, change its colours or the direction of writing is escaped.
func safe(s string) string {
	if strings.IndexFunc(s, unsafeRune) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n' || r == '\t':
			b.WriteString(map[rune]string{'\n': `\n`, '\t': `\t`}[r])
		case unsafeRune(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func unsafeRune(r rune) bool { return !unicode.IsPrint(r) }

// size writes a number of bytes for people.
func size(n int64) string {
	if n < 0 {
		return "?"
	}
	return humanize.IBytes(uint64(n))
}

// count writes a number of things: 1 file, 2 files.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return humanize.Comma(int64(n)) + " " + thing + "s"
}

// terminalWidth is 0 when w is no terminal.
func terminalWidth(w any) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
