package d6tpipe

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

// ConfigSettings are the settings of a profile as they stand in the file: paths
// may begin with ~, what is empty is not there. See [Config] for their meaning.
type ConfigSettings struct {
	Server       string
	FileRepo     string
	FileRepoRoot string
	FileDB       string
	Catalog      string
	TokenFile    string
	Username     string
	Mode         string
	Key          Secret
	Insecure     bool

	// Extra holds the settings that this version does not know.
	Extra map[string]json.RawMessage
}

// setting is a setting with its name in the file.
type setting struct {
	name string
	text *string
	path bool
}

// all lists the settings that are texts, in the order in which the Python client
// writes them.
func (s *ConfigSettings) all() []setting {
	return []setting{
		{"server", &s.Server, false},
		{"filerepo", &s.FileRepo, true},
		{"filereporoot", &s.FileRepoRoot, true},
		{"filedb", &s.FileDB, true},
		{"catalog", &s.Catalog, true},
		{"tokenfile", &s.TokenFile, true},
		{"username", &s.Username, false},
		{"mode", &s.Mode, false},
		{"key", (*string)(&s.Key), false},
	}
}

// withDefaults fills in what a new profile needs and the Python client expects.
func (s ConfigSettings) withDefaults(profile string, key Secret) ConfigSettings {
	s = s.withPaths(profile)
	if s.Key == "" {
		s.Key = key
	}
	if s.Key == "" {
		s.Key = Secret(rand.Text())
	}
	return s
}

func (s ConfigSettings) withPaths(profile string) ConfigSettings {
	if s.FileRepoRoot == "" {
		s.FileRepoRoot = "~/d6tpipe"
	}
	if s.FileRepo == "" {
		s.FileRepo = filepath.Join(s.FileRepoRoot, "files", profile)
	}
	if s.FileDB == "" {
		s.FileDB = filepath.Join(s.FileRepo, ".filedb.json")
	}
	return s
}

// config returns c with the settings: with defaults for what the file does not
// say, with absolute paths, and with the server that the environment wants.
func (s ConfigSettings) config(c Config) (Config, error) {
	s = s.withPaths(c.Profile)
	if s.Catalog == "" {
		s.Catalog = defaultCatalog(c.File, c.Profile)
	}
	if server := os.Getenv(envServer); server != "" {
		s.Server = server
	}
	for _, f := range s.all() {
		if !f.path {
			continue
		}
		abs, err := absPath(*f.text)
		if err != nil {
			return c, err
		}
		*f.text = abs
	}
	c.Server, c.Insecure = s.Server, s.Insecure
	c.FileRepo, c.FileRepoRoot, c.FileDB, c.Catalog = s.FileRepo, s.FileRepoRoot, s.FileDB, s.Catalog
	c.Username, c.Mode, c.Key, c.TokenFile = s.Username, s.Mode, s.Key, s.TokenFile
	return c, nil
}

func defaultCatalog(file, profile string) string {
	return filepath.Join(filepath.Dir(file), "catalog", profile+".json")
}

// clean checks all settings and makes relative paths absolute, since the file is
// read from anywhere.
func (s ConfigSettings) clean() (ConfigSettings, error) { return s.cleanChanges(ConfigSettings{}) }

// cleanChanges is clean for what differs from old: what somebody else wrote into
// the file is theirs.
func (s ConfigSettings) cleanChanges(old ConfigSettings) (ConfigSettings, error) {
	before := old.all()
	for i, f := range s.all() {
		if *f.text == *before[i].text || *f.text == "" {
			continue
		}
		if !utf8.ValidString(*f.text) || strings.ContainsRune(*f.text, 0) {
			return s, &FieldError{Field: f.name, Reason: "This field must be UTF-8 without zero bytes."}
		}
		if f.path && (*f.text)[0] != '~' {
			abs, err := filepath.Abs(*f.text)
			if err != nil {
				return s, err
			}
			*f.text = abs
		}
	}
	if s.Server != "" && (s.Server != old.Server || s.Insecure != old.Insecure) {
		if err := checkServer(s.Server, s.Insecure); err != nil {
			return s, err
		}
	}
	return s, s.checkExtra(old)
}

func (s ConfigSettings) checkExtra(old ConfigSettings) error {
	known := s.all()
	for name, value := range s.Extra {
		if string(value) == string(old.Extra[name]) {
			continue
		}
		reserved := name == "token" || name == "insecure" || name == movingTo
		if reserved || slices.ContainsFunc(known, func(f setting) bool { return f.name == name }) {
			return &FieldError{Field: name, Reason: "This setting does not belong into Extra."}
		}
		if err := jsonfile.Check(value); err != nil {
			return &FieldError{Field: name, Reason: err.Error()}
		}
	}
	return nil
}

// apply writes into profile what differs from old.
func (s ConfigSettings) apply(old ConfigSettings, profile *jsonfile.Object) {
	before := old.all()
	for i, f := range s.all() {
		switch *f.text {
		case *before[i].text:
		case "":
			profile.Delete(f.name)
		default:
			profile.Set(f.name, asciiJSON(*f.text))
		}
	}
	switch {
	case s.Insecure == old.Insecure:
	case s.Insecure:
		profile.Set("insecure", json.RawMessage("true"))
	default:
		profile.Delete("insecure")
	}
	for name := range old.Extra {
		if _, stays := s.Extra[name]; !stays {
			profile.Delete(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Extra)) {
		if was, ok := old.Extra[name]; !ok || string(was) != string(s.Extra[name]) {
			profile.Set(name, s.Extra[name])
		}
	}
}

// asciiJSON encodes a text as Python does: it opens the file with the encoding
// of the machine, which is not UTF-8 everywhere.
func asciiJSON(s string) json.RawMessage {
	quoted, _ := encodeJSON(s) // a text can always be encoded
	var b strings.Builder
	for _, r := range string(quoted) {
		switch r1, r2 := utf16.EncodeRune(r); {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r1 == utf8.RuneError:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x\u%04x`, r1, r2)
		}
	}
	return json.RawMessage(b.String())
}
