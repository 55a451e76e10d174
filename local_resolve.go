package d6tpipe

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// maxAncestors is how long a chain of parents may be.
const maxAncestors = 32

// show returns a record as a repo API shows it. A pipe whose parents cannot be
// followed is shown as it was posted: [API.Storage] says what is wrong.
func (s *localState) show(row *localRow) (json.RawMessage, error) {
	p, ok := row.rec.(PipeSettings)
	if !ok {
		return row.fields.MarshalJSON()
	}
	if ancestors, err := s.ancestors(p); err == nil {
		p = p.Inherit(ancestors...)
	}
	p.Credentials = nil
	p.Role = RoleWrite
	return p.reveal()
}

// ancestors returns the parent of a pipe, its parent, and so on.
func (s *localState) ancestors(p PipeSettings) ([]PipeSettings, error) {
	var chain []PipeSettings
	for name := p.Parent; name != ""; name = chain[len(chain)-1].Parent {
		if name == p.Name { // asked first: p itself need not be in the catalogue yet
			return nil, &FieldError{Field: "parent", Reason: "The parents go round in a circle: " + chainText(p, chain) + " -> " + name + "."}
		}
		row, ok := s.tables[catalog.Pipes].rows[name]
		if !ok {
			return nil, &Error{Op: "get parent", Name: name, Err: ErrNotFound}
		}
		parent, _ := row.rec.(PipeSettings)
		chain = append(chain, parent)
		switch {
		case len(chain) > maxAncestors:
			return nil, &FieldError{Field: "parent", Reason: fmt.Sprintf("More than %d parents stand one above the other.", maxAncestors)}
		case parent.Remote != "":
			return nil, &FieldError{Field: "parent", Reason: fmt.Sprintf(
				"Pipe %s lies on a remote and cannot be a parent; give this pipe the remote %s too.", name, parent.Remote)}
		}
	}
	return chain, nil
}

func chainText(p PipeSettings, chain []PipeSettings) string {
	text := p.Name
	for _, a := range chain {
		text += " -> " + a.Name
	}
	return text
}

// checkRefs reports what is wrong with the records that a pipe names. A name
// that it had before is not asked for again: the record may have been deleted.
func (s *localState) checkRefs(p, was PipeSettings) error {
	if p.Remote != was.Remote && p.Remote != "" && s.tables[catalog.Remotes].rows[p.Remote] == nil {
		return noObject("remote", p.Remote)
	}
	if p.Parent == was.Parent || p.Parent == "" {
		return nil
	}
	if s.tables[catalog.Pipes].rows[p.Parent] == nil {
		return noObject("parent", p.Parent)
	}
	if _, err := s.ancestors(p); errors.Is(err, ErrInvalid) {
		return err
	}
	return nil // what is missing further up is not this pipe's fault
}

func noObject(field, name string) error {
	return &FieldError{Field: field, Reason: fmt.Sprintf("Object with name=%s does not exist.", name)}
}

// credentials answers for the credentials of a pipe: its own or those of the
// nearest ancestor that has any.
func (s *localState) credentials(row *localRow, in json.RawMessage) (json.RawMessage, error) {
	var query catalog.CredentialsQuery
	if len(bytes.TrimSpace(in)) > 0 {
		if err := decodeJSON(in, &query); err != nil {
			return nil, &FieldError{Field: "role", Reason: "The query must be a JSON object with role and renew."}
		}
	}
	if !query.IsValid() {
		return nil, &FieldError{Field: "role", Reason: "Credentials are for read or write."}
	}
	role := cmp.Or(Role(query.Role), RoleRead)
	p, _ := row.rec.(PipeSettings)
	ancestors, err := s.ancestors(p)
	if err != nil {
		return nil, err
	}
	for _, p := range append([]PipeSettings{p}, ancestors...) {
		if len(p.Credentials) > 0 {
			return encodeJSON(standardNames(p.Credentials.For(role)))
		}
	}
	return json.RawMessage(`{}`), nil
}

// standardNames returns credentials with key and secret under the names that S3
// clients want.
func standardNames(c Credentials) map[string]any {
	out := c.reveal()
	if out == nil {
		return map[string]any{}
	}
	for short, long := range map[string]string{"key": "aws_access_key_id", "secret": "aws_secret_access_key"} {
		if v, ok := out[short]; ok {
			delete(out, short)
			if _, taken := out[long]; !taken {
				out[long] = v
			}
		}
	}
	return out
}
