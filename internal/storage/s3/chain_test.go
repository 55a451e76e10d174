package s3_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
)

// chained returns the access keys with which requests of a store are signed that
// has none of its own.
func chained(t *testing.T, requests int) (keys []string) {
	t.Helper()
	r := &recorder{}
	store := open(t, s3.Options{Endpoint: "https://s3.example.com", Bucket: "bucket", Chain: true, Transport: r})
	for range requests {
		_, err := store.Stat(t.Context(), "a")
		require.Error(t, err)
	}
	for _, auth := range r.auth {
		_, key, _ := strings.Cut(auth, "Credential=")
		key, _, _ = strings.Cut(key, "/")
		keys = append(keys, key)
	}
	return keys
}

// bare takes away whatever the machine has.
func bare(t *testing.T) {
	for _, env := range os.Environ() {
		if name, _, _ := strings.Cut(env, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestChain(t *testing.T) {
	bare(t)
	require.Equal(t, []string{"", ""}, chained(t, 2), "anonymous")

	file := filepath.Join(t.TempDir(), "credentials")
	require.NoError(t, os.WriteFile(file, []byte("[default]\naws_access_key_id = FILE\naws_secret_access_key = "+canary+"\n[work]\naws_access_key_id = WORK\naws_secret_access_key = "+canary+"\n"), 0o600))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	require.Equal(t, []string{"FILE"}, chained(t, 1))
	t.Setenv("AWS_PROFILE", "work")
	require.Equal(t, []string{"WORK"}, chained(t, 1))

	t.Setenv("AWS_ACCESS_KEY_ID", "ENV")
	t.Setenv("AWS_SECRET_ACCESS_KEY", canary)
	t.Setenv("AWS_SESSION_TOKEN", session)
	require.Equal(t, []string{"ENV"}, chained(t, 1))

	r := &recorder{}
	own := open(t, s3.Options{Endpoint: "https://s3.example.com", Bucket: "bucket", AccessKey: "OWN", SecretKey: canary, Chain: true, Transport: r})
	_, _ = own.Stat(t.Context(), "a")
	require.Contains(t, r.auth[0], "Credential=OWN/", "keys that were given go first")
	none := open(t, s3.Options{Endpoint: "https://s3.example.com", Bucket: "bucket", Transport: r})
	_, _ = none.Stat(t.Context(), "a")
	require.Empty(t, r.auth[1], "who does not ask for the chain gets none of it")
}

// Credentials of a container run out, and are asked for again.
func TestChainRenews(t *testing.T) {
	bare(t)
	var asked atomic.Int64
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n := asked.Add(1)
		expires := time.Now().Add(time.Hour)
		if n == 1 {
			expires = time.Now().Add(-time.Second)
		}
		fmt.Fprintf(w, `{"AccessKeyId":"KEY%d","SecretAccessKey":"%s","Token":"%s","Expiration":"%s"}`, n, canary, session, expires.UTC().Format(time.RFC3339))
	})
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server+"/credentials")
	require.Equal(t, []string{"KEY1", "KEY2", "KEY2"}, chained(t, 3))
}

// A service that has no keys for now is asked again, and nothing goes out without.
func TestChainAsksAgain(t *testing.T) {
	bare(t)
	var asked atomic.Int64
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n := asked.Add(1); n == 1 || n == 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"AccessKeyId":"KEY%d","SecretAccessKey":"%s","Token":"%s","Expiration":"%s"}`, asked.Load(), canary, session, time.Now().Add(-time.Second).UTC().Format(time.RFC3339))
	})
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server+"/credentials?"+canary)
	r := &recorder{}
	store := open(t, s3.Options{Endpoint: "https://s3.example.com", Bucket: "bucket", Chain: true, Transport: r})
	for n := range 4 {
		_, err := store.Stat(t.Context(), "a")
		require.ErrorIs(t, err, storage.ErrTemporary)
		if n%2 == 0 { // the first, and the one that should renew what has run out
			require.ErrorContains(t, err, "credentials of the environment: 503")
		}
		requireNoSecret(t, err)
	}
	require.Len(t, r.auth, 2)
	require.Contains(t, r.auth[0], "Credential=KEY2/")
	require.Contains(t, r.auth[1], "Credential=KEY4/")
}

// Keys that are announced and cannot be had are an error, which quotes no secret.
func TestChainHasNoKeys(t *testing.T) {
	write := func(t *testing.T, variable, text string) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		t.Setenv(variable, file)
	}
	for name, row := range map[string]struct {
		set  func(t *testing.T)
		want error
	}{
		"no service":        {func(t *testing.T) { t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/"+canary) }, storage.ErrTemporary},
		"a service abroad":  {func(t *testing.T) { t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/"+canary) }, storage.ErrTemporary},
		"no identity":       {func(t *testing.T) { t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", filepath.Join(t.TempDir(), "no")) }, storage.ErrTemporary},
		"no secret":         {func(t *testing.T) { t.Setenv("AWS_ACCESS_KEY_ID", "KEY") }, fs.ErrPermission},
		"no profile":        {func(t *testing.T) { t.Setenv("AWS_PROFILE", "work") }, fs.ErrPermission},
		"no secret in file": {func(t *testing.T) { write(t, "AWS_SHARED_CREDENTIALS_FILE", "[default]\naws_access_key_id = KEY\n") }, fs.ErrPermission},
		"a damaged file":    {func(t *testing.T) { write(t, "AWS_SHARED_CREDENTIALS_FILE", "[default]\n"+canary+"\n") }, fs.ErrPermission},
		"a role":            {func(t *testing.T) { write(t, "AWS_CONFIG_FILE", "[default]\nrole_arn = arn:aws:iam::1:role/x\n") }, fs.ErrPermission},
	} {
		t.Run(name, func(t *testing.T) {
			bare(t)
			row.set(t)
			r := &recorder{}
			store := open(t, s3.Options{Endpoint: "https://s3.example.com", Bucket: "bucket", Chain: true, Transport: r})
			_, err := store.Stat(t.Context(), "a")
			require.ErrorIs(t, err, row.want)
			require.ErrorContains(t, err, "credentials of the environment: ")
			requireNoSecret(t, err)
			require.Empty(t, r.urls, "nothing goes out without")
		})
	}
}
