package dial_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/server/internal/dial"
)

// A trap is a pair of listeners on addresses that the policy does not allow, which
// count who connects.
type trap struct {
	port string
	hits atomic.Int64
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	trap := &trap{}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // after the listeners are closed
	listen := func(addr string) net.Listener {
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		wg.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				trap.hits.Add(1)
				_ = conn.Close()
			}
		})
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	_, trap.port, _ = net.SplitHostPort(listen("127.0.0.2:0").Addr().String())
	listen("[::1]:" + trap.port)
	return trap
}

// spellings are ways to write 127.0.0.2 and ::1, and some that only look like it.
var spellings = []string{
	"127.0.0.2", "127.0.0.2.", "127.0.2", "127.2", "2130706434", "0x7f000002", "0X7F000002", "0x7f.0.0.2", "0x7f.0x0.0x0.0x2", "0x7f.2", "0177.0.0.2", "0177.0.0.02",
	"017700000002", "127.000.000.002", "127.0.0.0x2", "00127.0.0.2", "127.0.0.2%00", "127.0.0.2%lo", "127.0.0.2#", "127.0.0.1@127.0.0.2", "127.0.0.2\\@127.0.0.1",
	"①②⑦.0.0.2", "127。0。0。2", "１２７.0.0.2", "127.0.0.2\t", " 127.0.0.2", "user@127.0.0.2",
	"::1", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "::1%lo", "::1%1", "::0.0.0.1", "[::1]", "fe80::1%lo",
	"::ffff:127.0.0.2", "::ffff:7f00:2", "::FFFF:7F00:0002", "0:0:0:0:0:ffff:7f00:2", "::ffff:127.0.0.2%lo", "::127.0.0.2", "::7f00:2",
	"64:ff9b::127.0.0.2", "64:ff9b::7f00:2", "64:ff9b:1::7f00:2", "::ffff:0:127.0.0.2", "2002:7f00:2::", "2002:7f00:2::1", "2001:0:4136:e378:8000:63bf:80ff:fffd",
	"inside.test", "INSIDE.test.", "six.test", "mapped.test", "both.test", "rebind.test", "nat.test", "ip6-localhost",
}

var names = map[string][]string{
	"inside.test.": {"127.0.0.2"}, "six.test.": {"::1"}, "mapped.test.": {"::ffff:127.0.0.2"}, "both.test.": {"127.0.0.2+::1"}, "nat.test.": {"64:ff9b::7f00:2"},
	"rebind.test.": {"127.0.0.1", "127.0.0.2"}, "good.test.": {"127.0.0.1"},
}

// users are the ways in which a user's record makes the server connect.
var users = map[string]func(host, port string) d6tpipe.Storage{
	"s3": func(host, port string) d6tpipe.Storage {
		return d6tpipe.Storage{Protocol: d6tpipe.ProtocolS3, Location: "bucket", Options: options("endpoint_url", "http://"+joined(host, port), "insecure", true),
			Credentials: d6tpipe.Credentials{"aws_access_key_id": "a", "aws_secret_access_key": "b"}}
	},
	"s3, the bucket in the host": func(host, port string) d6tpipe.Storage {
		return d6tpipe.Storage{Protocol: d6tpipe.ProtocolS3, Location: "bucket", Options: options("endpoint_url", "http://"+joined(host, port), "insecure", true, "path_style", false)}
	},
	"http": func(host, port string) d6tpipe.Storage {
		return d6tpipe.Storage{Protocol: d6tpipe.ProtocolHTTP, Location: "http://" + joined(host, port) + "/a.csv"}
	},
	"https": func(host, port string) d6tpipe.Storage {
		return d6tpipe.Storage{Protocol: d6tpipe.ProtocolHTTPS, Location: "https://" + joined(host, port) + "/", Options: options("files", []string{"a"})}
	},
	"a manifest": func(host, port string) d6tpipe.Storage {
		return d6tpipe.Storage{Protocol: d6tpipe.ProtocolHTTP, Location: "http://good.test/", Options: options("manifest", "http://"+joined(host, port)+"/m.json")}
	},
	"sftp": func(host, port string) d6tpipe.Storage {
		return d6tpipe.Storage{Protocol: d6tpipe.ProtocolSFTP, Location: host, Options: options("port", port, "fingerprint", "SHA256:"+strings.Repeat("A", 43)),
			Credentials: d6tpipe.Credentials{"username": "me", "password": "pw"}}
	},
	"ftp": func(host, port string) d6tpipe.Storage {
		return d6tpipe.Storage{Protocol: d6tpipe.ProtocolFTP, Location: host, Options: options("port", port)}
	},
	"ftps": func(host, port string) d6tpipe.Storage {
		return d6tpipe.Storage{Protocol: d6tpipe.ProtocolFTPS, Location: joined(host, port), Options: options("tls", "implicit")}
	},
}

func joined(host, port string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

func options(pairs ...any) json.RawMessage {
	all := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i].(string)] = pairs[i+1]
	}
	raw, _ := json.Marshal(all)
	return raw
}

// look opens a storage and lists it, as a scan does.
func look(t *testing.T, where d6tpipe.Storage, p dial.Policy) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	store, err := where.Open(d6tpipe.OpenOptions{Dial: p.DialContext})
	if err != nil {
		return err
	}
	defer store.Close()
	_, err = storage.Collect(ctx, store, "")
	return err
}

// TestSpellings: no way to write an address leads to one that the policy does not
// allow, whatever speaks there.
func TestSpellings(t *testing.T) {
	require.GreaterOrEqual(t, len(spellings), 40)
	trap := newTrap(t)
	for user, where := range users {
		t.Run(user, func(t *testing.T) {
			p := dial.Policy{Allow: ranges(t, "127.0.0.1/32"), Resolver: resolver(t, names)}
			for _, host := range spellings {
				for range 2 { // a name server may change its mind
					require.Error(t, look(t, where(host, trap.port), p), host)
					require.Zero(t, trap.hits.Load(), "%s is connected to", host)
				}
			}
		})
	}
	for user, where := range users { // and where it is allowed, the trap is reached
		for _, host := range []string{"127.0.0.2", "::1", "inside.test"} {
			before := trap.hits.Load()
			p := dial.Policy{Allow: ranges(t, "127.0.0.0/8", "::1"), Resolver: resolver(t, map[string][]string{"inside.test.": {"127.0.0.2"},
				"bucket.inside.test.": {"127.0.0.2"}, "bucket.127.0.0.2.": {"127.0.0.2"}})}
			require.Error(t, look(t, where(host, trap.port), p))
			if user != "s3, the bucket in the host" || host != "::1" {
				require.Greater(t, trap.hits.Load(), before, "%s %s", user, host)
			}
		}
	}
}

// TestUnspecified: 0.0.0.0 and :: are this host.
func TestUnspecified(t *testing.T) {
	hits := atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for _, host := range []string{"0.0.0.0", "::", "::ffff:0.0.0.0", "0", "0x0", "127.0.0.1", "localhost"} {
		require.Error(t, look(t, users["http"](host, port), dial.Policy{Resolver: resolver(t, nil)}), host)
	}
	require.Zero(t, hits.Load())
	_ = look(t, users["http"]("127.0.0.1", port), dial.Policy{Allow: ranges(t, "127.0.0.1")})
	require.NotZero(t, hits.Load())
}

// TestRedirects: a server that may be connected to leads nowhere else.
func TestRedirects(t *testing.T) {
	trap := newTrap(t)
	other := atomic.Int64{}
	second := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { other.Add(1) }))
	defer second.Close()
	asked := atomic.Int64{}
	for _, to := range []string{"http://127.0.0.2:" + trap.port + "/", "http://[::1]:" + trap.port + "/", "//127.0.0.2:" + trap.port, "http://inside.test:" + trap.port + "/x", second.URL + "/x"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				http.Redirect(w, r, to, status)
			}))
			_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
			p := dial.Policy{Allow: ranges(t, "127.0.0.1"), Resolver: resolver(t, names)}
			for _, user := range []string{"s3", "http"} {
				require.Error(t, look(t, users[user]("127.0.0.1", port), p))
			}
			client := p.Client(time.Minute)
			resp, err := client.Get(server.URL)
			require.NoError(t, err)
			require.Equal(t, status, resp.StatusCode)
			require.NoError(t, resp.Body.Close())
			client.CloseIdleConnections()
			server.Close()
		}
	}
	require.GreaterOrEqual(t, asked.Load(), int64(75))
	require.Zero(t, trap.hits.Load())
	require.Zero(t, other.Load(), "a redirect to another port is one to another server")
}

// TestFTPData: the data connection goes where the control connection goes, whatever
// the server says of its address, and it is judged like that one.
func TestFTPData(t *testing.T) {
	trap := newTrap(t)
	number, err := strconv.Atoi(trap.port)
	require.NoError(t, err)
	for name, answers := range map[string]map[string]string{
		"PASV":            {"EPSV": "502 no", "PASV": fmt.Sprintf("227 Entering Passive Mode (127,0,0,2,%d,%d)", number>>8, number&255)},
		"EPSV":            {"EPSV": "229 ok (|||" + trap.port + "|)"},
		"EPSV, a host":    {"EPSV": "229 ok (|1|127.0.0.2|" + trap.port + "|)"},
		"EPSV, a host, 6": {"EPSV": "229 ok (|2|::1|" + trap.port + "|)"},
	} {
		t.Run(name, func(t *testing.T) {
			asked, addr := ftpServer(t, answers)
			_, port, _ := net.SplitHostPort(addr)
			require.Error(t, look(t, users["ftp"]("127.0.0.1", port), dial.Policy{Allow: ranges(t, "127.0.0.1")}))
			require.NotZero(t, asked.Load(), "it was not asked for a data connection")
			require.Zero(t, trap.hits.Load())
		})
	}

	// The name of the control connection may be another address by then.
	asked, addr := ftpServer(t, map[string]string{"EPSV": "229 ok (|||" + trap.port + "|)"})
	_, port, _ := net.SplitHostPort(addr)
	p := dial.Policy{Allow: ranges(t, "127.0.0.1"), Resolver: resolver(t, names)}
	require.Error(t, look(t, users["ftp"]("rebind.test", port), p))
	require.NotZero(t, asked.Load())
	require.Zero(t, trap.hits.Load())
}

// ftpServer answers commands, most of them with 200, and counts those for a data
// connection.
func ftpServer(t *testing.T, answers map[string]string) (*atomic.Int64, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	asked := &atomic.Int64{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				fmt.Fprint(conn, "220 hello\r\n")
				for in := bufio.NewScanner(conn); in.Scan(); {
					verb, _, _ := strings.Cut(in.Text(), " ")
					answer, ok := answers[verb]
					if ok {
						asked.Add(1)
					} else if answer = "200 ok"; verb == "USER" {
						answer = "230 in"
					}
					fmt.Fprint(conn, answer+"\r\n")
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return asked, l.Addr().String()
}

// TestNoProxy: a proxy would connect in the server's stead. Package net/http reads the
// environment once, so that it takes a process of its own.
func TestNoProxy(t *testing.T) {
	if trap := os.Getenv("DIAL_TEST_NO_PROXY"); trap == "" {
		trap := newTrap(t)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoProxy$")
		cmd.Env = append(os.Environ(), "DIAL_TEST_NO_PROXY=yes")
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
			cmd.Env = append(cmd.Env, name+"=http://127.0.0.2:"+trap.port)
		}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Zero(t, trap.hits.Load())
		return
	}
	p := dial.Policy{Allow: ranges(t, "127.0.0.0/8"), Resolver: resolver(t, names)}
	for _, user := range []string{"s3", "http", "https"} {
		require.Error(t, look(t, users[user]("good.test", "1"), p))
	}
	_, err := p.Client(time.Second).Get("http://good.test:1/")
	require.Error(t, err)
}

// TestNothingOfThisMachine: what a record says makes the server use no keys, names and
// folders of its own.
func TestNothingOfThisMachine(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "CANARYKEY")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "CANARYSECRET")
	t.Setenv("AWS_SESSION_TOKEN", "CANARYTOKEN")
	agent, err := net.Listen("unix", t.TempDir()+"/agent")
	require.NoError(t, err)
	defer agent.Close()
	t.Setenv("SSH_AUTH_SOCK", agent.Addr().String())
	seen := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen <- fmt.Sprint(r.Header, r.URL)
	}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	p := dial.Policy{Allow: ranges(t, "127.0.0.1")}
	anonymous := users["s3"]("127.0.0.1", port)
	anonymous.Credentials = nil
	require.Error(t, look(t, anonymous, p))
	require.NotContains(t, <-seen, "CANARY")

	for _, where := range []d6tpipe.Storage{
		{Protocol: d6tpipe.ProtocolSFTP, Location: "127.0.0.1", Options: options("agent", true), Credentials: d6tpipe.Credentials{"username": "me"}},
		{Protocol: d6tpipe.ProtocolSFTP, Location: "127.0.0.1", Options: options("known_hosts", "/dev/null"), Credentials: d6tpipe.Credentials{"username": "me"}},
		{Protocol: d6tpipe.ProtocolSFTP, Location: "127.0.0.1", Credentials: d6tpipe.Credentials{"username": "me", "private_key_file": "/etc/hostname"}},
		{Protocol: d6tpipe.ProtocolSFTP, Location: "127.0.0.1", Options: options("private_key_file", "/etc/hostname")},
		{Protocol: d6tpipe.ProtocolSFTP, Location: "127.0.0.1", Credentials: d6tpipe.Credentials{"password": "pw"}},
		{Protocol: d6tpipe.ProtocolDir, Location: "/"},
		{Protocol: d6tpipe.ProtocolDir, Location: t.TempDir()},
	} {
		_, err := where.Open(d6tpipe.OpenOptions{Dial: p.DialContext})
		require.Error(t, err, "%s %s", where.Protocol, where.Options)
	}
}
