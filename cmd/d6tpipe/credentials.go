package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// openedStorage is where a pipe's files lie, with the credentials in clear.
type openedStorage struct {
	Pipe        string            `json:"pipe"`
	Role        d6tpipe.Role      `json:"role"`
	Protocol    d6tpipe.Protocol  `json:"protocol"`
	Location    string            `json:"location"`
	Dir         string            `json:"dir,omitempty"`
	Options     json.RawMessage   `json:"options,omitempty"`
	Credentials map[string]string `json:"credentials"`
}

// unsaidLife is how long other tools use credentials that do not say when they run
// out. It is shorter than any server's are good for.
const unsaidLife = 10 * time.Minute

func newCredentials(p *program) *cobra.Command {
	format, role, renew := "env", "read", false
	c := p.pipeFirst(&cobra.Command{
		Use:   "credentials PIPE",
		Short: "Print the credentials of a pipe's storage for other tools",
		Long: `Print, in clear, the credentials with which other tools reach the files of a pipe.

  env    lines for a shell: eval "$(d6tpipe credentials sales)"
  aws    what credential_process in ~/.aws/config wants, with Expiration; S3 only
  json   all of it: protocol, location, dir, options, credentials`,
		Example: `  eval "$(d6tpipe credentials sales)" && aws s3 ls s3://bucket/sales/
  aws configure set profile.sales.credential_process 'd6tpipe credentials sales --format aws'
  d6tpipe credentials sales --role write --format json`,
	}, 0, func(c *cobra.Command, pipe string, _ []string) error {
		if p.asJSON {
			format = "json"
		}
		write, ok := credentialFormats[format]
		if !ok {
			return usage(c, fmt.Errorf("--format %q is none of env, aws and json", format))
		}
		if role != string(d6tpipe.RoleRead) && role != string(d6tpipe.RoleWrite) {
			return usage(c, fmt.Errorf("--role %q is neither read nor write", role))
		}
		api, err := p.api()
		if err != nil {
			return err
		}
		s, err := api.Storage(c.Context(), pipe, d6tpipe.Role(role), renew)
		if err != nil {
			return err
		}
		s.Credentials = s.Credentials.For(d6tpipe.Role(role))
		opened := openedStorage{pipe, d6tpipe.Role(role), s.Protocol, s.Location, s.Dir, s.Options, map[string]string{}}
		for name := range s.Credentials {
			opened.Credentials[name] = string(s.Credentials.Value(name))
		}
		if len(opened.Credentials) == 0 {
			p.say(c, "Pipe %s has no credentials of its own for the role %s.", safe(pipe), role)
		}
		return write(c.OutOrStdout(), opened, s.Credentials.Expires())
	})
	c.Flags().StringVar(&format, "format", format, "`env`, aws or json")
	c.Flags().StringVar(&role, "role", role, "`read` or write")
	completeWords(c, "format", "env", "aws", "json")
	completeWords(c, "role", "read", "write")
	c.Flags().BoolVar(&renew, "renew", false, "ask the server for new ones")
	return c
}

var credentialFormats = map[string]func(w io.Writer, s openedStorage, expires time.Time) error{
	"env": printEnv, "aws": printAWS,
	"json": func(w io.Writer, s openedStorage, _ time.Time) error { return printJSON(w, s, "  ") },
}

// s3Names are the other names of keys, which the SDK takes too.
var s3Names = map[string]string{"key": "aws_access_key_id", "secret": "aws_secret_access_key"}

// isS3 reports whether the storage speaks S3; then its keys have one name each.
func (s openedStorage) isS3() bool {
	if s.Protocol != d6tpipe.ProtocolS3 && s.Protocol != d6tpipe.ProtocolManaged {
		return false
	}
	for from, to := range s3Names {
		if value, ok := s.Credentials[from]; ok && s.Credentials[to] == "" {
			s.Credentials[to] = value
		}
	}
	return true
}

// place is where an S3 storage is, which is said among the credentials or the options.
func (s openedStorage) place(name string) string {
	if value := s.Credentials[name]; value != "" {
		return value
	}
	var options fields
	_ = json.Unmarshal(s.Options, &options) // without options it is said nowhere
	return options.text(name)
}

// printEnv writes variables for a shell. Those that are not set are unset: a
// session token of somebody else's would spoil the keys.
func printEnv(w io.Writer, s openedStorage, _ time.Time) error {
	set := map[string]string{}
	for _, key := range keysOf(s.Protocol) {
		set[key.variable] = ""
	}
	s3 := s.isS3()
	for _, key := range keysOf(s.Protocol) {
		set[key.variable] = s.Credentials[key.name]
	}
	if s3 {
		set["AWS_ENDPOINT_URL"], set["AWS_DEFAULT_REGION"] = s.place("endpoint_url"), s.place("region_name")
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if value := set[name]; value == "" {
			fmt.Fprintf(&b, "unset %s\n", name)
		} else {
			fmt.Fprintf(&b, "export %s=%s\n", name, shellQuoted(value))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shellQuoted is a text as sh reads it, whatever is in it.
func shellQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// printAWS writes what the tools of AWS want from a credential_process.
func printAWS(w io.Writer, s openedStorage, expires time.Time) error {
	if !s.isS3() {
		return hint(fmt.Errorf("the files of pipe %q are on %s and not on S3", s.Pipe, s.Protocol), "Use --format env or json.")
	}
	out := struct {
		Version         int
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string     `json:",omitempty"`
		Expiration      *time.Time `json:",omitempty"`
	}{1, s.Credentials["aws_access_key_id"], s.Credentials["aws_secret_access_key"], s.Credentials["aws_session_token"], nil}
	if out.AccessKeyID == "" || out.SecretAccessKey == "" {
		return errors.New("the pipe has no keys for S3")
	}
	if expires.IsZero() && out.SessionToken != "" {
		expires = time.Now().Add(unsaidLife)
	}
	if !expires.IsZero() {
		expires = expires.UTC().Truncate(time.Second)
		out.Expiration = &expires
	}
	return printJSON(w, out, "  ")
}
