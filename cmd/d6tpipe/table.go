package main

import (
	"bufio"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// A table is text in columns for people, with a head or, made without, none. A
// column whose head begins with ">" has its text at the right. On a terminal that
// is too narrow the widest columns are cut; elsewhere, as in a pipe, nothing is. What
// people have to read to the end, such as why something failed, is never cut: in a last
// column whose head begins with "+", and in a table without heads, a text that does not fit
// stands below its row. Widths are those of a terminal, on which some characters take two
// places and some none.
type table struct {
	heads []string
	rows  [][]string
}

func newTable(heads ...string) table { return table{heads: heads} }

func (t *table) add(cells ...string) {
	for i, cell := range cells {
		cells[i] = safe(cell)
	}
	t.rows = append(t.rows, cells)
}

const (
	gap         = 2 // between columns
	narrowest   = 8 // to which a column is cut
	cutMark     = "…"
	rightMarker = ">"
	textMarker  = "+"
	below       = "    "
)

// print writes nothing for a table without rows.
func (t *table) print(w io.Writer) error { return t.write(w, terminalWidth(w)) }

// write is print for so many places on a line; 0 is any number.
func (t *table) write(w io.Writer, available int) error {
	if len(t.rows) == 0 {
		return nil
	}
	heads, right := make([]string, len(t.heads)), make([]bool, len(t.rows[0]))
	for i, head := range t.heads {
		heads[i], right[i] = strings.TrimLeft(head, rightMarker+textMarker), strings.HasPrefix(head, rightMarker)
	}
	rows := t.rows
	if len(heads) > 0 {
		rows = append([][]string{heads}, rows...)
	}
	widths := columnWidths(rows)
	last := len(widths) - 1
	if len(heads) > 0 && !strings.HasPrefix(t.heads[last], textMarker) {
		last++ // none is for texts
	}
	fit(widths[:last], available)
	out := bufio.NewWriter(w)
	for _, row := range rows {
		written := line(row, widths, right)
		if available > 0 && runewidth.StringWidth(written) > available && last < len(row) {
			written = line(row[:last], widths, right) + "\n" + below + row[last]
		}
		_, _ = out.WriteString(written + "\n") // its error stays until Flush
	}
	return out.Flush()
}

func columnWidths(rows [][]string) []int {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	return widths
}

// fit takes from the widest column until all fit; available 0 is any width.
func fit(widths []int, available int) []int {
	if available == 0 {
		return widths
	}
	total := gap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; total > available; total-- {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= narrowest {
			break
		}
		widths[widest]--
	}
	return widths
}

func line(cells []string, widths []int, right []bool) string {
	var b strings.Builder
	for i, cell := range cells {
		cell = runewidth.Truncate(cell, widths[i], cutMark)
		pad := strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell))
		if right[i] {
			cell = pad + cell
		} else if i < len(cells)-1 {
			cell += pad
		}
		b.WriteString(cell)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", gap))
		}
	}
	return strings.TrimRight(b.String(), " ")
}
