package httpd

import (
	"fmt"
	"html"
	"strings"
)

// A page is HTML under way. It is written by hand because html/template calls
// methods by name, and then the linker can leave out no method of any type: the
// program would be half as big again.
type page struct{ strings.Builder }

// put writes a format of HTML in which each %s is a text, and escaped.
func (p *page) put(format string, texts ...string) {
	escaped := make([]any, len(texts))
	for i, text := range texts {
		escaped[i] = html.EscapeString(text)
	}
	_, _ = fmt.Fprintf(p, format+"\n", escaped...) // into memory
}

// render is the page that people read. style is ours, and goes as it is.
func (v pageView) render(style string) []byte {
	var p page
	p.put(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%s</title>`, v.Title)
	p.WriteString("<style>" + style + "</style>\n")
	p.put(`</head>
<body>
<h1>%s <small>%s</small></h1>
<p>%s %s</p>
<p>For programs: <a href="/v1/openapi.json">openapi.json</a>.</p>
<nav>`, v.Title, v.Version, v.Summary, v.Description)
	for _, t := range v.Tags {
		p.put(`<a href="#%s">%s</a>`, t.Name, t.Name)
	}
	p.put(`<a href="#schemas">schemas</a></nav>`)
	for _, t := range v.Tags {
		p.tag(t)
	}
	p.put(`<h2 id="schemas">schemas</h2>`)
	for _, s := range v.Schemas {
		p.put("<h3 id=\"schema-%s\">%s</h3>\n<pre>%s</pre>", s.Name, s.Name, s.JSON)
	}
	p.put("</body>\n</html>")
	return []byte(p.String())
}

func (p *page) tag(t tagView) {
	p.put("<h2 id=\"%s\">%s</h2>\n<p>%s</p>", t.Name, t.Name, t.Description)
	for _, o := range t.Operations {
		p.operation(o)
	}
}

func (p *page) operation(o operationView) {
	p.put("<details>\n<summary><b>%s</b> <code>%s</code> <i>%s</i></summary>", o.Method, o.Path, o.Summary)
	if o.Description != "" {
		p.put("<p>%s</p>", o.Description)
	}
	if o.Token != "" {
		p.put("<p>Needs %s.</p>", o.Token)
	}
	if len(o.Parameters) > 0 {
		p.put("<table>\n<tr><th>parameter</th><th>in</th><th></th></tr>")
		for _, a := range o.Parameters {
			p.put("<tr><td><code>%s</code></td><td>%s</td><td>%s</td></tr>", a.Name, a.In, a.Description)
		}
		p.put("</table>")
	}
	if o.Body.Name != "" {
		p.put("<p>Body: ")
		p.schema(o.Body)
		p.put("</p>")
	}
	p.put("<table>\n<tr><th>answer</th><th></th><th>body</th></tr>")
	for _, a := range o.Answers {
		p.put("<tr><td>%s</td><td>%s</td><td>", a.Status, a.Description)
		p.schema(a.Body)
		p.put("</td></tr>")
	}
	p.put("</table>\n</details>")
}

// schema links to a schema, if there is one.
func (p *page) schema(t typeView) {
	if t.List {
		p.put("list of ")
	}
	if t.Name != "" {
		p.put(`<a href="#schema-%s">%s</a>`, t.Name, t.Name)
	}
}
