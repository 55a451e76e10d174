package httpd

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the document and the page's style
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

var (
	//go:embed openapi.json
	openAPI []byte
	//go:embed docs.css
	docsStyle string
)

// docs are the description of the API, for programs and for people.
type docs struct {
	json, html []byte
}

// newDocs renders the page once: it is the same for everybody.
func newDocs(version string) (*docs, error) {
	if version == "" {
		version = "0"
	}
	var doc spec
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		return nil, fmt.Errorf("httpd: openapi.json: %w", err)
	}
	quoted, _ := json.Marshal(version) // strings always marshal
	d := &docs{json: bytes.Replace(openAPI, []byte(`"version": "0"`), append([]byte(`"version": `), quoted...), 1)}
	doc.Info.Version = version
	d.html = doc.view().render(docsStyle)
	return d, nil
}

func (d *docs) document() http.Handler { return constant("application/json", d.json, "") }

func (d *docs) page() http.Handler {
	style := sha256.Sum256([]byte(docsStyle))
	return constant("text/html; charset=utf-8", d.html,
		"default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(style[:])+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

// constant serves bytes that change only with the program.
func constant(contentType string, body []byte, policy string) http.Handler {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "no-cache") // ask, and hear 304
		if slices.ContainsFunc(strings.Split(r.Header.Get("If-None-Match"), ","), func(t string) bool {
			return strings.TrimPrefix(strings.TrimSpace(t), "W/") == tag
		}) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if policy != "" {
			w.Header().Set("Content-Security-Policy", policy)
		}
		write(w, http.StatusOK, contentType, body)
	})
}

// The parts of an OpenAPI document that the page shows.
type (
	spec struct {
		Info struct{ Title, Version, Summary, Description string }
		Tags []struct {
			Name, Description string
		}
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Parameters map[string]parameter
			Responses  map[string]response
			Schemas    map[string]json.RawMessage
		}
	}
	operation struct {
		Tags                 []string
		Summary, Description string
		Parameters           []parameter
		Security             *[]map[string][]string
		RequestBody          *struct{ Content content }
		Responses            map[string]response
	}
	parameter struct {
		Ref                   string `json:"$ref"`
		Name, In, Description string
	}
	response struct {
		Ref         string `json:"$ref"`
		Description string
		Content     content
	}
	content map[string]struct{ Schema schemaRef }

	schemaRef struct {
		Ref   string `json:"$ref"`
		Type  string
		Items *schemaRef
	}
)

// name is a schema as the page links it: the name of a component, with [] for a
// list of them.
func (s schemaRef) name() (name string, list bool) {
	if s.Items != nil {
		name, _ = s.Items.name()
		return name, true
	}
	return component(s.Ref), false
}

func component(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// What the page shows.
type (
	pageView struct {
		Title, Version, Summary, Description string
		Tags                                 []tagView
		Schemas                              []schemaView
	}
	tagView struct {
		Name, Description string
		Operations        []operationView
	}
	operationView struct {
		Method, Path, Summary, Description string
		Token                              string // "", "no token" or "token or none"
		Parameters                         []parameter
		Body                               typeView
		Answers                            []answerView
	}
	answerView struct {
		Status, Description string
		Body                typeView
	}
	typeView struct {
		Name string
		List bool
	}
	schemaView struct{ Name, JSON string }
)

func typeOf(c content) typeView {
	name, list := c["application/json"].Schema.name()
	return typeView{name, list}
}

func (s spec) view() pageView {
	v := pageView{Title: s.Info.Title, Version: s.Info.Version, Summary: s.Info.Summary, Description: s.Info.Description}
	for _, t := range s.Tags {
		v.Tags = append(v.Tags, tagView{t.Name, t.Description, s.operations(t.Name)})
	}
	for _, name := range sorted(s.Components.Schemas) {
		var text bytes.Buffer
		_ = json.Indent(&text, s.Components.Schemas[name], "", "  ") // was JSON before
		v.Schemas = append(v.Schemas, schemaView{name, text.String()})
	}
	return v
}

// operations are those of a tag, by path and then in the order of HTTP's verbs.
func (s spec) operations(tag string) (all []operationView) {
	for _, path := range sorted(s.Paths) {
		var shared []parameter
		_ = json.Unmarshal(s.Paths[path]["parameters"], &shared) // nothing when there are none
		for _, method := range []string{"get", "post", "put", "patch", "delete"} {
			var o operation
			if json.Unmarshal(s.Paths[path][method], &o) != nil || !slices.Contains(o.Tags, tag) {
				continue
			}
			all = append(all, s.operation(strings.ToUpper(method), path, o, shared))
		}
	}
	return all
}

func (s spec) operation(method, path string, o operation, shared []parameter) operationView {
	v := operationView{Method: method, Path: path, Summary: o.Summary, Description: o.Description}
	switch {
	case o.Security == nil:
	case len(*o.Security) == 0:
		v.Token = "no token"
	default:
		v.Token = "token or none"
	}
	for _, p := range slices.Concat(shared, o.Parameters) {
		if p.Ref != "" {
			p = s.Components.Parameters[component(p.Ref)]
		}
		v.Parameters = append(v.Parameters, p)
	}
	if o.RequestBody != nil {
		v.Body = typeOf(o.RequestBody.Content)
	}
	for _, status := range sorted(o.Responses) {
		r := o.Responses[status]
		if r.Ref != "" {
			r = s.Components.Responses[component(r.Ref)]
		}
		v.Answers = append(v.Answers, answerView{status, r.Description, typeOf(r.Content)})
	}
	return v
}

func sorted[T any](m map[string]T) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
