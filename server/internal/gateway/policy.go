package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A policy is a session policy in the language of Amazon's IAM.
type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Effect      string
	Action      []string
	Resource    []string                       `json:",omitempty"`
	NotResource []string                       `json:",omitempty"`
	Condition   map[string]map[string][]string `json:",omitempty"`
}

var (
	readActions  = []string{"s3:GetObject"}
	writeActions = []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}
)

// maxPolicy is the longest session policy that Amazon takes.
const maxPolicy = 2048

// sessionPolicy says what g says. A deadline that is not zero is when all of it
// ends.
//
// Filters become wildcards of resources: the first that applies to the folder
// itself as what is allowed, every other include as a denial of all else, and every
// exclude as a denial. Fnmatch's * and ? mean the same there; its sets have no
// counterpart, and are refused.
//
// Nobody may list uploads that are not complete: no policy can keep such a list to a
// folder. Amazon would not heed s3:prefix there, and MinIO refuses the policy.
func sessionPolicy(partition, bucket string, g Grant, deadline time.Time) (string, error) {
	a, err := newAccess(g)
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(g.Prefix, "*?$") {
		return "", fmt.Errorf("%w: the folder %q holds a character with a meaning in policies", ErrGrant, g.Prefix)
	}
	arn := "arn:" + partition + ":s3:::" + bucket
	actions := readActions
	if a.write {
		actions = writeActions
	}
	allowed, denials, err := filterResources(arn+"/", g)
	if err != nil {
		return "", err
	}
	p := policy{Version: "2012-10-17", Statement: []statement{
		{Effect: "Allow", Action: actions, Resource: allowed},
		{Effect: "Allow", Action: []string{"s3:ListBucket"}, Resource: []string{arn}, Condition: map[string]map[string][]string{"StringLike": {"s3:prefix": {g.Prefix + "*"}}}},
		{Effect: "Allow", Action: []string{"s3:GetBucketLocation"}, Resource: []string{arn}},
	}}
	for _, d := range denials {
		d.Effect, d.Action = "Deny", actions
		p.Statement = append(p.Statement, d)
	}
	if !deadline.IsZero() {
		p.Statement = append(p.Statement, statement{Effect: "Deny", Action: []string{"s3:*"}, Resource: []string{"*"},
			Condition: map[string]map[string][]string{"DateGreaterThan": {"aws:CurrentTime": {deadline.UTC().Format(time.RFC3339)}}}})
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // for people, and because every byte counts
	if err := encoder.Encode(p); err != nil {
		return "", fmt.Errorf("encode a policy: %w", err)
	}
	text := strings.TrimSpace(out.String())
	if len(text) > maxPolicy {
		return "", fmt.Errorf("%w: the filters are too long for a session policy: it would have %d characters, and may have %d", ErrGrant, len(text), maxPolicy)
	}
	return text, nil
}

// filterResources turns the filters into resources that are allowed, and denials.
func filterResources(base string, g Grant) (allowed []string, denials []statement, err error) {
	for _, f := range g.Filters {
		root, err := filterRoot(g.Prefix, f)
		if err != nil {
			return nil, nil, err
		}
		if f.Include != "" {
			resources, err := patterns(base+root, f.Include)
			switch {
			case err != nil:
				return nil, nil, err
			case len(resources) == 0:
				return nil, nil, fmt.Errorf("%w: the filter %q matches no file", ErrGrant, f.Include)
			case root == g.Prefix && allowed == nil:
				allowed = resources
			default:
				denials = append(denials, statement{NotResource: resources})
			}
		}
		if f.Exclude != "" {
			resources, err := patterns(base+root, f.Exclude)
			if err != nil {
				return nil, nil, err
			}
			if len(resources) > 0 {
				denials = append(denials, statement{Resource: resources})
			}
		}
	}
	if allowed == nil {
		allowed = []string{base + g.Prefix + "*"}
	}
	return allowed, denials, nil
}

// filterRoot is the folder to which the patterns of f are relative: that of the
// grant, or of a parent.
func filterRoot(prefix string, f d6tpipe.Filter) (string, error) {
	below := strings.Trim(f.Prefix, "/")
	if below == "" {
		return prefix, nil
	}
	root, ok := strings.CutSuffix(prefix, below+"/")
	if !ok || root != "" && !strings.HasSuffix(root, "/") {
		return "", fmt.Errorf("%w: the filter is for the folder %q, which is not the end of %q", ErrGrant, f.Prefix, prefix)
	}
	return root, nil
}

// patterns turns fnmatch patterns, joined by |, into those of a policy.
func patterns(root, joined string) (all []string, err error) {
	for p := range strings.SplitSeq(joined, "|") {
		if strings.ContainsAny(p, "[$") {
			return nil, fmt.Errorf("%w: the pattern %q cannot be said in a session policy, which knows * and ? only", ErrGrant, p)
		}
		if p != "" { // it would match an empty name
			all = append(all, root+p)
		}
	}
	return all, nil
}
