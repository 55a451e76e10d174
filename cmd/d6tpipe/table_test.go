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

// TestTableTexts: what does not fit is cut, but not what people have to read to the end,
// which then stands below its row.
func TestTableTexts(t *testing.T) {
	jobs := newTable("DUE", "NAME", ">TOOK", "+RESULT")
	jobs.add("2026-11-26 14:17:05", "copies", "85ms", "done")
	jobs.add("2026-11-26 14:16:31", "a-name-that-is-too-long", "20s", "failed: there was no answer within 20s")
	settings := newTable()
	settings.add("name", "nightly")
	settings.add("last", "failed: You may not read sales.")
	for _, tt := range []struct {
		table table
		width int
		want  string
	}{
		{jobs, 0, "DUE                  NAME                     TOOK  RESULT\n" +
			"2026-11-26 14:17:05  copies                   85ms  done\n" +
			"2026-11-26 14:16:31  a-name-that-is-too-long   20s  failed: there was no answer within 20s\n"},
		{jobs, 60, "DUE                  NAME                     TOOK  RESULT\n" +
			"2026-11-26 14:17:05  copies                   85ms  done\n" +
			"2026-11-26 14:16:31  a-name-that-is-too-long   20s\n    failed: there was no answer within 20s\n"},
		{jobs, 46, "DUE                  NAME                 TOOK\n    RESULT\n" +
			"2026-11-26 14:17:05  copies               85ms\n    done\n" +
			"2026-11-26 14:16:31  a-name-that-is-too…   20s\n    failed: there was no answer within 20s\n"},
		{settings, 20, "name  nightly\nlast\n    failed: You may not read sales.\n"},
	} {
		var out strings.Builder
		check(t, tt.table.write(&out, tt.width))
		if out.String() != tt.want {
			t.Errorf("in %d places:\n%s\nwant:\n%s", tt.width, out.String(), tt.want)
		}
	}
}
