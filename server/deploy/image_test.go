package deploy

import (
	"debug/elf"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An image is what the Dockerfile makes.
type image struct {
	run  string              // what the build stage runs
	last map[string][]string // the instructions of the last stage
}

func dockerfile(t *testing.T) (i image) {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	require.NoError(t, err)
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", "")) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "FROM":
			i.last = map[string][]string{}
		case "RUN":
			i.run += rest + "\n"
		case "", "#":
			continue
		}
		i.last[name] = append(i.last[name], rest)
	}
	return i
}

// TestImage: the image is the program and nothing that could be used against it; it
// runs as nobody, who can write to the volumes and nowhere else.
func TestImage(t *testing.T) {
	i := dockerfile(t)
	require.Equal(t, []string{"scratch"}, i.last["FROM"])
	require.Equal(t, []string{"--from=build /out /"}, i.last["COPY"])
	require.Empty(t, i.last["RUN"])
	require.Equal(t, []string{`["/d6tpipe"]`}, i.last["ENTRYPOINT"])
	require.Equal(t, []string{`["serve"]`}, i.last["CMD"])
	require.Contains(t, i.run, "/out/etc/ssl/certs/", "where Go looks for authorities")

	owner, group, _ := strings.Cut(i.last["USER"][0], ":")
	require.Regexp(t, `^[1-9]\d+$`, owner, "a number: there is no /etc/passwd")
	made := regexp.MustCompile(`install -d -m 0700 -o ` + owner + ` -g ` + group + ` ((?:/out/\w+ ?)+)`).FindStringSubmatch(i.run)
	require.NotNil(t, made, i.run)
	volumes := strings.Fields(i.last["VOLUME"][0])
	for _, v := range volumes {
		require.Contains(t, strings.Fields(made[1]), "/out"+v, "the user's own")
	}
	variables := map[string]string{}
	for _, v := range strings.Fields(i.last["ENV"][0]) {
		name, value, _ := strings.Cut(v, "=")
		variables[name] = value
	}
	require.Contains(t, volumes, variables["D6TPIPE_SERVE_DATA"])
	require.Contains(t, volumes, path.Dir(variables["D6TPIPE_SERVE_KEY_FILE"]))
	require.NotEqual(t, variables["D6TPIPE_SERVE_DATA"], path.Dir(variables["D6TPIPE_SERVE_KEY_FILE"]), "a copy of the one has not got the other")
	require.Equal(t, ":"+i.last["EXPOSE"][0], variables["D6TPIPE_SERVE_LISTEN"])
}

// TestImageIsStatic: what the Dockerfile builds needs no loader and no library, of
// which there is none in the image. It takes minutes where nothing is built yet.
func TestImageIsStatic(t *testing.T) {
	if os.Getenv("D6TPIPE_PROOF") == "" {
		t.Skip("builds the whole program; see test.sh --proof")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the image is Linux's")
	}
	build := regexp.MustCompile(`((?:\w+=\S+ )*)go (build .*?) -o /out/d6tpipe (\S+)`).FindStringSubmatch(dockerfile(t).run)
	require.NotNil(t, build)
	program := filepath.Join(t.TempDir(), "d6tpipe")
	cmd := exec.CommandContext(t.Context(), "go", slices.Concat(strings.Fields(build[2]), []string{"-o", program, build[3]})...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), strings.Fields(build[1])...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	f, err := elf.Open(program)
	require.NoError(t, err)
	defer f.Close()
	for _, p := range f.Progs {
		require.NotEqual(t, elf.PT_INTERP, p.Type, "it names a loader")
	}
	libraries, err := f.ImportedLibraries()
	require.NoError(t, err)
	require.Empty(t, libraries)
	_, err = f.Symbols()
	require.ErrorIs(t, err, elf.ErrNoSymbols, "stripped")
	out, err = exec.CommandContext(t.Context(), program, "version").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
