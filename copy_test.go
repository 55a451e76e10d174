package d6tpipe_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/wire"
)

// everything is a catalogue with each kind of record.
const everything = `{"version":1,"remotes":[
	{"name":"r","protocol":"s3","location":"b","settings":{"dir":"x"},"readParams":[1],"readCredentials":{"key":"k"},"writeCredentials":{"key":"w"},"z":0}],
"pipes":[
	{"name":"z-root","protocol":"s3","location":"b","options":{"dir":"a","include":"*.csv"},"credentials":{"aws_access_key_id":"k","n":12345678901234567890}},
	{"name":"m-mid","parent":"z-root","options":{"dir":"/c","own":1.0}},
	{"name":"leaf","parent":"m-mid","schema":{"n":12345678901234567890,"e":1e400}},
	{"name":"pin","parent":"m-mid","protocol":"ftp","location":"other","credentials":{"read":{"username":"u"},"write":{"username":"w"}}},
	{"name":"readonly","protocol":"s3","location":"b","credentials":{"read":{"aws_access_key_id":"r"}}},
	{"name":"bare","protocol":"sftp","location":"h"},
	{"name":"first","remote":"r","settings":{"remotedir":"a","include":"*"},"readParams":{"a":1}}]}`

// reader is an API whose caller may only read.
type reader struct{ d6tpipe.API }

func (r reader) Storage(ctx context.Context, pipe string, role d6tpipe.Role, renew bool) (d6tpipe.Storage, error) {
	if role != d6tpipe.RoleRead || pipe == "bare" {
		return d6tpipe.Storage{}, d6tpipe.ErrPermission
	}
	return r.API.Storage(ctx, pipe, role, renew)
}

func TestCopyRoundTrip(t *testing.T) {
	src, path := localFile(t, everything)
	do(t, src, catalog.Update, "pipes", "bare", `{"touch":1}`) // now in order
	there, _ := local(t)
	server := dial(t, serve(t, wire.Handler(there.Backend()).ServeHTTP), d6tpipe.Limits{})
	back, backPath := local(t)
	for _, leg := range []struct{ dst, src d6tpipe.API }{{server, src}, {back, server}} {
		report, err := d6tpipe.CopyCatalog(t.Context(), leg.dst, leg.src, d6tpipe.CopyOptions{})
		require.NoError(t, err)
		require.Len(t, report.Records, 8)
		require.Equal(t, 8, report.Count(d6tpipe.RecordCreated), report)
		again, err := d6tpipe.CopyCatalog(t.Context(), leg.dst, leg.src, d6tpipe.CopyOptions{Overwrite: true})
		require.NoError(t, err)
		require.Equal(t, 8, again.Count(d6tpipe.RecordSame), again)
	}
	require.Equal(t, lines(read(t, path)), lines(read(t, backPath)), "the same lines, but for the order and form of the file itself")
}

// lines are the lines of the tables of a catalogue file.
func lines(file string) (rows []string) {
	for line := range strings.Lines(file) {
		if strings.HasPrefix(line, "    ") {
			rows = append(rows, line)
		}
	}
	return rows
}

func TestCopyConflicts(t *testing.T) {
	src, _ := localFile(t, everything)
	dst, path := localFile(t, `{"remotes":[{"name":"r","protocol":"dir","location":"/d"}],"pipes":[
		{"name":"leaf","protocol":"s3","location":"mine","credentials":{"key":"mine"}},
		{"name":"pin","parent":"leaf"},{"name":"other","protocol":"s3","location":"b"}]}`)
	report, err := d6tpipe.CopyCatalog(t.Context(), dst, src, d6tpipe.CopyOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, 3, report.Count(d6tpipe.RecordExists), report)
	require.Equal(t, 5, report.Count(d6tpipe.RecordCreated), report)
	require.Contains(t, read(t, path), `"location": "mine"`)

	report, err = d6tpipe.CopyCatalog(t.Context(), dst, src, d6tpipe.CopyOptions{Overwrite: true})
	require.NoError(t, err)
	require.Equal(t, 3, report.Count(d6tpipe.RecordUpdated), report)
	require.NotContains(t, read(t, path), `"location": "mine"`)
	require.Contains(t, read(t, path), `"name": "other"`)
	report, err = d6tpipe.CopyCatalog(t.Context(), dst, src, d6tpipe.CopyOptions{Overwrite: true})
	require.NoError(t, err)
	require.Equal(t, 8, report.Count(d6tpipe.RecordSame), report)
}

func TestCopyForReaders(t *testing.T) {
	src, _ := localFile(t, everything)
	dst, path := local(t)
	report, err := d6tpipe.CopyCatalog(t.Context(), dst, reader{src}, d6tpipe.CopyOptions{})
	require.NoError(t, err)
	reasons := map[string]string{}
	for _, r := range report.Records {
		require.Equal(t, d6tpipe.RecordCreated, r.Status)
		reasons[r.Name] = r.Reason
	}
	require.Contains(t, reasons["z-root"], "without credentials for writing")
	require.Contains(t, reasons["bare"], "without credentials: permission denied")
	require.Empty(t, reasons["first"])
	_ = path
	s, err := dst.Storage(t.Context(), "leaf", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	require.Equal(t, d6tpipe.Secret("k"), s.Credentials.Value("aws_access_key_id"))
	s, err = dst.Storage(t.Context(), "leaf", d6tpipe.RoleWrite, false)
	require.NoError(t, err)
	require.Empty(t, s.Credentials)
}

func TestCopyStops(t *testing.T) {
	src, _ := localFile(t, everything)
	dst, path := local(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report, err := d6tpipe.CopyCatalog(ctx, dst, src, d6tpipe.CopyOptions{})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, report.Records)
	require.NoFileExists(t, path)

	report, err = d6tpipe.CopyCatalog(t.Context(), failing{dst}, src, d6tpipe.CopyOptions{})
	require.ErrorIs(t, err, errBroken)
	require.Empty(t, report.Records)
}

// failing is a destination that breaks down before the end of a transaction.
type failing struct{ *d6tpipe.APILocal }

var errBroken = errors.New("broken")

func (f failing) Transact(ctx context.Context, change func(d6tpipe.API) error) error {
	return errors.Join(f.APILocal.Transact(ctx, func(tx d6tpipe.API) error {
		return errors.Join(change(tx), errBroken)
	}))
}

// A server shows what it manages as S3 without a location of the user's.
func TestCopyLeavesManagedPipes(t *testing.T) {
	src, _ := localFile(t, `{"remotes":[{"name":"m","protocol":"s3","location":"managed/user/m"}],"pipes":[
		{"name":"p","protocol":"s3"},{"name":"c","parent":"p"},{"name":"ok","protocol":"dir","location":"/d"}]}`)
	dst, _ := local(t)
	report, err := d6tpipe.CopyCatalog(t.Context(), dst, src, d6tpipe.CopyOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, []d6tpipe.RecordResult{
		{Collection: "remotes", Name: "m", Status: "failed", Reason: "unsupported: the files lie in storage that only the server can open; create it anew and push"},
		{Collection: "pipes", Name: "p", Status: "failed", Reason: "unsupported: the files lie in storage that only the server can open; create it anew and push"},
		{Collection: "pipes", Name: "c", Status: "failed", Reason: "parent: Object with name=p does not exist."},
		{Collection: "pipes", Name: "ok", Status: "created"},
	}, report.Records)
}

func TestImportTinyDB(t *testing.T) {
	file := filepath.Join("testdata", "local", "filedb.json")
	before := read(t, file)
	api, path := local(t)
	report, err := d6tpipe.ImportTinyDB(t.Context(), api, file)
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, []d6tpipe.RecordResult{
		{Collection: "remotes", Name: "warehouse", Status: "created"},
		{Collection: "remotes", Name: "posted", Status: "created"},
		{Collection: "pipes", Name: "vendor", Status: "created"},
		{Collection: "pipes", Name: "child", Status: "created"},
		{Collection: "pipes", Name: "ftp-test", Status: "created"},
		{Collection: "pipes", Name: "first", Status: "created"},
		{Collection: "pipes", Name: "bad name", Status: "failed", Reason: "name: Only alphanumeric characters and hyphens are allowed."},
		{Collection: "pipes", Name: "lost", Status: "failed", Reason: "parent: Object with name=gone does not exist."},
		{Collection: "pipes", Name: "elsewhere", Status: "failed", Reason: "options: The remotepath does not lie in the location bucket-name."},
		{Collection: "pipes", Name: "#9", Status: "failed", Reason: "document: This is no JSON object."},
		{Collection: "pipes", Name: "#10", Status: "failed", Reason: "name: A JSON number does not fit here."},
	}, report.Records)
	require.Equal(t, before, read(t, file))

	s, err := api.Storage(t.Context(), "vendor", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	require.Equal(t, "bucket-name", s.Location)
	require.Equal(t, "vendorX", s.Dir)
	require.Equal(t, d6tpipe.Secret("ABC"), s.Credentials.Value("aws_access_key_id"))
	s, err = api.Storage(t.Context(), "child", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	require.Equal(t, "vendorX/sub", s.Dir)
	s, err = api.Storage(t.Context(), "first", d6tpipe.RoleWrite, false)
	require.NoError(t, err)
	require.Equal(t, "data/pipe", s.Dir)
	require.Equal(t, d6tpipe.Secret("W"), s.Credentials.Value("key"))
	p, err := api.Pipes().Get(t.Context(), "vendor")
	require.NoError(t, err)
	require.JSONEq(t, `{"since":"2019-01-01T00:00:00","n":12345678901234567890}`, string(p.Schema))

	saved := read(t, path)
	report, err = d6tpipe.ImportTinyDB(t.Context(), api, file)
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, 6, report.Count(d6tpipe.RecordSame))
	require.Equal(t, saved, read(t, path), "a second import changes nothing")

	_, err = api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "vendor", Location: "mine"})
	require.NoError(t, err)
	report, err = d6tpipe.ImportTinyDB(t.Context(), api, file)
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, 1, report.Count(d6tpipe.RecordExists))
}

func TestImportTinyDBRefusesDamage(t *testing.T) {
	api, path := local(t)
	for text, want := range map[string]string{
		"": "line 1, column 1: the file ends too early", `{"pipes": {"1": {`: "line 1, column 18: the file ends too early",
		`[]`: "not a JSON object", `{"pipes": []}`: "the table pipes is no JSON object",
	} {
		file := filepath.Join(t.TempDir(), "db.json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := d6tpipe.ImportTinyDB(t.Context(), api, file)
		require.ErrorIs(t, err, d6tpipe.ErrDamaged, text)
		require.ErrorContains(t, err, want)
	}
	_, err := d6tpipe.ImportTinyDB(t.Context(), api, filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	file := filepath.Join(t.TempDir(), "db.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"_default": {}, "x-files": {"1": {}}}`), 0o600))
	report, err := d6tpipe.ImportTinyDB(t.Context(), api, file)
	require.NoError(t, err)
	require.Empty(t, report.Records)
	require.NoFileExists(t, path)
}

// A child takes the options of its storage from the parent that it has in dst.
func TestCopyLeavesInheritedSettings(t *testing.T) {
	src, _ := local(t)
	dst, _ := local(t)
	for api, region := range map[d6tpipe.API]string{src: `{"region_name":"eu"}`, dst: `{"region_name":"us"}`} {
		parent := s3pipe("parent")
		parent.Settings = json.RawMessage(region)
		_, err := api.Pipes().Create(t.Context(), parent)
		require.NoError(t, err)
	}
	for _, p := range []d6tpipe.PipeSettings{{Name: "child", Parent: "parent"},
		{Name: "own", Parent: "parent", Settings: json.RawMessage(`{"region_name":"ap"}`)}} {
		_, err := src.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
	for _, want := range []d6tpipe.RecordStatus{d6tpipe.RecordCreated, d6tpipe.RecordSame} {
		report, err := d6tpipe.CopyCatalog(t.Context(), dst, src, d6tpipe.CopyOptions{})
		require.ErrorIs(t, err, d6tpipe.ErrPartial, "the parents differ")
		require.Equal(t, 2, report.Count(want), "%+v", report)
	}
	for name, want := range map[string]string{"child": `{"region_name":"us"}`, "own": `{"region_name":"ap"}`} {
		s, err := dst.Storage(t.Context(), name, d6tpipe.RoleRead, false)
		require.NoError(t, err)
		require.JSONEq(t, want, string(s.Options))
	}
}
