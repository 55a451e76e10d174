// Termsvg draws what a command prints as a picture for the README: it reads the
// output from standard input and writes an SVG to standard output. Colours, and what
// moves the cursor within the last lines, are understood as a terminal does.
//
//	go run ./examples/quickstart | GOWORK=off go run -C tools ./termsvg 'go run ./examples/quickstart' > docs/quickstart.svg
//
// With -fullest the picture is not the end but the last moment at which the most lines
// were there: the one in which bars of progress are seen.
package main

import (
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"unicode/utf8"
)

const (
	charWidth  = 8.43 // of a 14 px monospace font
	lineHeight = 20
	margin     = 20
)

func main() {
	fullest := flag.Bool("fullest", false, "draw the last moment with the most lines")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: termsvg [-fullest] COMMAND-LINE < output > picture.svg")
	}
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	s := new(screen)
	s.write(string(in))
	lines := s.lines
	if *fullest {
		lines = s.fullest
	}
	if _, err := io.WriteString(os.Stdout, draw(flag.Arg(0), lines)); err != nil {
		log.Fatal(err)
	}
}

// draw lays the lines out below the command. In a text without colours, lines at the
// left margin are what the program says; the indented ones are what happened.
func draw(command string, lines []line) string {
	if command != "" {
		prompt := line{}
		for _, r := range "$ " + command {
			prompt = append(prompt, cell{r, style{colour: green}})
		}
		lines = append([]line{prompt}, lines...)
	}
	width := 0
	for _, l := range lines {
		width = max(width, len(l))
	}
	w, h := int(float64(width)*charWidth)+2*margin, (len(lines)+1)*lineHeight+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#1d2430"/>`+"\n", w, h)
	b.WriteString(`<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" xml:space="preserve">` + "\n")
	for i, l := range lines {
		text(&b, i, l)
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// text writes a line, each stretch of one style in a tspan.
func text(b *strings.Builder, row int, l line) {
	plain := "#f2e9d8"
	if len(l) > 0 && l[0].r == ' ' {
		plain = "#a9b4c2"
	}
	if len(l) == 0 {
		return
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">`, margin, margin+(row+1)*lineHeight-5, plain)
	for len(l) > 0 {
		n := 1
		for n < len(l) && l[n].style == l[0].style {
			n++
		}
		stretch(b, l[:n])
		l = l[n:]
	}
	b.WriteString("</text>\n")
}

func stretch(b *strings.Builder, cells line) {
	words := make([]rune, len(cells))
	for i, c := range cells {
		words[i] = c.r
		if c.r == ' ' {
			words[i] = '\u00a0'
		}
	}
	s := cells[0].style
	if s != (style{}) {
		b.WriteString("<tspan")
		if s.colour != "" {
			fmt.Fprintf(b, ` fill="%s"`, s.colour)
		}
		if s.bold {
			b.WriteString(` font-weight="bold"`)
		}
		b.WriteString(">")
		defer b.WriteString("</tspan>")
	}
	_ = xml.EscapeText(b, []byte(string(words))) // a Builder never fails
}

// first decodes the first character of a text.
func first(s string) (r rune, rest string) {
	r, n := utf8.DecodeRuneInString(s)
	return r, s[n:]
}
