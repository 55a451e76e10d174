package httpd_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// TestRest: a request that waits is in nobody's way, and takes its place again.
func TestRest(t *testing.T) {
	resting, wake := make(chan struct{}), make(chan struct{})
	inside, leave := make(chan struct{}), make(chan struct{})
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/rest":
			resume := httpd.Rest(r.Context())
			resting <- struct{}{}
			<-wake
			if r.URL.RawQuery == "hopeless" {
				ended, cancel := context.WithCancel(r.Context())
				cancel()
				if resume(ended) != nil {
					return
				}
			} else if resume(r.Context()) != nil {
				return
			}
			w.WriteHeader(http.StatusAccepted)
		case "/v1/work":
			inside <- struct{}{}
			<-leave
		}
	})
	s, err := httpd.New(httpd.Config{API: api, Limits: httpd.Limits{Requests: 1}})
	require.NoError(t, err)
	ask := func(path string) int { return send(s, httptest.NewRequest("GET", path, nil)).Code }

	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if code := ask("/v1/rest"); code != http.StatusAccepted {
				t.Errorf("answered %d", code)
			}
		})
		<-resting // the next one gets the only place
	}
	all.Go(func() {
		if code := ask("/v1/work"); code != http.StatusOK {
			t.Errorf("answered %d", code)
		}
	})
	<-inside
	require.Equal(t, http.StatusServiceUnavailable, ask("/v1/work"), "somebody is at work")
	close(wake) // all want the place now, and get it one after the other
	leave <- struct{}{}
	all.Wait()

	wake = make(chan struct{})
	all.Go(func() { ask("/v1/rest?hopeless") })
	<-resting
	all.Go(func() { ask("/v1/work") })
	<-inside
	close(wake)
	leave <- struct{}{}
	all.Wait()
	all.Go(func() { ask("/v1/work") })
	<-inside // the place is free, and there is one
	require.Equal(t, http.StatusServiceUnavailable, ask("/v1/work"))
	leave <- struct{}{}
	all.Wait()
	require.NoError(t, httpd.Rest(t.Context())(t.Context()), "what is no request of a server has no place")
}
