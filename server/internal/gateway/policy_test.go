package gateway_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

var update = flag.Bool("update", false, "write the golden policies anew")

var deadline = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// The grants whose policies are in testdata/policy.
var policies = map[string]struct {
	grant    gateway.Grant
	deadline time.Time
}{
	"read":     {grant: read("alice/x/")},
	"write":    {grant: write("alice/x/")},
	"include":  {grant: read("alice/x/", d6tpipe.Filter{Include: "*.csv|data?.parquet"})},
	"exclude":  {grant: write("alice/x/", d6tpipe.Filter{Exclude: "private/*"})},
	"parent":   {grant: read("alice/x/sub/", d6tpipe.Filter{Prefix: "sub", Include: "sub/2*|other/*"})},
	"two":      {grant: write("alice/x/", d6tpipe.Filter{Include: "*.csv"}, d6tpipe.Filter{Include: "a*|b*", Exclude: "*old*"})},
	"deadline": {grant: read("alice/x/"), deadline: deadline},
}

func TestPolicyGoldens(t *testing.T) {
	for name, p := range policies {
		text, err := gateway.SessionPolicy("bucket", p.grant, p.deadline)
		require.NoError(t, err, name)
		require.LessOrEqual(t, len(text), 2048)
		file := filepath.Join("testdata", "policy", name+".json")
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(text+"\n"), 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, strings.TrimSpace(string(want)), text, name)
	}
}

func TestPolicy(t *testing.T) {
	const (
		get, put, del = "s3:GetObject", "s3:PutObject", "s3:DeleteObject"
		list, uploads = "s3:ListBucket", "s3:ListBucketMultipartUploads"
	)
	for _, c := range []struct {
		policy, action string
		resource       string // a key of the bucket, "" for the bucket
		prefix         string // of a listing
		allowed        bool
	}{
		{"read", get, "alice/x/a", "", true},
		{"read", get, "alice/x/deep/a b*?.csv", "", true},
		{"read", get, "alice/x2/a", "", false},
		{"read", get, "alice/xa", "", false},
		{"read", get, "alice/x", "", false},
		{"read", get, "alice/y/x/a", "", false},
		{"read", get, "bob/alice/x/a", "", false},
		{"read", get, "a", "", false},
		{"read", put, "alice/x/a", "", false},
		{"read", del, "alice/x/a", "", false},
		{"read", "s3:PutObjectAcl", "alice/x/a", "", false},
		{"read", "s3:GetObjectVersion", "alice/x/a", "", false},
		{"read", list, "", "alice/x/", true},
		{"read", list, "", "alice/x/deep/", true},
		{"read", list, "", "", false},
		{"read", list, "", "alice/", false},
		{"read", list, "", "alice/x", false},
		{"read", list, "", "alice/x2/", false},
		{"read", list, "", "bob/", false},
		{"read", uploads, "", "alice/x/", false},
		{"read", "s3:GetBucketLocation", "", "", true},
		{"read", "s3:GetBucketPolicy", "", "", false},
		{"read", "s3:PutBucketPolicy", "", "", false},
		{"read", "s3:DeleteBucket", "", "", false},
		{"read", "s3:ListAllMyBuckets", "", "", false},
		{"write", get, "alice/x/a", "", true},
		{"write", put, "alice/x/a", "", true},
		{"write", del, "alice/x/a", "", true},
		{"write", "s3:AbortMultipartUpload", "alice/x/a", "", true},
		{"write", "s3:ListMultipartUploadParts", "alice/x/a", "", true},
		{"write", put, "alice/x2/a", "", false},
		{"write", del, "bob/x/a", "", false},
		{"write", "s3:PutObjectAcl", "alice/x/a", "", false},
		{"write", "s3:DeleteObjectVersion", "alice/x/a", "", false},
		{"write", uploads, "", "alice/x/", false},
		{"write", uploads, "", "", false},
		{"include", get, "alice/x/a.csv", "", true},
		{"include", get, "alice/x/deep/a.csv", "", true},
		{"include", get, "alice/x/data1.parquet", "", true},
		{"include", get, "alice/x/data12.parquet", "", false},
		{"include", get, "alice/x/a.txt", "", false},
		{"include", get, "alice/x2/a.csv", "", false},
		{"include", put, "alice/x/a.csv", "", false},
		{"exclude", get, "alice/x/a", "", true},
		{"exclude", put, "alice/x/private/a", "", false},
		{"exclude", get, "alice/x/private/a", "", false},
		{"exclude", get, "alice/y/a", "", false},
		{"exclude", list, "", "alice/x/", true},
		{"parent", get, "alice/x/sub/2026", "", true},
		{"parent", get, "alice/x/sub/1999", "", false},
		{"parent", get, "alice/x/other/1", "", false},
		{"parent", get, "alice/x/2", "", false},
		{"two", put, "alice/x/a.csv", "", true},
		{"two", put, "alice/x/c.csv", "", false},
		{"two", put, "alice/x/a.txt", "", false},
		{"two", get, "alice/x/a-old.csv", "", false},
		{"deadline", get, "alice/x/a", "", true},
	} {
		p := policies[c.policy]
		text, err := gateway.SessionPolicy("bucket", p.grant, p.deadline)
		require.NoError(t, err)
		got := evaluate(t, text, c.action, c.resource, c.prefix, deadline.Add(-time.Minute))
		require.Equal(t, c.allowed, got, "%+v\n%s", c, text)
		if key := c.resource; key != "" && !slices.Contains([]string{"s3:PutObjectAcl", "s3:GetObjectVersion", "s3:DeleteObjectVersion"}, c.action) && (c.action == get || p.grant.Role == d6tpipe.RoleWrite) {
			require.Equal(t, matches(p.grant, key), got, "the embedded storage decides the same: %+v", c)
		}
	}
	text, err := gateway.SessionPolicy("bucket", read("alice/x/"), deadline)
	require.NoError(t, err)
	require.False(t, evaluate(t, text, get, "alice/x/a", "", deadline.Add(time.Second)), "after the deadline")
	require.False(t, evaluate(t, text, list, "", "alice/x/", deadline.Add(time.Second)), "after the deadline")
}

// matches is what the filters say without a policy.
func matches(g gateway.Grant, key string) bool {
	rel, ok := strings.CutPrefix(key, g.Prefix)
	for _, f := range g.Filters {
		ok = ok && f.Matcher()(rel)
	}
	return ok
}

// What a policy cannot say is refused, and the text says what it is.
func TestPolicyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		grant gateway.Grant
		text  string
	}{
		"star in the folder":      {read("alice/*/"), "policies"},
		"question mark":           {read("alice/?/"), "policies"},
		"variable":                {read("alice/${aws:username}/"), "policies"},
		"dollar":                  {read("alice/$/"), "policies"},
		"no slash":                {read("alice"), "slash"},
		"nothing":                 {read(""), "slash"},
		"a set":                   {read("a/b/", d6tpipe.Filter{Include: "[0-9]*.csv"}), "[0-9]"},
		"a set, excluded":         {read("a/b/", d6tpipe.Filter{Exclude: "x|[!a]*"}), "[!a]"},
		"a variable in a filter":  {read("a/b/", d6tpipe.Filter{Include: "${aws:userid}"}), "aws:userid"},
		"another parent":          {read("a/b/", d6tpipe.Filter{Prefix: "c", Include: "*"}), "folder"},
		"half a parent":           {read("a/bc/", d6tpipe.Filter{Prefix: "c", Include: "*"}), "folder"},
		"a filter without a file": {read("a/b/", d6tpipe.Filter{Include: "|"}), "no file"},
		"long":                    {read("a/b/", d6tpipe.Filter{Include: strings.Repeat("a-long-name-*.csv|", 100)}), "2048"},
		"neither read nor write":  {gateway.Grant{Prefix: "a/b/", Role: d6tpipe.RoleAdmin}, "role"},
		"dots":                    {read("a/../b/"), "folder"},
	} {
		_, err := gateway.SessionPolicy("bucket", c.grant, time.Time{})
		require.ErrorIs(t, err, gateway.ErrGrant, name)
		require.ErrorContains(t, err, c.text, name)
	}
}

// evaluate decides as IAM does, as far as these policies go: a denial wins, and what
// nothing allows is denied.
func evaluate(t testing.TB, policy, action, key, prefix string, now time.Time) bool {
	t.Helper()
	var p struct {
		Version   string
		Statement []struct {
			Effect                        string
			Action, Resource, NotResource []string
			Condition                     map[string]map[string][]string
		}
	}
	decoder := json.NewDecoder(strings.NewReader(policy))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&p))
	require.Equal(t, "2012-10-17", p.Version, "older ones know no variables, and mean something else")
	resource := "arn:aws:s3:::bucket"
	if key != "" {
		resource += "/" + key
	}
	any := func(patterns []string, text string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return like(t, p, text) })
	}
	allowed := false
	for _, s := range p.Statement {
		require.True(t, (s.Resource == nil) != (s.NotResource == nil))
		hit := any(s.Action, action) && (any(s.Resource, resource) || s.NotResource != nil && !any(s.NotResource, resource))
		for operator, values := range s.Condition {
			switch operator {
			case "StringLike":
				require.Equal(t, []string{"s3:ListBucket"}, s.Action, "no other action knows s3:prefix")
				hit = hit && prefix != "" && any(values["s3:prefix"], prefix)
			case "DateGreaterThan":
				when, err := time.Parse(time.RFC3339, values["aws:CurrentTime"][0])
				require.NoError(t, err)
				hit = hit && now.After(when)
			default:
				t.Fatalf("what is %s?", operator)
			}
		}
		switch {
		case hit && s.Effect == "Deny":
			return false
		case hit:
			require.Equal(t, "Allow", s.Effect)
			allowed = true
		}
	}
	return allowed
}

// like is IAM's comparison: * and ? are wildcards, and ${ begins a variable.
func like(t testing.TB, pattern, text string) bool {
	require.NotContains(t, pattern, "${")
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		for i := range len(text) + 1 {
			if like(t, pattern[1:], text[i:]) {
				return true
			}
		}
		return false
	case text == "":
		return false
	}
	return (pattern[0] == '?' || pattern[0] == text[0]) && like(t, pattern[1:], text[1:])
}
