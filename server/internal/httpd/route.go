package httpd

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/wire"
)

// A kind of request decides its limits.
type kind int

const (
	kindAPI     kind = iota
	kindStorage      // bytes of managed storage: as many and as long as it takes
	kindOwn          // pages of httpd
	kindHealth       // answered even when nothing else is
)

// own are the paths that httpd answers itself, without slashes around them.
var own = map[string]kind{
	"healthz": kindHealth, "readyz": kindHealth, "metrics": kindOwn, "v1/openapi.json": kindOwn, "v1/docs": kindOwn,
}

// segments splits a path at its slashes. Double and missing ones do not matter:
// a redirect would break the Python client.
func segments(r *http.Request) []string {
	var path []string
	for part := range strings.SplitSeq(r.URL.EscapedPath(), "/") {
		if plain, err := url.PathUnescape(part); err == nil {
			part = plain
		}
		if part != "" {
			path = append(path, part)
		}
	}
	return path
}

// A routeTable knows the templates of the API by their number of segments.
type routeTable map[int][]routePath

type routePath struct {
	path  string
	parts []string
}

func newRouteTable(routes []wire.Route) routeTable {
	table, seen := routeTable{}, map[string]bool{}
	for _, r := range routes {
		if seen[r.Path] {
			continue
		}
		seen[r.Path] = true
		parts := strings.FieldsFunc(r.Path, func(c rune) bool { return c == '/' })
		table[len(parts)] = append(table[len(parts)], routePath{r.Path, parts})
	}
	return table
}

// find returns the kind of a request and the template of its path. Paths that no
// template has are all called one name, so that nobody fills the metrics.
func (t routeTable) find(r *http.Request, c Config) (kind, string) {
	path := segments(r)
	name := strings.Join(path, "/")
	if k, ok := own[name]; ok && !(c.NoMetrics && name == "metrics") {
		return k, "/" + name
	}
	if c.Storage != nil && (len(path) == 0 || path[0] != "v1") {
		return kindStorage, "storage"
	}
	best := ""
	for _, candidate := range t[len(path)] {
		if exact, ok := candidate.match(path); ok && (best == "" || exact) {
			best = candidate.path
		}
	}
	if best == "" {
		best = "unknown"
	}
	return kindAPI, best
}

// match reports whether the template stands for path, and whether word for word.
func (t routePath) match(path []string) (exact, ok bool) {
	exact = true
	for i, part := range t.parts {
		if strings.HasPrefix(part, "{") {
			exact = false
		} else if part != path[i] {
			return false, false
		}
	}
	return exact, true
}

// methods are those that have a name in logs and metrics.
var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true, http.MethodOptions: true,
}

func methodName(method string) string {
	if methods[method] {
		return method
	}
	return "other"
}
