package main

import (
	"slices"
	"strconv"
	"strings"
)

// A screen is what a terminal shows, without an end at its bottom.
type screen struct {
	lines    []line
	row, col int
	style    style
	fullest  []line // at the last moment with the most lines
	most     int
}

type line []cell

type cell struct {
	r     rune
	style style
}

type style struct {
	colour string // "" is that of the text
	bold   bool
}

const green = "#8ec07c"

// colours are those of SGR 30 to 37, on a dark ground.
var colours = []string{"#7c8694", "#f2777a", green, "#e6c069", "#7aa6da", "#c397d8", "#70c0b1", "#f2e9d8"}

// write shows a text. Of the sequences that begin with ESC [ those are understood that
// programs use to draw bars: colours, up and down, clearing; others are left out.
func (s *screen) write(text string) {
	for text != "" {
		var r rune
		if after, ok := strings.CutPrefix(text, "\x1b["); ok {
			end := strings.IndexFunc(after, func(r rune) bool { return r >= '@' && r <= '~' })
			if end < 0 {
				return
			}
			s.control(after[end], after[:end])
			text = after[end+1:]
			continue
		}
		if r, text = first(text); r == '\x1b' {
			_, text = first(text) // a sequence of two characters
			continue
		}
		s.put(r)
	}
}

func (s *screen) put(r rune) {
	switch {
	case r == '\n':
		s.remember()
		s.row, s.col = s.row+1, 0
	case r == '\r':
		s.col = 0
	case r >= ' ':
		s.reach()
		l := s.lines[s.row]
		for len(l) <= s.col {
			l = append(l, cell{r: ' '})
		}
		l[s.col] = cell{r, s.style}
		s.lines[s.row] = l
		s.col++
	}
}

// reach makes the line of the cursor.
func (s *screen) reach() {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, nil)
	}
}

// remember keeps the moment, if no other had more lines with something in them.
func (s *screen) remember() {
	full := 0
	for _, l := range s.lines {
		if len(l) > 0 {
			full++
		}
	}
	if full < s.most {
		return
	}
	s.most, s.fullest = full, nil
	for _, l := range s.lines {
		s.fullest = append(s.fullest, slices.Clone(l))
	}
}

func (s *screen) control(final byte, arguments string) {
	n, _ := strconv.Atoi(arguments) // 0 when there is none
	switch final {
	case 'm':
		for word := range strings.SplitSeq(arguments, ";") {
			s.sgr(word)
		}
	case 'A', 'F':
		s.row = max(0, s.row-max(1, n))
		if final == 'F' {
			s.col = 0
		}
	case 'B', 'E':
		s.row += max(1, n)
	case 'G':
		s.col = max(0, n-1)
	case 'K':
		s.reach()
		if n == 2 {
			s.lines[s.row] = nil
		} else {
			s.lines[s.row] = s.lines[s.row][:min(s.col, len(s.lines[s.row]))]
		}
	case 'J':
		s.remember()
		s.reach()
		s.lines = s.lines[:s.row+1]
		s.lines[s.row] = s.lines[s.row][:min(s.col, len(s.lines[s.row]))]
	}
}

// sgr changes the style as one number of a sequence says.
func (s *screen) sgr(word string) {
	n, _ := strconv.Atoi(word)
	switch {
	case n == 0:
		s.style = style{}
	case n == 1:
		s.style.bold = true
	case n == 22:
		s.style.bold = false
	case n >= 30 && n <= 37:
		s.style.colour = colours[n-30]
	case n >= 90 && n <= 97:
		s.style.colour = colours[n-90]
	case n == 39:
		s.style.colour = ""
	}
}
