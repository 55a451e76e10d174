package d6tpipe

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

const redacted = "***"

// A Secret is a token, a password or a key. However it is printed, logged or
// marshalled, it shows as "***"; string(s) is the value itself.
type Secret string

// String returns "***", or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format prints the secret as "***" under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue returns "***" for package slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns "***", so that no encoder writes a secret by accident.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// hidden keeps what has secrets in it in an unexported field, where package fmt
// prints everything as it is, and under verbs such as %s what pointers lead to.
type hidden[T any] func() T

func hide[T any](v T) hidden[T] { return func() T { return v } }

// Credentials are what a storage asks for before it lets someone in, under the
// names that the Python client uses: aws_access_key_id, aws_secret_access_key,
// aws_session_token, endpoint_url and region_name for S3 (key and secret work
// too), username and password for FTP, SFTP and HTTP, private_key (PEM, or OpenSSH's
// format) or private_key_file with passphrase for SFTP, token for HTTP. "expiration"
// is when they run out, where that is known. They are either one flat set for all
// roles, or {"read": {...}, "write": {...}}.
//
// Credentials print and marshal with "***" in the place of each value.
type Credentials map[string]any

// credentialNames are the names of Credentials, and those under which people look for
// them: in the tools of others, or in earlier versions of these.
var credentialNames = []string{
	"aws_access_key_id", "access_key_id", "access_key", "key", "key_id",
	"aws_secret_access_key", "secret_access_key", "secret_key", "secret", "client_secret",
	"aws_session_token", "session_token", "security_token", "aws_security_token",
	"username", "user", "password", "pass", "passwd", "pwd", "passphrase", "private_key", "private_key_passphrase",
	"token", "access_token", "auth_token", "bearer_token", "api_key", "apikey", "account_key", "sas_token", "authorization",
	"credentials", "read_credentials", "readcredentials", "write_credentials", "writecredentials",
}

// IsCredentialName reports whether name is one of [Credentials], or what other tools
// call one. What has such a name does not belong in the settings and options of a
// record, which everybody who may use it sees in clear. Letters of either case and
// hyphens are as good as what the names have.
func IsCredentialName(name string) bool {
	return slices.Contains(credentialNames, strings.ReplaceAll(strings.ToLower(name), "-", "_"))
}

// For returns the set for a role: the nested "read" or "write" set when there
// are such, else all of c. It is nil when there is no set for the role.
func (c Credentials) For(role Role) Credentials {
	sets := c.reveal() // a nested set may be Credentials too
	read, hasRead := sets["read"].(map[string]any)
	write, hasWrite := sets["write"].(map[string]any)
	switch {
	case !hasRead && !hasWrite:
		return c
	case role == RoleRead:
		return read
	default:
		return write
	}
}

// Value returns the credential called name as a string, "" when there is none.
func (c Credentials) Value(name string) Secret {
	switch v := c[name].(type) {
	case nil:
		return ""
	case string:
		return Secret(v)
	case Secret:
		return v
	default:
		return Secret(fmt.Sprint(v))
	}
}

// Expires returns when the credentials run out, zero when they do not say: under
// one of the names that STS and its kin use, as a time of RFC 3339 or in seconds
// since 1970.
func (c Credentials) Expires() time.Time {
	for _, name := range []string{"expiration", "Expiration", "expires", "expires_at", "expiry"} {
		text := string(c.Value(name))
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			return at
		}
		if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds > 0 {
			return time.Unix(int64(seconds), 0)
		}
	}
	return time.Time{}
}

// redact returns c with "***" for each value.
func (c Credentials) redact() map[string]any {
	out := make(map[string]any, len(c))
	for name, v := range c {
		switch v := v.(type) {
		case map[string]any:
			out[name] = Credentials(v).redact()
		case Credentials:
			out[name] = v.redact()
		default:
			out[name] = redacted
		}
	}
	return out
}

// reveal returns c as plain values for the encoder.
func (c Credentials) reveal() map[string]any {
	if c == nil {
		return nil
	}
	out := make(map[string]any, len(c))
	for name, v := range c {
		switch v := v.(type) {
		case Secret:
			out[name] = string(v)
		case Credentials:
			out[name] = v.reveal()
		case map[string]any:
			out[name] = Credentials(v).reveal()
		case map[string]string:
			out[name] = plain(v)
		case map[string]Secret:
			out[name] = plain(v)
		default:
			out[name] = v
		}
	}
	return out
}

func plain[T ~string](set map[string]T) map[string]any {
	out := make(map[string]any, len(set))
	for name, v := range set {
		out[name] = string(v)
	}
	return out
}

// check refuses values that are what printing made of a secret.
func (c Credentials) check(field string) error {
	for name, v := range c.reveal() {
		switch v := v.(type) {
		case map[string]any:
			if err := Credentials(v).check(field + "." + name); err != nil {
				return err
			}
		case string:
			if v == redacted {
				return &FieldError{Field: field, Reason: name + " is " + redacted + ", which is what a secret prints as; give the secret itself."}
			}
		}
	}
	return nil
}

// String returns the names of the credentials with "***" for each value.
func (c Credentials) String() string { return fmt.Sprint(c.redact()) }

// Format prints the credentials with "***" for each value, under every verb.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue returns the redacted credentials for package slog.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON encodes the names with "***" for each value.
func (c Credentials) MarshalJSON() ([]byte, error) { return json.Marshal(c.redact()) }
