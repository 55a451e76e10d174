package sftp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp"
	"github.com/d6t/d6tpipe-go/internal/storage/sftp/sftptest"
)

func ecdsaKey(t *testing.T) ssh.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return signer
}

func knownHosts(t *testing.T, lines ...string) []string {
	path := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return []string{path}
}

// TestHostKey has a server with keys of two types.
func TestHostKey(t *testing.T) {
	_, first := sftptest.NewKey(t)
	second := ecdsaKey(t)
	_, other := sftptest.NewKey(t)
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", HostKeys: []ssh.Signer{first, second}})
	line := func(key ssh.Signer) string { return knownhosts.Line([]string{l.Host}, key.PublicKey()) }
	hashed := knownhosts.HashHostname(knownhosts.Normalize(l.Host)) + " " + string(ssh.MarshalAuthorizedKey(second.PublicKey()))
	elsewhere := knownhosts.Line([]string{"127.0.0.1:1"}, first.PublicKey())

	for name, c := range map[string]struct {
		pin    string
		known  []string
		reason string // "" when the key is accepted
	}{
		"pinned":                {pin: ssh.FingerprintSHA256(first.PublicKey())},
		"pinned, with padding":  {pin: ssh.FingerprintSHA256(first.PublicKey()) + "="},
		"pinned, second type":   {pin: ssh.FingerprintSHA256(second.PublicKey())},
		"pinned, another":       {pin: ssh.FingerprintSHA256(other.PublicKey()), reason: "is not the pinned one"},
		"pinned beats known":    {pin: ssh.FingerprintSHA256(other.PublicKey()), known: knownHosts(t, line(first)), reason: "is not the pinned one"},
		"known":                 {known: knownHosts(t, line(first))},
		"known, second type":    {known: knownHosts(t, line(second))},
		"known, hashed":         {known: knownHosts(t, hashed)},
		"known, two files":      {known: append(knownHosts(t, elsewhere), knownHosts(t, line(first))...)},
		"unknown":               {known: knownHosts(t, ""), reason: "is not known"},
		"known on another port": {known: knownHosts(t, elsewhere), reason: "is not known"},
		"changed":               {known: knownHosts(t, "# a comment", line(other)), reason: "HAS CHANGED"},
		"revoked":               {known: knownHosts(t, line(first), "@revoked * "+string(ssh.MarshalAuthorizedKey(first.PublicKey()))), reason: "is revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := l.Attempts.Load()
			opts := overLocal(t, l)
			opts.Fingerprint, opts.KnownHosts = c.pin, c.known
			_, err := storage.Collect(t.Context(), open(t, opts), "")
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			var refused *sftp.HostKeyError
			require.ErrorAs(t, err, &refused)
			require.NotErrorIs(t, err, storage.ErrTemporary)
			for _, want := range []string{l.Host, refused.Type, refused.Fingerprint, c.reason, "set fingerprint", "known_hosts"} {
				require.ErrorContains(t, err, want)
			}
			require.Contains(t, []string{ssh.FingerprintSHA256(first.PublicKey()), ssh.FingerprintSHA256(second.PublicKey())}, refused.Fingerprint)
			require.Equal(t, attempts, l.Attempts.Load(), "nobody may log in to a stranger")
		})
	}
}

// TestHostKeyDefaults: without a word about host keys the user's file counts, and
// nobody is trusted when there is none.
func TestHostKeyDefaults(t *testing.T) {
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret"})
	home := t.TempDir()
	t.Setenv("HOME", home)
	opts := overLocal(t, l)
	opts.Fingerprint = ""
	_, err := storage.Collect(t.Context(), open(t, opts), "")
	var refused *sftp.HostKeyError
	require.ErrorAs(t, err, &refused)
	require.Zero(t, l.Attempts.Load())

	require.NoError(t, os.Mkdir(filepath.Join(home, ".ssh"), 0o700))
	line := knownhosts.Line([]string{l.Host}, l.HostKeys[0].PublicKey())
	require.NoError(t, os.WriteFile(filepath.Join(home, ".ssh", "known_hosts"), []byte(line+"\n"), 0o600))
	_, err = storage.Collect(t.Context(), open(t, opts), "")
	require.NoError(t, err)

	opts.KnownHosts = []string{filepath.Join(home, "no-such-file")}
	_, err = storage.Collect(t.Context(), open(t, opts), "")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "no-such-file")
}

// TestHostCertificate: known_hosts names who may sign host keys.
func TestHostCertificate(t *testing.T) {
	_, authority := sftptest.NewKey(t)
	_, key := sftptest.NewKey(t)
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity}
	require.NoError(t, cert.SignCert(rand.Reader, authority))
	signed, err := ssh.NewCertSigner(cert, key)
	require.NoError(t, err)
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", HostKeys: []ssh.Signer{signed, key}})
	opts := overLocal(t, l)
	opts.Fingerprint = ""
	for _, c := range []struct {
		signer ssh.Signer
		ok     bool
	}{{authority, true}, {key, false}} {
		opts.KnownHosts = knownHosts(t, "@cert-authority "+knownhosts.Line([]string{l.Host}, c.signer.PublicKey()))
		_, err = storage.Collect(t.Context(), open(t, opts), "")
		require.Equal(t, c.ok, err == nil, "%v", err)
	}
}

func TestLogin(t *testing.T) {
	plain, key := sftptest.NewKey(t)
	_, raw, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(raw, "", []byte("open sesame"))
	require.NoError(t, err)
	locked := pem.EncodeToMemory(block)
	lockedKey, err := ssh.NewSignerFromKey(raw)
	require.NoError(t, err)
	keyring := startAgent(t)

	for name, c := range map[string]struct {
		server sftptest.LocalConfig
		client sftp.Options
	}{
		"key":               {sftptest.LocalConfig{Keys: []ssh.PublicKey{key.PublicKey()}}, sftp.Options{Key: plain}},
		"locked key":        {sftptest.LocalConfig{Keys: []ssh.PublicKey{lockedKey.PublicKey()}}, sftp.Options{Key: locked, Passphrase: "open sesame"}},
		"open key, phrase":  {sftptest.LocalConfig{Keys: []ssh.PublicKey{key.PublicKey()}}, sftp.Options{Key: plain, Passphrase: "open sesame"}},
		"agent":             {sftptest.LocalConfig{Keys: []ssh.PublicKey{keyring}}, sftp.Options{Agent: true}},
		"agent after key":   {sftptest.LocalConfig{Keys: []ssh.PublicKey{keyring}}, sftp.Options{Agent: true, Key: plain}},
		"password":          {sftptest.LocalConfig{Password: "p4ssw0rd"}, sftp.Options{Password: "p4ssw0rd"}},
		"password last":     {sftptest.LocalConfig{Password: "p4ssw0rd", Keys: []ssh.PublicKey{keyring}}, sftp.Options{Password: "p4ssw0rd", Key: plain}},
		"keyboard":          {sftptest.LocalConfig{Keyboard: "p4ssw0rd"}, sftp.Options{Password: "p4ssw0rd"}},
		"not this key":      {sftptest.LocalConfig{Keys: []ssh.PublicKey{keyring}}, sftp.Options{Key: plain}},
		"not this password": {sftptest.LocalConfig{Password: "another"}, sftp.Options{Password: "p4ssw0rd"}},
		"not this answer":   {sftptest.LocalConfig{Keyboard: "another"}, sftp.Options{Password: "p4ssw0rd"}},
		"not a common word": {sftptest.LocalConfig{Password: "another"}, sftp.Options{Password: "method"}},
		"not without":       {sftptest.LocalConfig{Password: "another"}, sftp.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			l := sftptest.StartLocal(t, c.server)
			opts := c.client
			opts.Host, opts.Fingerprint, opts.Root = l.Host, l.Fingerprint(), newRoot(t, l.Dir)
			retried := storage.Retry(open(t, opts), storage.RetryPolicy{})
			_, err := storage.Collect(t.Context(), retried, "")
			if !strings.HasPrefix(name, "not") {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, fs.ErrPermission)
			require.NotErrorIs(t, err, storage.ErrTemporary)
			require.LessOrEqual(t, l.Attempts.Load(), int64(1), "a wrong password locks accounts when it is tried again")
			for _, secret := range []string{"p4ssw0rd", "open sesame", "PRIVATE KEY", "attempted ***"} {
				require.NotContains(t, err.Error(), secret)
			}
		})
	}
}

// startAgent runs an agent with one key, and returns that.
func startAgent(t *testing.T) ssh.PublicKey {
	_, raw, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	keyring := agent.NewKeyring()
	require.NoError(t, keyring.Add(agent.AddedKey{PrivateKey: raw}))
	dir, err := os.MkdirTemp("", "agent") // the path of a socket must be short
	require.NoError(t, err)
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	t.Setenv("SSH_AUTH_SOCK", listener.Addr().String())
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				_ = agent.ServeAgent(keyring, conn) // until the client goes
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		group.Wait()
		require.NoError(t, os.RemoveAll(dir))
	})
	signer, err := ssh.NewSignerFromKey(raw)
	require.NoError(t, err)
	return signer.PublicKey()
}

// TestNoAgent: it says what is wrong, and other means still work.
func TestNoAgent(t *testing.T) {
	l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "secret", Keys: []ssh.PublicKey{ecdsaKey(t).PublicKey()}})
	opts := overLocal(t, l)
	opts.Agent = true
	for _, socket := range []string{"", filepath.Join(t.TempDir(), "nothing")} {
		t.Setenv("SSH_AUTH_SOCK", socket)
		opts.Password = "secret"
		_, err := storage.Collect(t.Context(), open(t, opts), "")
		require.NoError(t, err)
		opts.Password = ""
		_, err = storage.Collect(t.Context(), storage.Retry(open(t, opts), storage.RetryPolicy{Attempts: 2, OnRetry: func(string, string, error, time.Duration) { t.Error("retried") }}), "")
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, "agent")
	}
}

// TestManyAtOnceLogInOnce: a crowd of calls asks once, and all get the answer.
func TestManyAtOnceLogInOnce(t *testing.T) {
	for _, password := range []string{"right", "wrong"} {
		l := sftptest.StartLocal(t, sftptest.LocalConfig{Password: "right"})
		opts := overLocal(t, l)
		opts.Password, opts.Connections = password, 1
		gate := make(chan struct{})
		opts.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			<-gate
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
		store := open(t, opts)
		var begun, group sync.WaitGroup
		for i := range 16 {
			begun.Add(1)
			group.Go(func() {
				begun.Done()
				_, err := store.Stat(t.Context(), fmt.Sprint(i))
				if password == "right" {
					requireIs(t, err, fs.ErrNotExist)
				} else {
					requireIs(t, err, fs.ErrPermission)
				}
			})
		}
		begun.Wait()
		close(gate)
		group.Wait()
		if password == "right" {
			require.EqualValues(t, 1, l.Opened.Load())
		}
	}
}

func TestOptions(t *testing.T) {
	plain, _ := sftptest.NewKey(t)
	_, raw, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(raw, "", []byte("open sesame"))
	require.NoError(t, err)
	locked := pem.EncodeToMemory(block)
	for name, opts := range map[string]sftp.Options{
		"no host":             {},
		"host with a user":    {Host: "me@host"},
		"a URL":               {Host: "sftp://host"},
		"port too high":       {Host: "host:65536"},
		"port zero":           {Host: "host:0"},
		"port is no number":   {Host: "host:ssh"},
		"relative root":       {Host: "h", Root: "data"},
		"NUL in root":         {Host: "h", Root: "/a\x00"},
		"keep leads out":      {Host: "h", Keep: "../x"},
		"fingerprint, MD5":    {Host: "h", Fingerprint: "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48"},
		"fingerprint, short":  {Host: "h", Fingerprint: "SHA256:abcd"},
		"fingerprint, no sum": {Host: "h", Fingerprint: "nonsense"},
		"no key":              {Host: "h", Key: []byte("nonsense")},
		"locked":              {Host: "h", Key: locked},
		"wrong phrase":        {Host: "h", Key: locked, Passphrase: "wr0ng phrase"},
	} {
		_, err := sftp.New(opts)
		require.ErrorIs(t, err, fs.ErrInvalid, name)
		require.NotContains(t, err.Error(), "wr0ng")
	}
	for _, host := range []string{"host", "host:22", "10.0.0.1", "::1", "[::1]", "[::1]:2222", "fe80::1%eth0"} {
		store, err := sftp.New(sftp.Options{Host: host, Key: plain})
		require.NoError(t, err, host)
		require.NoError(t, store.Close())
	}
}

// TestHost sees where it would connect to.
func TestHost(t *testing.T) {
	for host, want := range map[string]string{
		"host": "host:22", "host:2222": "host:2222", "::1": "[::1]:22", "[::1]": "[::1]:22", "[::1]:2222": "[::1]:2222",
	} {
		var got string
		store := open(t, sftp.Options{Host: host, Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
			got = addr
			return nil, errDial
		}})
		_, err := store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, errDial)
		require.Equal(t, want, got)
	}
}

var errDial = errors.New("no way there")

func requireIs(t *testing.T, err, target error) {
	if !errors.Is(err, target) {
		t.Errorf("%v is not %v", err, target)
	}
}
