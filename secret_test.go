package d6tpipe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// What a secret prints as never leaves this machine as a secret, whatever its
// type and whoever is at the other end.
func TestPrintOutsAreNotSent(t *testing.T) {
	api := dialAs(t, serve(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("sent %s %s", r.Method, r.URL) }))
	for _, keys := range []d6tpipe.Credentials{
		{"password": "***"}, {"password": d6tpipe.Secret("***")}, {"read": map[string]any{"key": "***"}}, {"write": d6tpipe.Credentials{"key": d6tpipe.Secret("***")}},
	} {
		r := d6tpipe.RemoteSettings{Name: "r", Protocol: d6tpipe.ProtocolS3, Location: "b", WriteCredentials: keys}
		p := d6tpipe.PipeSettings{Name: "p", Protocol: d6tpipe.ProtocolS3, Location: "b", Credentials: keys}
		for _, call := range []func(context.Context, d6tpipe.RemoteSettings) (d6tpipe.RemoteSettings, error){api.Remotes().Create, api.Remotes().Replace, api.Remotes().Update, api.Remotes().Upsert} {
			_, err := call(t.Context(), r)
			require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		}
		_, err := api.Pipes().Update(t.Context(), p)
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
		require.ErrorIs(t, p.Validate(), d6tpipe.ErrInvalid)
	}
}

// A field that the decoder takes for credentials is not kept as an unknown one,
// which would print.
func TestCredentialsInAnotherCase(t *testing.T) {
	var r d6tpipe.RemoteSettings
	require.NoError(t, json.Unmarshal([]byte(`{"name":"r","READCREDENTIALS":{"key":"canary"},"X":1}`), &r))
	raw, err := json.Marshal(r)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "canary")
	require.Len(t, r.Extra, 1)
}

func TestCredentialsForARole(t *testing.T) {
	keys := d6tpipe.Credentials{"read": d6tpipe.Credentials{"key": d6tpipe.Secret("r")}, "write": map[string]any{"key": "w"}}
	require.EqualValues(t, "r", keys.For(d6tpipe.RoleRead).Value("key"))
	require.EqualValues(t, "w", keys.For(d6tpipe.RoleWrite).Value("key"))
	require.Nil(t, d6tpipe.Credentials{"read": d6tpipe.Credentials{}}.For(d6tpipe.RoleWrite))
}

// Servers that quote what they do not like do not get secrets into errors.
func TestEchoedSecrets(t *testing.T) {
	api := dialAs(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body)
		raw, _ := json.Marshal(fmt.Sprint(body))
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"field":[%s]}`, raw)
	}))
	keys := d6tpipe.Credentials{"read": map[string]any{"aws_secret_access_key": "canary-read"}, "password": "canary\tflat"}
	_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Protocol: d6tpipe.ProtocolS3, Location: "b", Credentials: keys})
	require.ErrorContains(t, err, "***")
	require.NotContains(t, err.Error(), "canary")
	_, err = api.Remotes().Update(t.Context(), d6tpipe.RemoteSettings{Name: "r", WriteCredentials: keys})
	require.ErrorContains(t, err, "***")
	require.NotContains(t, err.Error(), "canary")
	for _, password := range []d6tpipe.Secret{"canary", "x\tcanary", "x\u00adcanary", "x  canary\u200b"} {
		_, err = api.Login(t.Context(), "u", password)
		require.ErrorContains(t, err, "***")
		require.NotContains(t, err.Error(), "canary")
	}
}

// A pipe of the first generation may have credentials besides its remote's: they
// open the storage, and neither print nor stay in the file repo.
func TestPipesOwnCredentialsOnARemote(t *testing.T) {
	dir := t.TempDir()
	api, err := d6tpipe.NewAPILocal(d6tpipe.Config{Profile: "p", Catalog: filepath.Join(dir, "catalog.json"), FileRepo: filepath.Join(dir, "files")})
	require.NoError(t, err)
	_, err = api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "r", Protocol: d6tpipe.ProtocolS3, Location: "b",
		ReadCredentials: d6tpipe.Credentials{"key": "remote", "secret": "remote"}})
	require.NoError(t, err)
	do(t, api, catalog.Create, "pipes", "", `{"name":"p","remote":"r","readCredentials":{"secret":"canary"}}`)
	p, err := api.Pipes().Get(t.Context(), "p")
	require.NoError(t, err)
	raw, err := json.Marshal(p)
	require.NoError(t, err)
	require.NotContains(t, string(raw)+fmt.Sprintf("%+v", p), "canary")
	s, err := api.Storage(t.Context(), "p", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	require.EqualValues(t, "remote", s.Credentials.Value("key"))
	require.EqualValues(t, "canary", s.Credentials.Value("secret"))
	_, err = d6tpipe.OpenPipe(t.Context(), api, "p", d6tpipe.OpenOptions{})
	require.NoError(t, err)
	require.NotContains(t, read(t, filepath.Join(dir, "files", ".d6tpipe", "p", "pipe.json")), "redentials")
	p.ReadCredentials = nil
	_, err = api.Pipes().Replace(t.Context(), p)
	require.NoError(t, err)
	require.Contains(t, do(t, api, catalog.Get, "pipes", "p", ""), "canary", "as posted, for who may read")
}

// Whoever prints or logs what this package gives them shows no secret.
func TestNothingPrintsASecret(t *testing.T) {
	dir := t.TempDir()
	cfg := d6tpipe.Config{Profile: "p", Server: "http://127.0.0.1:1", Catalog: filepath.Join(dir, "catalog.json"), FileRepo: filepath.Join(dir, "files"),
		Key: "canary", Tokens: d6tpipe.MemoryTokens()}
	client, err := d6tpipe.NewAPIClient(cfg)
	require.NoError(t, err)
	require.NoError(t, cfg.Tokens.SetToken(t.Context(), d6tpipe.TokenKey{Profile: "p", Origin: cfg.Server}, "canary"))
	_, err = client.Pipes().Get(t.Context(), "p") // it knows its token now
	require.ErrorIs(t, err, d6tpipe.ErrUnavailable)
	local, err := d6tpipe.NewAPILocal(cfg)
	require.NoError(t, err)
	keys := d6tpipe.Credentials{"password": "canary"}
	_, err = local.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "p", Protocol: d6tpipe.ProtocolS3, Location: "b", Credentials: keys})
	require.NoError(t, err)
	pipe, err := d6tpipe.OpenPipe(t.Context(), local, "p", d6tpipe.OpenOptions{Credentials: keys})
	require.NoError(t, err)
	storage, err := local.Storage(t.Context(), "p", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	require.Len(t, storage.Credentials, 1)

	quiet := func(values ...any) {
		for _, v := range values {
			var log bytes.Buffer
			slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
			slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
			raw, _ := json.Marshal(v) // what cannot be marshalled shows nothing
			for _, shown := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), under("%s", v), under("%q", v), under("%d", v), log.String(), string(raw)} {
				require.NotContains(t, shown, "canary", "%T", v)
			}
		}
	}
	quiet(cfg, &cfg, cfg.TokenStore(), cfg.Tokens, client, *client, client.WithoutToken(), client.Pipes(), *client.Remotes(), local, *local, local.Pipes(), pipe, *pipe, pipe.LocalPipe, storage, &storage)
	quiet(keys, &keys, d6tpipe.Secret("canary"), d6tpipe.OpenOptions{Credentials: keys}, d6tpipe.ConfigSettings{Key: "canary"})
	quiet(d6tpipe.RemoteSettings{ReadCredentials: keys, WriteCredentials: keys}, &d6tpipe.PipeSettings{Credentials: keys}, struct{ P d6tpipe.PipeSettings }{d6tpipe.PipeSettings{Credentials: keys}})
	require.NoError(t, local.Transact(t.Context(), func(tx d6tpipe.API) error { quiet(tx); return nil }))
}

// Sets of credentials are told apart whatever Go type they have.
func TestCredentialsFor(t *testing.T) {
	for _, set := range []any{
		map[string]any{"key": "r"}, map[string]string{"key": "r"}, d6tpipe.Credentials{"key": "r"}, map[string]d6tpipe.Secret{"key": "r"},
	} {
		c := d6tpipe.Credentials{"read": set}
		require.EqualValues(t, "r", c.For(d6tpipe.RoleRead).Value("key"), "%T", set)
		require.Empty(t, c.For(d6tpipe.RoleWrite), "%T", set)
		require.NotContains(t, c.String(), `"r"`)
	}
}
