package d6tpipe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/d6t/d6tpipe-go/internal/catalog"
	"github.com/d6t/d6tpipe-go/internal/jsonfile"
)

// ImportTinyDB brings the remotes and pipes that the Python client kept in local
// mode to dst. They are in .filedb.json in its folder for files, or where its
// profile says with filedb. That file is only read; what it knows of transfers is
// not taken over, since the first pull finds that out.
//
// A record that is there already stays, so the import can be repeated. When some
// could not be imported the others are, and the error matches [ErrPartial]; see
// [CopyCatalog].
func ImportTinyDB(ctx context.Context, dst API, file string) (CopyReport, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return CopyReport{}, &Error{Op: "import", Name: file, Err: withKind(err)}
	}
	remotes, pipes, err := readTinyDB(data)
	if err != nil {
		return CopyReport{}, &Error{Op: "import", Name: file, Err: damaged(err, "")}
	}
	records, err := writeCatalogue(ctx, dst, remotes, pipes, false)
	if err != nil {
		err = &Error{Op: "import", Name: file, Err: err}
	}
	return CopyReport{records}, err
}

// readTinyDB reads the two tables; the others hold what was transferred.
func readTinyDB(data []byte) (remotes []outgoing[RemoteSettings], pipes []outgoing[PipeSettings], err error) {
	db, err := jsonfile.Parse(data)
	if err != nil {
		return nil, nil, err
	}
	err = eachTiny(db, catalog.Remotes, func(id string, doc json.RawMessage) {
		remotes = append(remotes, fromTiny[RemoteSettings](id, doc))
	})
	if err != nil {
		return nil, nil, err
	}
	byName := map[string]outgoing[PipeSettings]{}
	shown := map[string]PipeSettings{}
	var names []string
	err = eachTiny(db, catalog.Pipes, func(id string, doc json.RawMessage) {
		out := placeTiny(fromTiny[PipeSettings](id, doc))
		byName[out.name], shown[out.name], names = out, out.rec, append(names, out.name)
	})
	for _, name := range parentsFirst(names, shown) {
		pipes = append(pipes, byName[name])
	}
	return remotes, pipes, err
}

// eachTiny calls f for each document of a table, which may be missing.
func eachTiny(db *jsonfile.Object, table string, f func(id string, doc json.RawMessage)) error {
	raw, ok := db.Get(table)
	if !ok {
		return nil
	}
	var docs jsonfile.Object
	if err := docs.UnmarshalJSON(raw); err != nil {
		return fmt.Errorf("the table %s is no JSON object", table)
	}
	for _, id := range docs.Keys() {
		doc, _ := docs.Get(id)
		f(id, doc)
	}
	return nil
}

// fromTiny reads one document.
func fromTiny[T Record](id string, doc json.RawMessage) outgoing[T] {
	out := outgoing[T]{name: "#" + id}
	fields, err := tinyFields(doc)
	if err != nil {
		out.refuse = err
		return out
	}
	if raw, ok := fields.Get("name"); ok {
		_ = json.Unmarshal(raw, &out.name) // if it is no string, the id has to do
	}
	raw, err := fields.MarshalJSON()
	if err == nil {
		var rec Record
		if rec, err = decodeAs[T](raw); err == nil {
			out.rec, _ = rec.(T)
			return out
		}
	}
	if out.refuse = err; !refused(err) {
		out.refuse = &FieldError{Field: "document", Reason: err.Error()}
	}
	return out
}

// tinyFields returns the fields of a record. The Python client has them in the
// document itself, or in its field data when they were posted below a name.
func tinyFields(doc json.RawMessage) (*jsonfile.Object, error) {
	doc = bytes.ReplaceAll(doc, []byte(`"{TinyDate}:`), []byte(`"`)) // times are text here
	bad := &FieldError{Field: "document", Reason: "This is no JSON object."}
	var outer, inner jsonfile.Object
	if err := outer.UnmarshalJSON(doc); err != nil {
		return nil, bad
	}
	data, ok := outer.Get("data")
	if !ok {
		return &outer, nil
	}
	if err := inner.UnmarshalJSON(data); err != nil {
		return nil, bad
	}
	name, named := outer.Get("name")
	if _, ok := inner.Get("name"); !ok && named {
		inner.Set("name", name)
	}
	return &inner, nil
}

// placeTiny gives a pipe the folder that its remotepath means.
func placeTiny(out outgoing[PipeSettings]) outgoing[PipeSettings] {
	p := out.rec
	if p.Options.RemotePath != "" && p.Options.Dir == "" && p.Parent == "" && p.Remote == "" && out.refuse == nil {
		location, dir, err := splitPath(p)
		p.Options.Dir, out.refuse = trimDir(dir), err
		if p.Location == "" {
			p.Location = location
		}
	}
	out.rec = ownFields(p, PipeSettings{})
	return out
}
