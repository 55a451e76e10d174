package httpd

import (
	"net/http"
)

// mux hands a request to whom its path belongs. [http.ServeMux] would answer
// missing and double slashes with a redirect, which breaks the Python client.
func (s *Server) mux() (http.Handler, error) {
	docs, err := newDocs(s.config.Version)
	if err != nil {
		return nil, err
	}
	pages := map[string]http.Handler{
		"/healthz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			write(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
		}),
		"/readyz":          http.HandlerFunc(s.ready.serve),
		"/metrics":         s.metricsPage(),
		"/v1/openapi.json": docs.document(),
		"/v1/docs":         docs.page(),
	}
	api, storage := s.bounded(s.config.API), sandboxed(s.config.Storage)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch q := requestOf(r.Context()); q.kind {
		case kindAPI:
			api.ServeHTTP(w, r)
		case kindStorage:
			storage.ServeHTTP(w, r)
		default:
			readOnly(pages[q.route], w, r)
		}
	}), nil
}

// readOnly serves a page to who wants to read it.
func readOnly(page http.Handler, w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, r, http.StatusMethodNotAllowed)
		return
	}
	page.ServeHTTP(w, r)
}

// sandboxed keeps a browser that opens a stored file, which may be a page that
// somebody has uploaded, from running it in the name of this server.
func sandboxed(storage http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
		storage.ServeHTTP(w, r)
	})
}
