package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/crypto/argon2"
)

// startLimit starts this program once more, as the bare handler.
func startLimit(ctx context.Context, dir string, w *world) (*program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	body := filepath.Join(dir, "list")
	if err := os.WriteFile(body, w.list, 0o600); err != nil {
		return nil, err
	}
	return start(ctx, filepath.Join(dir, "limit-log"), func(address string) []string {
		return []string{self, "-limit", address, "-body", body}
	})
}

// serveLimit answers lists with the same bytes as the server does, and logins with one
// hash at the server's cost, one at a time. There is nothing else behind it.
func serveLimit(ctx context.Context, address, file string) error {
	list, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var hashing sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+listPath, func(w http.ResponseWriter, _ *http.Request) { say(w, list) })
	mux.HandleFunc("POST "+loginPath, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		hashing.Lock()
		defer hashing.Unlock()
		argon2.IDKey(body, []byte("sixteen bytes of"), 2, 19*1024, 1, 32)
		say(w, []byte(`{"token":"none"}`))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { say(w, []byte("ok")) })
	server := &http.Server{Addr: address, Handler: mux, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func say(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
