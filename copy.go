package d6tpipe

import (
	"context"
	"fmt"
	"strings"
)

// CopyOptions tell [CopyCatalog] what to do.
type CopyOptions struct {
	// Overwrite replaces records of dst that differ from those of src. Otherwise
	// they stay as they are and are reported as [RecordExists].
	Overwrite bool
}

// CopyReport tells what [CopyCatalog] or [ImportTinyDB] did with each record,
// remotes first.
type CopyReport struct {
	Records []RecordResult `json:"records"`
}

// RecordResult is the fate of one record.
type RecordResult struct {
	Collection string       `json:"collection"` // "remotes" or "pipes"
	Name       string       `json:"name"`
	Status     RecordStatus `json:"status"`
	Reason     string       `json:"reason,omitempty"` // what is left out, or why it failed; may be empty
}

// RecordStatus is what became of a record.
type RecordStatus string

// What can become of a record.
const (
	RecordCreated RecordStatus = "created"
	RecordUpdated RecordStatus = "updated" // a different one was replaced
	RecordSame    RecordStatus = "same"    // it was there already
	RecordExists  RecordStatus = "exists"  // a different one was there, and stays
	RecordFailed  RecordStatus = "failed"
)

// Count returns how many records have a status.
func (r CopyReport) Count(status RecordStatus) (n int) {
	for _, r := range r.Records {
		if r.Status == status {
			n++
		}
	}
	return n
}

// CopyCatalog brings the remotes and pipes of src to dst, with credentials as far
// as src gives them: from local mode to a server and back. A record that is the
// same on both sides is left alone, so a second run copies nothing. The files
// stay where they are, which is why pipes that src stores itself cannot be
// copied. Nothing is deleted.
//
// When some records could not be copied, or are different in dst, the others are
// and the error matches [ErrPartial]. With any other error the report tells what
// was done before; a local dst is changed all at once, so then it is nothing.
func CopyCatalog(ctx context.Context, dst, src API, opts CopyOptions) (CopyReport, error) {
	remotes, pipes, err := readCatalogue(ctx, src)
	if err != nil {
		return CopyReport{}, &Error{Op: "copy catalogue", Err: err}
	}
	records, err := writeCatalogue(ctx, dst, remotes, pipes, opts.Overwrite)
	if err != nil {
		err = &Error{Op: "copy catalogue", Err: err}
	}
	return CopyReport{records}, err
}

// outgoing is a record on its way, or the reason why it cannot go.
type outgoing[T Record] struct {
	name   string
	rec    T
	note   string // what is left out
	refuse error
}

// readCatalogue returns all records of an API as they can be created elsewhere,
// parents before their children.
func readCatalogue(ctx context.Context, src API) (remotes []outgoing[RemoteSettings], pipes []outgoing[PipeSettings], err error) {
	for r, err := range src.Remotes().All(ctx) {
		if err != nil {
			return nil, nil, err
		}
		out := outgoing[RemoteSettings]{name: r.Name, rec: r}
		if managed(r.Protocol, r.Location) {
			out.refuse = errManaged
		}
		remotes = append(remotes, out)
	}
	shown := map[string]PipeSettings{}
	var names []string
	for p, err := range src.Pipes().All(ctx) {
		if err != nil {
			return nil, nil, err
		}
		shown[p.Name], names = p, append(names, p.Name)
	}
	keys := map[string]keyring{}
	for _, name := range parentsFirst(names, shown) {
		out, err := pack(ctx, src, shown[name], shown, keys)
		if err != nil {
			return nil, nil, err
		}
		pipes = append(pipes, out)
	}
	return remotes, pipes, nil
}

var errManaged = fmt.Errorf("%w: the files lie in storage that only the server can open; create it anew and push", ErrUnsupported)

// managed reports whether a server owns the storage: it shows it as S3 with a
// location that is a folder of its bucket.
func managed(protocol Protocol, location string) bool {
	return protocol == ProtocolManaged || protocol == ProtocolS3 && strings.Contains(location, "/")
}

// pack takes out of a pipe what its API filled in and puts its credentials in.
func pack(ctx context.Context, api API, p PipeSettings, shown map[string]PipeSettings, keys map[string]keyring) (out outgoing[PipeSettings], err error) {
	out.name, out.rec = p.Name, ownFields(p, shown[p.Parent])
	switch {
	case p.Remote != "":
		return out, nil
	case managed(p.Protocol, p.Location) || p.Parent == "" && p.Location == "":
		out.refuse = errManaged
		return out, nil
	}
	ring, err := readKeyring(ctx, api, p.Name)
	if err != nil {
		return out, err
	}
	keys[p.Name] = ring
	if ring.blind {
		out.note = "copied without credentials: " + ring.reason
		return out, nil
	}
	if above, ok := keys[p.Parent]; !ok || above.blind || !above.equal(ring) {
		out.rec.Credentials = ring.credentials()
	}
	if ring.noWrite {
		out.note = "copied without credentials for writing: the role is " + string(RoleRead)
	}
	return out, nil
}

// ownFields returns a pipe without what is an answer's: what the parent says, and
// what the catalogue worked out.
func ownFields(p, parent PipeSettings) PipeSettings {
	if p.Parent != "" && p.Protocol == parent.Protocol {
		p.Protocol = ""
	}
	if p.Parent != "" && p.Location == parent.Location {
		p.Location = ""
	}
	if p.Parent != "" && sameJSON(p.Settings, parent.Settings) {
		p.Settings = nil
	}
	if p.Remote == "" && isEmptyObject(p.Schema) {
		p.Schema = nil
	}
	p.Role, p.Root, p.Filters, p.Options.RemotePath = "", "", nil, ""
	return p
}

// parentsFirst sorts names so that no pipe comes before its parent.
func parentsFirst(names []string, pipes map[string]PipeSettings) []string {
	sorted := make([]string, 0, len(names))
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		p, ok := pipes[name]
		if !ok || seen[name] {
			return
		}
		seen[name] = true
		visit(p.Parent)
		sorted = append(sorted, name)
	}
	for _, name := range names {
		visit(name)
	}
	return sorted
}
