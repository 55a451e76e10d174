package apitest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// recordCases are what pipes and remotes have in common.
func recordCases(n noun) []testCase {
	return []testCase{
		{"create then get", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "a", `{"k":1}`))
			mark, err := n.get(t.Context(), api, "a")
			require.NoError(t, err)
			require.JSONEq(t, `{"k":1}`, mark)
		}},
		{"get of a missing one", func(t *testing.T, api d6tpipe.API) {
			_, err := n.get(t.Context(), api, "missing")
			require.ErrorIs(t, err, d6tpipe.ErrNotFound)
			named(t, err)
			require.ErrorContains(t, err, "missing")
		}},
		{"replace, update and delete of a missing one", func(t *testing.T, api d6tpipe.API) {
			require.ErrorIs(t, n.replace(t.Context(), api, "missing", "1"), d6tpipe.ErrNotFound)
			require.ErrorIs(t, n.update(t.Context(), api, "missing", "1"), d6tpipe.ErrNotFound)
			require.ErrorIs(t, n.delete(t.Context(), api, "missing"), d6tpipe.ErrNotFound)
			names, err := n.names(t.Context(), api)
			require.NoError(t, err)
			require.Empty(t, names)
		}},
		{"create of a taken name", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "a", "1"))
			f := field(t, n.create(t.Context(), api, "a", "2"), "name", d6tpipe.ErrExists)
			require.Contains(t, f.Reason, "unique")
			mark, err := n.get(t.Context(), api, "a")
			require.NoError(t, err)
			require.Equal(t, "1", mark)
		}},
		{"replace", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "a", "1"))
			require.NoError(t, n.replace(t.Context(), api, "a", "2"))
			mark, err := n.get(t.Context(), api, "a")
			require.NoError(t, err)
			require.Equal(t, "2", mark)
		}},
		{"replace drops what is not there", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "a", "1"))
			require.NoError(t, n.replace(t.Context(), api, "a", ""))
			mark, err := n.get(t.Context(), api, "a")
			require.NoError(t, err)
			require.Empty(t, mark)
		}},
		{"update", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "a", "1"))
			require.NoError(t, n.update(t.Context(), api, "a", "[2]"))
			mark, err := n.get(t.Context(), api, "a")
			require.NoError(t, err)
			require.JSONEq(t, "[2]", mark)
		}},
		{"update of nothing is a no-op", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "a", "1"))
			require.NoError(t, n.update(t.Context(), api, "a", ""))
			_, err := backend(t, api).Do(t.Context(), catalog.Update, n.path, "a", nil)
			require.NoError(t, err)
			mark, err := n.get(t.Context(), api, "a")
			require.NoError(t, err)
			require.Equal(t, "1", mark)
		}},
		{"upsert creates, then updates", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.upsert(t.Context(), api, "a", "1"))
			require.NoError(t, n.upsert(t.Context(), api, "a", "2"))
			mark, err := n.get(t.Context(), api, "a")
			require.NoError(t, err)
			require.Equal(t, "2", mark)
		}},
		{"delete", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "a", "1"))
			require.NoError(t, n.create(t.Context(), api, "b", "1"))
			require.NoError(t, n.delete(t.Context(), api, "a"))
			_, err := n.get(t.Context(), api, "a")
			require.ErrorIs(t, err, d6tpipe.ErrNotFound)
			names, err := n.names(t.Context(), api)
			require.NoError(t, err)
			require.Equal(t, []string{"b"}, names)
			require.ErrorIs(t, n.delete(t.Context(), api, "a"), d6tpipe.ErrNotFound)
			require.NoError(t, n.create(t.Context(), api, "a", "3"), "the name is free again")
		}},
		{"malformed names", func(t *testing.T, api d6tpipe.API) {
			for _, name := range []string{"$x", "a b", "a/b", "../a", "..", "a.b", "a_b", "ä", "a\n", "a\x00", "-a?", "a%2Fb", " a", "*"} {
				field(t, n.create(t.Context(), api, name, "1"), "name", d6tpipe.ErrInvalid)
				field(t, n.upsert(t.Context(), api, name, "1"), "name", d6tpipe.ErrInvalid)
				_, err := n.get(t.Context(), api, name)
				field(t, err, "name", d6tpipe.ErrInvalid)
				field(t, n.delete(t.Context(), api, name), "name", d6tpipe.ErrInvalid)
			}
		}},
		{"malformed names past the client", func(t *testing.T, api d6tpipe.API) {
			for _, body := range []string{`{"name":"$x"}`, `{"name":""}`, `{}`, `{"name":"a/b"}`} {
				_, err := backend(t, api).Do(t.Context(), catalog.Create, n.path, "", raw(body))
				require.ErrorIs(t, err, d6tpipe.ErrInvalid, body)
				var f *d6tpipe.FieldError
				require.ErrorAs(t, err, &f)
				require.Equal(t, "name", f.Field)
			}
		}},
		{"reserved, empty and long names", func(t *testing.T, api d6tpipe.API) {
			for _, name := range []string{"", "pipes", "remotes", strings.Repeat("a", 129)} {
				field(t, n.create(t.Context(), api, name, "1"), "name", d6tpipe.ErrInvalid)
			}
			require.NoError(t, n.create(t.Context(), api, strings.Repeat("a", 128), "1"))
		}},
		{"names that look alike are different", func(t *testing.T, api d6tpipe.API) {
			all := []string{"-", "0", "A", "a", "a-", "aa", "null", "true"}
			for _, name := range all {
				require.NoError(t, n.create(t.Context(), api, name, `"`+name+`"`))
			}
			for _, name := range all {
				mark, err := n.get(t.Context(), api, name)
				require.NoError(t, err)
				require.Equal(t, `"`+name+`"`, mark)
			}
			names, err := n.names(t.Context(), api)
			require.NoError(t, err)
			require.Equal(t, all, names)
		}},
		{"any JSON comes back", func(t *testing.T, api d6tpipe.API) {
			marks := []string{
				`9007199254740993`, `123456789012345678901234567890`, `1.10`, `1e400`, `-0`, `true`, `[]`, `{}`, `""`,
				`"<a href=\"x\">&amp;</a>"`, `"\u0000\u0001\u001f\u007f"`, `"日本語 ünïcödé 👩‍👩‍👧"`, `"\u2028\u2029"`, `"'"`, `"\\\"/"`,
				`[[1,[2,[3]]],{"a":{"b":[null]}}]`, `{"":1," ":2,"a.b":3,"$x":4}`,
			}
			for i, mark := range marks {
				require.NoError(t, n.upsert(t.Context(), api, "a", mark), "%d", i)
				got, err := n.get(t.Context(), api, "a")
				require.NoError(t, err)
				sameJSON(t, mark, got)
			}
		}},
		{"a cancelled context", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "there", "1"))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			for verb, call := range n.verbs() {
				err := call(ctx, api)
				require.ErrorIs(t, err, context.Canceled, verb)
				require.NotErrorIs(t, err, d6tpipe.ErrUnavailable, verb)
			}
			mark, err := n.get(t.Context(), api, "there")
			require.NoError(t, err)
			require.Equal(t, "1", mark, "a cancelled call changed something")
			_, err = n.get(t.Context(), api, "new")
			require.ErrorIs(t, err, d6tpipe.ErrNotFound)
		}},
		{"a deadline that has passed", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "there", "1"))
			ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
			defer cancel()
			for verb, call := range n.verbs() {
				require.ErrorIs(t, call(ctx, api), context.DeadlineExceeded, verb)
			}
		}},
		{"what is not a record", func(t *testing.T, api d6tpipe.API) {
			require.NoError(t, n.create(t.Context(), api, "a", "1"))
			for _, body := range []string{`[]`, `"x"`, `1`, `null`, `{`, `{"name":1}`, `{"name":"b","protocol":[]}`, `{"name":"b"} x`} {
				for verb, name := range map[catalog.Verb]string{catalog.Create: "", catalog.Replace: "a"} {
					_, err := backend(t, api).Do(t.Context(), verb, n.path, name, raw(body))
					require.ErrorIs(t, err, d6tpipe.ErrInvalid, "%s %s", verb, body)
				}
			}
			names, err := n.names(t.Context(), api)
			require.NoError(t, err)
			require.Equal(t, []string{"a"}, names)
		}},
		{"unknown collections", func(t *testing.T, api d6tpipe.API) {
			_, err := backend(t, api).Do(t.Context(), catalog.Get, "files", "a", nil)
			require.True(t, errors.Is(err, d6tpipe.ErrNotFound) || errors.Is(err, d6tpipe.ErrUnsupported), "%v", err)
			_, _, err = backend(t, api).List(t.Context(), "files", "")
			require.True(t, errors.Is(err, d6tpipe.ErrNotFound) || errors.Is(err, d6tpipe.ErrUnsupported), "%v", err)
		}},
	}
}
