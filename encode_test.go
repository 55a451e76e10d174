package d6tpipe_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

var sealing = d6tpipe.Config{Key: "the key of the profile"}

func sealedPipe() d6tpipe.PipeSettings {
	return d6tpipe.PipeSettings{
		Name: "sales", Protocol: d6tpipe.ProtocolS3, Location: "secret-bucket", Options: d6tpipe.PipeOptions{Dir: "a", Include: "*.csv"},
		Settings: json.RawMessage(`{"endpoint_url":"https://secret-host"}`), ReadParams: json.RawMessage(`[1,{"secret":2}]`),
		Credentials: d6tpipe.Credentials{
			"read":  map[string]any{"aws_access_key_id": "secret-id", "aws_secret_access_key": "secret-key"},
			"write": map[string]any{"aws_access_key_id": "secret-id2", "aws_secret_access_key": "secret-key2"},
		},
	}
}

func sealedRemote() d6tpipe.RemoteSettings {
	return d6tpipe.RemoteSettings{
		Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: "secret-bucket", Settings: json.RawMessage(`{"endpoint_url":"https://secret-host"}`),
		ReadCredentials: d6tpipe.Credentials{"key": "secret-id", "secret": "secret-key"}, WriteCredentials: d6tpipe.Credentials{"key": "secret-id2", "secret": "secret-key2"},
	}
}

func TestEncode(t *testing.T) {
	p, err := d6tpipe.Encode(sealing, sealedPipe())
	require.NoError(t, err)
	require.NoError(t, p.Validate())
	require.True(t, p.Options.Encrypted)
	require.Equal(t, "*.csv", p.Options.Include)
	require.NotContains(t, fmt.Sprintf("%+v %s %s %v", p, p.Settings, p.ReadParams, map[string]any(p.Credentials)), "secret")
	twice, err := d6tpipe.Encode(sealing, p)
	require.NoError(t, err)
	require.Equal(t, p, twice)
	back, err := d6tpipe.Decode(sealing, p)
	require.NoError(t, err)
	require.Equal(t, sealedPipe(), back)
	again, err := d6tpipe.Decode(sealing, back)
	require.NoError(t, err)
	require.Equal(t, back, again, "what is not encrypted stays")

	r, err := d6tpipe.Encode(sealing, sealedRemote())
	require.NoError(t, err)
	require.NoError(t, r.Validate())
	require.NotContains(t, fmt.Sprintf("%+v %s %v %v", r, r.Settings, map[string]any(r.ReadCredentials), map[string]any(r.WriteCredentials)), "secret")
	rBack, err := d6tpipe.Decode(sealing, r)
	require.NoError(t, err)
	require.Equal(t, sealedRemote(), rBack)

	_, err = d6tpipe.Encode(d6tpipe.Config{}, sealedPipe())
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	require.ErrorContains(t, err, "key")
}

// TestEncoded: each field that can be encrypted tells that the record is.
func TestEncoded(t *testing.T) {
	p, r := sealedPipe(), sealedRemote()
	require.False(t, d6tpipe.Encoded(p))
	require.False(t, d6tpipe.Encoded(r))
	for _, p := range []d6tpipe.PipeSettings{
		{Name: "a", Location: p.Location}, {Name: "a", Settings: p.Settings}, {Name: "a", ReadParams: p.ReadParams},
		{Name: "a", Credentials: p.Credentials}, {Name: "a", ReadCredentials: r.ReadCredentials}, {Name: "a", WriteCredentials: r.ReadCredentials},
	} {
		sealed, err := d6tpipe.Encode(sealing, p)
		require.NoError(t, err)
		require.True(t, d6tpipe.Encoded(sealed), "%v", p)
	}
	for _, r := range []d6tpipe.RemoteSettings{
		{Name: "a", Location: r.Location}, {Name: "a", Settings: r.Settings}, {Name: "a", ReadParams: p.ReadParams},
		{Name: "a", ReadCredentials: r.ReadCredentials}, {Name: "a", WriteCredentials: r.WriteCredentials},
	} {
		sealed, err := d6tpipe.Encode(sealing, r)
		require.NoError(t, err)
		require.True(t, d6tpipe.Encoded(sealed), "%v", r)
	}
}

func TestDecodeWithAnotherKey(t *testing.T) {
	p, err := d6tpipe.Encode(sealing, sealedPipe())
	require.NoError(t, err)
	for _, key := range []d6tpipe.Secret{"another key", "the key of the profile "} {
		_, err = d6tpipe.Decode(d6tpipe.Config{Key: key}, p)
		require.ErrorIs(t, err, d6tpipe.ErrDamaged)
		require.ErrorContains(t, err, "sales")
		require.NotContains(t, err.Error(), string(key))
	}
}

// Values that were moved to another field or record do not open.
func TestSwappedFields(t *testing.T) {
	p, err := d6tpipe.Encode(sealing, sealedPipe())
	require.NoError(t, err)
	inner := func(raw json.RawMessage) string {
		var o map[string]string
		require.NoError(t, json.Unmarshal(raw, &o))
		return o["d6tenc"]
	}
	object := func(value string) json.RawMessage { return json.RawMessage(`{"d6tenc":"` + value + `"}`) }
	set := func(role string) string { return p.Credentials[role].(map[string]any)["d6tenc"].(string) }
	values := map[string]string{"location": p.Location, "settings": inner(p.Settings), "readParams": inner(p.ReadParams), "read": set("read"), "write": set("write")}
	place := map[string]func(p *d6tpipe.PipeSettings, value string){
		"location":   func(p *d6tpipe.PipeSettings, v string) { p.Location = v },
		"settings":   func(p *d6tpipe.PipeSettings, v string) { p.Settings = object(v) },
		"readParams": func(p *d6tpipe.PipeSettings, v string) { p.ReadParams = object(v) },
		"read":       func(p *d6tpipe.PipeSettings, v string) { p.Credentials["read"] = map[string]any{"d6tenc": v} },
		"write":      func(p *d6tpipe.PipeSettings, v string) { p.Credentials["write"] = map[string]any{"d6tenc": v} },
	}
	for from, value := range values {
		for to, put := range place {
			other, err := d6tpipe.Encode(sealing, sealedPipe())
			require.NoError(t, err)
			put(&other, value)
			_, err = d6tpipe.Decode(sealing, other)
			require.Equal(t, from == to, err == nil, "%s in the place of %s: %v", from, to, err)
		}
	}
	p.Name = "other"
	_, err = d6tpipe.Decode(sealing, p)
	require.ErrorIs(t, err, d6tpipe.ErrDamaged, "of another pipe")
	r, err := d6tpipe.Encode(sealing, d6tpipe.RemoteSettings{Name: "sales", Protocol: d6tpipe.ProtocolS3, Location: "x"})
	require.NoError(t, err)
	_, err = d6tpipe.Decode(sealing, d6tpipe.PipeSettings{Name: "sales", Location: r.Location})
	require.ErrorIs(t, err, d6tpipe.ErrDamaged, "of a remote")
}

func TestFlippedBits(t *testing.T) {
	p, err := d6tpipe.Encode(sealing, sealedPipe())
	require.NoError(t, err)
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(p.Location, "d6tenc2:"))
	require.NoError(t, err)
	for range 1000 {
		bit := rand.IntN(8 * len(data))
		data[bit/8] ^= 1 << (bit % 8)
		_, err := d6tpipe.Decode(sealing, d6tpipe.PipeSettings{Name: "sales", Location: "d6tenc2:" + base64.RawURLEncoding.EncodeToString(data)})
		require.ErrorIs(t, err, d6tpipe.ErrDamaged)
		data[bit/8] ^= 1 << (bit % 8)
	}
}

func FuzzDecodeSettings(f *testing.F) {
	p, err := d6tpipe.Encode(sealing, sealedPipe())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Location, string(p.Settings))
	f.Add("d6tenc2:", `{"d6tenc":"d6tenc2:AAAA"}`)
	f.Fuzz(func(t *testing.T, location, settings string) {
		in := d6tpipe.PipeSettings{Name: "sales", Location: location, Settings: json.RawMessage(settings)}
		out, err := d6tpipe.Decode(sealing, in)
		if err == nil && strings.HasPrefix(location, "d6tenc2:") && out.Location != "secret-bucket" {
			t.Fatalf("%q opened", location)
		}
	})
}

// The catalogue never sees where the files lie, and pulls and pushes work.
func TestEncryptedPipe(t *testing.T) {
	home, folder := t.TempDir(), t.TempDir()
	put(t, folder, "a.csv", "content")
	cfg := d6tpipe.Config{Profile: "p", FileRepo: filepath.Join(home, "files"), Catalog: filepath.Join(home, "catalog.json"), Key: "key"}
	api, err := d6tpipe.NewAPILocal(cfg)
	require.NoError(t, err)
	remote, err := d6tpipe.Encode(cfg, d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolDir, Location: folder})
	require.NoError(t, err)
	_, err = api.Remotes().Create(t.Context(), remote)
	require.NoError(t, err)
	own, err := d6tpipe.Encode(cfg, d6tpipe.PipeSettings{Name: "own", Protocol: d6tpipe.ProtocolDir, Location: folder})
	require.NoError(t, err)
	for _, p := range []d6tpipe.PipeSettings{own, {Name: "child", Parent: "own"}, {Name: "shelf", Remote: "warehouse"}} {
		_, err = api.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
		pipe, err := d6tpipe.OpenPipe(t.Context(), api, p.Name, d6tpipe.OpenOptions{})
		require.NoError(t, err)
		report, err := pipe.Pull(t.Context(), d6tpipe.PullOptions{})
		require.NoError(t, err, p.Name)
		require.Equal(t, 1, report.Moved)
		put(t, pipe.Dir(), p.Name+".csv", "pushed")
		_, err = pipe.Push(t.Context(), d6tpipe.PushOptions{})
		require.NoError(t, err)
		require.FileExists(t, filepath.Join(folder, p.Name+".csv"))
		require.NoError(t, os.Remove(filepath.Join(folder, p.Name+".csv")))
	}
	data, err := os.ReadFile(cfg.Catalog)
	require.NoError(t, err)
	require.NotContains(t, string(data), folder)

	cfg.Key = "another"
	stranger, err := d6tpipe.NewAPILocal(cfg)
	require.NoError(t, err)
	pipe, err := d6tpipe.OpenPipe(t.Context(), stranger, "own", d6tpipe.OpenOptions{})
	require.NoError(t, err)
	_, err = pipe.Pull(t.Context(), d6tpipe.PullOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrDamaged)
}
