package main

import (
	"strings"
	"testing"
)

// TestTableWidths: characters that take two places on a terminal, and those that take
// none, keep the columns straight.
func TestTableWidths(t *testing.T) {
	files := newTable("FILE", ">SIZE")
	for _, name := range []string{"plain.csv", "数据.csv", "cafe\u0301.csv", "e\u0301e\u0301"} {
		files.add(name, "1 B")
	}
	var out strings.Builder
	check(t, files.print(&out))
	if want := "FILE       SIZE\nplain.csv   1 B\n数据.csv    1 B\ncafe\u0301.csv    1 B\ne\u0301e\u0301          1 B\n"; out.String() != want {
		t.Errorf("%s", out.String())
	}
	rows := [][]string{{"数据数据数据", "1 B"}}
	if got := line(rows[0], fit(columnWidths(rows), 13), []bool{false, true}); got != "数据数…   1 B" {
		t.Errorf("cut to 13 places it is %q", got)
	}
}
