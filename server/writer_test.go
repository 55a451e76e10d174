package server_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// facts are what there is of a writer's: "pipes w1-a" and what it shows, "account
// w1-guest" and its token, "grant w1-a" and the role, "file data.csv" and what is in it.
// What is not there has no line.
type facts map[string]string

// unknown is a token that nobody was told yet.
const unknown = "?"

// matches reports whether seen is what f says, after before.
func (f facts) matches(seen, before facts) bool {
	return maps.EqualFunc(f, seen, func(want, got string) bool {
		return want == got || want == unknown && !slices.Contains(slices.Collect(maps.Values(before)), got)
	})
}

// drop removes the facts whose names begin with one of these.
func (f facts) drop(prefixes ...string) {
	maps.DeleteFunc(f, func(name, _ string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	})
}

// A change is a write, and what it makes of the facts: all of it or nothing.
type change struct {
	audit string // its line in the audit log, "" for none
	// do returns what the server has told: a token, if that is what it was about.
	do    func(ctx context.Context) (told string, err error)
	apply func(f facts, told string)
	// done is what another try meets when the first one has been carried out, and ask
	// finds out what that one was told.
	done error
	ask  func(ctx context.Context) (told string, err error)
}

// A writer changes things of its own on a server, at random, and remembers what the
// server has acknowledged.
type writer struct {
	t     testing.TB
	name  string
	token d6tpipe.Secret
	urls  []string // of the servers; which of them is asked is chosen at random
	at    int      // the server that is asked now
	n     int      // counts the changes, so that none makes what was before

	facts  facts
	acked  []string // lines of the audit log
	maybe  []string // further ones, of what was tried and has no answer
	pushed int
	doubt  *change // has no answer
}

const password = "canary-password-"

// newWriter opens the account of a writer.
func newWriter(t testing.TB, name string, urls ...string) *writer {
	t.Helper()
	w := &writer{t: t, name: name, urls: urls, facts: facts{}}
	require.NoError(t, w.as("", func(c *d6tpipe.APIClient) (err error) {
		w.token, err = c.Register(t.Context(), name, name+"@example.com", d6tpipe.Secret(password+name))
		return err
	}))
	return w
}

// as calls do with the client of who has a token.
func (w *writer) as(token d6tpipe.Secret, do func(c *d6tpipe.APIClient) error) error {
	return as(w.urls[w.at], token, "", do)
}

// as calls do with a client of the server at url, of who has the token, with a folder
// for files. It tries everything once.
func as(url string, token d6tpipe.Secret, folder string, do func(c *d6tpipe.APIClient) error) error {
	tokens := d6tpipe.MemoryTokens()
	if token != "" {
		key := d6tpipe.TokenKey{Profile: "p", Origin: url}
		if err := tokens.SetToken(context.Background(), key, token); err != nil {
			return err
		}
	}
	c, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "p", Server: url, FileRepo: folder, Tokens: tokens})
	if err != nil {
		return err
	}
	defer c.CloseIdleConnections()
	return do(c.WithLimits(d6tpipe.Limits{Retries: -1}))
}

// act makes a change and remembers it when it is acknowledged.
func (w *writer) act(ctx context.Context, c *change) error {
	told, err := c.do(ctx)
	if err != nil {
		w.doubt = c
		return err
	}
	w.acknowledge(c, told)
	return nil
}

// insist makes a change on one server or, when that is allowed not to answer, on
// another one. It returns an error that no server may give.
func (w *writer) insist(ctx context.Context, c *change, mayFail func(url string) bool) error {
	for try := 0; ; try++ {
		told, err := c.do(ctx)
		if try > 0 && c.done != nil && errors.Is(err, c.done) {
			if err = nil; c.ask != nil {
				told, err = c.ask(ctx)
			}
		}
		if err == nil {
			w.acknowledge(c, told)
			return nil
		}
		var answer *d6tpipe.StatusError
		if try == 5 || errors.As(err, &answer) || !errors.Is(err, d6tpipe.ErrUnavailable) || !mayFail(w.urls[w.at]) {
			return fmt.Errorf("try %d on server %d: %w", try+1, w.at, err)
		}
		w.maybe = append(w.maybe, c.audit)
		w.at = (w.at + 1) % len(w.urls)
	}
}

func (w *writer) acknowledge(c *change, told string) {
	w.doubt = nil
	c.apply(w.facts, told)
	if c.audit != "" {
		w.acked = append(w.acked, c.audit)
	} else {
		w.pushed++
	}
}

// has reports whether there is something of the writer's.
func (w *writer) has(fact string) bool { return w.facts[fact] != "" }

// next makes up a change.
func (w *writer) next() *change {
	w.n++
	w.at = rand.IntN(len(w.urls))
	for {
		if c := w.any(rand.IntN(16)); c != nil {
			return c
		}
	}
}

// any is a change of some kind, nil when there is nothing to be changed in that way.
func (w *writer) any(kind int) *change {
	a, child, managed := w.name+"-a", w.name+"-child", w.name+"-m"
	switch kind {
	case 0, 1, 2:
		return w.pipe(a)
	case 3, 4:
		if w.has("pipes " + a) {
			return w.child(child, a)
		}
	case 5, 6:
		return w.remote(w.name + "-r")
	case 7, 8:
		return w.managed(managed)
	case 9, 10, 11:
		if w.has("pipes " + managed) {
			return w.push(managed, fmt.Sprintf("data-%d.csv", rand.IntN(3)))
		}
	case 12, 13:
		if pipe := []string{a, managed}[rand.IntN(2)]; w.has("pipes " + pipe) {
			return w.grant(pipe)
		}
	case 14:
		return w.guest(w.name + "-guest")
	case 15:
		if guest := w.name + "-guest"; w.has("account "+guest) && !w.has("pipes "+guest) {
			return w.guestPipe(guest)
		}
	}
	return nil
}

// shown is what is looked at of a pipe. Where a managed pipe lies is the server's
// business.
func shown(location, parent string, schema []byte) string {
	if strings.HasPrefix(location, "managed/") {
		location = "managed"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", location, schema, parent))
}

func (w *writer) schema() []byte { return fmt.Appendf(nil, `{"n":%d}`, w.n) }

// line is a line of the audit log.
func line(words ...string) string { return strings.TrimSpace(strings.Join(words, " ")) }

// edit makes a change of a record: it is created when it is not there, and mostly
// updated and sometimes deleted when it is.
func edit[T d6tpipe.Record](w *writer, of func(*d6tpipe.APIClient) *d6tpipe.Collection[T], record T, kind, name string, apply func(f facts), gone ...string) *change {
	verb := [...]string{"PATCH", "PUT", "DELETE", "PATCH"}[rand.IntN(4)]
	if !w.has(kind + " " + name) {
		verb = "POST"
	}
	c := &change{audit: line(w.name, verb, kind, name), apply: func(f facts, _ string) { apply(f) }}
	switch verb {
	case "POST":
		c.done = d6tpipe.ErrExists
	case "DELETE":
		c.done = d6tpipe.ErrNotFound
		c.apply = func(f facts, _ string) { f.drop(append(gone, kind+" "+name)...) }
	}
	c.do = func(ctx context.Context) (string, error) {
		return "", w.as(w.token, func(client *d6tpipe.APIClient) (err error) {
			switch all := of(client); verb {
			case "POST":
				_, err = all.Create(ctx, record)
			case "PUT":
				_, err = all.Replace(ctx, record)
			case "DELETE":
				err = all.Delete(ctx, name)
			default:
				_, err = all.Update(ctx, record)
			}
			return err
		})
	}
	return c
}

func pipesOf(c *d6tpipe.APIClient) *d6tpipe.Collection[d6tpipe.PipeSettings] { return c.Pipes() }

// pipe is a change of a pipe on storage of its own, with credentials, which children
// inherit from.
func (w *writer) pipe(name string) *change {
	id, location := fmt.Sprint("id-", w.n), fmt.Sprint("bucket-", w.n)
	record := d6tpipe.PipeSettings{Name: name, Protocol: d6tpipe.ProtocolS3, Location: location, Schema: w.schema(),
		Credentials: d6tpipe.Credentials{"aws_access_key_id": d6tpipe.Secret(id), "aws_secret_access_key": "canary-secret"}}
	child := w.name + "-child"
	c := edit(w, pipesOf, record, "pipes", name, func(f facts) {
		f["pipes "+name] = shown(location, "", record.Schema)
		f["keys "+name] = id
		if old := strings.Fields(f["pipes "+child]); len(old) > 1 { // it lies where its parent does
			f["pipes "+child] = shown(location, old[2], []byte(old[1]))
		}
	}, "keys "+name, "grant "+name)
	if strings.Contains(c.audit, " DELETE ") && w.has("pipes "+child) { // it would stay, with no parent
		return nil
	}
	return c
}

// child is a change of a pipe below another one.
func (w *writer) child(name, parent string) *change {
	record := d6tpipe.PipeSettings{Name: name, Parent: parent, Schema: w.schema()}
	return edit(w, pipesOf, record, "pipes", name, func(f facts) {
		location, _, _ := strings.Cut(f["pipes "+parent], " ")
		f["pipes "+name] = shown(location, parent, record.Schema)
	})
}

// managed is a change of a pipe whose files the server keeps.
func (w *writer) managed(name string) *change {
	record := d6tpipe.PipeSettings{Name: name, Schema: w.schema()}
	return edit(w, pipesOf, record, "pipes", name, func(f facts) {
		f["pipes "+name] = shown("managed/", "", record.Schema)
	}, "file ", "grant "+name)
}

// remote is a change of a remote. Its credentials are shown with it.
func (w *writer) remote(name string) *change {
	record := d6tpipe.RemoteSettings{Name: name, Protocol: d6tpipe.ProtocolSFTP, Location: fmt.Sprintf("host-%d.example.com", w.n),
		ReadCredentials: d6tpipe.Credentials{"username": d6tpipe.Secret(fmt.Sprint("user-", w.n)), "password": "canary-secret"}}
	return edit(w, func(c *d6tpipe.APIClient) *d6tpipe.Collection[d6tpipe.RemoteSettings] { return c.Remotes() }, record, "remotes", name,
		func(f facts) { f["remotes "+name] = shownRemote(record) })
}

func shownRemote(r d6tpipe.RemoteSettings) string {
	return r.Location + " " + string(r.ReadCredentials.Value("username"))
}

// grant gives the reader another role with a pipe, or takes it back.
func (w *writer) grant(pipe string) *change {
	p := d6tpipe.Permission{Username: "reader", Role: d6tpipe.RoleRead}
	switch d6tpipe.Role(w.facts["grant "+pipe]) {
	case d6tpipe.RoleRead:
		p.Role = d6tpipe.RoleWrite
	case d6tpipe.RoleWrite:
		p.Role = d6tpipe.RoleRevoke
	}
	return &change{
		audit: line(w.name, "grant pipes", pipe, string(p.Role), "to reader"),
		do: func(ctx context.Context) (string, error) {
			return "", w.as(w.token, func(c *d6tpipe.APIClient) error { return c.Grant(ctx, pipe, p) })
		},
		apply: func(f facts, _ string) {
			if f["grant "+pipe] = string(p.Role); p.Role == d6tpipe.RoleRevoke {
				delete(f, "grant "+pipe)
			}
		},
	}
}

// guest opens an account, gives it another token, or closes it with all that it has.
func (w *writer) guest(name string) *change {
	fact := "account " + name
	token := d6tpipe.Secret(w.facts[fact])
	login := func(ctx context.Context) (string, error) {
		token, err := w.login(ctx, name)
		return string(token), err
	}
	switch {
	case token == "":
		return &change{
			audit: line(name, "register accounts", name), done: d6tpipe.ErrExists, ask: login,
			do: func(ctx context.Context) (told string, err error) {
				err = w.as("", func(c *d6tpipe.APIClient) error {
					token, err := c.Register(ctx, name, name+"@example.com", d6tpipe.Secret(password+name))
					told = string(token)
					return err
				})
				return told, err
			},
			apply: func(f facts, told string) { f[fact] = told },
		}
	case rand.IntN(3) == 0:
		return &change{
			audit: line(name, "unregister accounts", name), done: d6tpipe.ErrUnauthorized,
			do: func(ctx context.Context) (string, error) {
				return "", w.as(token, func(c *d6tpipe.APIClient) error { return c.Unregister(ctx, name) })
			},
			apply: func(f facts, _ string) { f.drop(fact, "pipes "+name) },
		}
	}
	return &change{
		audit: line(name, "reset token accounts", name), done: d6tpipe.ErrUnauthorized, ask: login,
		do: func(ctx context.Context) (told string, err error) {
			err = w.as(token, func(c *d6tpipe.APIClient) error {
				token, err := c.ResetToken(ctx, name)
				told = string(token)
				return err
			})
			return told, err
		},
		apply: func(f facts, told string) { f[fact] = told },
	}
}

// login is how somebody gets the token who knows the password.
func (w *writer) login(ctx context.Context, name string) (token d6tpipe.Secret, err error) {
	err = w.as("", func(c *d6tpipe.APIClient) (err error) {
		token, err = c.Login(ctx, name, d6tpipe.Secret(password+name))
		return err
	})
	return token, err
}

// guestPipe makes a pipe of the guest's.
func (w *writer) guestPipe(name string) *change {
	token := d6tpipe.Secret(w.facts["account "+name])
	record := d6tpipe.PipeSettings{Name: name, Protocol: d6tpipe.ProtocolS3, Location: "guest", Schema: w.schema()}
	return &change{
		audit: line(name, "POST pipes", name), done: d6tpipe.ErrExists,
		do: func(ctx context.Context) (string, error) {
			return "", w.as(token, func(c *d6tpipe.APIClient) error {
				_, err := c.Pipes().Create(ctx, record)
				return err
			})
		},
		apply: func(f facts, _ string) { f["pipes "+name] = shown("guest", "", record.Schema) },
	}
}

// push gives a file of a managed pipe another content, as somebody does who has just
// come to it.
func (w *writer) push(pipe, key string) *change {
	text := strings.Repeat(fmt.Sprintf("%s,%d\n", pipe, w.n), 1+rand.IntN(2000))
	return &change{
		do: func(ctx context.Context) (string, error) {
			return "", w.withPipe(ctx, pipe, func(p *d6tpipe.Pipe) error {
				if _, err := p.Pull(ctx, d6tpipe.PullOptions{Fresh: true}); err != nil {
					return err
				}
				if err := os.MkdirAll(p.Dir(), 0o700); err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(p.Dir(), key), []byte(text), 0o600); err != nil {
					return err
				}
				_, err := p.Push(ctx, d6tpipe.PushOptions{})
				return err
			})
		},
		apply: func(f facts, _ string) { f["file "+key] = short(text) },
	}
}

// withPipe opens a pipe in a new folder.
func (w *writer) withPipe(ctx context.Context, name string, do func(p *d6tpipe.Pipe) error) (err error) {
	folder, err := os.MkdirTemp("", "d6tpipe-writer-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	return as(w.urls[w.at], w.token, folder, func(c *d6tpipe.APIClient) error {
		p, err := d6tpipe.OpenPipe(ctx, c, name, d6tpipe.OpenOptions{})
		if err != nil {
			return err
		}
		return do(p)
	})
}

// look returns what one sees of the writer's on a server.
func (w *writer) look(ctx context.Context, at int) (seen facts, err error) {
	w.at, seen = at, facts{}
	if err := w.as(w.token, func(c *d6tpipe.APIClient) error { return w.lookAt(ctx, c, seen) }); err != nil {
		return nil, err
	}
	return seen, w.lookAtGuest(ctx, w.name+"-guest", seen)
}

func (w *writer) lookAt(ctx context.Context, c *d6tpipe.APIClient, seen facts) error {
	if user, err := c.WhoAmI(ctx); err != nil || user.Username != w.name {
		return fmt.Errorf("I am %q: %w", user.Username, err)
	}
	for r, err := range c.Remotes().All(ctx) {
		if err != nil {
			return err
		}
		seen["remotes "+r.Name] = shownRemote(r)
	}
	for p, err := range c.Pipes().All(ctx) {
		if err != nil {
			return err
		}
		if err := w.lookAtPipe(ctx, c, p, seen); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) lookAtPipe(ctx context.Context, c *d6tpipe.APIClient, p d6tpipe.PipeSettings, seen facts) error {
	seen["pipes "+p.Name] = shown(p.Location, p.Parent, p.Schema)
	grants, err := c.Permissions(ctx, p.Name)
	if err != nil {
		return err
	}
	for _, g := range grants {
		seen["grant "+p.Name] += string(g.Role) // a second one would be one too many
	}
	switch p.Name {
	case w.name + "-a":
		set, err := c.Credentials(ctx, p.Name, d6tpipe.RoleRead, false)
		seen["keys "+p.Name] = string(set.Value("aws_access_key_id"))
		return err
	case w.name + "-m":
		return w.withPipe(ctx, p.Name, func(p *d6tpipe.Pipe) error { return lookAtFiles(ctx, p, seen) })
	}
	return nil
}

// short stands for what is in a file.
func short(text string) string {
	return fmt.Sprintf("%d bytes, %.6x", len(text), sha256.Sum256([]byte(text)))
}

// lookAtFiles looks at the storage itself: the server may not have been told of the
// last push, when it was killed meanwhile.
func lookAtFiles(ctx context.Context, p *d6tpipe.Pipe, seen facts) error {
	report, err := p.Pull(ctx, d6tpipe.PullOptions{Fresh: true})
	if err != nil {
		return err
	}
	for _, f := range report.Files {
		data, err := os.ReadFile(filepath.Join(p.Dir(), filepath.FromSlash(f.Key)))
		if err != nil {
			return err
		}
		seen["file "+f.Key] = short(string(data))
	}
	return nil
}

// lookAtGuest finds out whether the guest is there: with its token, or with its
// password when that is good for nothing.
func (w *writer) lookAtGuest(ctx context.Context, name string, seen facts) error {
	token := d6tpipe.Secret(w.facts["account "+name])
	if token == "" && w.doubt == nil && rand.IntN(20) > 0 { // to be sure of a stranger takes a hash
		token = "long-gone"
	}
	err := d6tpipe.ErrUnauthorized
	if token != "" {
		err = w.as(token, func(c *d6tpipe.APIClient) error { _, err := c.WhoAmI(ctx); return err })
	}
	if errors.Is(err, d6tpipe.ErrUnauthorized) && token != "long-gone" {
		token, err = w.login(ctx, name)
	}
	if errors.Is(err, d6tpipe.ErrUnauthorized) {
		return nil
	}
	if err != nil {
		return err
	}
	seen["account "+name] = string(token)
	return w.as(token, func(c *d6tpipe.APIClient) error {
		for p, err := range c.Pipes().All(ctx) {
			if err != nil {
				return err
			}
			seen["pipes "+p.Name] = shown(p.Location, p.Parent, p.Schema)
		}
		return nil
	})
}

// settle compares what is there with what was acknowledged. What was in doubt is there
// or is not, but not half. It returns the lines that the audit log must have, and those
// that it may have.
func (w *writer) settle(seen facts) (lines, maybe []string) {
	w.t.Helper()
	if w.doubt != nil {
		after := maps.Clone(w.facts)
		if w.doubt.apply(after, unknown); after.matches(seen, w.facts) {
			if w.doubt.audit != "" {
				w.acked = append(w.acked, w.doubt.audit)
			}
			w.facts = seen
		}
	}
	require.Equal(w.t, w.facts, seen, "%s: what was acknowledged, and what is there; in doubt: %+v", w.name, w.doubt)
	w.doubt = nil
	lines, maybe = w.acked, w.maybe
	w.acked, w.maybe = nil, nil
	return lines, maybe
}
