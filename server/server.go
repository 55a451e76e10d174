package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
	"github.com/d6t/d6tpipe-go/server/internal/httpd"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
	"github.com/d6t/d6tpipe-go/server/internal/mirror"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
	"github.com/d6t/d6tpipe-go/server/internal/vault"
)

// A Server is the repo API with all that it needs. Close it when it is not
// needed any more.
type Server struct {
	config  Config
	db      *db.DB
	repo    *repo.Repo
	storage gateway.Storage
	scanner *listing.Scanner
	hooks   *hook.Sender
	jobs    *jobs.Jobs // nil: others do it
	waiters *repo.Waiters
	front   *httpd.Server
	rate    *rate.Limiter // of all mirrors; nil: there is no limit
	stop    context.CancelFunc
	running sync.WaitGroup
}

// New opens the database and the storage and puts the server together. It does
// not listen yet. What it starts ends with Close, and not with ctx.
//
// A program that embeds a server with storage in a folder must begin its main
// with [RunChild].
func New(ctx context.Context, c Config) (*Server, error) {
	c, err := c.ready()
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, rate: mirror.NewRate(c.MirrorRate), stop: func() {}}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	c := s.config
	if s.db, err = db.Open(ctx, c.databaseURL()); err != nil {
		return err
	}
	s.waiters = repo.NewWaiters(s.db, c.Log)
	keys, err := c.openKeys(ctx, s.db)
	if err != nil {
		return err
	}
	hasher, err := vault.NewHasher(vault.HasherOptions{})
	if err != nil {
		return err
	}
	o := repo.Options{
		DB: s.db, Keys: keys, Hasher: hasher, Throttle: vault.NewThrottle(vault.ThrottleOptions{Registrations: 200}),
		Closed: c.Registration == RegistrationClosed, OpenDemo: c.Demo, ShareUnfiltered: c.ShareUnfiltered, Message: c.Message, Peer: httpd.Peer, Seen: httpd.SetUser, Log: c.Log,
	}
	s.repo = repo.New(o) // the storage asks it for permissions
	storage, err := s.openStorage(ctx)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	s.storage = storage // not before: what comes with an error is no nil interface, and cannot be closed
	if s.scanner, err = listing.New(listing.Config{Cache: repo.Listings{DB: s.db, Waiters: s.waiters}, Open: s.openPipe, Scheduled: c.Jobs, Log: c.Log}); err != nil {
		return err
	}
	o.Storage, o.Lister, o.ListingAge, o.Kick = managed{s.storage}, s.scanner, c.ListingAge, s.kick
	s.hooks = s.newHooks()
	o.Waiters, o.Rest, o.Hooks = s.waiters, httpd.Rest, s.hooks
	*s.repo = *repo.New(o)
	api := withHost(wire.New(s.repo, wire.Options{Log: c.Log}))
	metrics := prometheus.NewRegistry()
	s.front, err = c.front(metrics, api, s.storageOr(api), httpd.Check{Name: "database", Check: s.db.Ping}, httpd.Check{Name: "storage", Check: s.storage.Healthy},
		httpd.Check{Name: "key", Check: s.repo.KnowsKey, Advice: repo.KeyAdvice})
	if err != nil {
		return err
	}
	if c.Demo {
		if err := s.openDemo(ctx); err != nil {
			return err
		}
	}
	if err := s.openJobs(ctx, metrics); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.running.Go(func() { every(background, cleanUpTick, s.cleanUp) })
	s.running.Go(func() { every(background, reloadTick, func(ctx context.Context) { s.reload(ctx, keys) }) })
	return nil
}

// openDemo makes the account that everybody may use, if it is not there.
func (s *Server) openDemo(ctx context.Context) error {
	_, err := s.repo.AddAccount(ctx, wire.Registration{Username: repo.Demo, Email: repo.Demo + "@localhost", Password: repo.Demo}, false)
	if errors.Is(err, d6tpipe.ErrExists) {
		return nil
	}
	return err
}

// RunChild is what the program does when it was started as the child that serves
// managed storage; ok is false when it was not. A main begins with
//
//	if code, ok := server.RunChild(); ok {
//		os.Exit(code)
//	}
func RunChild() (code int, ok bool) {
	if len(os.Args) < 2 || os.Args[1] != gateway.ChildArg {
		return 0, false
	}
	return gateway.RunChild(context.Background()), true
}

// Handler returns the server as a handler, for who listens on his own.
func (s *Server) Handler() http.Handler { return s.front.Handler() }

// Metrics returns what /metrics shows, for a listener of its own.
func (s *Server) Metrics() http.Handler { return s.front.Metrics() }

// Serve answers on l until ctx ends and what runs has been finished or cut. Who waits
// for changes is told at once to ask again later.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, s.waiters.Close)()
	return s.front.Serve(ctx, l)
}

// Close lets go of the database and the storage.
func (s *Server) Close() (err error) {
	s.stop()
	s.running.Wait()
	if s.waiters != nil {
		s.waiters.Close()
	}
	if s.jobs != nil { // before what it works with
		err = s.jobs.Close()
	}
	if s.hooks != nil {
		s.hooks.Close()
	}
	if s.scanner != nil {
		err = errors.Join(err, s.scanner.Close())
	}
	if s.storage != nil {
		err = errors.Join(err, s.storage.Close())
	}
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	return err
}

// reloadTick is how often a server looks whether the key was rotated elsewhere, if
// nobody asks for anything.
const reloadTick = time.Minute

// every calls do now, and again after each tick, until ctx ends.
func every(ctx context.Context, tick time.Duration, do func(context.Context)) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		do(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// reload looks whether somebody has rotated the key.
func (s *Server) reload(ctx context.Context, keys *vault.Keys) {
	if err := keys.Reload(); err != nil {
		s.config.Log.Error("the key could not be read again; what it was is still used", "error", err)
		return
	}
	if err := s.repo.KnowsKey(ctx); err != nil && ctx.Err() == nil {
		s.config.Log.Error("the key is not known to be the database's: "+repo.KeyAdvice, "error", err)
	}
}

// storageOr gives managed storage what is for it, and the rest to api, which says that
// there is nothing. A client of S3 that signs its request hears from the storage.
func (s *Server) storageOr(api http.Handler) http.Handler {
	storage := s.storage.Handler()
	if storage == nil {
		return api
	}
	bucket := "/" + s.storage.Bucket()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed := strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-") || r.URL.Query().Has("X-Amz-Signature")
		if signed || r.URL.Path == bucket || strings.HasPrefix(r.URL.Path, bucket+"/") {
			storage.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

// hostKey is the key of the request's Host in its context.
type hostKey struct{}

// hosts are what can stand in a URL. What a client calls the server is only told to
// this client.
var hosts = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$`)
})

// withHost remembers what the client calls the server: keys of managed storage are
// good for it under the same name.
func withHost(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), hostKey{}, r.Host)))
	})
}

// publicURL is how the client of a request reaches the server.
func (s *Server) publicURL(ctx context.Context) string {
	if s.config.PublicURL != "" {
		return s.config.PublicURL
	}
	host, _ := ctx.Value(hostKey{}).(string)
	if !hosts().MatchString(host) {
		host = s.config.Listen
	}
	return fmt.Sprintf("%s://%s", httpd.Scheme(ctx), host)
}
