package d6tpipe_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/d6t/d6tpipe-go"

// A law forbids imports, direct and indirect, and says why. Patterns are import
// paths, "./x" is below this module, "/..." at the end takes in everything below,
// and "std" is the standard library.
type law struct {
	of     []string // the packages that it binds
	but    []string // except these
	only   []string // all that they may reach, besides themselves; nil for anything
	never  []string // what they must not reach
	direct bool     // their own imports count, not those of what they import
	why    string
	breach [2]string // an edge that breaks it
}

var laws = []law{{
	of:     []string{"./internal/storage"},
	only:   []string{"std", "golang.org/x/text/..."},
	why:    "it is the contract that every driver is written against: who implements it must not get a protocol's client or our own state with it (x/text folds names as file systems do)",
	breach: [2]string{"./internal/storage", "./internal/atomicfile"},
}, {
	of:     []string{"./internal/storage/conform", "./internal/storage/checksum"},
	only:   []string{"std", "./internal/storage", "./internal/storage/checksum", "golang.org/x/text/..."},
	why:    "what every Store must do knows no driver, and is a part of programs that let users check a remote",
	breach: [2]string{"./internal/storage/conform", "./internal/storage/mem"},
}, {
	of:     []string{"./internal/remotefs"},
	only:   []string{"std", "./internal/storage", "./internal/storage/checksum", "golang.org/x/text/..."},
	why:    "a file system is read the same way on every remote, so it sees a Store and never a driver, and it knows nothing of catalogues and accounts",
	breach: [2]string{"./internal/remotefs", "./internal/storage/dir"},
}, {
	of:     []string{"./internal/filelist"},
	only:   []string{"std", "./internal/storage", "golang.org/x/text/..."},
	why:    "both ends of the wire read and write listings by it, so it knows neither of them",
	breach: [2]string{"./internal/filelist", "./internal/catalog"},
}, {
	of:     []string{"./internal/storage/conform"},
	never:  []string{"testing", "testing/..."},
	why:    "it gets into programs, where test code is dead weight and registers flags",
	breach: [2]string{"./internal/storage/conform", "testing/iotest"},
}, {
	of:     []string{"./internal/transfer"},
	only:   []string{"std", "./internal/storage", "golang.org/x/text/...", "./internal/atomicfile", "github.com/gofrs/flock", "golang.org/x/sys/...", "golang.org/x/sync/...", "github.com/minio/crc64nvme", "github.com/klauspost/cpuid/..."},
	why:    "a sync is planned and carried out the same way on every remote, so it sees a Store and never a driver, and it knows nothing of catalogues and accounts",
	breach: [2]string{"./internal/transfer", "./internal/storage/s3"},
}, {
	of:     []string{"./internal/..."},
	but:    []string{"./internal/wire/...", "./internal/apitest/..."},
	never:  []string{"."},
	why:    "a leaf that knows the root cannot be used by it, nor be read on its own",
	breach: [2]string{"./internal/glob", "."},
}, {
	of:     []string{"./internal/storage/..."},
	but:    []string{"./internal/storage", "./internal/storage/storagetest"},
	never:  []string{"./internal/transfer", "./internal/catalog"},
	why:    "a driver does one thing at a time to one remote; what is done, and why, is decided above it",
	breach: [2]string{"./internal/storage/dir", "./internal/transfer"},
}, {
	of:     []string{"./internal/storage/urls"},
	only:   []string{"std", "./internal/storage", "golang.org/x/text/..."},
	why:    "what asks for signatures speaks neither to a repo API nor S3: both come in from above",
	breach: [2]string{"./internal/storage/urls", "./internal/storage/s3"},
}, {
	of:     []string{"."},
	never:  []string{"./internal/wire/..."},
	why:    "who embeds the SDK gets no server",
	breach: [2]string{".", "./internal/wire"},
}, {
	of:     []string{"./..."},
	never:  []string{"./server/...", "./cmd/..."},
	why:    "who embeds the SDK gets neither a server nor a command line, and their modules require this one",
	breach: [2]string{".", "./server"},
}, {
	of:     []string{".", "./examples/...", "./cmd/..."},
	never:  []string{"testing", "testing/...", "github.com/stretchr/testify/...", "go.uber.org/goleak/...", "./internal/apitest/...", "./internal/storage/storagetest/...", "./internal/storage/sftp/sftptest/...", "./internal/storage/ftp/ftptest/...", "./internal/faultproxy/...", "./internal/freeport/...", "./internal/leaktest/..."},
	why:    "test code in a program is dead weight and registers flags",
	breach: [2]string{".", "testing"},
}, {
	of:     []string{"./..."},
	but:    []string{"./internal/storage/s3/..."},
	never:  []string{"github.com/minio/minio-go/...", "gopkg.in/ini.v1"},
	direct: true,
	why:    "what speaks S3, and reads the files of its tools, is behind the Store, in one place, so that it can be replaced",
	breach: [2]string{".", "github.com/minio/minio-go/v7"},
}, {
	of:     []string{"./..."},
	but:    []string{"./internal/storage/sftp", "./internal/storage/sftp/sftptest"},
	never:  []string{"golang.org/x/crypto/ssh/...", "github.com/pkg/sftp/..."},
	direct: true,
	why:    "host keys and logins are checked in one place, and what speaks SSH is behind the Store",
	breach: [2]string{".", "golang.org/x/crypto/ssh"},
}, {
	of:     []string{"./..."},
	but:    []string{"./internal/storage/sftp/sftptest"},
	never:  []string{"github.com/pkg/sftp/..."},
	direct: true,
	why:    "it is the tests' other server; as a client it takes a lost connection for the end of a folder",
	breach: [2]string{"./internal/storage/sftp", "github.com/pkg/sftp"},
}, {
	of:     []string{"./..."},
	but:    []string{"./internal/storage/ftp/ftptest"},
	never:  []string{"goftp.io/..."},
	why:    "it is an FTP server, for the tests of the client; nobody else needs one",
	breach: [2]string{"./internal/storage/ftp", "goftp.io/server/v2"},
}, {
	of:     []string{"./..."},
	never:  []string{"github.com/jlaffaye/ftp/..."},
	why:    "its List drops the lines that it cannot parse, and a listing that is short must be an error; internal/storage/ftp speaks FTP itself and says why",
	breach: [2]string{"./internal/storage/ftp", "github.com/jlaffaye/ftp"},
}, {
	of:     []string{"./..."},
	but:    []string{"."},
	never:  []string{"github.com/zalando/go-keyring/...", "github.com/go-resty/..."},
	direct: true,
	why:    "tokens and HTTP are the root's business; a leaf gets what it needs handed in",
	breach: [2]string{"./internal/catalog", "github.com/go-resty/resty/v2"},
}}

// fileLaws name, for a module, the only files of the root that may import it.
var fileLaws = []struct {
	path  string
	files []string
	why   string
}{
	{"github.com/zalando/go-keyring", []string{"token.go"}, "every keyring call needs the time limit that is there"},
	{"github.com/go-resty/resty/v2", []string{"http.go", "answer.go"}, "one send alone speaks HTTP and one place reads its answers: time limits, size limits, redirects and the token are cared for once"},
}

func TestImports(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		g := imports(t, goos)
		for _, l := range laws {
			if len(g.bound(l)) == 0 {
				t.Errorf("%v: no such package; the law holds for nothing", l.of)
			}
			for _, b := range g.breaches(l) {
				t.Errorf("GOOS=%s %s", goos, b)
			}
		}
	}
}

// TestImportsSeesBreaches adds to the imports as they are, for each law, the edge
// that breaks it.
func TestImportsSeesBreaches(t *testing.T) {
	real := imports(t, "linux")
	for _, l := range laws {
		from, to := full(l.breach[0]), full(l.breach[1])
		g := maps.Clone(real)
		g[from] = append(slices.Clone(real[from]), to)
		if _, ok := g[to]; !ok {
			g[to] = nil
		}
		want := short(from) + " -> " + short(to)
		if got := g.breaches(l); !slices.ContainsFunc(got, func(b string) bool { return strings.Contains(b, want) }) {
			t.Errorf("%s went unseen, got %q", want, got)
		}
		if l.direct {
			continue
		}
		g[from] = append(slices.Clone(real[from]), "example.com/between") // and not only when it is an import of its own
		g["example.com/between"] = []string{to}
		if len(g.breaches(l)) == 0 {
			t.Errorf("%s went unseen behind another package", want)
		}
	}
}

func TestFileImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkFile(name, src); err != nil {
			t.Error(err)
		}
	}
	for _, l := range fileLaws {
		src := fmt.Appendf(nil, "package d6tpipe\n\nimport _ %q\n", l.path)
		if checkFile("errors.go", src) == nil {
			t.Errorf("errors.go -> %s went unseen", l.path)
		}
		if err := checkFile(l.files[0], src); err != nil {
			t.Error(err)
		}
	}
}

// checkFile reports the first import of a file of the root that a file law
// forbids.
func checkFile(name string, src []byte) error {
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return err
	}
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		for _, l := range fileLaws {
			if path == l.path && !slices.Contains(l.files, name) {
				return fmt.Errorf("%s -> %s: only %v may: %s", name, path, l.files, l.why)
			}
		}
	}
	return nil
}

func TestPackageDocs(t *testing.T) {
	for _, p := range goList(t, "linux", "./...") {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment that says what it owns", short(p.ImportPath))
		}
	}
}

// A graph holds the imports of each package, by import path.
type graph map[string][]string

// imports is the graph of this module and all that it reaches, tests left out.
func imports(t *testing.T, goos string) graph {
	g := graph{}
	for _, p := range goList(t, goos, "-deps", "./...") {
		g[p.ImportPath] = p.Imports
	}
	return g
}

type listed struct {
	ImportPath, Doc  string
	GoFiles, Imports []string
}

func goList(t *testing.T, goos string, args ...string) (list []listed) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Doc,GoFiles,Imports"}, args...)...)
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// bound returns the packages that a law binds, sorted.
func (g graph) bound(l law) (names []string) {
	for name := range g {
		if matchAny(l.of, name) && !matchAny(l.but, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// breaches returns, for each package that breaks the law, the way to what it must
// not reach.
func (g graph) breaches(l law) (all []string) {
	for _, from := range g.bound(l) {
		for _, way := range g.ways(from, l.direct) {
			to := way[len(way)-1]
			forbidden := matchAny(l.never, to) || l.only != nil && !matchAny(l.only, to)
			if !forbidden {
				continue
			}
			for i := range way {
				way[i] = short(way[i])
			}
			all = append(all, strings.Join(way, " -> ")+": must not be, because "+l.why)
		}
	}
	return all
}

// ways returns a shortest way from a package to each that it reaches. Inside the
// standard library nobody looks: its own imports are not ours to judge.
func (g graph) ways(from string, direct bool) (ways [][]string) {
	seen := map[string]bool{from: true}
	for queue := [][]string{{from}}; len(queue) > 0; queue = queue[1:] {
		way := queue[0]
		last := way[len(way)-1]
		if last != from && (direct || standard(last)) {
			continue
		}
		for _, to := range g[last] {
			if seen[to] {
				continue
			}
			seen[to] = true
			next := append(slices.Clone(way), to)
			ways, queue = append(ways, next), append(queue, next)
		}
	}
	return ways
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}

func match(pattern, name string) bool {
	if pattern == "std" {
		return standard(name)
	}
	pattern = full(pattern)
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == below || strings.HasPrefix(name, below+"/")
	}
	return name == pattern
}

// standard reports whether a package is of the standard library: no dot in the
// first element of its path.
func standard(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return !strings.Contains(first, ".")
}

func full(path string) string {
	if path == "." {
		return module
	}
	if rest, ok := strings.CutPrefix(path, "./"); ok {
		return module + "/" + rest
	}
	return path
}

func short(path string) string {
	if path == module {
		return "."
	}
	if rest, ok := strings.CutPrefix(path, module+"/"); ok {
		return "./" + rest
	}
	return path
}
