package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server"
)

// A canary is a text that must be nowhere but where it belongs.
func canary() string { return `cAnary-"&é+/` + rand.Text() }

// A safe buffer can be read while somebody writes.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}

// A mine is a server, the secrets that it was told or has told, and the places where
// none may be.
type mine struct {
	*running
	secrets map[string]string // by what they are
	places  map[string][]byte
	refused bytes.Buffer // bodies and headers of all answers that say no
	text    safeBuffer
	json    safeBuffer
}

func newMine(t *testing.T) *mine {
	m := &mine{secrets: map[string]string{}, places: map[string][]byte{}}
	m.running = start(t, func(c *server.Config) {
		c.Log = slog.New(slog.NewMultiHandler(
			slog.NewTextHandler(&m.text, &slog.HandlerOptions{Level: slog.LevelDebug}), slog.NewJSONHandler(&m.json, &slog.HandlerOptions{Level: slog.LevelDebug})))
		c.AllowDial, c.WebhookHTTP = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true
	})
	return m
}

// secret makes one and remembers it.
func (m *mine) secret(what string) string {
	c := canary()
	m.secrets[what] = c
	return c
}

// ask makes a request. What is refused must show no secret.
func (m *mine) ask(token, method, path, body string) (int, []byte) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.url+path, strings.NewReader(body))
	require.NoError(m.t, err)
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(m.t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	require.NoError(m.t, err)
	if res.StatusCode >= 400 {
		fmt.Fprintf(&m.refused, "%s: %d %v %s\n", method, res.StatusCode, res.Header, data)
	}
	return res.StatusCode, data
}

// object is a JSON object of names and values.
func object(pairs ...any) string {
	fields := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i].(string)] = pairs[i+1]
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// account opens one, with a password and a token that are secrets.
func (m *mine) account(name string) (token string) {
	m.t.Helper()
	status, body := m.ask("", "POST", "/v1/api/accounts/", object("username", name, "email", name+"@example.com", "password", m.secret(name+"'s password")))
	require.Equal(m.t, 201, status, "%s", body)
	var said struct{ Token string }
	require.NoError(m.t, json.Unmarshal(body, &said))
	m.secrets[name+"'s token"] = said.Token
	return "Token " + said.Token
}

// logins are attempts to get in, and forms that hold secrets and are none.
func (m *mine) logins(token string) {
	wrong := m.secret("a wrong password")
	for _, path := range []string{"/v1/api/accounts/", "/v1/api/accounts/token/", "/v1/api/accounts/token"} {
		for _, body := range []string{
			object("username", "alice", "email", "alice@example.com", "password", wrong), object("username", "nobody", "password", wrong),
			object("username", "public", "email", "x@example.com", "password", wrong), object("username", "bob", "email", "no address", "password", wrong),
			`{"username":"alice","password":"` + wrong, `["` + wrong + `"]`, `"` + wrong + `"`, wrong,
			object("username", "alice", "password", []string{wrong}), object("username", 1, "password", wrong),
			object("username", "alice", "password", strings.Repeat(wrong, 30_000)),                                             // too large a body
			object("username", "alice", "password", strings.Repeat(wrong, 100)),                                                // too long a password
			`{"password":` + strings.Repeat("[", 300) + strings.TrimSpace(object("p", wrong)) + strings.Repeat("]", 300) + `}`, // too deep
		} {
			status, answer := m.ask("", "POST", path, body)
			require.GreaterOrEqual(m.t, status, 400, "%s", answer)
		}
	}
	bad := m.secret("a wrong token")
	plain := strings.TrimPrefix(token, "Token ")
	for _, header := range []string{"Token " + rand.Text() + "cAnaryToken", "Bearer " + plain, plain, "Token " + plain + " " + plain, "Basic " + plain, "Token " + plain + "x"} {
		status, _ := m.ask(header, "GET", "/v1/api/pipes/", "")
		require.Equal(m.t, 401, status)
		m.ask(header, "POST", "/v1/api/pipes/", object("name", "x", "credentials", object("secret", bad)))
	}
	m.ask("", "GET", "/v1/api/?token="+plain, "")
	m.ask("", "DELETE", "/v1/api/accounts/alice/?password="+wrong[len(wrong)-20:], "")
	m.ask(token, "GET", "/v1/nowhere/"+plain+"/", "")
}

// records are remotes and pipes with credentials, good ones and such as are refused.
func (m *mine) records(token string, hosts map[string]string) {
	m.t.Helper()
	sets := map[string]map[string]any{
		"s3":   {"aws_access_key_id": "AKIA" + rand.Text()[:10], "aws_secret_access_key": m.secret("an S3 key"), "aws_session_token": m.secret("an S3 token")},
		"sftp": {"username": "u", "password": m.secret("an SFTP password"), "private_key": m.secret("a private key"), "passphrase": m.secret("a passphrase")},
		"ftp":  {"username": "u", "password": m.secret("an FTP password")},
		"http": {"token": m.secret("an HTTP token")},
	}
	for protocol, set := range sets {
		for i, host := range []string{"127.0.0.1:1", hosts[protocol]} {
			name := fmt.Sprint(protocol, i)
			location, settings := host, map[string]any{"insecure": true, "host_key": "SHA256:" + strings.Repeat("A", 43)}
			switch protocol {
			case "sftp":
				if i == 1 { // so that it gets as far as to connect
					set = map[string]any{"username": "u", "password": set["password"]}
				}
			case "s3":
				location, settings = "bucket", map[string]any{"endpoint_url": "http://" + host, "insecure": true}
			case "http":
				location, settings = "http://"+host+"/d/", map[string]any{"manifest": "m.json", "insecure": true}
			}
			status, body := m.ask(token, "POST", "/v1/api/pipes/", object("name", name, "protocol", protocol, "location", location, "settings", settings, "credentials", set))
			require.Equal(m.t, 201, status, "%s", body)
			status, body = m.ask(token, "POST", "/v1/api/remotes/", object("name", "r"+name, "protocol", protocol, "location", location, "settings", settings, "readCredentials", set, "writeCredentials", set))
			require.Equal(m.t, 201, status, "%s", body)
			status, body = m.ask(token, "POST", "/v1/api/pipes/", object("name", "on"+name, "remote", "r"+name))
			require.Equal(m.t, 201, status, "%s", body)
			scanned := []string{name, "on" + name}[i] // each way once: the server dials, tries again for a while, and fails
			status, _ = m.ask(token, "GET", "/v1/api/pipes/"+scanned+"/files/?refresh=True", "")
			require.GreaterOrEqual(m.t, status, 400, scanned)
			status, _ = m.ask(token, "GET", "/v1/api/pipes/"+name+"/credentials/?role=write", "")
			require.Equal(m.t, 200, status)
		}
		for _, body := range []string{
			object("name", "$"+protocol, "protocol", protocol, "credentials", set), object("name", protocol+"0", "protocol", protocol, "location", "x", "credentials", set),
			object("name", "bad", "protocol", "nonsense", "location", "x", "credentials", set), object("name", "bad", "protocol", protocol, "location", "x", "options", map[string]any{"dir": "../x"}, "credentials", set),
			object("name", "bad", "protocol", protocol, "location", "x", "credentials", object("x", set)), object("name", "bad", "protocol", protocol, "location", "x", "credentials", []any{set}),
			object("name", "bad", "parent", "missing", "credentials", set), object("name", "bad", "protocol", protocol, "location", 1, "credentials", set),
			object("credentials", set)[:40] + object("credentials", set), object("name", "bad", "credentials", set)[1:],
		} {
			for _, to := range [][2]string{{"POST", "pipes/"}, {"PUT", "pipes/" + protocol + "0/"}, {"POST", "remotes/"}, {"PATCH", "pipes/missing/"}} {
				m.ask(token, to[0], "/v1/api/"+to[1], body) // most of it is refused
			}
		}
	}
	for _, path := range []string{"pipes/", "remotes/", "pipes/s30/", "remotes/rs30/", "pipes/s30/permissions/", "pipes/s30/analytics/"} {
		status, _ := m.ask(token, "GET", "/v1/api/"+path, "")
		require.Equal(m.t, 200, status)
	}
}

// webhooks are addresses that hold secrets, and secrets to sign with. The receiver
// repeats what it was sent, which is in the log of deliveries.
func (m *mine) webhooks(token, host string) {
	m.t.Helper()
	const hooks = "/v1/api/pipes/s30/webhooks/"
	address := func(host string) string {
		return "http://" + host + "/" + url.PathEscape(m.secret("a part of an address")) + "?token=" + url.QueryEscape(m.secret("a token in an address"))
	}
	var made struct{ ID, Secret string }
	for i, host := range []string{"127.0.0.1:1", host} {
		status, body := m.ask(token, "POST", hooks, object("url", address(host)))
		require.Equal(m.t, 201, status, "%s", body)
		require.NoError(m.t, json.Unmarshal(body, &made))
		m.secrets[fmt.Sprint("a webhook's secret ", i)] = made.Secret
		status, body = m.ask(token, "PATCH", hooks+made.ID+"/", object("rotate", true, "url", address(host)))
		require.Equal(m.t, 200, status, "%s", body)
		require.NoError(m.t, json.Unmarshal(body, &made))
		m.secrets[fmt.Sprint("a webhook's newer secret ", i)] = made.Secret
		status, body = m.ask(token, "POST", hooks+made.ID+"/test/", "")
		require.Equal(m.t, 200, status, "%s", body)
		require.Equal(m.t, i == 1, strings.Contains(string(body), "AccessDenied"), "%s", body)
		m.places[fmt.Sprint("deliveries ", i)] = body
		for _, bad := range []string{"ftp" + address(host)[4:], address("user:" + url.QueryEscape(m.secret("a password in an address")) + "@" + host), address("10.0.0.1"), address("")} {
			status, _ = m.ask(token, "PATCH", hooks+made.ID+"/", object("url", bad))
			require.Equal(m.t, 400, status)
		}
	}
	status, body := m.ask(token, "GET", hooks, "")
	require.Equal(m.t, 200, status)
	require.NotContains(m.t, string(body), "whsec_")
}

// managed uses temporary keys, in ways that work and in ways that do not.
func (m *mine) managed(token string) {
	m.t.Helper()
	me := m.client("alice")
	_, err := me.Login(m.t.Context(), "alice", d6tpipe.Secret(m.secrets["alice's password"]))
	require.NoError(m.t, err)
	_, err = me.Pipes().Create(m.t.Context(), d6tpipe.PipeSettings{Name: "managed"})
	require.NoError(m.t, err)
	for _, role := range []d6tpipe.Role{d6tpipe.RoleRead, d6tpipe.RoleWrite} {
		set, err := me.Credentials(m.t.Context(), "managed", role, true)
		require.NoError(m.t, err)
		m.secrets[string(role)+" key"], m.secrets[string(role)+" session"] = string(set.Value("aws_secret_access_key")), string(set.Value("aws_session_token"))
		wrong := d6tpipe.Credentials{}
		for name, v := range set {
			wrong[name] = v
		}
		wrong["aws_secret_access_key"] = m.secret("a wrong key for " + string(role))
		for _, set := range []d6tpipe.Credentials{set, wrong} {
			p, err := d6tpipe.OpenPipe(m.t.Context(), me, "managed", d6tpipe.OpenOptions{Credentials: set})
			require.NoError(m.t, err)
			write(m.t, p, string(role)+".csv", "x")
			_, _ = p.Push(m.t.Context(), d6tpipe.PushOptions{Mode: d6tpipe.ModeAll}) // whether it works is not what this is about
			_, _ = p.Pull(m.t.Context(), d6tpipe.PullOptions{Fresh: true})
		}
		for _, query := range []string{"X-Amz-Security-Token=" + m.secrets[string(role)+" session"] + "&X-Amz-Signature=x", "X-Amz-Credential=" + m.secrets[string(role)+" key"]} {
			m.ask("", "GET", "/managed/alice/managed/a.csv?"+query, "")
		}
	}
	_, err = me.ResetToken(m.t.Context(), "alice")
	require.NoError(m.t, err)
	status, body := m.ask("", "POST", "/v1/api/accounts/token/", object("username", "alice", "password", m.secrets["alice's password"]))
	require.Equal(m.t, 200, status)
	var said struct{ Token string }
	require.NoError(m.t, json.Unmarshal(body, &said))
	require.NotEqual(m.t, token, "Token "+said.Token)
	m.secrets["alice's new token"] = said.Token
}

// look collects what must show nothing.
func (m *mine) look(admin string) {
	m.t.Helper()
	for _, path := range []string{"/metrics", "/v1/openapi.json", "/v1/docs/", "/healthz", "/readyz", "/v1/api/audit/"} {
		status, body := m.ask(admin, "GET", path, "")
		require.Equal(m.t, 200, status, path)
		m.places[path] = body
	}
	var backup bytes.Buffer
	require.NoError(m.t, server.Backup(m.t.Context(), m.config, &backup))
	m.places["backup"] = backup.Bytes()
	m.places["log as text"], m.places["log as JSON"] = m.text.bytes(), m.json.bytes()
	m.places["answers that say no"] = m.refused.Bytes()
	require.NoError(m.t, filepath.WalkDir(m.config.Data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		m.places[path] = data
		return err
	}))
}

// TestCanaries: whatever one does with the server, no secret gets anywhere but to whom
// it belongs: not into metrics, logs, refusals, the audit log, the database, its log
// or a backup, in no encoding.
func TestCanaries(t *testing.T) {
	m := newMine(t)
	hosts := map[string]string{"s3": echo(t), "http": echo(t), "ftp": parrot(t, 100, "220 hello\r\n", "530 who is "), "sftp": parrot(t, 1, "", "")}
	token := m.account("alice")
	m.account("bob")
	m.logins(token)
	m.records(token, hosts)
	m.webhooks(token, hosts["http"])
	m.managed(token)
	require.NoError(t, server.CreateAdmin(t.Context(), m.config, server.Admin{Username: "root", Email: "root@example.com", Password: d6tpipe.Secret(m.secret("the administrator's password"))}))
	require.Error(t, server.CreateAdmin(t.Context(), m.config, server.Admin{Username: "root", Email: "root@example.com", Password: d6tpipe.Secret(m.secret("another password"))}))
	_, body := m.ask("", "POST", "/v1/api/accounts/token/", object("username", "root", "password", m.secrets["the administrator's password"]))
	var said struct{ Token string }
	require.NoError(t, json.Unmarshal(body, &said))
	m.look("Token " + said.Token)
	require.Contains(t, string(m.places["/v1/api/audit/"]), "credentials")
	require.Contains(t, string(m.places["log as text"]), "status=502", "the server has dialled")
	require.Contains(t, string(m.places["/metrics"]), "d6tpipe_http_requests_total")
	wal := false
	for name := range m.places {
		wal = wal || strings.HasSuffix(name, "-wal")
	}
	require.True(t, wal, "the database's own log was looked at")
	require.Greater(t, len(m.secrets), 15)
	for what, secret := range m.secrets {
		require.Greater(t, len(secret), 15, what)
		for how, form := range encodings(secret) {
			for where, data := range m.places {
				if i := bytes.Index(data, form); i >= 0 {
					t.Errorf("%s: %s as %s, behind %q", where, what, how, data[max(0, i-80):i])
				}
			}
		}
	}
}

// echo is a web server, or a bucket, that says no by repeating what it was sent.
func echo(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<Error><Code>AccessDenied</Code><Message>%v %v</Message></Error>`, r.URL, r.Header)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// parrot is a server of lines that answers each with a prefix and the line, so many of
// them, and hangs up. SSH has a line, and then waits for what is none.
func parrot(t *testing.T, limit int, hello, prefix string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	t.Cleanup(func() { cancel(); l.Close(); group.Wait() })
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { c.Close() })
			group.Go(func() {
				defer stop()
				defer c.Close()
				io.WriteString(c, hello)
				lines := bufio.NewScanner(c)
				for n := 0; n < limit && lines.Scan(); n++ {
					code := prefix
					if strings.HasPrefix(lines.Text(), "USER") {
						code = "331 the password of "
					}
					fmt.Fprintf(c, "%s%s\r\n", code, lines.Text())
				}
			})
		}
	})
	return l.Addr().String()
}
