package d6tpipe

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Encode returns settings with location, credentials, settings and readParams
// encrypted with the profile's key, cfg.Key. What names, filters and folders say
// stays readable: the repo API needs it. Whoever is to use the pipe needs the same
// key in the profile; [OpenPipe] decodes with it. A pipe encoded this way has
// Options.Encrypted set. What is encrypted already stays as it is.
//
// Credentials are encrypted for the protocol, remote, location, settings and
// readParams beside them, and do not open with others: encode a record as a whole, and
// who changes where the files lie gives the credentials again.
//
//	sealed, err := d6tpipe.Encode(cfg, settings)
//	_, err = api.Pipes().Create(ctx, sealed)
func Encode[T Record](cfg Config, settings T) (T, error) {
	err := seal(cfg, &settings, (*sealer).encode)
	if p, ok := any(&settings).(*PipeSettings); ok && err == nil {
		p.Options.Encrypted = true
	}
	return settings, err
}

// Decode is the reverse of [Encode]. Fields that are not encrypted stay as they are.
// With another key, when a value was moved here from another field or record, or when
// the credentials are encrypted and anything that decides where they go is not what
// they were encrypted for, the error matches [ErrDamaged] and names the field.
func Decode[T Record](cfg Config, settings T) (T, error) {
	err := seal(cfg, &settings, (*sealer).decode)
	if p, ok := any(&settings).(*PipeSettings); ok && err == nil {
		p.Options.Encrypted = false
	}
	return settings, err
}

// Encoded reports whether any field of settings is encrypted, as [Encode] does it.
func Encoded[T Record](settings T) bool { return settings.sealed() }

// seal lets do work on the fields of settings.
func seal(cfg Config, settings any, do func(s *sealer, f *sealedFields) error) error {
	var f sealedFields
	s := &sealer{key: cfg.Key, places: map[string]place{}, foreign: map[string]bool{}}
	switch r := settings.(type) {
	case *RemoteSettings:
		s.kind, s.names = "remote", []string{r.Name}
		f = sealedFields{protocol: r.Protocol, location: &r.Location, settings: &r.Settings, params: &r.ReadParams,
			sets: map[string]*Credentials{"readCredentials": &r.ReadCredentials, "writeCredentials": &r.WriteCredentials}}
	case *PipeSettings:
		// What a pipe shows may be its parent's.
		s.kind, s.names = "pipe", []string{r.Name, r.Parent, r.Root}
		f = sealedFields{protocol: r.Protocol, remote: r.Remote, location: &r.Location, path: &r.Options.RemotePath, settings: &r.Settings, params: &r.ReadParams,
			sets: map[string]*Credentials{"credentials": &r.Credentials, "readCredentials": &r.ReadCredentials, "writeCredentials": &r.WriteCredentials}}
	default:
		return fmt.Errorf("%w: settings of type %T", ErrUnsupported, settings)
	}
	if err := do(s, &f); err != nil {
		return &Error{Op: "encrypt or decrypt the settings of " + s.kind, Name: s.names[0], Err: err}
	}
	return nil
}

// sealedFields are what is encrypted of a record, and what decides with it where the
// files lie.
type sealedFields struct {
	protocol         Protocol
	remote           string
	location         *string
	path             *string // holds the location; nil when the record has none
	settings, params *json.RawMessage
	sets             map[string]*Credentials
}

// objects are the fields that hold JSON.
func (f *sealedFields) objects() map[string]*json.RawMessage {
	return map[string]*json.RawMessage{"settings": f.settings, "readParams": f.params}
}

// encode encrypts what is not encrypted yet. What is, of the same record, is encrypted
// anew with it, because all of it belongs to one place; what is a parent's stays so.
func (s *sealer) encode(f *sealedFields) error {
	if !f.anyPlain() {
		return nil
	}
	location, settings := *f.location, *f.settings
	if err := s.decode(f); err != nil {
		return err
	}
	if s.foreign["location"] {
		*f.location = ""
		defer func() { *f.location = location }()
	}
	if s.foreign["settings"] {
		*f.settings = nil
		defer func() { *f.settings = settings }()
	}
	s.place = f.place()
	return s.encodeOwn(f)
}

func (s *sealer) encodeOwn(f *sealedFields) error {
	if *f.location != "" {
		sealed, err := s.close("location", []byte(*f.location))
		if err != nil {
			return err
		}
		*f.location = sealed
	}
	for name, raw := range f.objects() {
		if len(*raw) == 0 {
			continue
		}
		sealed, err := s.close(name, *raw)
		if err == nil {
			*raw, err = encodeJSON(map[string]string{sealField: sealed})
		}
		if err != nil {
			return err
		}
	}
	for name, set := range f.sets {
		if err := s.encodeSet(name, set); err != nil {
			return err
		}
	}
	return nil
}

// anyPlain reports whether anything is there to be encrypted.
func (f *sealedFields) anyPlain() bool {
	if *f.location != "" && !isSealed(*f.location) {
		return true
	}
	for _, raw := range f.objects() {
		if len(*raw) > 0 && sealedIn(*raw) == "" {
			return true
		}
	}
	for _, set := range f.sets {
		if set.anyPlain() {
			return true
		}
	}
	return false
}

func (c Credentials) anyPlain() bool {
	for name, v := range c.reveal() {
		if inner, ok := v.(map[string]any); ok && (name == "read" || name == "write") {
			if Credentials(inner).anyPlain() {
				return true
			}
		} else if name != sealField {
			return true
		}
	}
	return false
}

// encodeSet encrypts credentials. Those for reading and those for writing are sealed
// apart, so that the repo API can hand out one of them.
func (s *sealer) encodeSet(name string, set *Credentials) error {
	plain := set.reveal()
	if len(plain) == 0 || plain[sealField] != nil {
		return nil
	}
	out := Credentials{}
	for _, role := range []string{"read", "write"} {
		part, ok := plain[role].(map[string]any)
		if !ok {
			continue
		}
		inner := Credentials(part)
		if err := s.encodeSet(name+"."+role, &inner); err != nil {
			return err
		}
		out[role] = map[string]any(inner)
	}
	if len(out) == 0 {
		raw, err := encodeJSON(plain)
		if err == nil {
			out[sealField], err = s.close(name, raw)
		}
		if err != nil {
			return err
		}
	}
	*set = out
	return nil
}

func (s *sealer) decode(f *sealedFields) error {
	if sealed := *f.location; isSealed(sealed) {
		plain, err := s.open(sealed, "location")
		if err != nil {
			return err
		}
		*f.location = string(plain)
		if f.path != nil {
			*f.path = strings.Replace(*f.path, sealed, string(plain), 1)
		}
	}
	for name, raw := range f.objects() {
		sealed := sealedIn(*raw)
		if sealed == "" {
			continue
		}
		plain, err := s.open(sealed, name)
		if err != nil {
			return err
		}
		*raw = plain
	}
	for name, set := range f.sets {
		if err := s.decodeSet(set, name); err != nil {
			return err
		}
	}
	return s.check(f)
}

// decodeSet decrypts credentials, which may be of any of the fields.
func (s *sealer) decodeSet(set *Credentials, fields ...string) error {
	revealed := set.reveal()
	if sealed, ok := revealed[sealField].(string); ok {
		plain, err := s.open(sealed, fields...)
		if err != nil {
			return err
		}
		var out map[string]any
		if err := decodeJSON(plain, &out); err != nil {
			return &FieldError{Field: fields[0], Reason: "What was encrypted is no set of credentials."}
		}
		*set, s.secrets = out, true
		return nil
	}
	for _, role := range []string{"read", "write"} {
		part, ok := revealed[role].(map[string]any)
		if !ok {
			continue
		}
		inner := Credentials(part)
		if err := s.decodeSet(&inner, fields[0]+"."+role); err != nil {
			return err
		}
		revealed[role] = map[string]any(inner)
		*set = revealed
	}
	return nil
}

// sealedIn returns what is encrypted in the place of an object, "" when nothing is.
func sealedIn(raw json.RawMessage) string {
	var object map[string]json.RawMessage
	var sealed string
	if json.Unmarshal(raw, &object) != nil || len(object) != 1 || json.Unmarshal(object[sealField], &sealed) != nil || !isSealed(sealed) {
		return ""
	}
	return sealed
}

// decodeFor decrypts credentials that the repo API has handed out for a role: those
// of the other role, put in their place, do not open. p is the pipe as the API shows it.
func (p PipeSettings) decodeFor(cfg Config, role Role, set *Credentials) error {
	if !sealedSet(*set) {
		return nil
	}
	if role != RoleRead {
		role = RoleWrite
	}
	return seal(cfg, &p, func(s *sealer, f *sealedFields) error {
		if err := s.decodeSet(set, "credentials", "credentials."+string(role)); err != nil {
			return err
		}
		return s.decode(f)
	})
}

// decodeFor decrypts a remote. When a pipe has credentials of its own for it, which
// nobody but its owner can read, the remote must be encrypted too: it decides where
// they go.
func (r RemoteSettings) decodeFor(cfg Config, p PipeSettings) (RemoteSettings, error) {
	err := seal(cfg, &r, func(s *sealer, f *sealedFields) error {
		s.secrets = sealedSet(p.ReadCredentials) || sealedSet(p.WriteCredentials)
		return s.decode(f)
	})
	return r, err
}

func sealedSet(set Credentials) bool {
	_, sealed := set.reveal()[sealField]
	return sealed
}

// sealed reports whether any field is encrypted as [Encode] does it.
func (p PipeSettings) sealed() bool {
	return isSealed(p.Location) || sealedIn(p.Settings) != "" || sealedIn(p.ReadParams) != "" || anySealed(p.Credentials, p.ReadCredentials, p.WriteCredentials)
}

// sealed is the same of a remote.
func (r RemoteSettings) sealed() bool {
	return isSealed(r.Location) || sealedIn(r.Settings) != "" || sealedIn(r.ReadParams) != "" || anySealed(r.ReadCredentials, r.WriteCredentials)
}

func anySealed(sets ...Credentials) bool {
	return slices.ContainsFunc(sets, func(set Credentials) bool {
		return sealedSet(set) || sealedSet(set.For(RoleRead)) || sealedSet(set.For(RoleWrite))
	})
}
