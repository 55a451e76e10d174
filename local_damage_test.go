package d6tpipe_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// Whatever is wrong with the file: it is refused with its place, at the opening
// and at every use, and stays as it is.
func TestLocalRefusesDamage(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"empty", "", "line 1, column 1: the file ends too early"},
		{"torn", "{\n  \"pipes\": [\n    {\"na", "line 3, column 9: the file ends too early"},
		{"zeros", "\x00\x00\x00", "line 1, column 1: invalid character"},
		{"not an object", "[]", "line 1, column 1: not a JSON object"},
		{"merge", "{\n<<<<<<< HEAD\n\"version\": 1\n=======\n\"version\": 1\n>>>>>>> x\n}", "line 2, column 1: invalid character '<' looking for beginning of object key string (the file has the marks of an unfinished merge)"},
		{"a comma", "{\"pipes\": [\n],\n}", "line 3, column 1"},
		{"trailing text", "{}\nx", "line 2, column 1"},
		{"newer", "{\n  \"version\": 2}", "line 2, column 14: A newer d6tpipe wrote this file: its version is 2, and this one reads up to 1."},
		{"odd version", `{"version": "1"}`, "line 1, column 13: This must be a whole number from 1 on."},
		{"version zero", `{"version": 0}`, "line 1, column 13: This must be a whole number from 1 on."},
		{"two versions", `{"version": 1, "version": 2}`, `line 1, column 16: the name "version" stands twice`},
		{"two tables", `{"pipes": [], "pipes": []}`, `line 1, column 15: the name "pipes" stands twice`},
		{"spelling", `{"Pipes": []}`, "line 1, column 11: Pipes: This field is spelled pipes."},
		{"table is an object", `{"pipes": {}}`, "line 1, column 11: This must be an array."},
		{"table is null", `{"remotes": null}`, "line 1, column 13: This must be an array."},
		{"record is a number", "{\"pipes\": [\n  3]}", "line 2, column 3: pipe 1: not a JSON object"},
		{"record is null", "{\"pipes\": [\n  null]}", "line 2, column 3: pipe 1: not a JSON object"},
		{"no name", "{\"pipes\": [\n  {\"protocol\": \"s3\"}]}", "line 2, column 3: pipe 1: name: This field is required."},
		{"name twice in a record", "{\"pipes\": [\n{\"name\": \"a\", \"name\": \"b\"}]}", `line 2, column 15: the name "name" stands twice`},
		{"record twice", "{\"pipes\": [\n{\"name\":\"a\",\"protocol\":\"s3\"},\n{\"name\":\"a\",\"protocol\":\"s3\"}]}", `line 3, column 9: pipe "a": name: This field must be unique.`},
		{"bad field", "{\"remotes\":[{\"name\":\"r\",\"protocol\":\"dir\",\"location\":\"/\"},\n{\"name\":\"a\",\n \"protocol\": \"gopher\"}]}", `line 3, column 14: remote "a": protocol: Unknown protocol`},
		{"bad folder", "{\"pipes\":[{\"name\":\"a\",\"protocol\":\"s3\",\n\"options\":{\"dir\":\"../x\"}}]}", `line 2, column 11: pipe "a": options: Paths`},
		{"wrong type", "{\"pipes\":[{\"name\":\"a\",\"protocol\":\"s3\",\n\"options\":{\"dir\":1}}]}", `line 2, column 11: pipe "a": options: A JSON number does not fit here.`},
		{"no options", "{\"pipes\":[{\"name\":\"a\",\"protocol\":\"s3\",\n\"options\":[]}]}", `line 2, column 11: pipe "a": options: A JSON array does not fit here.`},
		{"spelling in a record", "{\"pipes\":[{\"name\":\"a\",\n\"Protocol\": \"s3\"}]}", `line 2, column 13: pipe "a": Protocol: This field is spelled protocol.`},
		{"managed", "{\"pipes\":[\n{\"name\":\"a\"}]}", `line 2, column 1: pipe "a": protocol: A local catalogue has no managed storage.`},
		{"a printed secret", "{\"pipes\":[{\"name\":\"a\",\"protocol\":\"s3\",\n\"credentials\":{\"key\":\"***\"}}]}", `line 2, column 15: pipe "a": credentials: key is ***`},
		{"circle", "{\"pipes\":[{\"name\":\"a\",\"parent\":\"b\"},\n{\"name\":\"b\",\"parent\":\"c\"},{\"name\":\"c\",\"parent\":\"b\"}]}", `line 2, column 22: The parents go round in a circle: b -> c -> b.`},
		{"UTF-8", "{\"x\": \"\xff\"}", "line 1, column 8: invalid UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "catalog.json")
			require.NoError(t, os.WriteFile(path, []byte(c.file), 0o640))
			_, err := d6tpipe.NewAPILocal(d6tpipe.Config{Catalog: path})
			refused := func(err error) {
				t.Helper()
				require.ErrorIs(t, err, d6tpipe.ErrDamaged)
				require.ErrorContains(t, err, c.want)
				require.ErrorContains(t, err, path)
				require.Equal(t, c.file, read(t, path))
			}
			refused(err)

			require.NoError(t, os.Remove(path)) // and when it happens later
			api := openLocal(t, path)
			require.NoError(t, os.WriteFile(path, []byte(c.file), 0o640))
			_, err = api.Pipes().Get(t.Context(), "a")
			refused(err)
			_, err = api.Pipes().Create(t.Context(), s3pipe("new"))
			refused(err)
			_, err = api.Pipes().Names(t.Context())
			refused(err)
			require.NoError(t, os.WriteFile(path, []byte("{}"), 0o640))
			_, err = api.Pipes().Create(t.Context(), s3pipe("new"))
			require.NoError(t, err, "once it is repaired, all is well")
		})
	}
}
