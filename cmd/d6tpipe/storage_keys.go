package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// A storageKey is a credential with the variable that it comes from, or goes to.
type storageKey struct{ name, variable string }

var (
	s3Keys = []storageKey{
		{"aws_access_key_id", "AWS_ACCESS_KEY_ID"},
		{"aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"},
		{"aws_session_token", "AWS_SESSION_TOKEN"},
	}
	otherKeys = []storageKey{
		{"username", "D6TPIPE_STORAGE_USERNAME"},
		{"password", "D6TPIPE_STORAGE_PASSWORD"},
		{"private_key", "D6TPIPE_STORAGE_PRIVATE_KEY"},
		{"passphrase", "D6TPIPE_STORAGE_PASSPHRASE"},
		{"token", "D6TPIPE_STORAGE_TOKEN"},
	}
)

// keysOf are the credentials that a protocol knows.
func keysOf(protocol d6tpipe.Protocol) []storageKey {
	if protocol == d6tpipe.ProtocolS3 || protocol == d6tpipe.ProtocolManaged {
		return s3Keys
	}
	return otherKeys
}

// credentialFlags say where credentials come from. They are never on the command
// line themselves.
type credentialFlags struct{ both, read, write string }

const credentialsLong = `Credentials come from a file (JSON or YAML), from standard input (-), from
variables (env: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN for S3,
else D6TPIPE_STORAGE_USERNAME, _PASSWORD, _PRIVATE_KEY, _PASSPHRASE, _TOKEN), or are
asked for on the terminal (prompt). They are never arguments, which everybody on
the machine can read.`

func (f *credentialFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.both, "credentials", "", "`where` credentials come from: a file, -, env or prompt")
	c.Flags().StringVar(&f.read, "read-credentials", "", "`where` those come from that open the storage for reading only")
	c.Flags().StringVar(&f.write, "write-credentials", "", "`where` those come from that open it for writing")
}

func (f *credentialFlags) given() bool { return f.both != "" || f.read != "" || f.write != "" }

// A keySet is the credentials that a command line gives, nil where it does not.
type keySet struct{ both, read, write json.RawMessage }

// get gets the credentials from where the flags say.
func (f *credentialFlags) get(c *cobra.Command, protocol d6tpipe.Protocol) (set keySet, err error) {
	for _, source := range []struct {
		from, what string
		to         *json.RawMessage
	}{{f.both, "credentials", &set.both}, {f.read, "credentials for reading", &set.read}, {f.write, "credentials for writing", &set.write}} {
		if source.from == "" {
			continue
		}
		if *source.to, err = credentialsFrom(c, source.from, source.what, protocol); err != nil {
			return set, err
		}
	}
	return set, nil
}

func credentialsFrom(c *cobra.Command, from, what string, protocol d6tpipe.Protocol) (json.RawMessage, error) {
	switch from {
	case "env":
		return keysFromVariables(protocol)
	case "prompt":
		return keysFromTerminal(c, what, protocol)
	}
	docs, err := readDocuments(c, from)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fmt.Errorf("%s: credentials are one set of names and values", inputName(from))
	}
	return encodeJSON(docs[0])
}

func keysFromVariables(protocol d6tpipe.Protocol) (json.RawMessage, error) {
	set, names := map[string]string{}, []string{}
	for _, key := range keysOf(protocol) {
		names = append(names, key.variable)
		if value := os.Getenv(key.variable); value != "" {
			set[key.name] = value
		}
	}
	if len(set) == 0 {
		return nil, fmt.Errorf("there are no credentials in the environment: set %s", strings.Join(names, ", "))
	}
	return encodeJSON(set)
}

func keysFromTerminal(c *cobra.Command, what string, protocol d6tpipe.Protocol) (json.RawMessage, error) {
	if !isTerminal(c.InOrStdin()) {
		return nil, hint(errors.New("there is no terminal to ask on for the "+what), "Give a file, -, or env.")
	}
	id, secret := "username", "password"
	if keysOf(protocol)[0] == s3Keys[0] {
		id, secret = s3Keys[0].name, s3Keys[1].name
	}
	if _, err := fmt.Fprintf(c.ErrOrStderr(), "The %s.\n", what); err != nil {
		return nil, err
	}
	name, err := askLine(c.Context(), c.InOrStdin(), c.ErrOrStderr(), id+": ")
	if err != nil {
		return nil, err
	}
	word, err := askHidden(c.Context(), c.InOrStdin(), c.ErrOrStderr(), secret+": ")
	if err != nil {
		return nil, err
	}
	if name == "" || word == "" {
		return nil, errors.New("nothing was typed for the " + what)
	}
	return encodeJSON(map[string]string{id: name, secret: word})
}
