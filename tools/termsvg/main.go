// Termsvg draws what a command prints as a picture for the README: it reads the
// output from standard input and writes an SVG to standard output.
//
//	go run ./examples/quickstart | GOWORK=off go run -C tools ./termsvg 'go run ./examples/quickstart' > docs/quickstart.svg
package main

import (
	"bufio"
	"encoding/xml"
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
	if len(os.Args) != 2 {
		log.Fatal("usage: termsvg COMMAND-LINE < output > picture.svg")
	}
	var lines []string
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	if err := in.Err(); err != nil {
		log.Fatal(err)
	}
	if _, err := io.WriteString(os.Stdout, draw(os.Args[1], lines)); err != nil {
		log.Fatal(err)
	}
}

// draw lays the lines out below the command. Lines at the left margin are what
// the program says; the indented ones are what happened.
func draw(command string, lines []string) string {
	width := utf8.RuneCountInString(command) + 2
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(l))
	}
	w, h := int(float64(width)*charWidth)+2*margin, (len(lines)+2)*lineHeight+2*margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#1d2430"/>`+"\n", w, h)
	b.WriteString(`<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" xml:space="preserve">` + "\n")
	text(&b, 0, "#8ec07c", "$ "+command)
	for i, l := range lines {
		colour := "#f2e9d8"
		if strings.HasPrefix(l, " ") {
			colour = "#a9b4c2"
		}
		text(&b, i+1, colour, l)
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

func text(b *strings.Builder, row int, colour, line string) {
	if line == "" {
		return
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">`, margin, margin+(row+1)*lineHeight-5, colour)
	_ = xml.EscapeText(b, []byte(strings.ReplaceAll(line, " ", "\u00a0"))) // a Builder never fails
	b.WriteString("</text>\n")
}
