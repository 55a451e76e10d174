package d6tpipe_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

func encoded[T d6tpipe.Record](t *testing.T, settings T) T {
	t.Helper()
	sealed, err := d6tpipe.Encode(sealing, settings)
	require.NoError(t, err)
	return sealed
}

// What a repo API that was broken into may answer, to be sent the credentials.
func TestCredentialsGoNowhereElse(t *testing.T) {
	evil := json.RawMessage(`{"endpoint_url":"https://evil.example"}`)
	for name, tamper := range map[string]func(r, other *d6tpipe.RemoteSettings){
		"replaced":          func(r, _ *d6tpipe.RemoteSettings) { r.Location, r.Settings = "evil-bucket", evil },
		"location replaced": func(r, _ *d6tpipe.RemoteSettings) { r.Location = "evil-bucket" },
		"settings replaced": func(r, _ *d6tpipe.RemoteSettings) { r.Settings = evil },
		"settings dropped":  func(r, _ *d6tpipe.RemoteSettings) { r.Settings = nil },
		"location dropped":  func(r, _ *d6tpipe.RemoteSettings) { r.Location = "" },
		"params replaced":   func(r, _ *d6tpipe.RemoteSettings) { r.ReadParams = json.RawMessage(`{"url":"evil"}`) },
		"protocol":          func(r, _ *d6tpipe.RemoteSettings) { r.Protocol = d6tpipe.ProtocolFTP },
		"an older location": func(r, other *d6tpipe.RemoteSettings) { r.Location = other.Location },
		"older settings":    func(r, other *d6tpipe.RemoteSettings) { r.Settings = other.Settings },
		"older credentials": func(r, other *d6tpipe.RemoteSettings) { r.ReadCredentials = other.ReadCredentials },
		"all but credential": func(r, o *d6tpipe.RemoteSettings) {
			r.Location, r.Settings, r.ReadParams = o.Location, o.Settings, o.ReadParams
		},
	} {
		r := encoded(t, sealedRemote())
		old := sealedRemote()
		old.Location, old.Settings = "old-bucket", json.RawMessage(`{"endpoint_url":"https://old-host"}`)
		other := encoded(t, old)
		tamper(&r, &other)
		back, err := d6tpipe.Decode(sealing, r)
		require.ErrorIs(t, err, d6tpipe.ErrDamaged, "%s: %+v", name, back)
		require.ErrorContains(t, err, "warehouse")
		require.NotContains(t, err.Error(), "secret")
		again, err := d6tpipe.Encode(sealing, r)
		require.True(t, err != nil || string(again.Settings) == string(r.Settings) && again.Location == r.Location, "%s: made genuine", name)
	}
	bare := sealedRemote()
	bare.Settings = nil
	r := encoded(t, bare)
	r.Settings = evil
	_, err := d6tpipe.Decode(sealing, r)
	require.ErrorIs(t, err, d6tpipe.ErrDamaged, "added")

	p := encoded(t, sealedPipe())
	p.Options.RemotePath = "s3://evil-bucket/a/"
	_, err = d6tpipe.Decode(sealing, p)
	require.ErrorIs(t, err, d6tpipe.ErrDamaged, "a path that is not below the location")
	p.Options.RemotePath = "s3://" + p.Location + "/a/"
	p.Role, p.Extra = d6tpipe.RoleRead, map[string]json.RawMessage{"x": json.RawMessage("1")}
	back, err := d6tpipe.Decode(sealing, p)
	require.NoError(t, err, "what a repo API adds up")
	require.Equal(t, "s3://secret-bucket/a/", back.Options.RemotePath)
	p.Remote = "evil"
	_, err = d6tpipe.Decode(sealing, p)
	require.ErrorIs(t, err, d6tpipe.ErrDamaged, "led to a remote")
}

// A record that is encrypted in part stays one place.
func TestEncodeTheRest(t *testing.T) {
	half := sealedPipe()
	half.Credentials = nil
	p := encoded(t, half)
	p.Credentials = sealedPipe().Credentials
	back, err := d6tpipe.Decode(sealing, encoded(t, p))
	require.NoError(t, err)
	require.Equal(t, sealedPipe(), back)

	parent := encoded(t, d6tpipe.PipeSettings{Name: "own", Protocol: d6tpipe.ProtocolS3, Location: "secret-bucket"})
	child := d6tpipe.PipeSettings{Name: "child", Parent: "own", Root: "own", Protocol: d6tpipe.ProtocolS3, Location: parent.Location, ReadParams: json.RawMessage("1")}
	require.Equal(t, parent.Location, encoded(t, child).Location, "what is the parent's stays so")
}

// Through the API: whatever the catalogue makes of a record, the credentials of its
// owner are not handed out with it.
func TestTamperedCatalogue(t *testing.T) {
	for kind, open := range map[string]func(*testing.T, d6tpipe.API) d6tpipe.API{
		"local": func(_ *testing.T, api d6tpipe.API) d6tpipe.API { return api },
		"wire":  served,
	} {
		t.Run(kind, func(t *testing.T) {
			local, err := d6tpipe.NewAPILocal(d6tpipe.Config{Profile: "p", Catalog: filepath.Join(t.TempDir(), "catalog.json"), Key: sealing.Key})
			require.NoError(t, err)
			api := open(t, local)
			own := sealedPipe()
			own.Options.Include = ""
			elsewhere := d6tpipe.PipeSettings{Name: "elsewhere", Parent: "sales", Protocol: d6tpipe.ProtocolS3, Location: "other-bucket"}
			ftp := d6tpipe.PipeSettings{Name: "moved", Parent: "sales", Protocol: d6tpipe.ProtocolSFTP, Location: "host", Settings: json.RawMessage(`{"port":23}`)}
			shelf := d6tpipe.PipeSettings{Name: "shelf", Remote: "warehouse", ReadCredentials: d6tpipe.Credentials{"key": "pipe-id", "secret": "pipe-key"}}
			for _, p := range []d6tpipe.PipeSettings{encoded(t, own), {Name: "child", Parent: "sales"}, encoded(t, elsewhere), encoded(t, ftp)} {
				_, err := api.Pipes().Create(t.Context(), p)
				require.NoError(t, err)
			}
			_, err = api.Remotes().Create(t.Context(), encoded(t, sealedRemote()))
			require.NoError(t, err)
			_, err = api.Pipes().Create(t.Context(), encoded(t, shelf))
			require.NoError(t, err)
			for name, want := range map[string]string{"sales": "secret-bucket", "child": "secret-bucket", "elsewhere": "other-bucket", "moved": "host", "shelf": "secret-bucket"} {
				s, err := api.Storage(t.Context(), name, d6tpipe.RoleRead, false)
				require.NoError(t, err, name)
				require.Equal(t, want, s.Location)
				require.NotEmpty(t, s.Credentials)
				if name == "shelf" {
					require.Equal(t, d6tpipe.Secret("pipe-key"), s.Credentials.Value("secret"))
				}
			}
			for _, c := range []struct{ path, name, with, refused string }{
				{"pipes", "child", `{"protocol":"sftp","location":"evil.example"}`, "child"},
				{"pipes", "elsewhere", `{"location":"evil-bucket"}`, "elsewhere"},
				{"pipes", "moved", `{"settings":{"port":22}}`, "moved"},
				{"remotes", "warehouse", `{"readCredentials":null,"writeCredentials":null,"location":"evil-bucket","settings":{"endpoint_url":"https://evil.example"}}`, "shelf"},
				{"pipes", "sales", `{"settings":{"endpoint_url":"https://evil.example"}}`, "sales"},
			} {
				_, err := local.Backend().Do(t.Context(), catalog.Update, c.path, c.name, json.RawMessage(c.with))
				require.NoError(t, err, c.name)
				s, err := api.Storage(t.Context(), c.refused, d6tpipe.RoleRead, false)
				require.ErrorIs(t, err, d6tpipe.ErrDamaged, c.name)
				require.Empty(t, s.Credentials)
			}
		})
	}
}
