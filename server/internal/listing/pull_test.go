package listing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/filelist"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/internal/wire/wiretest"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
)

// A scene is a server with a pipe "sales" on a real S3 server, and counts of who asks
// what.
type scene struct {
	t       testing.TB
	gateway s3test.Gateway
	bucket  string
	local   *d6tpipe.APILocal
	scanner *listing.Scanner
	maxAge  atomic.Int64
	url     string
	back    storage.Store // the storage, behind everybody's back

	mu      sync.Mutex
	asked   []string                                              // of the API: "GET pipes/sales/files/"
	stored  []string                                              // of the storage: "GET", and the key
	refuse  func(r *http.Request) int                             // a status in the place of the API's answer
	pretend func(l wire.Listing, err error) (wire.Listing, error) // what the server says in the place of its listing
}

func newScene(t testing.TB, gateway s3test.Gateway) *scene {
	t.Helper()
	s := &scene{t: t, gateway: gateway, bucket: gateway.Bucket(t)}
	s.maxAge.Store(int64(time.Hour))
	target, err := url.Parse(gateway.Endpoint)
	require.NoError(t, err)
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.note(&s.stored, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/"+s.bucket+"/"))
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)

	home := t.TempDir()
	s.local, err = d6tpipe.NewAPILocal(d6tpipe.Config{Profile: "server", Catalog: filepath.Join(home, "catalog.json")})
	require.NoError(t, err)
	s.scanner, err = listing.New(listing.Config{Cache: listing.NewMemory(), Open: s.open, Pause: time.Millisecond})
	require.NoError(t, err)
	service := wiretest.New(s.local.Backend())
	service.KeepListings(s)
	handler := wire.New(service, wire.Options{})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.note(&s.asked, r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/v1/api/"))
		s.mu.Lock()
		refuse := s.refuse
		s.mu.Unlock()
		if refuse != nil {
			if status := refuse(r); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		api.Close()
		require.NoError(t, s.scanner.Close())
	})
	s.url = api.URL

	s.back, err = s3.New(s3.Options{Endpoint: gateway.Endpoint, Region: gateway.Region, Bucket: s.bucket, AccessKey: gateway.AccessKey, SecretKey: gateway.SecretKey})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.back.Close()) })
	_, err = s.user("me").api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "sales", Protocol: d6tpipe.ProtocolS3, Location: s.bucket,
		Credentials: d6tpipe.Credentials{"aws_access_key_id": gateway.AccessKey, "aws_secret_access_key": gateway.SecretKey, "endpoint_url": front.URL, "region_name": gateway.Region}})
	require.NoError(t, err)
	return s
}

func (s *scene) note(where *[]string, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*where = append(*where, what)
}

// took returns what was asked since the last time.
func (s *scene) took() (asked, stored []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, stored = s.asked, s.stored
	s.asked, s.stored = nil, nil
	return asked, stored
}

func (s *scene) open(ctx context.Context, id string) (listing.Source, error) {
	where, err := s.local.Storage(ctx, id, d6tpipe.RoleRead, false)
	if err != nil {
		return listing.Source{}, err
	}
	store, err := where.Open(d6tpipe.OpenOptions{})
	return listing.Source{Store: store, Where: where}, err
}

func (s *scene) pipe(ctx context.Context, name string) (listing.Pipe, error) {
	where, err := s.local.Storage(ctx, name, d6tpipe.RoleRead, false)
	if err != nil {
		return listing.Pipe{}, err
	}
	view, err := listing.View(where)
	return listing.Pipe{ID: name, View: view, MaxAge: time.Duration(s.maxAge.Load())}, err
}

// Files implements [wire.Files].
func (s *scene) Files(ctx context.Context, name string, refresh bool) (wire.Listing, error) {
	p, err := s.pipe(ctx, name)
	if err != nil {
		return wire.Listing{}, err
	}
	l, err := s.scanner.Files(ctx, p, refresh)
	s.mu.Lock()
	pretend := s.pretend
	s.mu.Unlock()
	if pretend != nil {
		return pretend(l, err)
	}
	return l, err
}

// FilesChanged implements [wire.Files].
func (s *scene) FilesChanged(ctx context.Context, name string) (time.Time, error) {
	p, err := s.pipe(ctx, name)
	if err != nil {
		return time.Time{}, err
	}
	return s.scanner.Changed(ctx, p)
}

// A user is a client with a file repo of its own.
type user struct {
	t   testing.TB
	api *d6tpipe.APIClient
	cfg d6tpipe.Config
}

func (s *scene) user(name string) user {
	s.t.Helper()
	cfg := d6tpipe.Config{Profile: name, Server: s.url, FileRepo: s.t.TempDir(), Tokens: d6tpipe.MemoryTokens()}
	api, err := d6tpipe.NewAPIClient(cfg)
	require.NoError(s.t, err)
	s.t.Cleanup(api.CloseIdleConnections)
	api = api.WithLimits(d6tpipe.Limits{Backoff: time.Millisecond, Retries: 1})
	if _, err := api.Register(s.t.Context(), name, name+"@example.com", "secret"); err != nil {
		_, err = api.Login(s.t.Context(), name, "secret")
		require.NoError(s.t, err)
	}
	return user{s.t, api, cfg}
}

func (u user) openPipe(name string, o d6tpipe.OpenOptions) *d6tpipe.Pipe {
	u.t.Helper()
	p, err := d6tpipe.OpenPipe(u.t.Context(), u.api, name, o)
	require.NoError(u.t, err)
	return p
}

func (s *scene) put(key, content string) {
	s.t.Helper()
	_, err := s.back.Put(s.t.Context(), key, strings.NewReader(content), int64(len(content)), storage.Cond{})
	require.NoError(s.t, err)
}

// there are the files of the storage.
func (s *scene) there() map[string]string {
	s.t.Helper()
	files := map[string]string{}
	for obj, err := range s.back.List(s.t.Context(), "") {
		require.NoError(s.t, err)
		r, err := s.back.Open(s.t.Context(), obj, 0, -1)
		require.NoError(s.t, err)
		var b bytes.Buffer
		_, err = b.ReadFrom(r)
		require.NoError(s.t, err)
		require.NoError(s.t, r.Close())
		files[obj.Key] = b.String()
	}
	return files
}

// here are the files of a folder.
func here(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	return files
}

func edit(t testing.TB, p *d6tpipe.Pipe, key, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(p.Dir(), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(p.Dir(), key), []byte(content), 0o644))
}

func pull(t testing.TB, p *d6tpipe.Pipe, o d6tpipe.PullOptions) d6tpipe.Report {
	t.Helper()
	report, err := p.Pull(t.Context(), o)
	require.NoError(t, err)
	return report
}

// TestPullWithNothingToDo costs one request to the API, answered with 304, and none to
// the storage.
func TestPullWithNothingToDo(t *testing.T) {
	s := newScene(t, s3test.Start(t))
	s.put("a.csv", "a")
	s.put("sub/b.csv", "b")
	var events []d6tpipe.EventKind
	p := s.user("me").openPipe("sales", d6tpipe.OpenOptions{Progress: func(e d6tpipe.Event) { events = append(events, e.Kind) }})
	require.Equal(t, 2, pull(t, p, d6tpipe.PullOptions{}).Moved)
	s.took()
	for range 3 {
		events = nil
		report := pull(t, p, d6tpipe.PullOptions{})
		asked, stored := s.took()
		require.Equal(t, []string{"GET pipes/sales/files/"}, asked)
		require.Empty(t, stored)
		require.Zero(t, report.Moved)
		require.Equal(t, 2, report.Unchanged)
		require.Equal(t, []d6tpipe.EventKind{d6tpipe.EventPlanned, d6tpipe.EventFinished}, events)
	}
	require.Equal(t, map[string]string{"a.csv": "a", "sub/b.csv": "b"}, here(t, p.Dir()))

	// What is missing here is fetched, without listing the storage.
	require.NoError(t, os.Remove(filepath.Join(p.Dir(), "a.csv")))
	report := pull(t, p, d6tpipe.PullOptions{})
	require.Equal(t, 1, report.Moved)
	asked, stored := s.took()
	require.Equal(t, []string{"GET pipes/sales/files/", "GET pipes/sales/", "GET pipes/sales/credentials/?expiration=True&role=read"}, asked)
	require.Equal(t, []string{"GET a.csv"}, stored)

	// An edit here is no reason to ask anybody: it is skipped and stays.
	edit(t, p, "a.csv", "edited")
	report = pull(t, p, d6tpipe.PullOptions{})
	require.Zero(t, report.Moved)
	asked, stored = s.took()
	require.Len(t, asked, 1)
	require.Empty(t, stored)
	require.Equal(t, "edited", here(t, p.Dir())["a.csv"])

	for _, o := range []d6tpipe.PullOptions{{Fresh: true}, {Files: []string{"sub/b.csv"}}, {Mode: d6tpipe.ModeAll, Merge: d6tpipe.MergeKeep}} {
		pull(t, p, o)
		asked, stored = s.took()
		require.NotContains(t, asked, "GET pipes/sales/files/")
		require.Contains(t, stored, "GET ", "the storage itself is listed")
	}
}

// TestPlanByListing: a preview costs what the pull would cost, and never shows a conflict
// that only an old listing has.
func TestPlanByListing(t *testing.T) {
	s := newScene(t, s3test.Start(t))
	s.put("a.csv", "a")
	s.put("b.csv", "b")
	var events []d6tpipe.EventKind
	me := s.user("me")
	p := me.openPipe("sales", d6tpipe.OpenOptions{Progress: func(e d6tpipe.Event) { events = append(events, e.Kind) }})
	_, err := me.api.ListFiles(t.Context(), "sales", false) // the server's own look
	require.NoError(t, err)
	plan := func(o d6tpipe.PullOptions) (d6tpipe.Plan, []string, []string) {
		t.Helper()
		s.took()
		plan, err := p.PlanPull(t.Context(), o)
		require.NoError(t, err)
		asked, stored := s.took()
		return *plan, asked, stored
	}
	first, asked, stored := plan(d6tpipe.PullOptions{})
	require.Equal(t, 2, first.Files)
	require.Equal(t, "GET pipes/sales/files/", asked[0])
	require.Empty(t, stored, "no file is read, and nothing is listed")
	report, err := p.Apply(t.Context(), &first)
	require.NoError(t, err)
	require.Equal(t, 2, report.Moved)

	events = nil
	again, asked, stored := plan(d6tpipe.PullOptions{})
	require.True(t, again.Empty())
	require.Equal(t, 2, again.Unchanged)
	require.Equal(t, []string{"GET pipes/sales/files/"}, asked)
	require.Empty(t, stored)
	require.Equal(t, []d6tpipe.EventKind{d6tpipe.EventPlanned}, events)

	// A plan by an old listing fetches no other version than it has seen.
	require.NoError(t, os.Remove(filepath.Join(p.Dir(), "a.csv")))
	require.NoError(t, os.Remove(filepath.Join(p.Dir(), "b.csv")))
	s.put("a.csv", "another")
	old, _, stored := plan(d6tpipe.PullOptions{})
	require.Empty(t, stored)
	require.Equal(t, 2, old.Files)
	report, err = p.Apply(t.Context(), &old)
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, 1, report.Moved)
	require.Equal(t, map[string]string{"b.csv": "b"}, here(t, p.Dir()))

	fresh, _, stored := plan(d6tpipe.PullOptions{Fresh: true})
	require.Contains(t, stored, "GET ")
	_, err = p.Apply(t.Context(), &fresh)
	require.NoError(t, err)
	require.Equal(t, "another", here(t, p.Dir())["a.csv"])

	// By the listing a.csv was changed on both sides; there, it is what was pulled.
	edit(t, p, "a.csv", "edited")
	require.Empty(t, first.Conflicts())
	mine, _, stored := plan(d6tpipe.PullOptions{})
	require.Contains(t, stored, "GET ", "whoever sees a conflict looks himself")
	require.Empty(t, mine.Conflicts())
	s.put("a.csv", "edited there")
	both, _, _ := plan(d6tpipe.PullOptions{})
	require.Equal(t, []string{"a.csv"}, both.Conflicts())

	_, err = p.PlanPull(t.Context(), d6tpipe.PullOptions{Mode: "odd"})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
}

// TestBehindTheBack: files change on the storage and the server does not know. Whatever
// is done then by an old listing, no file is lost on either side, and when the listing
// is too old, or a fresh look is asked for, all of it is seen.
func TestBehindTheBack(t *testing.T) {
	gateway := s3test.Start(t)
	for name, change := range map[string]func(s *scene){
		"added":   func(s *scene) { s.put("new.csv", "new") },
		"changed": func(s *scene) { s.put("a.csv", "changed there") },
		"removed": func(s *scene) { require.NoError(s.t, s.back.Remove(s.t.Context(), "a.csv")) },
		"all gone": func(s *scene) {
			for _, key := range []string{"a.csv", "b.csv", "c.csv"} {
				require.NoError(s.t, s.back.Remove(s.t.Context(), key))
			}
		},
	} {
		for action, act := range map[string]func(p *d6tpipe.Pipe) error{
			"pull": func(p *d6tpipe.Pipe) error { _, err := p.Pull(t.Context(), d6tpipe.PullOptions{}); return err },
			"pull, new": func(p *d6tpipe.Pipe) error {
				_, err := p.Pull(t.Context(), d6tpipe.PullOptions{Mode: d6tpipe.ModeNew})
				return err
			},
			"pull, replaces": func(p *d6tpipe.Pipe) error {
				_, err := p.Pull(t.Context(), d6tpipe.PullOptions{Merge: d6tpipe.MergeOverwrite})
				return err
			},
			"push": func(p *d6tpipe.Pipe) error { _, err := p.Push(t.Context(), d6tpipe.PushOptions{}); return err },
			"orphans": func(p *d6tpipe.Pipe) error {
				_, err := p.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Where: d6tpipe.OrphansBoth, Remove: true})
				return err
			},
			"plan, then apply": func(p *d6tpipe.Pipe) error {
				plan, err := p.PlanPull(t.Context(), d6tpipe.PullOptions{})
				if err == nil {
					_, err = p.Apply(t.Context(), plan)
				}
				return err
			},
			"in sync": func(p *d6tpipe.Pipe) error { _, err := p.InSync(t.Context()); return err },
		} {
			t.Run(name+"/"+action, func(t *testing.T) {
				s := newScene(t, gateway)
				for _, key := range []string{"a.csv", "b.csv", "c.csv"} {
					s.put(key, "old "+key)
				}
				p := s.user("me").openPipe("sales", d6tpipe.OpenOptions{})
				pull(t, p, d6tpipe.PullOptions{})
				pull(t, p, d6tpipe.PullOptions{})
				change(s)
				edit(t, p, "mine.csv", "mine")
				there := s.there()
				wasHere := here(t, p.Dir())
				err := act(p)
				switch {
				case action == "push" && (name == "added" || name == "changed"):
					require.ErrorIs(t, err, d6tpipe.ErrConflict, "pull first")
				case action == "orphans" && name == "all gone":
					require.ErrorIs(t, err, d6tpipe.ErrRefused)
				default:
					require.NoError(t, err)
				}
				left := maps.Clone(s.there())
				if action == "push" && err == nil {
					require.Equal(t, "mine", left["mine.csv"])
					delete(left, "mine.csv")
				}
				if action == "orphans" && name == "added" { // which was never here: it is kept
					require.Equal(t, "new", left["new.csv"])
				}
				require.Equal(t, there, left, "nothing there is lost")
				if action == "orphans" && name == "removed" {
					delete(wasHere, "a.csv") // an orphan that the storage itself has shown
				}
				got := here(t, p.Dir())
				for key, content := range wasHere {
					if got[key] != content { // only by what is there now
						require.Equal(t, there[key], got[key], key)
						require.NotEmpty(t, got[key], key)
					}
				}
				_, err = s.FilesChanged(t.Context(), "sales") // as when the listing is too old
				require.NoError(t, err)
				pull(t, p, d6tpipe.PullOptions{})
				got = here(t, p.Dir())
				for key, content := range s.there() {
					require.Equal(t, content, got[key], key)
				}
				require.Equal(t, "mine", got["mine.csv"])
			})
		}
	}
}

// TestFreshSees: what a listing does not know yet, a fresh look shows at once.
func TestFreshSees(t *testing.T) {
	s := newScene(t, s3test.Start(t))
	s.put("a.csv", "a")
	p := s.user("me").openPipe("sales", d6tpipe.OpenOptions{})
	pull(t, p, d6tpipe.PullOptions{})
	s.put("b.csv", "b")
	require.Zero(t, pull(t, p, d6tpipe.PullOptions{}).Moved, "the listing is an hour good")
	require.Equal(t, 1, pull(t, p, d6tpipe.PullOptions{Fresh: true}).Moved)
	pull(t, p, d6tpipe.PullOptions{}) // by the listing of old, which lacks b.csv
	require.Equal(t, map[string]string{"a.csv": "a", "b.csv": "b"}, here(t, p.Dir()))
	require.NoError(t, os.Remove(filepath.Join(p.Dir(), "b.csv")))
	pull(t, p, d6tpipe.PullOptions{}) // gone here, and not in the listing: and yet it is not forgotten
	report, err := p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err, "b.csv is one that was deleted here, and not one of somebody else")
	require.Zero(t, report.Moved)
	require.Equal(t, 1, pull(t, p, d6tpipe.PullOptions{Fresh: true}).Moved)
}

// TestOwnPush: whoever has pushed sees it in the next pull, and so does everybody
// else, however long listings are good.
func TestOwnPush(t *testing.T) {
	s := newScene(t, s3test.Start(t))
	s.put("a.csv", "a")
	me, other := s.user("me"), s.user("me")
	mine, theirs := me.openPipe("sales", d6tpipe.OpenOptions{}), other.openPipe("sales", d6tpipe.OpenOptions{})
	pull(t, mine, d6tpipe.PullOptions{})
	pull(t, theirs, d6tpipe.PullOptions{})
	for i := range 3 {
		content := fmt.Sprint("version ", i)
		edit(t, mine, "b.csv", content)
		s.took()
		_, err := mine.Push(t.Context(), d6tpipe.PushOptions{})
		require.NoError(t, err)
		asked, _ := s.took()
		require.Equal(t, "POST pipes/sales/files/", asked[len(asked)-1])
		require.Zero(t, pull(t, mine, d6tpipe.PullOptions{}).Moved)
		require.Equal(t, 1, pull(t, theirs, d6tpipe.PullOptions{}).Moved)
		require.Equal(t, content, here(t, theirs.Dir())["b.csv"])
		s.took()
		pull(t, mine, d6tpipe.PullOptions{})
		asked, stored := s.took()
		require.Equal(t, []string{"GET pipes/sales/files/"}, asked)
		require.Empty(t, stored)
	}
	s.took()
	_, err := mine.Push(t.Context(), d6tpipe.PushOptions{}) // nothing to push, nothing to tell
	require.NoError(t, err)
	asked, _ := s.took()
	require.NotContains(t, asked, "POST pipes/sales/files/")
	require.NoError(t, mine.DeleteRemote(t.Context(), d6tpipe.DeleteOptions{Files: []string{"b.csv"}}))
	asked, _ = s.took()
	require.Contains(t, asked, "POST pipes/sales/files/")
}

// TestNoticeIsLost: the server does not hear of a push, and keeps a listing of before.
// Until it has made another, no pull of this client goes by it.
func TestNoticeIsLost(t *testing.T) {
	s := newScene(t, s3test.Start(t))
	s.put("a.csv", "a")
	p := s.user("me").openPipe("sales", d6tpipe.OpenOptions{})
	pull(t, p, d6tpipe.PullOptions{})
	deaf := func(r *http.Request) int {
		if r.Method == "POST" {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	s.set(deaf, nil)
	edit(t, p, "b.csv", "pushed")
	_, err := p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err, "a server that does not hear is no reason to fail")
	require.NoError(t, os.Remove(filepath.Join(p.Dir(), "b.csv")))
	s.took()
	require.Equal(t, 1, pull(t, p, d6tpipe.PullOptions{}).Moved, "what was pushed comes back")
	asked, _ := s.took()
	require.Equal(t, "GET pipes/sales/files/?refresh=True", asked[0])
	pull(t, p, d6tpipe.PullOptions{})
	asked, stored := s.took()
	require.Equal(t, []string{"GET pipes/sales/files/"}, asked, "once is enough")
	require.Empty(t, stored)
	require.Empty(t, notes(t, p))

	// When the new listing fails, the note stays, and the storage is looked at.
	edit(t, p, "c.csv", "pushed")
	_, err = p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	s.set(deaf, func(l wire.Listing, err error) (wire.Listing, error) { l.Stale = "broken"; return l, err })
	require.NoError(t, os.Remove(filepath.Join(p.Dir(), "c.csv")))
	require.Equal(t, 1, pull(t, p, d6tpipe.PullOptions{}).Moved)
	require.Len(t, notes(t, p), 1)
	s.set(func(*http.Request) int { return 0 }, nil)
	pull(t, p, d6tpipe.PullOptions{})
	require.Empty(t, notes(t, p))

	// A server that keeps no listings is told nothing, and leaves no notes.
	s.set(func(r *http.Request) int {
		if strings.Contains(r.URL.Path, "/files/") {
			return http.StatusNotFound
		}
		return 0
	}, nil)
	edit(t, p, "d.csv", "pushed")
	_, err = p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	require.Empty(t, notes(t, p))
	require.Zero(t, pull(t, p, d6tpipe.PullOptions{}).Moved)
}

func (s *scene) set(refuse func(*http.Request) int, pretend func(wire.Listing, error) (wire.Listing, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse, s.pretend = refuse, pretend
}

func notes(t *testing.T, p *d6tpipe.Pipe) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(p.Dir()), ".d6tpipe", p.Name(), "changing"))
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	return entries
}

// TestPushAtWork: while files are being pushed nobody knows what the remote has, so
// that no listing counts.
func TestPushAtWork(t *testing.T) {
	s := newScene(t, s3test.Start(t))
	s.put("a.csv", "a")
	pulled := make(chan []string, 1)
	var p *d6tpipe.Pipe
	me := s.user("me")
	p = me.openPipe("sales", d6tpipe.OpenOptions{Progress: func(e d6tpipe.Event) {
		if e.Kind == d6tpipe.EventStarted && e.Action == d6tpipe.ActionUpload {
			s.took()
			other := me.openPipe("sales", d6tpipe.OpenOptions{}) // of the same folder
			if _, err := other.PlanPull(t.Context(), d6tpipe.PullOptions{}); err != nil {
				t.Error(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // it waits for the push
			defer cancel()
			_, _ = other.Pull(ctx, d6tpipe.PullOptions{})
			asked, _ := s.took()
			pulled <- asked
		}
	}})
	pull(t, p, d6tpipe.PullOptions{})
	edit(t, p, "b.csv", "b")
	_, err := p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	require.NotContains(t, strings.Join(<-pulled, " "), "files/")
}

// TestOldListings: what the server gives out may be older than what this client has
// seen or pushed, as when a backup was restored or a replica lags behind. It does not
// count.
func TestOldListings(t *testing.T) {
	s := newScene(t, s3test.Start(t))
	s.put("a.csv", "a")
	p := s.user("me").openPipe("sales", d6tpipe.OpenOptions{})
	pull(t, p, d6tpipe.PullOptions{})
	old, err := s.Files(t.Context(), "sales", false)
	require.NoError(t, err)
	body, done, err := old.Body(t.Context())
	require.NoError(t, err)
	defer done()
	old.Body = func(context.Context) ([]byte, func(), error) { return body, nil, nil }
	edit(t, p, "b.csv", "pushed")
	_, err = p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(p.Dir(), "b.csv")))
	s.set(nil, func(wire.Listing, error) (wire.Listing, error) { return old, nil })
	require.Equal(t, 1, pull(t, p, d6tpipe.PullOptions{}).Moved, "it was scanned before the push")

	s.set(nil, nil)
	pull(t, p, d6tpipe.PullOptions{})
	last, err := s.Files(t.Context(), "sales", false)
	require.NoError(t, err)
	for name, spoil := range map[string]func(l *wire.Listing){
		"older than the last one": func(l *wire.Listing) { l.Scanned = l.Scanned.Add(-time.Second); l.Tag = "x" },
		"too old":                 func(l *wire.Listing) { l.MaxAge = time.Nanosecond },
		"not for pulls":           func(l *wire.Listing) { l.MaxAge = 0 },
		"a failure since":         func(l *wire.Listing) { l.Stale = "the storage failed" },
	} {
		s.set(nil, func(wire.Listing, error) (wire.Listing, error) { l := last; spoil(&l); return l, nil })
		s.took()
		require.Zero(t, pull(t, p, d6tpipe.PullOptions{}).Moved)
		_, stored := s.took()
		require.NotEmpty(t, stored, "%s: the storage itself is looked at", name)
	}
	s.set(nil, func(wire.Listing, error) (wire.Listing, error) { return last, nil })
	s.took()
	pull(t, p, d6tpipe.PullOptions{})
	_, stored := s.took()
	require.Empty(t, stored, "and else not")
}

// TestLyingListings: a server that lists what is not there, or leaves out what is,
// makes nobody lose anything.
func TestLyingListings(t *testing.T) {
	gateway := s3test.Start(t)
	forged := func(t *testing.T, s *scene, objects ...storage.Object) {
		t.Helper()
		l, err := storage.Recall(func(yield func(storage.Object, error) bool) {
			for _, o := range objects {
				if !yield(o, nil) {
					return
				}
			}
		})
		require.NoError(t, err)
		var b bytes.Buffer
		require.NoError(t, filelist.Write(&b, filelist.Document{ScannedAt: time.Now(), Listing: l}))
		s.set(nil, func(wire.Listing, error) (wire.Listing, error) {
			return wire.Listing{Tag: fmt.Sprint(time.Now().UnixNano()), Seen: time.Now(), Scanned: time.Now(), MaxAge: time.Hour,
				Body: func(context.Context) ([]byte, func(), error) { return zipped(b.Bytes()), nil, nil }}, nil
		})
	}
	for name, row := range map[string]struct {
		objects []storage.Object
		moved   []string
	}{
		"nothing":           {},
		"another version":   {[]storage.Object{{Key: "a.csv", Size: 1, Tag: "5d41402abc4b2a76b9719d911017c592"}}, nil},
		"another size":      {[]storage.Object{{Key: "new.csv", Size: 1 << 30, Tag: "5d41402abc4b2a76b9719d911017c592"}}, []string{"new.csv"}},
		"no version":        {[]storage.Object{{Key: "new.csv", Size: 1}}, []string{"new.csv"}},
		"what is not there": {[]storage.Object{{Key: "ghost.csv", Size: 1, Tag: "x"}}, []string{"new.csv"}},
		"names":             {[]storage.Object{{Key: "../../etc/passwd", Size: 1}, {Key: "CON", Size: 1}, {Key: "A.CSV", Size: 1}, {Key: "a.csv", Size: 1}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, gateway)
			s.put("a.csv", "a")
			s.put("b.csv", "b")
			p := s.user("me").openPipe("sales", d6tpipe.OpenOptions{})
			pull(t, p, d6tpipe.PullOptions{})
			s.put("new.csv", "new")
			before := here(t, p.Dir())
			forged(t, s, row.objects...)
			report, err := p.Pull(t.Context(), d6tpipe.PullOptions{})
			if err != nil {
				require.ErrorIs(t, err, d6tpipe.ErrPartial)
			}
			for _, key := range row.moved {
				require.True(t, slices.ContainsFunc(report.Files, func(f d6tpipe.FileResult) bool { return f.Key == key && f.Moved() }), "%v", report.Files)
				before[key] = s.there()[key]
			}
			got := here(t, p.Dir())
			for key, content := range before {
				require.Equal(t, content, got[key], key)
			}
			_, err = p.RemoveOrphans(t.Context(), d6tpipe.OrphanOptions{Where: d6tpipe.OrphansBoth, Remove: true, Force: false})
			require.NoError(t, err)
			require.Equal(t, got, here(t, p.Dir()), "an orphan is one when the storage itself lacks it")
			require.Len(t, s.there(), 3)
		})
	}
}

func zipped(text []byte) []byte {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	_, _ = zip.Write(text)
	_ = zip.Close()
	return b.Bytes()
}

// TestMovedPipe: the ETag is one of a place and of filters, so that a pipe that moves
// is not taken for unchanged.
func TestMovedPipe(t *testing.T) {
	s := newScene(t, s3test.Start(t))
	s.put("a.csv", "a")
	s.put("b.txt", "b")
	s.put("other/a.csv", "other a")
	me := s.user("me")
	p := me.openPipe("sales", d6tpipe.OpenOptions{})
	pull(t, p, d6tpipe.PullOptions{})
	pull(t, p, d6tpipe.PullOptions{})
	update := func(o d6tpipe.PipeOptions) {
		_, err := me.api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "sales", Options: o})
		require.NoError(t, err)
	}
	update(d6tpipe.PipeOptions{Include: "*.csv"})
	require.Equal(t, 2, pull(t, p, d6tpipe.PullOptions{}).Unchanged, "b.txt is none of the pipe's")
	update(d6tpipe.PipeOptions{Dir: "other"})
	_, err := p.Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrConflict, "another file of this name")
	require.Equal(t, "a", here(t, p.Dir())["a.csv"])
	require.Equal(t, 1, pull(t, p, d6tpipe.PullOptions{Merge: d6tpipe.MergeOverwrite}).Moved)
	require.Equal(t, "other a", here(t, p.Dir())["a.csv"])
	s.took()
	pull(t, p, d6tpipe.PullOptions{})
	pull(t, p, d6tpipe.PullOptions{})
	asked, stored := s.took()
	require.Equal(t, "GET pipes/sales/files/", asked[len(asked)-1])
	require.Empty(t, stored)
}

// TestChildPipe sees its own keys, relative to its own folder.
func TestChildPipe(t *testing.T) {
	s := newScene(t, s3test.Start(t))
	for _, key := range []string{"eu/a.csv", "eu/b.txt", "us/c.csv", "d.csv"} {
		s.put(key, key)
	}
	me := s.user("me")
	_, err := me.api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "europe", Parent: "sales", Options: d6tpipe.PipeOptions{Dir: "eu", Include: "*.csv"}})
	require.NoError(t, err)
	l, err := me.api.ListFiles(t.Context(), "europe", false)
	require.NoError(t, err)
	require.Len(t, l.Files, 1)
	require.Equal(t, "a.csv", l.Files[0].Key)
	p := me.openPipe("europe", d6tpipe.OpenOptions{})
	pull(t, p, d6tpipe.PullOptions{})
	require.Equal(t, map[string]string{"a.csv": "eu/a.csv"}, here(t, p.Dir()))
	s.took()
	pull(t, p, d6tpipe.PullOptions{})
	asked, stored := s.took()
	require.Len(t, asked, 1)
	require.Empty(t, stored)
}
