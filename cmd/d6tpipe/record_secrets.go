package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// userInURL is a URL with a user before the host, and mostly a password.
var userInURL = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*@`)

// noSecret refuses a credential in the place of a setting, which everybody who may use
// a record sees in clear: by its name, or in a URL. It does not repeat the value. To take
// one out is welcome.
func noSecret(name string, value json.RawMessage) error {
	if string(value) == "null" {
		return nil
	}
	if d6tpipe.IsCredentialName(name) {
		return fmt.Errorf("%s is a credential and no setting", quoted(name))
	}
	var text string
	var list []json.RawMessage
	var object fields
	switch start := bytes.TrimSpace(value); {
	case len(start) == 0:
	case start[0] == '"' && json.Unmarshal(value, &text) == nil && userInURL.MatchString(text):
		return fmt.Errorf("%s has a user in its URL, which is a credential", quoted(name))
	case start[0] == '[' && json.Unmarshal(value, &list) == nil:
		for _, v := range list {
			if err := noSecret(name, v); err != nil {
				return err
			}
		}
	case start[0] == '{' && json.Unmarshal(value, &object) == nil:
		for _, inner := range slices.Sorted(maps.Keys(object)) {
			if err := noSecret(inner, object[inner]); err != nil {
				return err
			}
		}
	}
	return nil
}

// recordKeys are the fields in which credentials belong, and those that are any JSON.
var recordKeys = []string{"credentials", "readCredentials", "writeCredentials", "schema", "readParams"}

const secretAdvice = "Move it into the credentials (of a remote: readCredentials and writeCredentials), or leave it out and give --credentials."

// checkClear refuses credentials of a file that are among the settings.
func (f *recordFlags) checkClear(docs []fields) error {
	for _, doc := range docs {
		for _, name := range slices.Sorted(maps.Keys(doc)) {
			if slices.Contains(recordKeys, name) {
				continue
			}
			if err := noSecret(name, doc[name]); err != nil {
				return hint(fmt.Errorf("%s: %w", inputName(f.file), err), secretAdvice)
			}
		}
	}
	return nil
}
