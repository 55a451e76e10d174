package d6tpipe

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// The lists of known fields are those of the types: a field that one of them
// lacked would be taken for an unknown one.
func TestKnownFieldsAreTheTypes(t *testing.T) {
	tags := func(v any) (names []string) {
		for i := range reflect.TypeOf(v).NumField() {
			if name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ","); name != "-" {
				names = append(names, name)
			}
		}
		return names
	}
	for _, kind := range localKinds {
		want := tags(RemoteSettings{})
		if kind.path == catalog.Pipes {
			want = tags(PipeSettings{})
		}
		require.ElementsMatch(t, want, kind.fields, kind.path)
		require.Subset(t, kind.fields, kind.secrets)
		require.Subset(t, kind.fields, kind.answers)
	}
	require.ElementsMatch(t, tags(PipeOptions{}), optionFields)
}
