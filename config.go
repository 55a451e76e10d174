package d6tpipe

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
)

// Config is one profile: the settings of one user for one server or one local
// catalogue, and the folder where its files lie. It comes from [LoadConfig], or
// is put together by hand, and is passed by value. The paths in it are absolute.
//
// Profiles are kept in ~/d6tpipe/cfg.json, the file that the Python client reads
// and writes too. It belongs to the user: what this version does not know in it
// survives every change.
type Config struct {
	// Profile is the name of the profile.
	Profile string
	// File is the file of profiles, whether it is there or not.
	File string

	// Server is the URL of the repo API, without /v1/api. It is empty in local
	// mode: a server is never guessed.
	Server string
	// Insecure allows a Server to be reached over http that is not loopback.
	Insecure bool

	// FileRepo is the folder with the files of each pipe in a folder of its name.
	FileRepo string
	// FileRepoRoot is the folder in which the Python client made FileRepo.
	FileRepoRoot string
	// FileDB is the catalogue of the Python client's local mode.
	FileDB string
	// Catalog is the catalogue of our local mode, see [APILocal].
	Catalog string

	// Username is who one is on the server, if somebody wrote it down.
	Username string
	// Mode is a setting of the Python client.
	Mode string
	// Key is what settings are encrypted with before they leave this machine.
	Key Secret

	// TokenFile, when set, is the file that holds the token instead of the
	// keyring, see [FileTokens].
	TokenFile string
	// Tokens, when not nil, is where the token is kept, see [Config.TokenStore].
	Tokens TokenStore

	left *leftToken
}

// leftToken is a token that the Python client left in the file of profiles.
type leftToken struct {
	key     TokenKey // with the server that stands beside it in the file
	token   hidden[Secret]
	deleted atomic.Bool // by this process; all copies of the Config know
}

// leftFor returns the token that the Python client left for a key.
func (c Config) leftFor(key TokenKey) (Secret, bool) {
	if c.left == nil || c.left.key != key || c.left.deleted.Load() {
		return "", false
	}
	return c.left.token(), true
}

// The environment variables that this package reads.
const (
	envProfile = "D6TPIPE_PROFILE" // the profile when none is named
	envConfig  = "D6TPIPE_CONFIG"  // the file of profiles
	envServer  = "D6TPIPE_SERVER"  // takes the place of a profile's server
	envToken   = "D6TPIPE_TOKEN"   // the token, before any that is stored
)

// LoadConfig reads a profile from the file that $D6TPIPE_CONFIG names, or from
// ~/d6tpipe/cfg.json. An empty profile means $D6TPIPE_PROFILE, or "default".
// $D6TPIPE_SERVER takes the place of the profile's server.
//
// That there is no such file or profile is no error: the settings are the
// defaults then, without a server. Nothing is written, no folder is made. A file
// that cannot be understood is [ErrDamaged] with line and column.
func LoadConfig(profile string) (Config, error) { return LoadConfigFile("", profile) }

// LoadConfigFile is [LoadConfig] with a file of profiles of one's own; "" means
// the usual one.
func LoadConfigFile(file, profile string) (Config, error) {
	c := Config{Profile: profileName(profile)}
	cfg, err := c.load(file)
	if err != nil {
		return Config{}, &Error{Op: "load profile", Name: c.Profile, Err: err}
	}
	return cfg, nil
}

func (c Config) load(file string) (Config, error) {
	if err := checkProfile(c.Profile); err != nil {
		return c, err
	}
	file, err := configFile(file)
	if err != nil {
		return c, err
	}
	doc, err := readProfiles(file)
	if err != nil {
		return c, err
	}
	s, left, err := doc.settings(c.Profile)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return c, &Error{Op: "read", Name: file, Err: err}
	}
	return s.config(Config{Profile: c.Profile, File: file, Tokens: c.Tokens, left: left})
}

// ListProfiles returns the names of the profiles in a file, in their order; ""
// means the usual file. There are none when there is no file.
func ListProfiles(file string) ([]string, error) {
	file, err := configFile(file)
	if err != nil {
		return nil, &Error{Op: "list profiles", Err: err}
	}
	doc, err := readProfiles(file)
	if err != nil {
		return nil, &Error{Op: "list profiles", Name: file, Err: err}
	}
	return doc.names(), nil
}

// LocalPipes returns the names of the pipes that have files in the file repo,
// sorted: its folders that have the name of a pipe and a file in them.
func (c Config) LocalPipes() ([]string, error) {
	entries, err := os.ReadDir(c.FileRepo)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if err != nil || checkName("name", e.Name()) != nil {
			continue
		}
		var has bool
		if has, err = hasFile(filepath.Join(c.FileRepo, e.Name())); has {
			names = append(names, e.Name())
		}
	}
	if err != nil {
		return nil, &Error{Op: "list local pipes of profile", Name: c.Profile, Err: err}
	}
	return names, nil
}

// hasFile reports whether there is a file somewhere below a folder. What is no
// folder has none.
func hasFile(dir string) (bool, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, ignoreMissing(err)
	}
	found := false
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ignoreMissing(err)
		case e.IsDir():
			return nil
		case path != dir:
			found = true
		}
		return fs.SkipAll
	})
	return found, err
}

// profileForm is safe as a part of a path on every system, and free of the @
// that separates profile and server in the keyring.
var profileForm = regexp.MustCompile(`^[a-zA-Z0-9_-][a-zA-Z0-9._-]*$`)

func profileName(profile string) string {
	if profile == "" {
		profile = os.Getenv(envProfile)
	}
	if profile == "" {
		return "default"
	}
	return profile
}

func checkProfile(name string) error {
	if !profileForm.MatchString(name) || len(name) > 128 || strings.HasSuffix(name, ".") {
		return &FieldError{Field: "profile", Reason: "Only letters, digits, hyphens, underscores and inner dots are allowed, at most 128."}
	}
	return nil
}

// configFile returns the absolute path of the file of profiles.
func configFile(file string) (string, error) {
	if file == "" {
		file = os.Getenv(envConfig)
	}
	if file == "" {
		file = "~/d6tpipe/cfg.json"
	}
	return absPath(file)
}

// absPath expands ~ and ~name as Python's os.path.expanduser does and makes the
// path absolute.
func absPath(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if path[0] == '~' {
		end := strings.IndexFunc(path, func(r rune) bool { return r == '/' || r == filepath.Separator })
		if end < 0 {
			end = len(path)
		}
		home, err := homeOf(path[1:end])
		if err != nil {
			return "", err
		}
		if home != "" { // Python leaves an unknown user's ~name as it is
			path = filepath.Join(home, path[end:])
		}
	}
	return filepath.Abs(path)
}

// homeOf returns the home folder of a user, "" being oneself. It is empty for
// somebody unknown.
func homeOf(name string) (string, error) {
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return "", nil // as documented
		}
		return u.HomeDir, nil
	}
	if home, err := os.UserHomeDir(); err == nil {
		return home, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", err
	}
	return u.HomeDir, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
