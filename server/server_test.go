package server_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
	"github.com/d6t/d6tpipe-go/server/internal/db"
	"github.com/d6t/d6tpipe-go/server/internal/db/dbtest"
	"github.com/d6t/d6tpipe-go/server/internal/jobs"
)

func TestMain(m *testing.M) {
	if code, ok := server.RunChild(); ok {
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == serveArg {
		if err := serveProcess(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dbtest.Main(m)
}

// A running is a server in a test.
type running struct {
	t      *testing.T
	config server.Config
	url    string
	log    *safeBuffer
}

// start serves on a free port until the test ends.
func start(t *testing.T, change ...func(*server.Config)) *running {
	t.Helper()
	r := &running{t: t, log: &safeBuffer{}}
	r.config = server.Config{Data: filepath.Join(t.TempDir(), "data"), KeyFile: filepath.Join(t.TempDir(), "keys", "key"), Log: slog.New(slog.NewTextHandler(r.log, nil))}
	for _, c := range change {
		c(&r.config)
	}
	t.Cleanup(r.run())
	return r
}

// run serves until stop is called.
func (r *running) run() (stop func()) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(r.t, err)
	srv, err := server.New(context.Background(), r.config)
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	r.url = "http://" + l.Addr().String()
	return func() {
		cancel()
		require.NoError(r.t, <-done)
		require.NoError(r.t, srv.Close())
	}
}

// user is a client of a new account, with a file repo of its own.
func (r *running) user(name string) *d6tpipe.APIClient {
	r.t.Helper()
	c := r.client(name)
	_, err := c.Register(r.t.Context(), name, name+"@example.com", d6tpipe.Secret("canary-password-"+name))
	require.NoError(r.t, err)
	return c
}

func (r *running) client(name string) *d6tpipe.APIClient {
	r.t.Helper()
	c, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: name, Server: r.url, FileRepo: r.t.TempDir(), Tokens: d6tpipe.MemoryTokens()})
	require.NoError(r.t, err)
	r.t.Cleanup(c.CloseIdleConnections)
	return c
}

// open opens a pipe of somebody's.
func (r *running) open(c *d6tpipe.APIClient, name string) *d6tpipe.Pipe {
	r.t.Helper()
	p, err := d6tpipe.OpenPipe(r.t.Context(), c, name, d6tpipe.OpenOptions{})
	require.NoError(r.t, err)
	return p
}

func write(t *testing.T, p *d6tpipe.Pipe, key, text string) {
	t.Helper()
	path := filepath.Join(p.Dir(), filepath.FromSlash(key))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func read(t *testing.T, p *d6tpipe.Pipe, key string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.Dir(), filepath.FromSlash(key)))
	require.NoError(t, err)
	return string(data)
}

// TestManagedPipe is what people install a server for: nothing is configured, one
// pushes, another one pulls what is shared, and no more, and not any more.
func TestManagedPipe(t *testing.T) {
	r := start(t)
	vendor, client := r.user("vendor"), r.user("client")
	_, err := vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "sales"})
	require.NoError(t, err)
	_, err = vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "tables", Parent: "sales", Options: d6tpipe.PipeOptions{Include: "*.csv"}})
	require.NoError(t, err)
	sales := r.open(vendor, "sales")
	write(t, sales, "2026/november.csv", "a,b\n1,2\n")
	write(t, sales, "notes.txt", "for our eyes only")
	write(t, sales, "big.csv", string(bytes.Repeat([]byte("0123456789abcdef"), 2<<20)))
	report, err := sales.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	require.Len(t, report.Files, 3)

	_, err = client.Pipes().Get(t.Context(), "tables")
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.NoError(t, vendor.Grant(t.Context(), "tables", d6tpipe.Permission{Username: "client", Role: d6tpipe.RoleRead}))
	tables := r.open(client, "tables")
	report, err = tables.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	require.Len(t, report.Files, 2)
	require.Equal(t, "a,b\n1,2\n", read(t, tables, "2026/november.csv"))
	require.NoFileExists(t, filepath.Join(tables.Dir(), "notes.txt"))
	write(t, tables, "2026/mine.csv", "x")
	_, err = tables.Push(t.Context(), d6tpipe.PushOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	_, err = d6tpipe.OpenPipe(t.Context(), client, "sales", d6tpipe.OpenOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)

	// Keys that were handed out end with the permission.
	set, err := client.Credentials(t.Context(), "tables", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	end, err := time.Parse(time.RFC3339, string(set.Value("expiration")))
	require.NoError(t, err, "our client is told when they end")
	require.WithinRange(t, end, time.Now().Add(time.Minute), time.Now().Add(24*time.Hour))
	held, err := d6tpipe.OpenPipe(t.Context(), client, "tables", d6tpipe.OpenOptions{Credentials: set})
	require.NoError(t, err)
	write(t, sales, "new.csv", "n")
	_, err = sales.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	_, err = held.PlanPull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	require.NoError(t, vendor.Grant(t.Context(), "tables", d6tpipe.Permission{Username: "client", Role: d6tpipe.RoleRevoke}))
	_, err = held.PlanPull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	_, err = tables.Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
}

// TestListing: a pull with nothing to do is one request, and what somebody has pushed
// is seen at once.
func TestListing(t *testing.T) {
	r := start(t)
	vendor, client := r.user("vendor"), r.user("client")
	_, err := vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	require.NoError(t, vendor.Grant(t.Context(), "p", d6tpipe.Permission{Username: "client", Role: d6tpipe.RoleRead}))
	here, there := r.open(vendor, "p"), r.open(client, "p")
	for _, key := range []string{"a.csv", "b.csv", "c.csv"} {
		write(t, here, key, key)
		_, err = here.Push(t.Context(), d6tpipe.PushOptions{})
		require.NoError(t, err)
		report, err := there.Pull(t.Context(), d6tpipe.PullOptions{})
		require.NoError(t, err)
		require.Len(t, report.Files, 1, "what was pushed a moment ago")
		report, err = there.Pull(t.Context(), d6tpipe.PullOptions{})
		require.NoError(t, err)
		require.Empty(t, report.Files)
	}
	files, err := client.ListFiles(t.Context(), "p", false)
	require.NoError(t, err)
	require.Len(t, files.Files, 3)
	require.Empty(t, files.Stale)
	// A user's remote on this machine is not dialled: it could be anything of ours.
	_, err = vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "inside", Protocol: d6tpipe.ProtocolS3, Location: "b",
		Settings: []byte(`{"endpoint_url":"` + r.url + `"}`), Credentials: d6tpipe.Credentials{"aws_access_key_id": "id", "aws_secret_access_key": "x"}})
	require.NoError(t, err)
	_, err = vendor.ListFiles(t.Context(), "inside", true)
	require.Error(t, err)
	require.NotContains(t, string(r.log.bytes()), "127.0.0.1:9", "no connection of the server to itself")
	_, err = vendor.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "folder", Protocol: d6tpipe.ProtocolDir, Location: r.config.Data})
	require.NoError(t, err)
	_, err = vendor.ListFiles(t.Context(), "folder", true)
	require.Error(t, err, "nor are its folders read")
}

// TestRestart: what was acknowledged is there when the server comes back, and
// tokens are good.
func TestRestart(t *testing.T) {
	r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key")}}
	stop := r.run()
	me := r.user("me")
	_, err := me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	p := r.open(me, "p")
	write(t, p, "a.csv", "a")
	_, err = p.Push(t.Context(), d6tpipe.PushOptions{})
	require.NoError(t, err)
	stop()
	n, err := server.RotateKey(t.Context(), r.config)
	require.NoError(t, err)
	require.Equal(t, 2, n, "a token, and the storage's secret")
	var backup bytes.Buffer
	require.NoError(t, server.Backup(t.Context(), r.config, &backup))
	stop = r.run()
	again := r.client("again")
	_, err = again.Login(t.Context(), "me", "canary-password-me")
	require.NoError(t, err)
	p = r.open(again, "p")
	_, err = p.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, "a", read(t, p, "a.csv"))
	stop()

	other := r.config // the files are where they were, the database is another one
	other.Database = filepath.Join(t.TempDir(), "other.db")
	require.NoError(t, server.Restore(t.Context(), other, &backup, false))
	r.config = other
	defer r.run()()
	again = r.client("restored")
	_, err = again.Login(t.Context(), "me", "canary-password-me")
	require.NoError(t, err)
	p = r.open(again, "p")
	_, err = p.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	require.Equal(t, "a", read(t, p, "a.csv"))
}

// TestWrongKey: with another key the server says so and does not start.
func TestWrongKey(t *testing.T) {
	r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key")}}
	stop := r.run()
	stop()
	r.config.KeyFile = filepath.Join(t.TempDir(), "key")
	_, err := server.New(t.Context(), r.config)
	require.Error(t, err)
	require.ErrorContains(t, err, "key")
}

// TestRestoreElsewhere: a backup that is restored into another folder opens with the
// key's file, and without it the server says what to do.
func TestRestoreElsewhere(t *testing.T) {
	for _, name := range []string{"XDG_CONFIG_HOME", "HOME", "AppData"} {
		t.Setenv(name, t.TempDir())
	}
	dir, err := os.UserConfigDir()
	require.NoError(t, err)
	r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir()}}
	stop := r.run()
	r.user("me")
	var backup bytes.Buffer
	require.NoError(t, server.Backup(t.Context(), r.config, &backup))
	stop()
	made, err := filepath.Glob(filepath.Join(dir, "d6tpipe-server", "key-*"))
	require.NoError(t, err)
	require.Len(t, made, 1)

	r.config.Data = t.TempDir()
	require.NoError(t, server.Restore(t.Context(), r.config, &backup, false))
	_, err = server.New(t.Context(), r.config)
	require.ErrorContains(t, err, "key-file")
	r.config.KeyFile = made[0]
	stop = r.run()
	defer stop()
	_, err = r.client("me").Login(t.Context(), "me", "canary-password-me")
	require.NoError(t, err)
}

// TestNoStorage: a server whose storage cannot be opened says why, and lets go of the
// rest.
func TestNoStorage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for storage, want := range map[string]string{
		file:                               "make the folder",
		"s3://b?endpoint_url=s3.internal":  "endpoint",
		"s3://b?keys=urls&endpoint_url=/x": "endpoint",
	} {
		_, err := server.New(t.Context(), server.Config{Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key"), Storage: storage})
		require.ErrorContains(t, err, "storage: ")
		require.ErrorContains(t, err, want)
	}
}

// TestURLs: where the bucket's server makes no temporary keys, users get URLs and what
// there is. The bucket is another server's here.
func TestURLs(t *testing.T) {
	far := start(t)
	they := far.user("u")
	_, err := they.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	keys, err := they.Credentials(t.Context(), "p", d6tpipe.RoleWrite, false)
	require.NoError(t, err)
	for name, key := range map[string]string{"AWS_ACCESS_KEY_ID": "aws_access_key_id", "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key", "AWS_SESSION_TOKEN": "aws_session_token"} {
		t.Setenv(name, string(keys.Value(key)))
	}
	r := start(t, func(c *server.Config) { c.Storage = "s3://managed?keys=urls&endpoint_url=" + far.url })
	me := r.client("u")
	token, err := me.Register(t.Context(), "u", "u@example.com", "canary-password-u")
	require.NoError(t, err)
	_, err = me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	_, err = me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "tables", Parent: "p", Options: d6tpipe.PipeOptions{Include: "*.csv"}})
	require.NoError(t, err)
	_, err = me.Credentials(t.Context(), "p", d6tpipe.RoleRead, false)
	require.ErrorContains(t, err, "at urls/")

	status, body := send(t, http.MethodPost, r.url+"/v1/api/pipes/p/urls/", token, `{"method":"PUT","keys":["a.csv","b.txt"]}`)
	require.Equal(t, http.StatusCreated, status, body)
	var answer struct{ URLs map[string]string }
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	for key, u := range answer.URLs {
		status, body := send(t, http.MethodPut, u, "", "data of "+key)
		require.Equal(t, http.StatusOK, status, body)
	}
	for pipe, want := range map[string][]string{"p": {"a.csv", "b.txt"}, "tables": {"a.csv"}} {
		files, err := me.ListFiles(t.Context(), pipe, true)
		require.NoError(t, err)
		var got []string
		for _, f := range files.Files {
			got = append(got, f.Key)
		}
		require.Equal(t, want, got)
	}
	status, body = send(t, http.MethodPost, r.url+"/v1/api/pipes/tables/urls/", token, `{"keys":["b.txt"]}`)
	require.GreaterOrEqual(t, status, 400, body)
}

// send makes a request and returns its answer.
func send(t *testing.T, method, url string, token d6tpipe.Secret, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Token "+string(token))
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(data)
}

// TestCreateAdmin: the first account of a server that is closed.
func TestCreateAdmin(t *testing.T) {
	r := start(t, func(c *server.Config) { c.Registration = server.RegistrationClosed })
	_, err := r.client("x").Register(t.Context(), "x", "x@example.com", "x")
	require.ErrorIs(t, err, d6tpipe.ErrPermission)
	require.NoError(t, server.CreateAdmin(t.Context(), r.config, server.Admin{Username: "root", Email: "root@example.com", Password: "canary-password-root"}))
	root := r.client("root")
	_, err = root.Login(t.Context(), "root", "canary-password-root")
	require.NoError(t, err)
	events, err := root.Audit(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, events)
}

// TestNoSecretAtRest: neither the database, nor its log, nor a backup, nor the
// server's log has anything that opens something.
func TestNoSecretAtRest(t *testing.T) {
	r := start(t)
	me := r.user("me")
	_, err := me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "own", Protocol: d6tpipe.ProtocolS3, Location: "b",
		Credentials: d6tpipe.Credentials{"aws_access_key_id": "canary-key-id", "aws_secret_access_key": "canary-secret-key"}})
	require.NoError(t, err)
	_, err = me.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "r", Protocol: d6tpipe.ProtocolSFTP, Location: "h",
		ReadCredentials: d6tpipe.Credentials{"username": "u", "password": "canary-secret-read"}, WriteCredentials: d6tpipe.Credentials{"username": "u", "password": "canary-secret-write"}})
	require.NoError(t, err)
	_, err = me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "managed"})
	require.NoError(t, err)
	set, err := me.Credentials(t.Context(), "managed", d6tpipe.RoleWrite, false)
	require.NoError(t, err)
	token, err := me.Login(t.Context(), "me", "canary-password-me")
	require.NoError(t, err)
	_, err = me.Login(t.Context(), "me", "canary-password-wrong")
	require.Error(t, err)
	_, err = me.Credentials(t.Context(), "own", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	var backup bytes.Buffer
	require.NoError(t, server.Backup(t.Context(), r.config, &backup))
	places := map[string][]byte{"backup": backup.Bytes(), "log": r.log.bytes()}
	require.NoError(t, filepath.WalkDir(r.config.Data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		places[path] = data
		return err
	}))
	require.Greater(t, len(places), 2)
	for _, secret := range []string{
		"canary-password-me", "canary-password-wrong", "canary-secret-key", "canary-secret-read", "canary-secret-write", string(token),
		string(set.Value("aws_secret_access_key")), string(set.Value("aws_session_token")),
	} {
		require.NotEmpty(t, secret)
		for where, data := range places {
			for how, form := range encodings(secret) {
				require.False(t, bytes.Contains(data, form), "%s: %s of %.12s...", where, how, secret)
			}
		}
	}
}

// TestShutdown: a server that is told to end does so within its time.
func TestShutdown(t *testing.T) {
	r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key"), ShutdownTimeout: time.Second}}
	stop := r.run()
	r.user("me")
	begin := time.Now()
	stop()
	require.Less(t, time.Since(begin), patience)
}

// TestNewerDatabase: a server does not touch the database of a newer program, says
// why, and is fine again with what it knows.
func TestNewerDatabase(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir(), Database: url, KeyFile: filepath.Join(t.TempDir(), "key")}}
		r.run()()
		driver, name := "pgx", url
		if !isPostgres(url) {
			driver, name = "sqlite", url[len("sqlite://"):]
		}
		raw, err := sql.Open(driver, name)
		require.NoError(t, err)
		defer raw.Close()
		_, err = raw.ExecContext(t.Context(), `INSERT INTO d6tpipe_schema (version_id, is_applied) VALUES (99, TRUE)`)
		require.NoError(t, err)
		_, err = server.New(t.Context(), r.config)
		require.ErrorIs(t, err, db.ErrNewer)
		require.ErrorContains(t, err, "version 99")
		require.ErrorIs(t, server.CreateAdmin(t.Context(), r.config, server.Admin{Username: "root", Email: "root@example.com", Password: "x"}), db.ErrNewer)
		require.ErrorIs(t, server.Backup(t.Context(), r.config, &bytes.Buffer{}), db.ErrNewer)
		_, err = raw.ExecContext(t.Context(), `DELETE FROM d6tpipe_schema WHERE version_id = 99`)
		require.NoError(t, err)
		r.run()()
	})
}

// TestRestoreUnderAServer: what a server has is not replaced while it runs.
func TestRestoreUnderAServer(t *testing.T) {
	dbtest.EachURL(t, func(t *testing.T, url string) {
		r := &running{t: t, log: &safeBuffer{}, config: server.Config{Database: url, Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key")}}
		stop := r.run()
		r.user("me")
		var backup bytes.Buffer
		require.NoError(t, server.Backup(t.Context(), r.config, &backup))
		r.user("you")
		restore := func() error { return server.Restore(t.Context(), r.config, bytes.NewReader(backup.Bytes()), true) }
		queue := url
		if !isPostgres(url) {
			queue = filepath.Join(r.config.Data, "jobs.db")
		}
		require.Eventually(t, func() bool { // at the start nobody knows of it yet
			return errors.Is(jobs.Alone(t.Context(), queue, func() error { return nil }), jobs.ErrInUse)
		}, patience, 20*time.Millisecond)
		err := restore()
		require.ErrorContains(t, err, "a server runs on it")
		require.NotContains(t, err.Error(), "canary")
		_, err = r.client("you").Login(t.Context(), "you", "canary-password-you")
		require.NoError(t, err)
		stop()
		require.Eventually(t, func() bool { return restore() == nil }, patience, 100*time.Millisecond)
		defer r.run()()
		_, err = r.client("you").Login(t.Context(), "you", "canary-password-you")
		require.ErrorIs(t, err, d6tpipe.ErrUnauthorized)
		_, err = r.client("me").Login(t.Context(), "me", "canary-password-me")
		require.NoError(t, err)
	})
}

// TestPruneKeys: an old key goes when nothing needs it, and not before.
func TestPruneKeys(t *testing.T) {
	r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key")}}
	stop := r.run()
	me := r.user("me")
	_, err := me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Protocol: d6tpipe.ProtocolS3, Location: "b", Credentials: d6tpipe.Credentials{"aws_access_key_id": "id", "aws_secret_access_key": "canary"}})
	require.NoError(t, err)
	stop()
	var before bytes.Buffer
	require.NoError(t, server.Backup(t.Context(), r.config, &before))
	_, err = server.RotateKey(t.Context(), r.config)
	require.NoError(t, err)
	_, err = server.PruneKeys(t.Context(), r.config)
	require.ErrorContains(t, err, "wait")
	long := time.Now().Add(-11 * time.Minute)
	require.NoError(t, os.Chtimes(r.config.KeyFile, long, long))

	old := r.config // what is sealed with the old key keeps it
	old.Database = filepath.Join(t.TempDir(), "old.db")
	require.NoError(t, server.Restore(t.Context(), old, bytes.NewReader(before.Bytes()), false))
	n, err := server.PruneKeys(t.Context(), old)
	require.NoError(t, err)
	require.Zero(t, n)

	n, err = server.PruneKeys(t.Context(), r.config)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	stop = r.run()
	defer stop()
	again := r.client("again")
	_, err = again.Login(t.Context(), "me", "canary-password-me")
	require.NoError(t, err)
	set, err := again.Credentials(t.Context(), "p", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	require.Equal(t, d6tpipe.Secret("canary"), set.Value("aws_secret_access_key"))
	_, err = server.PruneKeys(t.Context(), old)
	require.Error(t, err, "whose key is gone")
}

// TestAuditAge: what is older than the administrator wants is gone.
func TestAuditAge(t *testing.T) {
	r := &running{t: t, log: &safeBuffer{}, config: server.Config{Data: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key"), AuditAge: -1}}
	stop := r.run()
	me := r.user("me")
	_, err := me.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p"})
	require.NoError(t, err)
	stop()
	stop = r.run()
	again := r.client("again")
	_, err = again.Login(t.Context(), "me", "canary-password-me")
	require.NoError(t, err)
	events, err := again.Audit(t.Context())
	require.NoError(t, err)
	require.Len(t, events, 2, "all are kept")
	stop()
	r.config.AuditAge = time.Nanosecond
	stop = r.run()
	defer stop()
	again = r.client("once-more")
	_, err = again.Login(t.Context(), "me", "canary-password-me")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		events, err := again.Audit(t.Context())
		return err == nil && len(events) == 0
	}, patience, 50*time.Millisecond)
}
