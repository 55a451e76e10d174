package d6tpipe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// newHome gives the test a home folder of its own and an empty environment.
func newHome(t *testing.T) string {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	for _, name := range []string{"D6TPIPE_PROFILE", "D6TPIPE_CONFIG", "D6TPIPE_SERVER", "D6TPIPE_TOKEN"} {
		t.Setenv(name, "")
	}
	return home
}

// pythonConfig puts a file of profiles into a new home that the Python client
// wrote, and returns its path.
func pythonConfig(t *testing.T) string {
	data, err := os.ReadFile("testdata/config/python.json")
	require.NoError(t, err)
	return writeConfig(t, string(data))
}

func writeConfig(t *testing.T, text string) string {
	dir := filepath.Join(newHome(t), "d6tpipe")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, "cfg.json")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	return file
}

func readText(t *testing.T, file string) string {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(data)
}

func TestLoadConfigWithoutFile(t *testing.T) {
	home := newHome(t)
	cfg, err := d6tpipe.LoadConfig("")
	require.NoError(t, err)
	require.Equal(t, d6tpipe.Config{
		Profile:      "default",
		File:         filepath.Join(home, "d6tpipe", "cfg.json"),
		FileRepo:     filepath.Join(home, "d6tpipe", "files", "default"),
		FileRepoRoot: filepath.Join(home, "d6tpipe"),
		FileDB:       filepath.Join(home, "d6tpipe", "files", "default", ".filedb.json"),
		Catalog:      filepath.Join(home, "d6tpipe", "catalog", "default.json"),
	}, cfg, "a server is never guessed")
	names, err := d6tpipe.ListProfiles("")
	require.NoError(t, err)
	require.Empty(t, names)
	pipes, err := cfg.LocalPipes()
	require.NoError(t, err)
	require.Empty(t, pipes)
	require.Empty(t, entries(t, home), "nothing is written")
}

func entries(t *testing.T, dir string) []string {
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestLoadConfigOfPython(t *testing.T) {
	file := pythonConfig(t)
	home := filepath.Dir(filepath.Dir(file))
	before := readText(t, file)

	cfg, err := d6tpipe.LoadConfig("")
	require.NoError(t, err)
	require.Equal(t, "https://pipe.databolt.tech", cfg.Server, "it is read as it is")
	require.Equal(t, filepath.Join(home, "d6tpipe", "files", "default"), cfg.FileRepo)

	cfg, err = d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	require.Equal(t, "http://127.0.0.1:8670", cfg.Server)
	require.Equal(t, filepath.FromSlash("/srv/données/files/onprem"), cfg.FileRepo)
	require.Equal(t, filepath.FromSlash("/srv/données"), cfg.FileRepoRoot)
	require.Equal(t, filepath.FromSlash("/srv/données/files/onprem/.filedb.json"), cfg.FileDB)
	require.Equal(t, "zoë", cfg.Username)
	require.Equal(t, "all", cfg.Mode)
	require.Equal(t, d6tpipe.Secret("6f3c1f9e-0000-4000-8000-000000000000"), cfg.Key)

	names, err := d6tpipe.ListProfiles("")
	require.NoError(t, err)
	require.Equal(t, []string{"default", "onprem", "cloud"}, names)
	require.Equal(t, before, readText(t, file))
}

func TestLoadConfigEnvironment(t *testing.T) {
	file := pythonConfig(t)
	t.Setenv("D6TPIPE_PROFILE", "cloud")
	cfg, err := d6tpipe.LoadConfig("")
	require.NoError(t, err)
	require.Equal(t, "cloud", cfg.Profile)
	require.Equal(t, "http://api.databolt.tech", cfg.Server)
	cfg, err = d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	require.Equal(t, "onprem", cfg.Profile, "an argument comes before the environment")

	t.Setenv("D6TPIPE_SERVER", "https://elsewhere.example")
	cfg, err = d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	require.Equal(t, "https://elsewhere.example", cfg.Server)
	cfg, err = cfg.Update(t.Context(), func(s *d6tpipe.ConfigSettings) {
		require.Equal(t, "http://127.0.0.1:8670", s.Server, "the environment is not written down")
		s.Username = "me"
	})
	require.NoError(t, err)
	require.Equal(t, "https://elsewhere.example", cfg.Server)
	require.NotContains(t, readText(t, file), "elsewhere")

	t.Setenv("D6TPIPE_CONFIG", "~/other.json")
	cfg, err = d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(filepath.Dir(filepath.Dir(file)), "other.json"), cfg.File)
	require.Empty(t, cfg.Username)
}

// TestUpdateChangesNothingElse is the promise to the Python client's users.
func TestUpdateChangesNothingElse(t *testing.T) {
	file := pythonConfig(t)
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	want := readText(t, file)
	for _, step := range []struct {
		name     string
		change   func(*d6tpipe.ConfigSettings)
		old, new string
	}{
		{"nothing", func(*d6tpipe.ConfigSettings) {}, "", ""},
		{"a value", func(s *d6tpipe.ConfigSettings) { s.Username = "jürgen 😀" }, `"zo\u00eb"`, `"j\u00fcrgen \ud83d\ude00"`},
		{"a path", func(s *d6tpipe.ConfigSettings) { s.FileDB = "~/db & <more>.json" }, `"/srv/donn\u00e9es/files/onprem/.filedb.json"`, `"~/db & <more>.json"`},
		{"a removal", func(s *d6tpipe.ConfigSettings) { s.Mode = "" }, `        "mode": "all",` + "\n", ""},
		{"an unknown setting", func(s *d6tpipe.ConfigSettings) { s.Extra["new"] = json.RawMessage(`[1.0]`) },
			`"6f3c1f9e-0000-4000-8000-000000000000"`, `"6f3c1f9e-0000-4000-8000-000000000000",` + "\n" + `        "new": [` + "\n            1.0\n        ]"},
		{"an unknown removal", func(s *d6tpipe.ConfigSettings) { delete(s.Extra, "new") }, ",\n        \"new\": [\n            1.0\n        ]", ""},
	} {
		require.Contains(t, want, step.old, step.name)
		want = strings.Replace(want, step.old, step.new, 1)
		cfg, err = cfg.Update(t.Context(), step.change)
		require.NoError(t, err, step.name)
		require.Equal(t, want, readText(t, file), step.name)
	}
	require.Equal(t, "jürgen 😀", cfg.Username)
}

func TestUpdateIsForOneselfOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permissions of this kind")
	}
	file := pythonConfig(t)
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	_, err = cfg.Update(t.Context(), func(*d6tpipe.ConfigSettings) {})
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it was 0644")
}

func TestUpdateErrors(t *testing.T) {
	file := pythonConfig(t)
	before := readText(t, file)
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	update := func(change func(*d6tpipe.ConfigSettings)) error {
		_, err := cfg.Update(t.Context(), change)
		return err
	}
	for field, change := range map[string]func(*d6tpipe.ConfigSettings){
		"server":   func(s *d6tpipe.ConfigSettings) { s.Server = "http://example.com" },
		"username": func(s *d6tpipe.ConfigSettings) { s.Username = "\xff" },
		"filerepo": func(s *d6tpipe.ConfigSettings) { s.FileRepo = "/a\x00b" },
		"token":    func(s *d6tpipe.ConfigSettings) { s.Extra["token"] = json.RawMessage(`"x"`) },
		"mode":     func(s *d6tpipe.ConfigSettings) { s.Extra["mode"] = json.RawMessage(`"x"`) },
		"bad":      func(s *d6tpipe.ConfigSettings) { s.Extra["bad"] = json.RawMessage(`{"a":1,"a":2}`) },
	} {
		var bad *d6tpipe.FieldError
		err := update(change)
		require.ErrorAs(t, err, &bad, field)
		require.Equal(t, field, bad.Field)
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	}
	ctx, cancel := context.WithCancel(t.Context())
	unlock := lockFile(t, file)
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = cfg.Update(ctx, func(*d6tpipe.ConfigSettings) {})
	require.ErrorIs(t, err, context.Canceled, "while somebody else holds the lock")
	unlock()

	cfg.Profile = "nobody"
	require.ErrorIs(t, update(func(*d6tpipe.ConfigSettings) {}), d6tpipe.ErrNotFound)
	cfg.File = ""
	require.ErrorIs(t, update(func(*d6tpipe.ConfigSettings) {}), d6tpipe.ErrInvalid)
	require.Equal(t, before, readText(t, file))
}

func TestUpdateSeesForeignWriters(t *testing.T) {
	file := pythonConfig(t)
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	foreign := `{"onprem": {"server": "https://python.example"}}`
	_, err = cfg.Update(t.Context(), func(s *d6tpipe.ConfigSettings) {
		s.Username = "x"
		require.NoError(t, os.WriteFile(file, []byte(foreign), 0o600))
	})
	require.ErrorIs(t, err, d6tpipe.ErrConflict)
	require.Equal(t, foreign, readText(t, file))
}

func TestUpdateKeepsLinks(t *testing.T) {
	file := pythonConfig(t)
	real := filepath.Join(t.TempDir(), "dotfiles.json")
	require.NoError(t, os.Rename(file, real))
	require.NoError(t, os.Symlink(real, file))
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	_, err = cfg.Update(t.Context(), func(s *d6tpipe.ConfigSettings) { s.Username = "linked" })
	require.NoError(t, err)
	info, err := os.Lstat(file)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type())
	require.Contains(t, readText(t, real), "linked")
}

func TestConfigDamaged(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":         {"", "line 1, column 1: the file ends too early"},
		"half":          {`{"default": {"server": "ht`, "line 1, column 27: the file ends too early"},
		"doubled":       {"{\"default\": {},\n  \"default\": {}}", `line 2, column 3: the name "default" stands twice in one object`},
		"doubled deep":  {"{\"other\": {\n\"a\": 1,\n\"a\": 2}}", `line 3, column 1: the name "a" stands twice in one object`},
		"a list":        {"[]", "line 1, column 1: not a JSON object"},
		"UTF-8":         {"{\"default\": {\"username\": \"\xff\"}}", "line 1, column 27: invalid UTF-8"},
		"profile":       {"{\n \"default\": []}", "line 2, column 13: a profile must be an object"},
		"wrong type":    {"{\n\"default\": {\n    \"server\": 5}}", "line 3, column 15: server must be a text"},
		"token type":    {"{\"default\": {\"token\": [\"canary\"]}}", "line 1, column 23: token must be a text"},
		"insecure type": {"{\"default\": {\"insecure\": \"yes\"}}", "line 1, column 26: insecure must be true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			file := writeConfig(t, c.text)
			_, err := d6tpipe.LoadConfig("")
			require.ErrorIs(t, err, d6tpipe.ErrDamaged)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "canary")
			cfg := d6tpipe.Config{Profile: "default", File: file}
			_, err = cfg.Update(t.Context(), func(*d6tpipe.ConfigSettings) {})
			require.ErrorIs(t, err, d6tpipe.ErrDamaged)
			_, err = d6tpipe.InitConfig(t.Context(), "", d6tpipe.InitOptions{Reset: true})
			require.ErrorIs(t, err, d6tpipe.ErrDamaged)
			require.Equal(t, c.text, readText(t, file))
		})
	}
}

func TestInitConfig(t *testing.T) {
	home := newHome(t)
	cfg, err := d6tpipe.InitConfig(t.Context(), "", d6tpipe.InitOptions{})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(home, "d6tpipe", "files", "default"), cfg.FileRepo)
	require.Empty(t, cfg.Server)
	require.GreaterOrEqual(t, len(cfg.Key), 26)
	require.Equal(t, fmt.Sprintf(`{
    "default": {
        "filerepo": "~/d6tpipe/files/default",
        "filereporoot": "~/d6tpipe",
        "filedb": "~/d6tpipe/files/default/.filedb.json",
        "key": "%s"
    }
}`, string(cfg.Key)), filepath.ToSlash(readText(t, cfg.File)), "as the Python client writes it")

	_, err = d6tpipe.InitConfig(t.Context(), "default", d6tpipe.InitOptions{})
	require.ErrorIs(t, err, d6tpipe.ErrExists)

	data := t.TempDir()
	other, err := d6tpipe.InitConfig(t.Context(), "projectA", d6tpipe.InitOptions{Settings: d6tpipe.ConfigSettings{
		FileRepoRoot: data, Server: "https://example.com", Key: "mine",
	}})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(data, "files", "projectA"), other.FileRepo)
	require.Equal(t, d6tpipe.Secret("mine"), other.Key)

	t.Chdir(data)
	other, err = d6tpipe.InitConfig(t.Context(), "projectA", d6tpipe.InitOptions{Reset: true, Settings: d6tpipe.ConfigSettings{FileRepo: "here"}})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(data, "here"), other.FileRepo, "a relative path is made absolute")
	require.Empty(t, other.Server)
	require.Equal(t, d6tpipe.Secret("mine"), other.Key, "a reset keeps the key")

	names, err := d6tpipe.ListProfiles("")
	require.NoError(t, err)
	require.Equal(t, []string{"default", "projectA"}, names)
	_, err = os.Stat(cfg.FileRepo)
	require.ErrorIs(t, err, os.ErrNotExist, "no folder of files is made")
}

func TestConfigPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permissions of this kind")
	}
	for _, mask := range []int{0, 0o022, 0o077} {
		t.Run(fmt.Sprintf("%03o", mask), func(t *testing.T) {
			home := newHome(t)
			defer setUmask(setUmask(mask))
			cfg, err := d6tpipe.InitConfig(t.Context(), "", d6tpipe.InitOptions{})
			require.NoError(t, err)
			for path, want := range map[string]os.FileMode{cfg.File: 0o600, filepath.Join(home, "d6tpipe"): 0o700 | os.ModeDir} {
				info, err := os.Stat(path)
				require.NoError(t, err)
				require.Equal(t, want, info.Mode(), path)
			}
		})
	}
}

func TestProfileNames(t *testing.T) {
	newHome(t)
	for _, bad := range []string{".", "..", "a/b", `a\b`, "a b", "a@b", "é", ".hidden", "a.", strings.Repeat("a", 129), "a\n"} {
		_, err := d6tpipe.LoadConfig(bad)
		require.ErrorIs(t, err, d6tpipe.ErrInvalid, "%q", bad)
		_, err = d6tpipe.InitConfig(t.Context(), bad, d6tpipe.InitOptions{})
		require.ErrorIs(t, err, d6tpipe.ErrInvalid, "%q", bad)
	}
	for _, good := range []string{"a", "my_profile-2.0", strings.Repeat("a", 128)} {
		_, err := d6tpipe.LoadConfig(good)
		require.NoError(t, err)
	}
}

func TestLocalPipes(t *testing.T) {
	repo := t.TempDir()
	for _, file := range []string{"sales/2026/a.csv", "empty/sub/", ".d6tpipe/sales/manifest", "no pipe/a.csv", "weather/.hidden", "a-file"} {
		path := filepath.Join(repo, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if !strings.HasSuffix(file, "/") {
			require.NoError(t, os.WriteFile(path, nil, 0o644))
		}
	}
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "empty", "sub"), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(repo, "sales"), filepath.Join(repo, "linked")))
	require.NoError(t, os.Symlink(filepath.Join(repo, "nowhere"), filepath.Join(repo, "dangling")))
	names, err := d6tpipe.Config{FileRepo: repo}.LocalPipes()
	require.NoError(t, err)
	require.Equal(t, []string{"linked", "sales", "weather"}, names)
}

// The Python client stops at a profile without one of these.
func TestUpdateKeepsWhatPythonNeeds(t *testing.T) {
	file := pythonConfig(t)
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	_, err = cfg.Update(t.Context(), func(s *d6tpipe.ConfigSettings) { s.FileRepo, s.FileRepoRoot, s.FileDB = "", "", "" })
	require.NoError(t, err)
	profile := decodeProfiles(t, readText(t, file))["onprem"]
	for _, name := range []string{"filerepo", "filereporoot", "filedb"} {
		require.Contains(t, profile, name)
	}
}

func TestConfigShowsNoSecret(t *testing.T) {
	pythonConfig(t)
	cfg, err := d6tpipe.LoadConfig("onprem")
	require.NoError(t, err)
	raw, err := json.Marshal(cfg)
	require.NoError(t, err)
	for _, shown := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v", cfg), fmt.Sprintf("%#v", cfg), fmt.Sprintf("%+v", &cfg), under("%s", cfg), under("%q", &cfg), string(raw)} {
		require.NotContains(t, shown, "a0cefc11")
		require.NotContains(t, shown, "6f3c1f9e")
		require.Contains(t, shown, "onprem")
	}
}

// under prints v under any verb, also one that go vet would not have.
func under(verb string, v any) string { return fmt.Sprintf(verb, v) }

// FuzzConfig changes a setting in any file: it is refused and stays as it is, or
// all else in it does.
func FuzzConfig(f *testing.F) {
	data, err := os.ReadFile("testdata/config/python.json")
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte(`{"default": {"username": null, "x": {"\ud800": [1.0, "<&>"]}, "insecure": true}, "version": 3}`))
	f.Add([]byte(`{"default": {"a": 1, "a": 2}}`))
	f.Add([]byte(`{"default": []}`))
	f.Add([]byte(`{`))
	f.Add([]byte(`{"default": {"filerepomovingto": "/nowhere"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "cfg.json")
		require.NoError(t, os.WriteFile(file, data, 0o600))
		cfg, err := d6tpipe.LoadConfigFile(file, "default")
		if err != nil {
			require.Equal(t, string(data), readText(t, file))
			return
		}
		_, err = cfg.Update(t.Context(), func(s *d6tpipe.ConfigSettings) { s.Username = "fuzz" })
		if err != nil {
			require.Equal(t, string(data), readText(t, file))
			return
		}
		before, after := decodeProfiles(t, string(data)), decodeProfiles(t, readText(t, file))
		require.Equal(t, `"fuzz"`, string(after["default"]["username"]))
		delete(after["default"], "username")
		delete(before["default"], "username")
		if before["default"]["filerepomovingto"] == nil {
			require.Equal(t, before, after)
		}
		stable := readText(t, file)
		_, err = cfg.Update(t.Context(), func(*d6tpipe.ConfigSettings) {})
		require.NoError(t, err)
		require.Equal(t, stable, readText(t, file))
	})
}

// decodeProfiles reads the objects of a file, values as they are written apart
// from white space.
func decodeProfiles(t *testing.T, text string) map[string]map[string]json.RawMessage {
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text), &all))
	out := map[string]map[string]json.RawMessage{}
	for name, raw := range all {
		fields := map[string]json.RawMessage{}
		if raw[0] != '{' {
			fields = map[string]json.RawMessage{"": raw}
		} else {
			require.NoError(t, json.Unmarshal(raw, &fields))
		}
		for key, value := range fields {
			fields[key] = compact(t, value)
		}
		out[name] = fields
	}
	return out
}
