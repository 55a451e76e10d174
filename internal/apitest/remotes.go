package apitest

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

func bytesReader(text string) io.Reader { return strings.NewReader(text) }

// firstGen is a remote with all of the first generation's fields.
func firstGen() d6tpipe.RemoteSettings {
	return d6tpipe.RemoteSettings{
		Name: "r", Protocol: d6tpipe.ProtocolS3, Location: "bucket",
		ReadCredentials:  d6tpipe.Credentials{"aws_access_key_id": "read-id", "aws_secret_access_key": "canary-read"},
		WriteCredentials: d6tpipe.Credentials{"aws_access_key_id": "write-id", "aws_secret_access_key": "canary-write"},
		Settings:         raw(`{"dir":"base","endpoint_url":"http://127.0.0.1:9000"}`),
		ReadParams:       raw(`{"sep":";"}`),
	}
}

var remoteCases = []testCase{
	{"every field comes back", func(t *testing.T, api d6tpipe.API) {
		in := firstGen()
		_, err := api.Remotes().Create(t.Context(), in)
		require.NoError(t, err)
		got, err := api.Remotes().Get(t.Context(), "r")
		require.NoError(t, err)
		require.Equal(t, in.ReadCredentials, got.ReadCredentials)
		require.Equal(t, in.WriteCredentials, got.WriteCredentials)
		sameJSON(t, string(in.Settings), string(got.Settings))
		sameJSON(t, string(in.ReadParams), string(got.ReadParams))
		require.Equal(t, in.Location, got.Location)
	}},
	{"credentials stay unless new ones come", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Remotes().Create(t.Context(), firstGen())
		require.NoError(t, err)
		next := firstGen()
		next.ReadCredentials, next.WriteCredentials = nil, d6tpipe.Credentials{"aws_access_key_id": "new-id"}
		_, err = api.Remotes().Replace(t.Context(), next)
		require.NoError(t, err)
		got, err := api.Remotes().Get(t.Context(), "r")
		require.NoError(t, err)
		require.Equal(t, d6tpipe.Secret("read-id"), got.ReadCredentials.Value("aws_access_key_id"))
		require.Equal(t, d6tpipe.Credentials{"aws_access_key_id": "new-id"}, got.WriteCredentials)
	}},
	{"required fields", func(t *testing.T, api d6tpipe.API) {
		_, err := api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "r", Location: "b"})
		field(t, err, "protocol", d6tpipe.ErrInvalid)
		_, err = api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "r", Protocol: d6tpipe.ProtocolS3})
		field(t, err, "location", d6tpipe.ErrInvalid)
	}},
	{"a malformed dir", func(t *testing.T, api d6tpipe.API) {
		r := firstGen()
		r.Settings = raw(`{"dir":"../x"}`)
		_, err := api.Remotes().Create(t.Context(), r)
		field(t, err, "settings", d6tpipe.ErrInvalid)
	}},
	{"settings that are no object", func(t *testing.T, api d6tpipe.API) {
		r := firstGen()
		r.Settings = raw(`[1]`)
		_, err := api.Remotes().Create(t.Context(), r)
		field(t, err, "settings", d6tpipe.ErrInvalid)
	}},
	{"unknown fields survive get and replace", func(t *testing.T, api d6tpipe.API) {
		_, err := backend(t, api).Do(t.Context(), catalog.Create, catalog.Remotes, "", raw(`{"name":"r","protocol":"s3","location":"b","x-new":[9007199254740993]}`))
		require.NoError(t, err)
		r, err := api.Remotes().Get(t.Context(), "r")
		require.NoError(t, err)
		_, err = api.Remotes().Replace(t.Context(), r)
		require.NoError(t, err)
		r, err = api.Remotes().Get(t.Context(), "r")
		require.NoError(t, err)
		sameJSON(t, `[9007199254740993]`, string(r.Extra["x-new"]))
	}},
	{"null means absent", func(t *testing.T, api d6tpipe.API) {
		_, err := backend(t, api).Do(t.Context(), catalog.Create, catalog.Remotes, "", raw(`{"name":"r","protocol":"s3","location":"b","settings":null,"readParams":null,"readCredentials":null,"writeCredentials":null}`))
		require.NoError(t, err)
		body, err := backend(t, api).Do(t.Context(), catalog.Get, catalog.Remotes, "r", nil)
		require.NoError(t, err)
		require.NotContains(t, string(body), "null")
	}},
	{"a pipe may have a remote's name", func(t *testing.T, api d6tpipe.API) {
		require.NoError(t, remotes.create(t.Context(), api, "same", "1"))
		_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "same", Remote: "same"})
		require.NoError(t, err)
		require.NoError(t, api.Pipes().Delete(t.Context(), "same"))
		_, err = api.Remotes().Get(t.Context(), "same")
		require.NoError(t, err)
	}},
	{"secrets are in no error", func(t *testing.T, api d6tpipe.API) {
		r := firstGen()
		_, err := api.Remotes().Create(t.Context(), r)
		require.NoError(t, err)
		var errs []error
		_, err = api.Remotes().Create(t.Context(), r)
		errs = append(errs, err)
		r.Name = "$x"
		_, err = api.Remotes().Create(t.Context(), r)
		errs = append(errs, err)
		r.Name = "missing"
		_, err = api.Remotes().Replace(t.Context(), r)
		errs = append(errs, err)
		bad, err := json.Marshal(map[string]any{"name": "q", "protocol": "nope", "location": "b", "readCredentials": map[string]string{"secret": "canary-raw"}})
		require.NoError(t, err)
		_, err = backend(t, api).Do(t.Context(), catalog.Create, catalog.Remotes, "", bad)
		errs = append(errs, err)
		for _, err := range errs {
			require.Error(t, err)
			require.NotContains(t, err.Error(), "canary")
		}
	}},
	{"a secret's print-out is no secret", func(t *testing.T, api d6tpipe.API) {
		r := firstGen()
		r.ReadCredentials = d6tpipe.Credentials{"aws_secret_access_key": "***"}
		_, err := api.Remotes().Create(t.Context(), r)
		field(t, err, "readCredentials", d6tpipe.ErrInvalid)
	}},
}
