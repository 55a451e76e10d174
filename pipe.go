package d6tpipe

import (
	"encoding/json"
)

// PipeSettings describe a pipe: which files belong together, and where they
// lie. A pipe names a Remote, or a Parent, or has a Protocol and a Location of
// its own; with none of these a server stores the files itself.
//
// A record as [Collection.Get] returns it has Protocol, Location, Settings and
// Options.RemotePath filled in from the parents, and a Role; it never has
// Credentials. Sending it back changes nothing: what was filled in is ignored,
// and credentials stay unless new ones are given.
type PipeSettings struct {
	// Name is unique within the catalogue: letters, digits and hyphens.
	Name string `json:"name"`
	// Protocol and Location say where the files lie, unless a remote or a
	// parent does.
	Protocol Protocol `json:"protocol,omitempty"`
	Location string   `json:"location,omitempty"`
	// Remote is the name of the remote that holds the files.
	Remote string `json:"remote,omitempty"`
	// Parent is the name of the pipe from which this one takes protocol,
	// location and credentials. Folders add up; filters of both apply.
	Parent string `json:"parent,omitempty"`
	// Options are the folder and the filters.
	Options PipeOptions `json:"options,omitzero"`
	// Schema is any JSON that tells readers how to read the files. It comes
	// back exactly as it was given.
	Schema json.RawMessage `json:"schema,omitempty"`
	// Credentials open a Location of the pipe's own.
	Credentials Credentials `json:"credentials,omitempty"`
	// ReadCredentials and WriteCredentials are the first generation's: what a
	// pipe on a remote has of its own, which wins over the remote's.
	ReadCredentials  Credentials `json:"readCredentials,omitempty"`
	WriteCredentials Credentials `json:"writeCredentials,omitempty"`

	// Settings are options of a storage of the pipe's own, as in
	// [RemoteSettings]; children inherit them. On a pipe with a Remote, Settings
	// and ReadParams are what the Python client's first generation has in the
	// place of options and schema. They come back as given.
	Settings   json.RawMessage `json:"settings,omitempty"`
	ReadParams json.RawMessage `json:"readParams,omitempty"`

	// Role is what the caller may do with the pipe. Answers only.
	Role Role `json:"role,omitempty"`
	// Root is the name of the topmost ancestor. Answers only.
	Root string `json:"parent-ultimate,omitempty"`
	// Filters are those of the ancestors, which apply besides the pipe's own.
	// Answers only.
	Filters []Filter `json:"filters,omitempty"`

	// Extra holds the fields that this version does not know. They survive a
	// Get followed by a Replace.
	Extra map[string]json.RawMessage `json:"-"`
}

// PipeOptions are the folder and the filters of a pipe.
type PipeOptions struct {
	// Dir is the folder below the location, slash-separated.
	Dir string `json:"dir,omitempty"`
	// Include and Exclude are patterns as Python's fnmatch has them, joined by
	// |: "*.csv|*.parquet". A key belongs to the pipe when some pattern of
	// Include matches it (or there is none) and no pattern of Exclude does.
	Include string `json:"include,omitempty"`
	Exclude string `json:"exclude,omitempty"`
	// RemotePath is where the files lie, as a URL for S3 and a path elsewhere.
	// Answers only.
	RemotePath string `json:"remotepath,omitempty"`
	// Encrypted says that the settings were encrypted by a client.
	Encrypted bool `json:"encrypted,omitempty"`

	// Extra holds the fields that this version does not know.
	Extra map[string]json.RawMessage `json:"-"`
}

// A Role is what a user may do with a pipe.
type Role string

// The roles, and the word that takes one back.
const (
	RoleRead   Role = "read"   // pull
	RoleWrite  Role = "write"  // pull and push
	RoleAdmin  Role = "admin"  // and change its settings
	RoleRevoke Role = "revoke" // nothing any more
)

// Validate reports the first field that is malformed, as a [*FieldError].
// Whether the remote or the parent exists is for the catalogue to say.
func (p PipeSettings) Validate() error {
	if err := checkName("name", p.Name); err != nil {
		return err
	}
	if err := checkProtocol(p.Protocol); err != nil {
		return err
	}
	if err := checkLocation(p.Protocol, p.Location); err != nil {
		return err
	}
	if p.Remote != "" {
		if err := checkName("remote", p.Remote); err != nil {
			return err
		}
	}
	if p.Parent != "" {
		if err := checkName("parent", p.Parent); err != nil {
			return err
		}
	}
	switch {
	case p.Parent != "" && p.Remote != "":
		return &FieldError{Field: "parent", Reason: "A pipe has a parent or a remote, not both."}
	case p.Parent == p.Name:
		return &FieldError{Field: "parent", Reason: "A pipe cannot be its own parent."}
	}
	if err := checkSettings(p.Settings); err != nil {
		return err
	}
	if err := checkDir("options", p.Options.Dir); err != nil {
		return err
	}
	return p.checkSecrets()
}

// MarshalJSON encodes the settings with "***" in the place of credentials.
func (p PipeSettings) MarshalJSON() ([]byte, error) {
	type fields PipeSettings
	return marshal(fields(p), p.Extra)
}

// UnmarshalJSON decodes the settings and keeps unknown fields in Extra.
func (p *PipeSettings) UnmarshalJSON(data []byte) error {
	type fields PipeSettings
	var f fields
	extra, err := unmarshal(data, &f)
	if err != nil {
		return err
	}
	*p = PipeSettings(f)
	p.Extra = extra
	dropNull(&p.Schema, &p.Settings, &p.ReadParams)
	return nil
}

func (p PipeSettings) key() string { return p.Name }

func (p PipeSettings) checkSecrets() error {
	if err := p.Credentials.check("credentials"); err != nil {
		return err
	}
	if err := p.ReadCredentials.check("readCredentials"); err != nil {
		return err
	}
	return p.WriteCredentials.check("writeCredentials")
}

func (p PipeSettings) reveal() (json.RawMessage, error) {
	type fields PipeSettings
	return marshal(struct {
		fields
		Credentials      map[string]any `json:"credentials,omitempty"`
		ReadCredentials  map[string]any `json:"readCredentials,omitempty"`
		WriteCredentials map[string]any `json:"writeCredentials,omitempty"`
	}{fields(p), p.Credentials.reveal(), p.ReadCredentials.reveal(), p.WriteCredentials.reveal()}, p.Extra)
}

// MarshalJSON encodes the options with the fields of Extra among them.
func (o PipeOptions) MarshalJSON() ([]byte, error) {
	type fields PipeOptions
	return marshal(fields(o), o.Extra)
}

// UnmarshalJSON decodes the options and keeps unknown fields in Extra.
func (o *PipeOptions) UnmarshalJSON(data []byte) error {
	type fields PipeOptions
	var f fields
	extra, err := unmarshal(data, &f)
	if err != nil {
		return err
	}
	*o = PipeOptions(f)
	o.Extra = extra
	return nil
}
