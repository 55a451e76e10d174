package repo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
	"github.com/d6t/d6tpipe-go/server/internal/feed"
	"github.com/d6t/d6tpipe-go/server/internal/hook"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
	"github.com/d6t/d6tpipe-go/server/internal/listing"
	"github.com/d6t/d6tpipe-go/server/internal/repo"
)

// patience is how long a condition may take to come true on a busy machine.
const patience = 2 * time.Minute

// localHooks sends to this machine only, also without TLS.
func localHooks(t testing.TB) *hook.Sender {
	s := hook.New(hook.Config{Dial: dial.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, HTTP: true, Timeout: patience})
	t.Cleanup(s.Close)
	return s
}

// A hooked is a server whose pipe "p" has a feed that the test makes grow.
type hooked struct {
	*world
	owner *d6tpipe.APIClient
	n     int               // listings so far
	tags  map[string]string // of the last listing, by pipe
}

// hookedWorld is a server with a user "owner" and the pipe "p", which has a listing.
func hookedWorld(t *testing.T, d *db.DB, change ...func(*repo.Options)) *hooked {
	t.Helper()
	change = append(change, func(o *repo.Options) { o.Hooks = localHooks(t) })
	h := &hooked{world: newWorld(t, d, change...), tags: map[string]string{}}
	h.owner = h.user(t, "owner")
	_, err := h.owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	h.grow(t)
	return h
}

// grow puts a listing of the pipe "p" in the place of the last one, and changes into
// its feed.
func (h *hooked) grow(t *testing.T, changes ...d6tpipe.Change) {
	t.Helper()
	h.growOf(t, "p", changes...)
}

// growOf is grow of another pipe.
func (h *hooked) growOf(t *testing.T, pipe string, changes ...d6tpipe.Change) {
	t.Helper()
	id := idOf(t, h.db, pipe)
	where, err := h.repo.Where(t.Context(), id)
	require.NoError(t, err)
	view, err := listing.View(where.Storage)
	require.NoError(t, err)
	rows := feed.NewWriter(1 << 20)
	for _, c := range changes {
		require.NoError(t, rows.Add(c))
	}
	c := listing.Changes{Since: h.tags[pipe]}
	c.Rows, err = rows.Rows()
	require.NoError(t, err)
	h.n++
	h.tags[pipe] = fmt.Sprint(h.n)
	seen := h.clock.Now().Add(time.Duration(h.n) * time.Microsecond)
	require.NoError(t, repo.Listings{DB: h.db, Now: h.clock.Now}.Save(t.Context(), id, listing.Record{Tag: h.tags[pipe], View: view, Seen: seen, Scanned: seen}, c))
}

// files are changes of one kind.
func files(kind d6tpipe.ChangeKind, keys ...string) (all []d6tpipe.Change) {
	for _, key := range keys {
		all = append(all, d6tpipe.Change{Key: key, Kind: kind, File: d6tpipe.File{Key: key, Size: 1}})
	}
	return all
}

// work has the webhooks delivered to until the test ends, or stop is called.
func (h *hooked) work(t *testing.T, queue string, workers int) (stop func()) {
	t.Helper()
	if !strings.HasPrefix(queue, "postgres") {
		queue = filepath.Join(t.TempDir(), "jobs.db")
	}
	j, err := jobs.Open(t.Context(), jobs.Config{
		DB: h.db, Queue: queue, Now: h.clock.Now, Poll: 10 * time.Millisecond,
		Pools: map[jobs.Kind]jobs.Pool{jobs.Webhook: h.repo.Delivery(workers)},
	})
	require.NoError(t, err)
	stop = sync.OnceFunc(func() { require.NoError(t, j.Close()) })
	t.Cleanup(stop)
	return stop
}

// create makes a webhook.
func (h *hooked) create(t *testing.T, s d6tpipe.WebhookSettings) d6tpipe.Webhook {
	t.Helper()
	hook, err := h.owner.CreateWebhook(t.Context(), "p", s)
	require.NoError(t, err)
	require.NotEmpty(t, hook.Secret)
	return hook
}

// get returns a webhook as it is now.
func (h *hooked) get(t testing.TB, id string) d6tpipe.Webhook {
	t.Helper()
	hook, err := h.owner.Webhook(t.Context(), "p", id)
	require.NoError(t, err)
	require.Empty(t, hook.Secret)
	return hook
}

// until waits until a webhook is as it should be.
func (h *hooked) until(t *testing.T, id string, is func(d6tpipe.Webhook) bool) {
	t.Helper()
	require.Eventually(t, func() bool { return is(h.get(t, id)) }, patience, 5*time.Millisecond)
}

// later lets time pass when nothing is at work: what a run has to say about when the
// next one is due is counted from its end.
func (h *hooked) later(t *testing.T, d time.Duration) {
	t.Helper()
	h.idle(t)
	h.clock.forward(d)
}

// idle waits until nothing is at work.
func (h *hooked) idle(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		n := -1
		err := h.db.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
			return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM tasks WHERE run_id <> ''`).Scan(&n)
		})
		return err == nil && n == 0
	}, patience, 5*time.Millisecond)
}

// An inbox is a receiver that verifies what it gets. It answers as told, and 200 if it
// is not.
type inbox struct {
	url string

	mu       sync.Mutex
	secrets  []d6tpipe.Secret
	now      func() time.Time
	answer   func(n int, e d6tpipe.WebhookEvent, w http.ResponseWriter)
	attempts []d6tpipe.WebhookEvent // all that were verified
	accepted []d6tpipe.WebhookEvent // those that got a 200, the first time
	refused  []error                // of VerifyWebhook
}

func newInbox(t *testing.T, now func() time.Time) *inbox {
	b := &inbox{now: now}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	e, err := d6tpipe.VerifyWebhook(b.secrets, r.Header, body, b.now())
	n, answer := len(b.attempts), b.answer
	if err != nil {
		b.refused = append(b.refused, err)
		b.mu.Unlock()
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	b.attempts = append(b.attempts, e)
	b.mu.Unlock()
	said := httptest.NewRecorder()
	if answer != nil {
		answer(n, e, said)
	}
	if said.Code == 200 {
		b.accept(e)
	}
	for name, values := range said.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(said.Code)
	_, _ = w.Write(said.Body.Bytes())
}

// accept remembers a message once.
func (b *inbox) accept(e d6tpipe.WebhookEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, known := range b.accepted {
		if known.ID == e.ID {
			return
		}
	}
	b.accepted = append(b.accepted, e)
}

// told are the changes of the messages that were accepted, in order.
func (b *inbox) told(t testing.TB) (all []string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.accepted {
		c, err := e.Changed()
		require.NoError(t, err)
		for _, one := range c.Changes {
			all = append(all, string(one.Kind)+" "+one.Key)
		}
	}
	return all
}

// waits until so many attempts were made, and returns their messages.
func (b *inbox) waitFor(t *testing.T, n int) (ids []string) {
	t.Helper()
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.attempts) >= n
	}, patience, 5*time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(t, b.refused)
	for _, e := range b.attempts {
		ids = append(ids, e.ID)
	}
	return ids
}

func (b *inbox) knows(secrets ...d6tpipe.Secret) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.secrets = secrets
}

func (b *inbox) says(answer func(n int, e d6tpipe.WebhookEvent, w http.ResponseWriter)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

// status always answers the same.
func status(code int) func(int, d6tpipe.WebhookEvent, http.ResponseWriter) {
	return func(_ int, _ d6tpipe.WebhookEvent, w http.ResponseWriter) { w.WriteHeader(code) }
}

// eachHooked runs a test on both engines.
func eachHooked(t *testing.T, test func(t *testing.T, h *hooked, queue string)) {
	dbtest.EachURL(t, func(t *testing.T, url string) { test(t, hookedWorld(t, dbtest.Open(t, url)), url) })
}

// TestWebhooks: who administers a pipe manages its webhooks. Secrets are told once, and
// neither they nor what is in an address lies anywhere in clear.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	eachHooked(t, func(t *testing.T, h *hooked, _ string) {
		const url = "https://example.com:8443/canary-path?token=canary"
		made := h.create(t, d6tpipe.WebhookSettings{URL: url, Include: "*.csv", Kinds: []d6tpipe.ChangeKind{d6tpipe.ChangeNew}, Description: "the loader"})
		require.Equal(t, url, made.URL)
		require.Equal(t, "p", made.Pipe)
		shown := h.get(t, made.ID)
		require.Contains(t, made.Notice, "give the pipe a schedule")
		made.Secret, made.Notice = "", ""
		require.Equal(t, shown, made)
		all, err := h.owner.Webhooks(t.Context(), "p")
		require.NoError(t, err)
		require.Equal(t, []d6tpipe.Webhook{shown}, all)

		off, kinds, other := true, []d6tpipe.ChangeKind{}, "https://example.com/canary-other"
		changed, err := h.owner.UpdateWebhook(t.Context(), "p", made.ID, d6tpipe.WebhookUpdate{Paused: &off, Kinds: &kinds, URL: &other})
		require.NoError(t, err)
		require.Equal(t, "https://example.com/canary-other *.csv [] the loader true", fmt.Sprint(changed.URL, " ", changed.Include, " ", changed.Kinds, " ", changed.Description, " ", changed.Paused))
		require.Empty(t, changed.Secret)
		secrets := []d6tpipe.Secret{}
		for range 7 {
			h.clock.forward(time.Second)
			rotated, err := h.owner.UpdateWebhook(t.Context(), "p", made.ID, d6tpipe.WebhookUpdate{Rotate: true})
			require.NoError(t, err)
			secrets = append(secrets, rotated.Secret)
			require.WithinDuration(t, h.clock.Now().Add(24*time.Hour), *rotated.OldSecretsUntil, 0)
		}
		require.Len(t, unique(secrets), 7)
		_, err = h.owner.UpdateWebhook(t.Context(), "p", made.ID, d6tpipe.WebhookUpdate{Rotate: true})
		require.ErrorContains(t, err, "has 8 secrets already")
		h.clock.forward(24 * time.Hour)
		_, err = h.owner.UpdateWebhook(t.Context(), "p", made.ID, d6tpipe.WebhookUpdate{Rotate: true})
		require.NoError(t, err)

		bad := "http://10.0.0.1/"
		_, err = h.owner.UpdateWebhook(t.Context(), "p", made.ID, d6tpipe.WebhookUpdate{URL: &bad})
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		h.clock.forward(time.Second) // events of one moment have no order
		for range 9 {
			h.create(t, d6tpipe.WebhookSettings{URL: url})
		}
		_, err = h.owner.CreateWebhook(t.Context(), "p", d6tpipe.WebhookSettings{URL: url})
		require.ErrorContains(t, err, "at most 10 webhooks")

		var backup bytes.Buffer
		require.NoError(t, h.db.Backup(t.Context(), &backup))
		require.Contains(t, backup.String(), made.ID)
		require.NotContains(t, backup.String(), "canary")
		for _, s := range secrets {
			require.NotContains(t, backup.String(), string(s)[6:])
		}
		events, err := h.owner.Audit(t.Context())
		require.NoError(t, err)
		require.Equal(t, "create webhook", events[0].Action)
		require.Contains(t, fmt.Sprint(events), "update webhook pipes p "+made.ID+" to https://example.com: new secret")

		require.NoError(t, h.owner.DeleteWebhook(t.Context(), "p", made.ID))
		_, err = h.owner.Webhook(t.Context(), "p", made.ID)
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		_, err = h.owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "other"})
		require.NoError(t, err)
		_, err = h.owner.Webhook(t.Context(), "other", all[0].ID)
		require.ErrorIs(t, err, d6tpipe.ErrNotFound, "it is another pipe's")
		require.Equal(t, 9, h.tasks(t))
		require.NoError(t, h.owner.Pipes().Delete(t.Context(), "p"))
		require.Zero(t, h.tasks(t))
	})
}

// TestBadWebhooks: what is misspelt is refused by its name, and not left out. What a GET
// says can be sent back.
func TestBadWebhooks(t *testing.T) {
	t.Parallel()
	h := hookedWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	made := h.create(t, d6tpipe.WebhookSettings{URL: "https://example.com/"})
	token, err := h.owner.Login(t.Context(), "owner", "secret-of-owner")
	require.NoError(t, err)
	handler := wire.New(h.repo, wire.Options{})
	send := func(method, id, body string) (int, string) {
		got := ask(handler, method, "/v1/api/pipes/p/webhooks/"+id, body, []string{"Token " + string(token)})
		return got.Code, got.Body.String()
	}
	for body, field := range map[string]string{
		`"exlude":"*.tmp"`: "exlude", `"Exclude":"*.tmp"`: "Exclude", `"include":["*.csv"]`: "include", `"kinds":"new"`: "kinds",
		`"paused":"yes"`: "paused", `"secret_":"x"`: "secret_",
	} {
		code, answer := send("POST", "", `{"url":"https://example.com/",`+body+`}`)
		require.Equal(t, 400, code, body)
		require.True(t, strings.HasPrefix(answer, `{"`+field+`":["`), "%s: %s", body, answer)
		code, answer = send("PATCH", made.ID+"/", `{`+body+`}`)
		require.Equal(t, 400, code, body)
		require.True(t, strings.HasPrefix(answer, `{"`+field+`":["`), "%s: %s", body, answer)
	}
	code, answer := send("GET", made.ID+"/", "")
	require.Equal(t, 200, code)
	code, again := send("PATCH", made.ID+"/", answer)
	require.Equal(t, 200, code, again)
	require.JSONEq(t, answer, again)
	code, again = send("POST", "", answer)
	require.Equal(t, 201, code, again)
}

func unique(all []d6tpipe.Secret) map[d6tpipe.Secret]bool {
	seen := map[d6tpipe.Secret]bool{}
	for _, s := range all {
		seen[s] = true
	}
	return seen
}

// tasks counts what there is to do.
func (h *hooked) tasks(t *testing.T) (n int) {
	t.Helper()
	require.NoError(t, h.db.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM tasks WHERE kind = 'webhook' AND NOT removed`).Scan(&n)
	}))
	return n
}

// TestWebhookOwners: the tasks of webhooks go with the pipe to whom it is given, and
// with the account.
func TestWebhookOwners(t *testing.T) {
	t.Parallel()
	eachHooked(t, func(t *testing.T, h *hooked, _ string) {
		made := h.create(t, d6tpipe.WebhookSettings{URL: "https://example.com/"})
		other := h.user(t, "other")
		require.NoError(t, h.owner.Transfer(t.Context(), "p", "other"))
		owner := ""
		require.NoError(t, h.db.Read(t.Context(), func(ctx context.Context, tx db.Tx) error {
			return tx.QueryRowContext(ctx, `SELECT u.username FROM tasks t JOIN users u ON u.id = t.owner_id WHERE t.subject = $1`, made.ID).Scan(&owner)
		}))
		require.Equal(t, "other", owner)
		require.NoError(t, h.owner.Unregister(t.Context(), "owner"))
		require.Equal(t, 1, h.tasks(t))
		_, err := h.owner.Webhooks(t.Context(), "p")
		require.Error(t, err)
		require.NoError(t, other.Unregister(t.Context(), "other"))
		require.Zero(t, h.tasks(t))
	})
}

// TestDelivery: what changes is told in order, in messages that say where the feed goes
// on, and only what the webhook wants.
func TestDelivery(t *testing.T) {
	t.Parallel()
	eachHooked(t, func(t *testing.T, h *hooked, queue string) {
		all, some := newInbox(t, h.clock.Now), newInbox(t, h.clock.Now)
		h.grow(t, files("new", "before")...)
		first := h.create(t, d6tpipe.WebhookSettings{URL: all.url + "/x"})
		all.knows(first.Secret)
		second := h.create(t, d6tpipe.WebhookSettings{URL: some.url, Include: "*.csv", Exclude: "b*", Kinds: []d6tpipe.ChangeKind{"new", "gone"}})
		some.knows(second.Secret)
		h.work(t, queue, 4)
		h.grow(t, append(files("new", "a.csv", "b.csv"), files("modified", "c.csv")...)...)
		h.grow(t, files("gone", "a.csv", "d.txt")...)
		require.Eventually(t, func() bool { return len(all.told(t)) == 5 && len(some.told(t)) == 2 }, patience, 5*time.Millisecond)
		require.Equal(t, []string{"new a.csv", "new b.csv", "modified c.csv", "gone a.csv", "gone d.txt"}, all.told(t))
		require.Equal(t, []string{"new a.csv", "gone a.csv"}, some.told(t))

		var many []string
		for i := range 250 {
			many = append(many, fmt.Sprintf("%03d.csv", i))
		}
		was := len(all.waitFor(t, 1))
		h.grow(t, files("new", many...)...)
		all.waitFor(t, was+1)
		h.until(t, first.ID, func(d6tpipe.Webhook) bool { return len(all.told(t)) == 105 })
		c, err := all.accepted[len(all.accepted)-1].Changed()
		require.NoError(t, err)
		require.Equal(t, "250 true 100 p false", fmt.Sprint(c.Total, " ", c.More, " ", len(c.Changes), " ", c.Pipe, " ", c.Missed))
		rest, err := h.repo.ChangePage(t.Context(), idOf(t, h.db, "p"), c.Cursor, 0)
		require.NoError(t, err)
		require.Equal(t, files("new", many[100:]...), rest.Changes)

		h.idle(t)
		n := 0
		for d, err := range h.owner.Deliveries(t.Context(), "p", first.ID) {
			require.NoError(t, err)
			require.Equal(t, "pipe.changed 1 200 ", fmt.Sprint(d.Type, " ", d.Attempt, " ", d.Status, " ", d.Error))
			n++
		}
		require.Len(t, all.waitFor(t, n), n)
	})
}

// TestRevokedCreator: who is no administrator of a pipe any more is sent nothing of it,
// until an administrator enables the webhook.
func TestRevokedCreator(t *testing.T) {
	t.Parallel()
	eachHooked(t, func(t *testing.T, h *hooked, queue string) {
		bob := h.user(t, "bob")
		grant := d6tpipe.Permission{Username: "bob", Role: d6tpipe.RoleAdmin}
		require.NoError(t, h.owner.Grant(t.Context(), "p", grant))
		b := newInbox(t, h.clock.Now)
		hook, err := bob.CreateWebhook(t.Context(), "p", d6tpipe.WebhookSettings{URL: b.url})
		require.NoError(t, err)
		require.Equal(t, "bob", hook.Creator)
		b.knows(hook.Secret)
		h.work(t, queue, 1)
		h.grow(t, files(d6tpipe.ChangeNew, "a")...)
		require.Eventually(t, func() bool { return len(b.told(t)) == 1 }, patience, 5*time.Millisecond)

		grant.Role = d6tpipe.RoleWrite
		require.NoError(t, h.owner.Grant(t.Context(), "p", grant))
		h.grow(t, files(d6tpipe.ChangeNew, "b")...)
		h.until(t, hook.ID, func(w d6tpipe.Webhook) bool { return w.Disabled != "" })
		require.Contains(t, h.get(t, hook.ID).Disabled, "does not administer the pipe any more")
		require.Equal(t, []string{"new a"}, b.told(t))

		enabled, err := h.owner.UpdateWebhook(t.Context(), "p", hook.ID, d6tpipe.WebhookUpdate{Enable: true})
		require.NoError(t, err)
		require.Equal(t, "owner", enabled.Creator)
		require.Eventually(t, func() bool { return len(b.told(t)) == 2 }, patience, 5*time.Millisecond)
		require.NoError(t, h.owner.Transfer(t.Context(), "p", "bob"))
		require.NoError(t, h.owner.Unregister(t.Context(), "owner"))
		h.growOf(t, "p", files(d6tpipe.ChangeNew, "c")...)
		require.Eventually(t, func() bool {
			w, err := bob.Webhook(t.Context(), "p", hook.ID)
			return err == nil && w.Disabled != "" && w.Creator == ""
		}, patience, 5*time.Millisecond)
		require.Len(t, b.told(t), 2)
	})
}

// TestFirstListing: a webhook that is older than the first listing of its pipe is told of
// all that is in it.
func TestFirstListing(t *testing.T) {
	t.Parallel()
	eachHooked(t, func(t *testing.T, h *hooked, queue string) {
		_, err := h.owner.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "q"})
		require.NoError(t, err)
		b := newInbox(t, h.clock.Now)
		hook, err := h.owner.CreateWebhook(t.Context(), "q", d6tpipe.WebhookSettings{URL: b.url})
		require.NoError(t, err)
		b.knows(hook.Secret)
		h.work(t, queue, 1)
		h.growOf(t, "q", files(d6tpipe.ChangeNew, "a", "b")...)
		require.Eventually(t, func() bool { return len(b.told(t)) > 0 }, patience, 5*time.Millisecond)
		require.Equal(t, []string{"new a", "new b"}, b.told(t))
	})
}

// TestLongNames: a message stays small, whatever is in it.
func TestLongNames(t *testing.T) {
	t.Parallel()
	h := hookedWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	b := newInbox(t, h.clock.Now)
	made := h.create(t, d6tpipe.WebhookSettings{URL: b.url, Include: "*x"})
	b.knows(made.Secret)
	h.work(t, "", 1)
	var long []string
	for i := range 60 {
		long = append(long, fmt.Sprintf("%02d%s", i, strings.Repeat("x", 900)), fmt.Sprintf("%02dy", i))
	}
	h.grow(t, files("new", long...)...)
	b.waitFor(t, 1)
	require.Eventually(t, func() bool { return len(b.told(t)) > 0 }, patience, 5*time.Millisecond)
	raw, err := json.Marshal(b.accepted[0])
	require.NoError(t, err)
	require.Less(t, len(raw), 20_000)
	c, err := b.accepted[0].Changed()
	require.NoError(t, err)
	require.Equal(t, 60, c.Total)
	require.True(t, c.More)
	require.Less(t, len(c.Changes), 20)
	rest, err := h.repo.ChangePage(t.Context(), idOf(t, h.db, "p"), c.Cursor, 0)
	require.NoError(t, err)
	require.Len(t, rest.Changes, 120-(2*len(c.Changes)-1))
}

// TestRetries: a message that is not accepted is sent again at the specification's
// times, under its id, and the next one waits for it.
func TestRetries(t *testing.T) {
	t.Parallel()
	eachHooked(t, func(t *testing.T, h *hooked, queue string) {
		b := newInbox(t, h.clock.Now)
		made := h.create(t, d6tpipe.WebhookSettings{URL: b.url})
		b.knows(made.Secret)
		b.says(status(500))
		h.work(t, queue, 2)
		h.grow(t, files("new", "a")...)
		waits := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour}
		for i, wait := range waits {
			b.waitFor(t, i+1)
			h.until(t, made.ID, func(w d6tpipe.Webhook) bool { return w.Failures == i+1 })
			in := h.get(t, made.ID).Retry.Sub(h.clock.Now())
			require.GreaterOrEqual(t, in, wait)
			require.LessOrEqual(t, in, wait+wait/10)
			h.grow(t, files("new", fmt.Sprint(i))...) // it does not hurry the message that waits
			if i == len(waits)-1 {
				b.says(status(200))
			}
			h.later(t, in)
		}
		require.Eventually(t, func() bool { return len(b.told(t)) == 5 }, patience, 5*time.Millisecond)
		require.Equal(t, []string{"new a", "new 0", "new 1", "new 2", "new 3"}, b.told(t))
		ids := b.waitFor(t, 6)
		require.Len(t, ids, 6)
		require.Equal(t, []string{ids[0], ids[0], ids[0], ids[0], ids[0]}, ids[:5])
		require.NotEqual(t, ids[0], ids[5])
		h.idle(t)
		var log []string
		for d, err := range h.owner.Deliveries(t.Context(), "p", made.ID) {
			require.NoError(t, err)
			log = append(log, fmt.Sprint(d.Message == ids[0], d.Attempt, d.Status, d.Error))
		}
		require.Len(t, log, 6)
		require.ElementsMatch(t, []string{"false 1 200", "true 5 200"}, log[:2], "both are of one moment of the clock")
		require.Equal(t, "true 4 500the answer was 500 Internal Server Error", log[2])
		require.Zero(t, h.get(t, made.ID).Failures)
	})
}

// TestDisabled: after the last attempt the server sends nothing any more, says so to
// the owner, and goes on from there when it is enabled again.
func TestDisabled(t *testing.T) {
	t.Parallel()
	eachHooked(t, func(t *testing.T, h *hooked, queue string) {
		b := newInbox(t, h.clock.Now)
		made := h.create(t, d6tpipe.WebhookSettings{URL: b.url + "/canary"})
		b.knows(made.Secret)
		b.says(status(500))
		h.work(t, queue, 2)
		h.grow(t, files("new", "a")...)
		for i := 1; i < 10; i++ {
			h.until(t, made.ID, func(w d6tpipe.Webhook) bool { return w.Failures == i })
			h.later(t, h.get(t, made.ID).Retry.Sub(h.clock.Now()))
		}
		h.until(t, made.ID, func(w d6tpipe.Webhook) bool { return w.Disabled != "" })
		off := h.get(t, made.ID)
		require.Equal(t, "10 attempts at a message have failed, the last one because the answer was 500 Internal Server Error", off.Disabled)
		require.Equal(t, h.clock.Now(), *off.DisabledAt)
		require.Nil(t, off.Retry)
		me, err := h.owner.WhoAmI(t.Context())
		require.NoError(t, err)
		require.Contains(t, me.Message, "Webhook "+made.ID+" of pipe p to "+b.url+" is disabled since")
		require.NotContains(t, me.Message, "canary")
		other, err := h.user(t, "other").WhoAmI(t.Context())
		require.NoError(t, err)
		require.Empty(t, other.Message)
		events, err := h.owner.Audit(t.Context())
		require.NoError(t, err)
		require.Contains(t, fmt.Sprint(events), "disable webhook pipes p "+made.ID)
		require.NotContains(t, fmt.Sprint(events), "canary")

		b.says(nil)
		h.grow(t, files("new", "b")...)
		h.later(t, 100*time.Hour)
		on, err := h.owner.UpdateWebhook(t.Context(), "p", made.ID, d6tpipe.WebhookUpdate{Enable: true})
		require.NoError(t, err)
		require.Empty(t, on.Disabled+on.Notice)
		require.Eventually(t, func() bool { return len(b.told(t)) == 2 }, patience, 5*time.Millisecond)
		ids := b.waitFor(t, 12)
		require.Len(t, ids, 12, "none while it was disabled")
		require.Equal(t, ids[0], ids[10])
		me, err = h.owner.WhoAmI(t.Context())
		require.NoError(t, err)
		require.Empty(t, me.Message)
	})
}

// TestGone: who wants no messages gets none. What is forgotten while a webhook was
// disabled is not told, which the answer says; while one was paused, the message does.
func TestGone(t *testing.T) {
	t.Parallel()
	eachHooked(t, func(t *testing.T, h *hooked, queue string) {
		gone, paused := newInbox(t, h.clock.Now), newInbox(t, h.clock.Now)
		off := h.create(t, d6tpipe.WebhookSettings{URL: gone.url})
		gone.knows(off.Secret)
		gone.says(status(410))
		late := h.create(t, d6tpipe.WebhookSettings{URL: paused.url, Paused: true})
		paused.knows(late.Secret)
		h.work(t, queue, 2)
		h.grow(t, files("new", "a")...)
		h.until(t, off.ID, func(w d6tpipe.Webhook) bool { return w.Disabled != "" })
		require.Equal(t, "the answer was 410 Gone: the receiver wants no messages any more", h.get(t, off.ID).Disabled)
		h.later(t, time.Hour)
		_, err := h.repo.ForgetChanges(t.Context(), h.clock.Now())
		require.NoError(t, err)
		gone.says(nil)
		on, err := h.owner.UpdateWebhook(t.Context(), "p", off.ID, d6tpipe.WebhookUpdate{Enable: true})
		require.NoError(t, err)
		require.Contains(t, on.Notice, "are forgotten; it goes on with what changes from now on")
		no := false
		_, err = h.owner.UpdateWebhook(t.Context(), "p", late.ID, d6tpipe.WebhookUpdate{Paused: &no})
		require.NoError(t, err)
		paused.waitFor(t, 1)
		h.grow(t, files("new", "b")...)
		require.Eventually(t, func() bool { return len(gone.told(t)) == 1 && len(paused.told(t)) == 1 }, patience, 5*time.Millisecond)
		require.Equal(t, []string{"new b"}, gone.told(t))
		c, err := paused.accepted[0].Changed()
		require.NoError(t, err)
		require.Equal(t, "true 0 0", fmt.Sprint(c.Missed, " ", c.Total, " ", len(c.Changes)))
		require.Equal(t, []string{"new b"}, paused.told(t))
	})
}

// TestRetryAfter: a receiver that wants to be left alone is.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	h := hookedWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	b := newInbox(t, h.clock.Now)
	made := h.create(t, d6tpipe.WebhookSettings{URL: b.url})
	b.knows(made.Secret)
	b.says(func(n int, _ d6tpipe.WebhookEvent, w http.ResponseWriter) {
		if n == 0 {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	h.work(t, "", 1)
	h.grow(t, files("new", "a")...)
	h.until(t, made.ID, func(w d6tpipe.Webhook) bool { return w.Failures == 1 })
	require.Equal(t, h.clock.Now().Add(time.Hour), *h.get(t, made.ID).Retry)
	h.later(t, time.Hour)
	require.Eventually(t, func() bool { return len(b.told(t)) == 1 }, patience, 5*time.Millisecond)
}

// TestChangesOfWebhooks: another address is tried at once; another filter tells anew
// what was not accepted; a rotation does not disturb who knows the former secret.
func TestChangesOfWebhooks(t *testing.T) {
	t.Parallel()
	h := hookedWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	b := newInbox(t, h.clock.Now)
	made := h.create(t, d6tpipe.WebhookSettings{URL: "http://127.0.0.1:1/"})
	b.knows(made.Secret)
	h.work(t, "", 1)
	h.grow(t, files("new", "a.csv", "b.txt")...)
	h.until(t, made.ID, func(w d6tpipe.Webhook) bool { return w.Failures == 1 })
	rotated, err := h.owner.UpdateWebhook(t.Context(), "p", made.ID, d6tpipe.WebhookUpdate{URL: &b.url, Rotate: true})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(b.told(t)) == 2 }, patience, 5*time.Millisecond)

	b.knows(rotated.Secret)
	b.says(status(500))
	h.grow(t, files("new", "c.csv", "d.txt")...)
	h.until(t, made.ID, func(w d6tpipe.Webhook) bool { return w.Failures == 1 })
	b.says(nil)
	only := "*.txt"
	_, err = h.owner.UpdateWebhook(t.Context(), "p", made.ID, d6tpipe.WebhookUpdate{Include: &only})
	require.NoError(t, err)
	h.later(t, time.Minute)
	require.Eventually(t, func() bool { return len(b.told(t)) == 3 }, patience, 5*time.Millisecond)
	require.Equal(t, []string{"new a.csv", "new b.txt", "new d.txt"}, b.told(t))
	ids := b.waitFor(t, 3)
	require.NotEqual(t, ids[1], ids[2], "another message has another id")

	b.knows(made.Secret)
	h.later(t, 25*time.Hour)
	h.grow(t, files("new", "e.txt")...)
	require.Eventually(t, func() bool { b.mu.Lock(); defer b.mu.Unlock(); return len(b.refused) > 0 }, patience, 5*time.Millisecond)
	require.ErrorIs(t, b.refused[0], d6tpipe.ErrWebhookForged, "the former secret has ended")
}

// TestSlowReceivers: who answers slowly, with as many webhooks as there may be, keeps
// nobody else waiting.
func TestSlowReceivers(t *testing.T) {
	t.Parallel()
	h := hookedWorld(t, dbtest.Open(t, dbtest.SQLite(t)))
	slow, quick := newInbox(t, h.clock.Now), newInbox(t, h.clock.Now)
	release := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(release) }))
	var secrets []d6tpipe.Secret
	for range 10 {
		secrets = append(secrets, h.create(t, d6tpipe.WebhookSettings{URL: slow.url}).Secret)
	}
	slow.knows(secrets...)
	slow.says(func(int, d6tpipe.WebhookEvent, http.ResponseWriter) { <-release })

	other := h.user(t, "other")
	_, err := other.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "q"})
	require.NoError(t, err)
	h.growOf(t, "q")
	made, err := other.CreateWebhook(t.Context(), "q", d6tpipe.WebhookSettings{URL: quick.url})
	require.NoError(t, err)
	quick.knows(made.Secret)
	h.work(t, "", 4)
	h.grow(t, files("new", "a")...)
	slow.waitFor(t, 2)
	h.growOf(t, "q", files("new", "b")...)
	quick.waitFor(t, 1)
}

// TestTries: a test is sent at once and once, whatever becomes of it, and not too
// often.
func TestTries(t *testing.T) {
	t.Parallel()
	eachHooked(t, func(t *testing.T, h *hooked, _ string) {
		b := newInbox(t, h.clock.Now)
		made := h.create(t, d6tpipe.WebhookSettings{URL: b.url, Paused: true})
		b.knows(made.Secret)
		d, err := h.owner.TestWebhook(t.Context(), "p", made.ID)
		require.NoError(t, err)
		require.Equal(t, "webhook.test 1 200 ", fmt.Sprint(d.Type, " ", d.Attempt, " ", d.Status, " ", d.Error))
		require.Equal(t, []string{d.Message}, b.waitFor(t, 1))
		require.JSONEq(t, `{"pipe":"p","webhook":"`+made.ID+`"}`, string(b.attempts[0].Data))
		b.says(func(_ int, _ d6tpipe.WebhookEvent, w http.ResponseWriter) {
			w.WriteHeader(418)
			_, _ = io.WriteString(w, "no\x1b[2J")
		})
		for range 9 {
			d, err = h.owner.TestWebhook(t.Context(), "p", made.ID)
			require.NoError(t, err)
		}
		require.Equal(t, `418 the answer was 418 I'm a teapot no\u001b[2J`, fmt.Sprint(d.Status, " ", d.Error, " ", d.Said))
		_, err = h.owner.WithLimits(d6tpipe.Limits{Retries: -1}).TestWebhook(t.Context(), "p", made.ID)
		require.ErrorIs(t, err, d6tpipe.ErrRateLimited)
		h.later(t, 2*time.Minute)
		last, err := h.owner.TestWebhook(t.Context(), "p", made.ID)
		require.NoError(t, err)
		var log []d6tpipe.Delivery
		for d, err := range h.owner.Deliveries(t.Context(), "p", made.ID) {
			require.NoError(t, err)
			log = append(log, d)
		}
		require.Len(t, log, 11)
		require.Equal(t, last, log[0])
		h.later(t, 31*24*time.Hour)
		n, err := h.repo.ForgetDeliveries(t.Context(), h.clock.Now().Add(-30*24*time.Hour))
		require.NoError(t, err)
		require.EqualValues(t, 11, n)
		for range h.owner.Deliveries(t.Context(), "p", made.ID) {
			t.Fatal("it is too old")
		}
		require.Zero(t, h.get(t, made.ID).Failures)
	})
}
