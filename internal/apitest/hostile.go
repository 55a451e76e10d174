package apitest

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

var hostileCases = []testCase{
	{"a body of 256 KiB is fine", func(t *testing.T, api d6tpipe.API) {
		big := `"` + strings.Repeat("x", 256<<10) + `"`
		require.NoError(t, pipes.create(t.Context(), api, "p", big))
		mark, err := pipes.get(t.Context(), api, "p")
		require.NoError(t, err)
		require.Equal(t, len(big), len(mark))
	}},
	{"a body of more than a MiB is taken or refused", func(t *testing.T, api d6tpipe.API) {
		big := `"` + strings.Repeat("x", 1<<20) + `"`
		takenOrRefused(t, api, big)
	}},
	{"JSON that is 100 deep is fine", func(t *testing.T, api d6tpipe.API) {
		deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
		require.NoError(t, pipes.create(t.Context(), api, "p", deep))
		mark, err := pipes.get(t.Context(), api, "p")
		require.NoError(t, err)
		require.Equal(t, deep, mark)
	}},
	{"JSON that is 5,000 or 100,000 deep is taken or refused", func(t *testing.T, api d6tpipe.API) {
		takenOrRefused(t, api, strings.Repeat("[", 5_000)+strings.Repeat("]", 5_000))
		takenOrRefused(t, api, strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000))
	}},
	{"JSON that is none is refused", func(t *testing.T, api d6tpipe.API) {
		for _, bad := range []string{`{`, `tru`, `"a`, "\"\x01\"", `{} {}`, `01`, "\xff"} {
			require.ErrorIs(t, pipes.create(t.Context(), api, "p", bad), d6tpipe.ErrInvalid, "%q", bad)
		}
		names, err := pipes.names(t.Context(), api)
		require.NoError(t, err)
		require.Empty(t, names)
	}},
	{"doubled fields are refused, or come back", func(t *testing.T, api d6tpipe.API) {
		if err := pipes.create(t.Context(), api, "p", `{"a":1,"a":2}`); err != nil {
			require.ErrorIs(t, err, d6tpipe.ErrInvalid)
			return
		}
		mark, err := pipes.get(t.Context(), api, "p")
		require.NoError(t, err)
		require.Contains(t, mark, `"a"`)
	}},
}

// takenOrRefused creates a pipe with a huge mark. Whatever an API's limit is,
// the record is whole afterwards, or not there and the error says why.
func takenOrRefused(t *testing.T, api d6tpipe.API, mark string) {
	t.Helper()
	err := pipes.create(t.Context(), api, "huge", mark)
	if err != nil {
		require.True(t, errors.Is(err, d6tpipe.ErrTooLarge) || errors.Is(err, d6tpipe.ErrInvalid), "%v", err)
		require.Less(t, len(err.Error()), 2000)
		_, err = pipes.get(t.Context(), api, "huge")
		require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		return
	}
	got, err := pipes.get(t.Context(), api, "huge")
	require.NoError(t, err)
	require.Equal(t, len(mark), len(got))
	require.NoError(t, pipes.delete(t.Context(), api, "huge"))
}
