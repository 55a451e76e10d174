package d6tpipe_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// local returns an empty local catalogue and its file.
func local(t testing.TB) (*d6tpipe.APILocal, string) {
	path := filepath.Join(t.TempDir(), "state", "catalog.json")
	return openLocal(t, path), path
}

func openLocal(t testing.TB, path string) *d6tpipe.APILocal {
	api, err := d6tpipe.NewAPILocal(d6tpipe.Config{Catalog: path})
	require.NoError(t, err)
	return api
}

// localFile returns a catalogue over a file with the given content.
func localFile(t testing.TB, content string) (*d6tpipe.APILocal, string) {
	path := filepath.Join(t.TempDir(), "catalog.json")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return openLocal(t, path), path
}

func read(t testing.TB, path string) string {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

// do is a raw call.
func do(t testing.TB, api *d6tpipe.APILocal, verb catalog.Verb, path, name, in string) string {
	out, err := api.Backend().Do(t.Context(), verb, path, name, json.RawMessage(in))
	require.NoError(t, err)
	return string(out)
}

func s3pipe(name string) d6tpipe.PipeSettings {
	return d6tpipe.PipeSettings{Name: name, Protocol: d6tpipe.ProtocolS3, Location: "bucket"}
}

func TestLocalNothingIsWrittenBeforeTheFirstChange(t *testing.T) {
	api, path := local(t)
	names, err := api.Pipes().Names(t.Context())
	require.NoError(t, err)
	require.Empty(t, names)
	_, err = api.Pipes().Get(t.Context(), "a")
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	require.NoDirExists(t, filepath.Dir(path))

	_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "a"})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	require.NoFileExists(t, path, "a refused change writes no file")

	_, err = api.Pipes().Create(t.Context(), s3pipe("a"))
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestLocalNeedsAFile(t *testing.T) {
	_, err := d6tpipe.NewAPILocal(d6tpipe.Config{})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	_, err = d6tpipe.NewAPILocal(d6tpipe.Config{Catalog: t.TempDir()})
	require.Error(t, err, "a folder")
}

// The file is for people: its bytes are part of the promise.
func TestLocalFileIsForPeople(t *testing.T) {
	api, path := local(t)
	ctx := t.Context()
	_, err := api.Pipes().Create(ctx, d6tpipe.PipeSettings{
		Name: "sales", Remote: "warehouse", Options: d6tpipe.PipeOptions{Include: "*.csv|*.parquet", Dir: "sales"},
	})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid, "the remote is not there yet")
	_, err = api.Remotes().Create(ctx, d6tpipe.RemoteSettings{
		Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: "a&b", Settings: json.RawMessage(`{"region_name":"eu"}`),
		ReadCredentials: d6tpipe.Credentials{"key": d6tpipe.Secret("k"), "secret": "s"},
	})
	require.NoError(t, err)
	_, err = api.Pipes().Create(ctx, d6tpipe.PipeSettings{
		Name: "sales", Remote: "warehouse", Options: d6tpipe.PipeOptions{Include: "*.csv|*.parquet", Dir: "sales"},
	})
	require.NoError(t, err)
	_, err = api.Pipes().Create(ctx, d6tpipe.PipeSettings{
		Name: "a", Protocol: "dir", Location: "/data", Schema: json.RawMessage(`{"n": [12345678901234567890, 1e400, 1.50]}`),
		Extra: map[string]json.RawMessage{"team": json.RawMessage(`"x"`), "area": json.RawMessage(`0`)},
	})
	require.NoError(t, err)
	golden := filepath.Join("testdata", "local", "catalog.json")
	require.Equal(t, read(t, golden), read(t, path))

	before, err := os.Stat(path)
	require.NoError(t, err)
	p, err := api.Pipes().Get(ctx, "sales")
	require.NoError(t, err)
	_, err = api.Pipes().Replace(ctx, p)
	require.NoError(t, err)
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "what changes nothing does not touch the file")
}

func TestLocalUnknownFieldsSurvive(t *testing.T) {
	api, path := localFile(t, `{"mine": {"b": 1.0, "a": [1e400]}, "pipes": [
		{"zone": 1, "location": "l", "team": {"z": 0, "a": 1}, "name": "p", "protocol": "sftp", "options": {"x": 1, "dir": "d"}}], "version": 1}`)
	_, err := api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "p", Location: "host"})
	require.NoError(t, err)
	require.Equal(t, `{
  "mine": {
    "b": 1.0,
    "a": [
      1e400
    ]
  },
  "pipes": [
    {
      "name": "p",
      "protocol": "sftp",
      "location": "host",
      "options": {
        "dir": "d",
        "x": 1
      },
      "team": {
        "z": 0,
        "a": 1
      },
      "zone": 1
    }
  ],
  "version": 1,
  "remotes": []
}
`, read(t, path))
}

func TestLocalCreate(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"taken", `{"name":"root","protocol":"s3","location":"b"}`, "name: This field must be unique."},
		{"bad name", `{"name":"$x","protocol":"s3"}`, "name: Only alphanumeric"},
		{"no name", `{"protocol":"s3"}`, "name: This field is required."},
		{"no body", ``, "name: This field is required."},
		{"reserved", `{"name":"pipes","protocol":"s3"}`, "name: This name is reserved"},
		{"unknown parent", `{"name":"a","parent":"x"}`, "parent: Object with name=x does not exist."},
		{"unknown remote", `{"name":"a","remote":"x"}`, "remote: Object with name=x does not exist."},
		{"parent on a remote", `{"name":"a","parent":"first"}`, "parent: Pipe first lies on a remote"},
		{"managed", `{"name":"a"}`, "protocol: A local catalogue has no managed storage."},
		{"managed by name", `{"name":"a","protocol":"d6tfree"}`, "protocol: A local catalogue has no managed storage."},
		{"bad dir", `{"name":"a","parent":"root","options":{"dir":"C:\\x"}}`, "options: Paths"},
		{"wrong type", `{"name":"a","parent":"root","options":{"dir":3}}`, "options: A JSON number does not fit here."},
		{"wrong spelling", `{"name":"a","Parent":"root"}`, "Parent: This field is spelled parent."},
		{"wrong spelling in options", `{"name":"a","parent":"root","options":{"Dir":"x"}}`, "Dir: This field is spelled dir."},
		{"a list", `[1]`, "pipe: line 1, column 1: not a JSON object"},
		{"cut off", `{"name":"a"`, "pipe: line 1, column 12: the file ends too early"},
		{"twice", `{"name":"a","parent":"root","schema":{"a":1,"a":2}}`, `pipe: line 1, column 45: the name "a" stands twice`},
		{"too deep", `{"name":"a","parent":"root","schema":` + strings.Repeat("[", 998) + strings.Repeat("]", 998) + `}`, "nested more than"},
		{"no UTF-8", "{\"name\":\"a\",\"parent\":\"root\",\"schema\":\"\xff\"}", "invalid UTF-8"},
		{"foreign path", `{"name":"a","protocol":"s3","location":"b","options":{"remotepath":"s3://c/x/"}}`, "options: The remotepath does not lie"},
	} {
		t.Run(c.name, func(t *testing.T) {
			api, path := localFile(t, `{"remotes":[{"name":"r","protocol":"dir","location":"/d"}],
				"pipes":[{"name":"root","protocol":"s3","location":"b"},{"name":"first","remote":"r"}]}`)
			before := read(t, path)
			_, err := api.Backend().Do(t.Context(), catalog.Create, catalog.Pipes, "", json.RawMessage(c.in))
			require.ErrorContains(t, err, c.want)
			var field *d6tpipe.FieldError
			require.ErrorAs(t, err, &field)
			if c.name == "taken" {
				require.ErrorIs(t, err, d6tpipe.ErrExists)
			} else {
				require.ErrorIs(t, err, d6tpipe.ErrInvalid)
			}
			require.Equal(t, before, read(t, path))
		})
	}
	api, _ := local(t)
	_, err := api.Remotes().Create(t.Context(), d6tpipe.RemoteSettings{Name: "r", Protocol: d6tpipe.ProtocolManaged})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
}

func TestLocalUpdateMerges(t *testing.T) {
	api, path := localFile(t, `{"pipes":[{"name":"p","protocol":"s3","location":"b","options":{"dir":"d","include":"*"},
		"schema":{"a":1},"credentials":{"key":"k"},"x":1}]}`)
	require.JSONEq(t, `{"name":"p","protocol":"s3","location":"b","options":{"exclude":"*.tmp","remotepath":"s3://b/"},"schema":{},"role":"write","x":2}`,
		do(t, api, catalog.Update, "pipes", "p", `{"options":{"exclude":"*.tmp"},"schema":null,"x":2}`))
	before := read(t, path)
	require.Contains(t, before, `"key": "k"`, "credentials stay")
	for _, in := range []string{"", "{}", ` {"name":"p"} `} {
		do(t, api, catalog.Update, "pipes", "p", in)
	}
	require.Equal(t, before, read(t, path))
	for in, want := range map[string]error{
		`{"name":"q"}`: d6tpipe.ErrInvalid, `{"protocol":"gopher"}`: d6tpipe.ErrInvalid, `{"protocol":null}`: d6tpipe.ErrInvalid,
		`{"name":null}`: d6tpipe.ErrInvalid, `{"parent":"p"}`: d6tpipe.ErrInvalid,
	} {
		_, err := api.Backend().Do(t.Context(), catalog.Update, "pipes", "p", json.RawMessage(in))
		require.ErrorIs(t, err, want, in)
	}
	_, err := api.Backend().Do(t.Context(), catalog.Update, "pipes", "nobody", nil)
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	require.Equal(t, before, read(t, path))
}

func TestLocalReplaceKeepsCredentials(t *testing.T) {
	api, path := localFile(t, `{"pipes":[{"name":"p","protocol":"s3","location":"b","schema":{"a":1},"credentials":{"key":"k"},"x":1}]}`)
	require.JSONEq(t, `{"name":"p","protocol":"ftp","location":"h","options":{"remotepath":"/"},"schema":{},"role":"write"}`,
		do(t, api, catalog.Replace, "pipes", "p", `{"name":"p","protocol":"ftp","location":"h"}`))
	require.Contains(t, read(t, path), `"key": "k"`)
	do(t, api, catalog.Replace, "pipes", "p", `{"name":"p","protocol":"ftp","location":"h","credentials":null}`)
	require.NotContains(t, read(t, path), "credentials")
}

func TestLocalDelete(t *testing.T) {
	api, _ := localFile(t, `{"remotes":[{"name":"r","protocol":"dir","location":"/d"}],"pipes":[
		{"name":"root","protocol":"s3","location":"b","options":{"dir":"a"}},{"name":"child","parent":"root","options":{"dir":"c"}},{"name":"first","remote":"r"}]}`)
	ctx := t.Context()
	require.NoError(t, api.Pipes().Delete(ctx, "root"))
	require.NoError(t, api.Remotes().Delete(ctx, "r"))
	require.ErrorIs(t, api.Pipes().Delete(ctx, "root"), d6tpipe.ErrNotFound)

	child, err := api.Pipes().Get(ctx, "child")
	require.NoError(t, err)
	require.Equal(t, d6tpipe.PipeSettings{Name: "child", Parent: "root", Options: d6tpipe.PipeOptions{Dir: "c"}, Role: d6tpipe.RoleWrite}, child)
	_, err = api.Storage(ctx, "child", d6tpipe.RoleRead, false)
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	require.ErrorContains(t, err, `get parent "root"`)
	_, err = api.Storage(ctx, "first", d6tpipe.RoleRead, false)
	require.ErrorIs(t, err, d6tpipe.ErrNotFound)
	require.ErrorContains(t, err, `"r"`)

	child.Schema = json.RawMessage(`{"a":1}`)
	_, err = api.Pipes().Update(ctx, child)
	require.NoError(t, err, "an orphan can be edited")
	_, err = api.Pipes().Create(ctx, s3pipe("root"))
	require.NoError(t, err)
	s, err := api.Storage(ctx, "child", d6tpipe.RoleRead, false)
	require.NoError(t, err, "and finds a parent that comes back")
	require.Equal(t, "c", s.Dir)
}

func TestLocalInheritance(t *testing.T) {
	api, _ := localFile(t, `{"pipes":[
		{"name":"root","protocol":"s3","location":"b","options":{"dir":"a/","include":"c/*"},
			"credentials":{"read":{"key":"rk","secret":"rs"},"write":{"aws_access_key_id":"wk","secret":"ws","n":12345678901234567890}}},
		{"name":"mid","parent":"root","options":{"dir":"/c"}},
		{"name":"leaf","parent":"mid","options":{"exclude":"*.tmp"},"schema":{"x":[1]}},
		{"name":"own","parent":"mid","credentials":{"key":"own"}},
		{"name":"half","protocol":"s3","location":"b","credentials":{"read":{"key":"k"}}},
		{"name":"bare","protocol":"ftp","location":"h"}]}`)
	require.JSONEq(t, `{"name":"leaf","parent":"mid","parent-ultimate":"root","protocol":"s3","location":"b","role":"write","schema":{"x":[1]},
		"options":{"exclude":"*.tmp","remotepath":"s3://b/a/c/"},"filters":[{"prefix":"c","include":"c/*"}]}`,
		do(t, api, catalog.Get, "pipes", "leaf", ""))
	for _, c := range []struct{ pipe, in, want string }{
		{"leaf", `{"role":"read"}`, `{"aws_access_key_id":"rk","aws_secret_access_key":"rs"}`},
		{"leaf", ``, `{"aws_access_key_id":"rk","aws_secret_access_key":"rs"}`},
		{"leaf", `{"role":"write","renew":true}`, `{"aws_access_key_id":"wk","aws_secret_access_key":"ws","n":12345678901234567890}`},
		{"own", `{"role":"write"}`, `{"aws_access_key_id":"own"}`},
		{"half", `{"role":"write"}`, `{}`},
		{"bare", `{"role":"read"}`, `{}`},
	} {
		require.Equal(t, c.want, do(t, api, catalog.Get, "pipes/"+c.pipe+"/credentials", "", c.in))
	}
	s, err := api.Storage(t.Context(), "leaf", d6tpipe.RoleWrite, false)
	require.NoError(t, err)
	require.Equal(t, "a/c", s.Dir)
	require.Equal(t, "b", s.Location)
	require.Equal(t, d6tpipe.Secret("ws"), s.Credentials.Value("aws_secret_access_key"))
	for path, want := range map[string]error{
		"pipes/nobody/credentials": d6tpipe.ErrNotFound, "remotes/x/credentials": d6tpipe.ErrNotFound, "accounts": d6tpipe.ErrNotFound,
		"pipes/leaf/permissions": d6tpipe.ErrUnsupported, "remotes/x/permissions": d6tpipe.ErrUnsupported,
	} {
		_, err := api.Backend().Do(t.Context(), catalog.Get, path, "", nil)
		require.ErrorIs(t, err, want, path)
		_, _, err = api.Backend().List(t.Context(), path, "")
		require.ErrorIs(t, err, want, path)
	}
	_, err = api.Backend().Do(t.Context(), catalog.Get, "pipes/leaf/credentials", "", json.RawMessage(`{"role":"revoke"}`))
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
}

// A parent's filter sees the same key however the child's folder is written.
func TestLocalFilterOfAParent(t *testing.T) {
	for _, dir := range []string{"sub", "sub/", "/sub", "/sub/"} {
		api, _ := local(t)
		root := s3pipe("root")
		root.Options.Include = "sub/*.csv"
		for _, p := range []d6tpipe.PipeSettings{root, {Name: "child", Parent: "root", Options: d6tpipe.PipeOptions{Dir: dir}}, {Name: "leaf", Parent: "child"}} {
			_, err := api.Pipes().Create(t.Context(), p)
			require.NoError(t, err)
		}
		for _, name := range []string{"child", "leaf"} {
			s, err := api.Storage(t.Context(), name, d6tpipe.RoleRead, false)
			require.NoError(t, err)
			require.Len(t, s.Filters, 1)
			require.True(t, s.Filters[0].Matcher()("a.csv"), "%s in %s", name, dir)
			require.False(t, s.Filters[0].Matcher()("a.txt"), "%s in %s", name, dir)
		}
	}
}

// An answer that is sent back changes nothing, whatever the record is.
func TestLocalAnswersAreHarmless(t *testing.T) {
	api, path := localFile(t, `{"version":1,"remotes":[
		{"name":"r","protocol":"s3","location":"b","settings":{"dir":"x"},"readParams":[1],"readCredentials":{"key":"k"},"writeCredentials":{"key":"w"},"z":0}],
	"pipes":[
		{"name":"root","protocol":"s3","location":"b","options":{"dir":"a/","include":"*.csv"},"credentials":{"key":"k"}},
		{"name":"mid","parent":"root","options":{"dir":"/c","own":1.0}},
		{"name":"leaf","parent":"mid","schema":{"n":12345678901234567890,"e":1e400}},
		{"name":"pin","parent":"mid","protocol":"ftp","location":"other"},
		{"name":"orphan","parent":"gone","options":{"dir":"c"}},
		{"name":"nopath","protocol":"sftp","location":"h"},
		{"name":"first","remote":"r","settings":{"remotedir":"a","include":"*"},"readParams":{"a":1},"readCredentials":{"key":"p"}},
		{"name":"lost","remote":"gone","schema":{}}]}`)
	do(t, api, catalog.Update, "pipes", "root", `{"touch":1}`) // now in order
	want := read(t, path)
	for _, verb := range []catalog.Verb{catalog.Update, catalog.Replace} {
		for _, collection := range []string{"pipes", "remotes"} {
			rows, next, err := api.Backend().List(t.Context(), collection, "")
			require.NoError(t, err)
			require.Empty(t, next)
			for _, row := range rows {
				var named struct{ Name string }
				require.NoError(t, json.Unmarshal(row, &named))
				back := do(t, api, verb, collection, named.Name, string(row))
				require.Equal(t, string(row), back)
				require.Equal(t, want, read(t, path), "%s %s %s", verb, collection, named.Name)
			}
		}
		for p, err := range api.Pipes().All(t.Context()) { // the same through the types
			require.NoError(t, err)
			_, err = api.Pipes().Replace(t.Context(), p)
			require.NoError(t, err)
			_, err = api.Pipes().Update(t.Context(), p)
			require.NoError(t, err)
			require.Equal(t, want, read(t, path), p.Name)
		}
	}
}

// Who changes an answer and sends it back changes what they changed; the
// remotepath in it is no wish.
func TestLocalChangedAnswers(t *testing.T) {
	for _, c := range []struct {
		dir    string
		change func(p *d6tpipe.PipeSettings)
		want   string
	}{
		{"", func(p *d6tpipe.PipeSettings) { p.Location = "new" }, "s3://new/"},
		{"d", func(p *d6tpipe.PipeSettings) { p.Location = "new" }, "s3://new/d/"},
		{"d", func(p *d6tpipe.PipeSettings) { p.Options.Dir = "" }, "s3://bucket/"},
		{"", func(p *d6tpipe.PipeSettings) { p.Protocol = d6tpipe.ProtocolSFTP }, "/"},
	} {
		api, _ := local(t)
		p := s3pipe("p")
		p.Options.Dir = c.dir
		p, err := api.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
		c.change(&p)
		p, err = api.Pipes().Replace(t.Context(), p)
		require.NoError(t, err, c.want)
		require.Equal(t, c.want, p.Options.RemotePath)
	}
}

func TestLocalMoveToAnotherParent(t *testing.T) {
	api, path := localFile(t, `{"pipes":[{"name":"a","protocol":"s3","location":"one"},{"name":"b","protocol":"ftp","location":"two"},{"name":"c","parent":"a"}]}`)
	p, err := api.Pipes().Get(t.Context(), "c")
	require.NoError(t, err)
	p.Parent = "b"
	p, err = api.Pipes().Replace(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, d6tpipe.Protocol("ftp"), p.Protocol)
	require.Equal(t, "two", p.Location)
	require.Equal(t, 1, strings.Count(read(t, path), "one"))
}

func TestLocalCircles(t *testing.T) {
	api, path := localFile(t, `{"pipes":[{"name":"a","protocol":"s3","location":"b"},{"name":"b","parent":"a"},{"name":"c","parent":"b"}]}`)
	before := read(t, path)
	_, err := api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "a", Parent: "c"})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	require.ErrorContains(t, err, "a -> c -> b -> a")
	require.Equal(t, before, read(t, path))

	var b strings.Builder
	b.WriteString(`{"pipes":[{"name":"p0","protocol":"s3","location":"b"}`)
	for i := range 34 {
		fmt.Fprintf(&b, `,{"name":"p%d","parent":"p%d"}`, i+1, i)
	}
	api, _ = localFile(t, b.String()+"]}")
	_, err = api.Storage(t.Context(), "p32", d6tpipe.RoleRead, false)
	require.NoError(t, err)
	_, err = api.Storage(t.Context(), "p33", d6tpipe.RoleRead, false)
	require.ErrorContains(t, err, "More than 32 parents")
	_, err = api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "x", Parent: "p32"})
	require.ErrorContains(t, err, "More than 32 parents")
}

// A pipe that comes back under the name of a deleted parent must not close a
// circle: the file would be refused by everybody from then on.
func TestLocalCircleThroughADeletedParent(t *testing.T) {
	api, path := local(t)
	for _, p := range []d6tpipe.PipeSettings{s3pipe("root"), {Name: "child", Parent: "root"}, {Name: "grandchild", Parent: "child"}} {
		_, err := api.Pipes().Create(t.Context(), p)
		require.NoError(t, err)
	}
	require.NoError(t, api.Pipes().Delete(t.Context(), "root"))
	_, err := api.Pipes().Create(t.Context(), d6tpipe.PipeSettings{Name: "root", Parent: "grandchild"})
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	require.ErrorContains(t, err, "root -> grandchild -> child -> root")
	names, err := openLocal(t, path).Pipes().Names(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"child", "grandchild"}, names)
}

func TestLocalPythonPaths(t *testing.T) {
	for _, c := range []struct{ in, location, dir string }{
		{`{"name":"p","protocol":"s3","location":"bucket","options":{"remotepath":"s3://bucket/x/y"}}`, "bucket", "x/y"},
		{`{"name":"p","protocol":"s3","options":{"remotepath":"s3://bucket/x/y/"}}`, "bucket", "x/y"},
		{`{"name":"p","protocol":"s3","location":"bucket","options":{"remotepath":"s3://bucket/"}}`, "bucket", ""},
		{`{"name":"p","protocol":"s3","location":"bucket","options":{"remotepath":"s3://bucket/x","dir":"z"}}`, "bucket", "z"},
		{`{"name":"p","protocol":"sftp","location":"h","options":{"remotepath":"/home/x/"}}`, "h", "/home/x"},
		{`{"name":"p","protocol":"ftp","location":"h","options":{"remotepath":"/"}}`, "h", "/"},
		{`{"name":"p","protocol":"dir","location":"/data","options":{"remotepath":"/data/x/"}}`, "/data", "x"},
		{`{"name":"p","protocol":"dir","options":{"remotepath":"/data/x/"}}`, "/data/x", ""},
	} {
		api, path := local(t)
		for _, verb := range []catalog.Verb{catalog.Create, catalog.Update, catalog.Replace} { // the second and third are an upsert
			name := "p"
			if verb == catalog.Create {
				name = ""
			}
			do(t, api, verb, "pipes", name, c.in)
			s, err := api.Storage(t.Context(), "p", d6tpipe.RoleRead, false)
			require.NoError(t, err)
			require.Equal(t, c.location, s.Location, c.in)
			require.Equal(t, c.dir, s.Dir, c.in)
			require.NotContains(t, read(t, path), "remotepath")
		}
	}
}

func TestLocalPages(t *testing.T) {
	api, _ := local(t)
	require.NoError(t, api.Transact(t.Context(), func(tx d6tpipe.API) error {
		for i := range 2500 {
			if _, err := tx.Pipes().Create(t.Context(), s3pipe(fmt.Sprintf("p%04d", i))); err != nil {
				return err
			}
		}
		return nil
	}))
	var sizes []int
	for page := ""; ; {
		rows, next, err := api.Backend().List(t.Context(), "pipes", page)
		require.NoError(t, err)
		sizes = append(sizes, len(rows))
		if next == "" {
			break
		}
		require.NoError(t, api.Pipes().Delete(t.Context(), next), "the page after a deleted name")
		page = next
	}
	require.Equal(t, []int{1000, 1000, 500}, sizes)
	names, err := api.Pipes().Names(t.Context())
	require.NoError(t, err)
	require.Len(t, names, 2498)
}

func TestLocalTransact(t *testing.T) {
	api, path := local(t)
	stop := errors.New("stop")
	var leaked d6tpipe.API
	require.ErrorIs(t, api.Transact(t.Context(), func(tx d6tpipe.API) error {
		leaked = tx
		_, err := tx.Pipes().Create(t.Context(), s3pipe("a"))
		require.NoError(t, err)
		_, err = tx.Pipes().Get(t.Context(), "a")
		require.NoError(t, err)
		_, err = api.Pipes().Get(t.Context(), "a")
		require.ErrorIs(t, err, d6tpipe.ErrNotFound, "nobody else sees it yet")
		return stop
	}), stop)
	require.NoFileExists(t, path)
	_, err := leaked.Pipes().Get(t.Context(), "a")
	require.ErrorContains(t, err, "the transaction is over")
	_, err = leaked.Pipes().Names(t.Context())
	require.ErrorContains(t, err, "the transaction is over")
}

func TestLocalCancel(t *testing.T) {
	api, path := local(t)
	_, err := api.Pipes().Create(t.Context(), s3pipe("a"))
	require.NoError(t, err)
	before := read(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = api.Pipes().Get(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	_, err = api.Pipes().Names(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = api.Pipes().Create(ctx, s3pipe("b"))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, api.Pipes().Delete(ctx, "a"), context.Canceled)
	_, err = api.Storage(ctx, "a", d6tpipe.RoleRead, false)
	require.ErrorIs(t, err, context.Canceled)

	ctx, cancel = context.WithCancel(t.Context())
	require.ErrorIs(t, api.Transact(ctx, func(tx d6tpipe.API) error {
		_, err := tx.Pipes().Create(t.Context(), s3pipe("b"))
		cancel() // after the last call, before the save
		return err
	}), context.Canceled)

	blocked, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- api.Transact(t.Context(), func(d6tpipe.API) error { close(blocked); <-release; return nil })
	}()
	<-blocked
	ctx, cancel = context.WithCancel(t.Context())
	other := openLocal(t, path) // waits for the file's lock, api waits for its own
	for _, a := range []*d6tpipe.APILocal{api, other} {
		go func() { done <- a.Pipes().Delete(ctx, "a") }()
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.ErrorIs(t, <-done, context.Canceled)
	close(release)
	require.NoError(t, <-done)
	require.Equal(t, before, read(t, path))
}

func TestLocalSeesForeignChanges(t *testing.T) {
	api, path := localFile(t, `{"pipes":[{"name":"a","protocol":"s3","location":"one"}]}`)
	for i, location := range []string{"two", "six", "ten"} { // same size, same second, same inode
		require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(read(t, path), []string{"one", "two", "six"}[i], location)), 0o600))
		p, err := api.Pipes().Get(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, location, p.Location)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(read(t, path), "ten", "new")), 0o600))
	require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime())) // and within one tick of the file system's clock
	p, err := api.Pipes().Get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "new", p.Location)

	other := openLocal(t, path)
	_, err = other.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "a", Location: "far"})
	require.NoError(t, err)
	_, err = api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "a", Schema: json.RawMessage(`[]`)})
	require.NoError(t, err)
	p, err = other.Pipes().Get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "far", p.Location)
	require.Equal(t, `[]`, string(p.Schema))
	require.NoError(t, os.Remove(path))
	names, err := api.Pipes().Names(t.Context())
	require.NoError(t, err)
	require.Empty(t, names)
}

// Somebody who does not care for locks writes while a change is under way.
func TestLocalConflict(t *testing.T) {
	api, path := localFile(t, `{"pipes":[{"name":"a","protocol":"s3","location":"one"}]}`)
	foreign := `{"pipes":[{"name":"b","protocol":"s3","location":"one"}]}`
	err := api.Transact(t.Context(), func(tx d6tpipe.API) error {
		require.NoError(t, os.WriteFile(path, []byte(foreign), 0o600))
		return tx.Pipes().Delete(t.Context(), "a")
	})
	require.ErrorIs(t, err, d6tpipe.ErrConflict)
	require.Equal(t, foreign, read(t, path))
}

func TestLocalConcurrent(t *testing.T) {
	api, path := local(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("p%d", i)
			_, err := api.Pipes().Upsert(t.Context(), s3pipe(name))
			require.NoError(t, err)
			_, err = openLocal(t, path).Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: name, Schema: json.RawMessage(`[]`)})
			require.NoError(t, err)
			for p, err := range api.Pipes().All(t.Context()) {
				require.NoError(t, err)
				require.NotEmpty(t, p.Location)
			}
		})
	}
	wg.Wait()
	names, err := api.Pipes().Names(t.Context())
	require.NoError(t, err)
	require.Len(t, names, 8)
}

func TestLocalKeepsASymlink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target.json"), filepath.Join(dir, "link.json")
	require.NoError(t, os.WriteFile(target, []byte(`{}`), 0o600))
	require.NoError(t, os.Symlink("target.json", link))
	_, err := openLocal(t, link).Pipes().Create(t.Context(), s3pipe("a"))
	require.NoError(t, err)
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type())
	require.Contains(t, read(t, target), `"a"`)
}
