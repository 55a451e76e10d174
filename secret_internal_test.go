package d6tpipe

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every credential that a protocol reads is known as one, and no setting is.
func TestCredentialNames(t *testing.T) {
	names := func(of any) (all []string) {
		for f := range reflect.TypeOf(of).Fields() {
			if name := f.Tag.Get("json"); name != "" {
				all = append(all, name)
			}
		}
		return all
	}
	read := names(s3Credentials{})
	files, err := filepath.Glob("open_*.go")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`\.credential\("(\w+)"\)`).FindAllSubmatch(text, -1) {
			read = append(read, string(m[1]))
		}
	}
	require.Greater(t, len(read), 12)
	for _, name := range read {
		require.Equal(t, name != "private_key_file", IsCredentialName(name), name) // where the key is may be known
	}
	for _, set := range []any{s3Settings{}, hostSettings{}, httpSettings{}} {
		for _, name := range names(set) {
			require.False(t, IsCredentialName(name), name)
		}
	}
	for _, name := range []string{"Session-Token", "PASS", "key", "secret"} {
		require.True(t, IsCredentialName(name), name)
	}
}
