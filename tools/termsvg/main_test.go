package main

import (
	"strings"
	"testing"
)

// text of lines, without trailing ones that are empty.
func textOf(lines []line) string {
	var all []string
	for _, l := range lines {
		var b strings.Builder
		for _, c := range l {
			b.WriteRune(c.r)
		}
		all = append(all, b.String())
	}
	return strings.TrimRight(strings.Join(all, "\n"), "\n")
}

func TestScreen(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nb\r\n":                        "a\nb",
		"50 %\r100 %\n":                     "100 %",
		"a\nbar 1\nbar 2\n\x1b[2A\x1b[Jend": "a\nend",
		"long line\r\x1b[Kx\n":              "x",
		"\x1b[31mred\x1b[0m\x1b[?25h\n":     "red",
		"\x1b[":                             "",
	} {
		s := new(screen)
		s.write(in)
		if got := textOf(s.lines); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}

// TestFullest: what was drawn over is seen with -fullest, at its last.
func TestFullest(t *testing.T) {
	s := new(screen)
	s.write("bar 10 %\nall 10 %\n\x1b[2A\x1b[Jbar 90 %\nall 90 %\n\x1b[2A\x1b[Jdone\n")
	if got := textOf(s.fullest); got != "bar 90 %\nall 90 %" {
		t.Errorf("%q", got)
	}
	if got := textOf(s.lines); got != "done" {
		t.Errorf("%q", got)
	}
}

func TestDraw(t *testing.T) {
	s := new(screen)
	s.write("\x1b[1m# <b>\x1b[0m\n\x1b[31mred\x1b[0m & plain\n")
	svg := draw("cat x", s.lines)
	for _, want := range []string{"$\u00a0cat\u00a0x", `<tspan font-weight="bold">#` + "\u00a0&lt;b&gt;</tspan>", `<tspan fill="#f2777a">red</tspan>` + "\u00a0&amp;\u00a0plain"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in %s", want, svg)
		}
	}
}
