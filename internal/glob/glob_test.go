package glob_test

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/glob"
)

// TestPython compares with what Python's fnmatch says; see testdata/glob/make.py.
func TestPython(t *testing.T) {
	f, err := os.Open("../../testdata/glob/fnmatch.tsv.gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	lines := bufio.NewScanner(z)
	require.True(t, lines.Scan())
	var names []string
	for quoted := range strings.SplitSeq(lines.Text(), "\t") {
		names = append(names, unquote(t, quoted))
	}
	cases := 0
	for lines.Scan() {
		quoted, want, _ := strings.Cut(lines.Text(), "\t")
		require.Len(t, want, len(names))
		pattern := unquote(t, quoted)
		if pattern == "" { // an empty include is none
			continue
		}
		match := glob.Filter(pattern, "")
		for i, name := range names {
			require.Equal(t, want[i] == '1', match(name), "pattern %q, name %q", pattern, name)
			cases++
		}
	}
	require.NoError(t, lines.Err())
	require.Greater(t, cases, 300_000)
}

func unquote(t *testing.T, quoted string) string {
	s, err := strconv.Unquote(quoted)
	require.NoError(t, err)
	return s
}

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		include, exclude string
		match, not       []string
	}{
		{"", "", []string{"", "a", "a|b"}, nil},
		{"*.csv|*.parquet", "", []string{"a.csv", "x/b.parquet"}, []string{"a.csv.gz", "csv"}},
		{"", "*.tmp|.*", []string{"a.csv", "d/.x"}, []string{"a.tmp", ".x", "d/a.tmp"}},
		{"a*", "*b", []string{"a", "ac"}, []string{"ab", "c"}},
		{"a|", "", []string{"a", ""}, []string{"b", "|"}}, // as "a|".split("|")
		{"|", "", []string{""}, []string{"a", "|"}},
		{"", "|", []string{"a"}, []string{""}},
		{"[a|b]", "", []string{"[a", "b]"}, []string{"a", "b", "[a|b]"}}, // the | is split first
	} {
		filter := glob.Filter(c.include, c.exclude)
		for _, name := range c.match {
			require.True(t, filter(name), "include %q, exclude %q, name %q", c.include, c.exclude, name)
		}
		for _, name := range c.not {
			require.False(t, filter(name), "include %q, exclude %q, name %q", c.include, c.exclude, name)
		}
	}
}

// TestNoBlowUp would take longer than the universe with naive backtracking.
func TestNoBlowUp(t *testing.T) {
	filter := glob.Filter(strings.Repeat("*a", 200)+"*[b-c]?", "")
	require.False(t, filter(strings.Repeat("a", 20_000)))
}

// reference is fnmatch written down as its definition reads, and as slow.
func reference(p, s []rune) bool {
	switch {
	case len(p) == 0:
		return len(s) == 0
	case p[0] == '*':
		return reference(p[1:], s) || len(s) > 0 && reference(p, s[1:])
	case len(s) == 0:
		return false
	case p[0] == '[':
		if body, rest, ok := cutSet(p); ok {
			return inSet(body, s[0]) && reference(rest, s[1:])
		}
	case p[0] == '?':
		return reference(p[1:], s[1:])
	}
	return p[0] == s[0] && reference(p[1:], s[1:])
}

func cutSet(p []rune) (body, rest []rune, ok bool) {
	j := 1
	if j < len(p) && p[j] == '!' {
		j++
	}
	for j++; j < len(p); j++ { // the first is in the set, whatever it is
		if p[j] == ']' {
			return p[1:j], p[j+1:], true
		}
	}
	return nil, nil, false
}

// inSet reads a body from left to right. It knows nothing of bodies with a
// range that runs backwards; those are in Python's table.
func inSet(body []rune, r rune) (in bool) {
	not := body[0] == '!'
	if not {
		body = body[1:]
	}
	for i := 0; i < len(body); i++ {
		if i+2 < len(body) && body[i+1] == '-' {
			in = in || body[i] <= r && r <= body[i+2]
			i += 2
			continue
		}
		in = in || body[i] == r
	}
	return in != not
}

func backwards(pattern []rune) bool {
	for i := 1; i+1 < len(pattern); i++ {
		if pattern[i] == '-' && pattern[i-1] > pattern[i+1] {
			return true
		}
	}
	return false
}

// characters takes s apart as Python sees a file name.
func characters(s string) []rune {
	var out []rune
	for i, r := range s {
		if r == '\uFFFD' && !strings.HasPrefix(s[i:], "\uFFFD") {
			r = 0xDC00 + rune(s[i])
		}
		out = append(out, r)
	}
	return out
}

func FuzzFilter(f *testing.F) {
	for _, p := range []string{"", "*", "*.csv", "a?[b-d]*[!x]", "[z-a]", "[]", "[!]", "[a-]", "[--0]", "[]a]", "[^x]", "[b-a!-x]", "*a*b*", "\xff*", "[\x80-\xff]", "a*.csv|b*"} {
		f.Add(p, "a.csv")
		f.Add(p, "b\xff-]")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := glob.Filter(pattern, "")(name)
		if pattern == "" {
			require.True(t, got)
			return
		}
		require.NotEqual(t, got, glob.Filter("", pattern)(name), "what is not included is excluded")
		if len(pattern) > 12 || len(name) > 12 {
			return // the reference takes too long
		}
		want := false
		for p := range strings.SplitSeq(pattern, "|") {
			if backwards(characters(p)) {
				return
			}
			want = want || reference(characters(p), characters(name))
		}
		require.Equal(t, want, got, "pattern %q, name %q", pattern, name)
	})
}

func BenchmarkFilter(b *testing.B) {
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("region-%d/2026/data-%06d.%s", i%7, i, []string{"csv", "parquet", "tmp"}[i%3])
	}
	for _, c := range []struct{ name, include, exclude string }{
		{"suffix", "*.csv", ""},
		{"suffixes", "*.csv|*.parquet|*.json", "*.tmp"},
		{"middle", "*2026*.csv", "*/.*"},
		{"sets", "region-[0-4]/*/data-[!9]*.[cp]*", ""},
		{"stars", "*a*a*a*a*a*b", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			filter := glob.Filter(c.include, c.exclude)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				filter(names[i%len(names)])
				i++
			}
		})
	}
}
