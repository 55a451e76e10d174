package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// manage makes of a record that leaves its files to the server one that lies in a
// folder of managed storage, and keeps it there. The rules see a bucket like any
// other.
func (s *session) manage(ctx context.Context, tx db.Tx, x *row, verb catalog.Verb, said refs, in json.RawMessage) (json.RawMessage, error) {
	fields, err := jsonfile.Parse(in)
	if len(in) == 0 || err != nil || !catalog.IsName(cmp.Or(said.Name, x.name)) {
		return in, nil // the rules say what is wrong
	}
	bare := x.kind == catalog.Pipes && said.Protocol == "" && text(said.Parent) == "" && text(said.Remote) == ""
	wants := said.Protocol == d6tpipe.ProtocolManaged || bare && verb == catalog.Create
	switch {
	case x.managed:
		return s.keepManaged(x, verb, said, fields)
	case !wants:
		return in, nil
	case verb != catalog.Create:
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "The files of a record that exists cannot move to managed storage; create another one."}
	case text(said.Parent) != "" || text(said.Remote) != "":
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "A pipe in managed storage of its own has neither parent nor remote."}
	case s.o.Storage == nil:
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "This server keeps no files: give a protocol and a location, a remote or a parent."}
	}
	if _, ok := s.urlsOnly(); ok && x.kind == catalog.Remotes {
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "The storage of this server has no keys to hand out, and a remote is of no use without: create a pipe."}
	}
	location, err := s.freeLocation(ctx, tx, x, said.Name)
	if err != nil {
		return nil, err
	}
	x.managed = true
	return place(fields, location)
}

// place says where the files of a managed record lie.
func place(fields *jsonfile.Object, location string) (json.RawMessage, error) {
	quoted, err := json.Marshal(location)
	if err != nil {
		return nil, err
	}
	fields.Set("protocol", json.RawMessage(`"`+string(d6tpipe.ProtocolS3)+`"`))
	fields.Set("location", quoted)
	for _, field := range secrets { // the server makes its own
		fields.Delete(field)
	}
	return fields.MarshalJSON()
}

// keepManaged lets nobody move a managed record, on purpose or not.
func (s *session) keepManaged(x *row, verb catalog.Verb, said refs, fields *jsonfile.Object) (json.RawMessage, error) {
	if text(said.Parent) != "" || text(said.Remote) != "" {
		return nil, &d6tpipe.FieldError{Field: "parent", Reason: "The files of this pipe are in managed storage; it cannot get a parent or a remote."}
	}
	if said.Protocol != "" && said.Protocol != d6tpipe.ProtocolS3 && said.Protocol != d6tpipe.ProtocolManaged {
		return nil, &d6tpipe.FieldError{Field: "protocol", Reason: "The files of this record are in managed storage and stay there."}
	}
	location, err := x.location()
	if err != nil {
		return nil, err
	}
	if raw, ok := fields.Get("location"); ok && string(raw) != "null" {
		var to string
		if json.Unmarshal(raw, &to) != nil || to != "" && to != location {
			return nil, &d6tpipe.FieldError{Field: "location", Reason: "The files of this record are in managed storage and stay there."}
		}
	}
	return place(fields, location)
}

// managedRoot returns the folder of managed storage in which the files of pipe x
// lie, if they do: x or its topmost parent is managed, and nothing in between says
// that they lie elsewhere.
func (f family) managedRoot(x *row, shown *d6tpipe.PipeSettings) (prefix string, managed bool) {
	root := x
	for root.parent != "" && f[root.parent] != nil {
		root = f[root.parent]
	}
	location, err := root.location()
	if !root.managed || err != nil || shown.Protocol != d6tpipe.ProtocolS3 {
		return "", false
	}
	path, ok := strings.CutPrefix(shown.Options.RemotePath, "s3://")
	if !ok || !strings.HasPrefix(path, location+"/") {
		return "", false
	}
	_, prefix, _ = strings.Cut(path, "/")
	return prefix, true
}
