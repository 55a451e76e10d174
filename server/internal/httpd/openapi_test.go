package httpd_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// document is the description as the server shows it.
func document(t *testing.T) *openapi3.T {
	t.Helper()
	s, err := httpd.New(httpd.Config{API: text("api"), Version: "v1.2.3"})
	require.NoError(t, err)
	w := send(s, httptest.NewRequest("GET", "/v1/openapi.json", nil))
	require.Equal(t, 200, w.Code)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	require.NoError(t, err)
	return doc
}

func TestOpenAPIIsValid(t *testing.T) {
	doc := document(t)
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.Equal(t, "v1.2.3", doc.Info.Version)
	require.NoError(t, doc.Validate(context.Background(), openapi3.IsOpenAPI31OrLater()))
	tags, ids := map[string]bool{}, map[string]bool{}
	for _, tag := range doc.Tags {
		tags[tag.Name] = true
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			require.Len(t, op.Tags, 1, "%s %s", method, path)
			require.True(t, tags[op.Tags[0]], "%s %s", method, path)
			require.False(t, ids[op.OperationID], op.OperationID)
			ids[op.OperationID] = true
		}
	}
}

// TestOpenAPIRoutes: what is answered is described, and the other way round.
func TestOpenAPIRoutes(t *testing.T) {
	var described []wire.Route
	for path, item := range document(t).Paths.Map() {
		for method := range item.Operations() {
			described = append(described, wire.Route{Method: method, Path: path})
		}
	}
	require.ElementsMatch(t, wire.Routes(), described)
}

// TestOpenAPISeesFaults: the schemas say no, too.
func TestOpenAPISeesFaults(t *testing.T) {
	doc := document(t)
	for schema, bodies := range map[string][2]string{ // good, bad
		"Pipe":       {`{"name":"a","options":{"dir":"x"}}`, `{"name":"a","options":{"dir":1}}`},
		"Remote":     {`{"name":"a","protocol":"s3"}`, `{"name":"a b","protocol":"s3"}`},
		"Permission": {`{"username":"a","role":"read"}`, `{"username":"a","role":"owner"}`},
		"Token":      {`{"token":"x"}`, `{}`},
		"Problem":    {`{"name":["This field must be unique."]}`, `{"detail":["x"]}`},
		"Changes":    {`{"changes":[{"key":"a","kind":"gone","file":{"key":"a","size":0,"modified_at":"0001-01-01T00:00:00Z"}}],"cursor":"c","more":false}`, `{"changes":[{"key":"a","kind":"lost","file":{}}],"cursor":"c","more":false}`},
		"Files":      {`{"scanned_at":"2026-11-25T12:00:00Z","complete":true,"files":[{"key":"a","size":1}]}`, `{"complete":true,"files":[]}`},
	} {
		for i, body := range bodies {
			var v any
			require.NoError(t, json.Unmarshal([]byte(body), &v))
			err := doc.Components.Schemas[schema].Value.VisitJSON(v, openapi3.EnableJSONSchema2020())
			require.Equal(t, i == 0, err == nil, "%s: %v", body, err)
		}
	}
	var pipe any
	require.NoError(t, json.Unmarshal([]byte(`{"name":"a","credentials":{}}`), &pipe))
	require.Error(t, doc.Components.Schemas["Pipe"].Value.VisitJSON(pipe, openapi3.EnableJSONSchema2020()), "credentials are never shown")
}

// TestDocs: the page names every route and schema, its style is the one that its
// policy allows, and it loads nothing.
func TestDocs(t *testing.T) {
	s, err := httpd.New(httpd.Config{API: text("api"), Version: `<b>"1.2.3"`})
	require.NoError(t, err)
	w := send(s, httptest.NewRequest("GET", "/v1/docs/", nil))
	require.Equal(t, 200, w.Code)
	page := w.Body.String()
	require.False(t, strings.Contains(page, "<b>\"1.2.3"))
	require.True(t, strings.Contains(page, "1.2.3"))
	for path, item := range document(t).Paths.Map() {
		for method, op := range item.Operations() {
			require.True(t, strings.Contains(page, "<b>"+method+"</b> <code>"+path+"</code> <i>"+template.HTMLEscapeString(op.Summary)), "%s %s", method, path)
		}
	}
	ids := map[string]bool{}
	for _, id := range regexp.MustCompile(`id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		ids[id[1]] = true
	}
	links := regexp.MustCompile(`(?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	require.Greater(t, len(links), 50)
	for _, link := range links {
		if link[1] != "/v1/openapi.json" {
			require.True(t, strings.HasPrefix(link[1], "#") && ids[link[1][1:]], link[1])
		}
	}
	require.Empty(t, regexp.MustCompile(`(?i)<script|style="|@import|url\(| on\w+=|<(img|link|iframe)`).FindString(page))

	policy := w.Header().Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.NotContains(t, policy, "unsafe")
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(page)
	sum := sha256.Sum256([]byte(style[1]))
	require.Contains(t, policy, "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")

	r := httptest.NewRequest("GET", "/v1/docs", nil)
	r.Header.Set("If-None-Match", `"other", W/`+w.Header().Get("ETag"))
	again := send(s, r)
	require.Equal(t, http.StatusNotModified, again.Code)
	require.Zero(t, again.Body.Len())
}
