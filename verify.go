package d6tpipe

import (
	"context"
	"encoding/json"

	"github.com/d6t/d6tpipe-go/internal/glob"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// VerifyOptions narrow down a Verify. The zero value looks at all synced files.
type VerifyOptions struct {
	// Include and Exclude are filters beside the pipe's own.
	Include, Exclude string
	// All also names the files of the folder that were never synced.
	All bool
}

// A VerifyReport is what a Verify found.
type VerifyReport struct {
	Pipe string `json:"pipe"`
	// Checked counts the files that were looked at, Bytes their bytes.
	Checked int   `json:"checked"`
	Bytes   int64 `json:"bytes"`
	// Problems are the files that are not as the last sync left them, sorted by key.
	Problems []VerifiedFile `json:"problems"`
}

// OK reports whether every file is as the last sync left it, here and on the
// remote.
func (r VerifyReport) OK() bool { return len(r.Problems) == 0 }

// A VerifiedFile is a file that is not as the last sync left it.
type VerifiedFile struct {
	Key    string        `json:"key"`
	Size   int64         `json:"size"` // bytes, as it was synced
	Local  FileCondition `json:"local"`
	Remote FileCondition `json:"remote"`
	Err    error         `json:"-"` // of a file that could not be read
}

// MarshalJSON adds Err as "error".
func (f VerifiedFile) MarshalJSON() ([]byte, error) {
	type fields VerifiedFile
	out := struct {
		fields
		Error string `json:"error,omitempty"`
	}{fields: fields(f)}
	if f.Err != nil {
		out.Error = f.Err.Error()
	}
	return json.Marshal(out)
}

// A FileCondition is how a file is, compared with the last sync.
type FileCondition string

// The conditions.
const (
	FileIntact     FileCondition = "intact"     // as the last sync left it
	FileGone       FileCondition = "gone"       // it is not there any more
	FileEdited     FileCondition = "edited"     // it has changed since
	FileDamaged    FileCondition = "damaged"    // other content under the same size and time, or under the same version
	FileUnreadable FileCondition = "unreadable" // Err says why
	FileUnsynced   FileCondition = "unsynced"   // it was never synced
	FileUnchecked  FileCondition = "unchecked"  // the remote was not asked
)

// Verify reads every synced file of the folder, and compares it with what was
// remembered of it when it was synced, and with what the remote has now and vouches
// for. It trusts neither size nor time, and changes nothing. That files differ is no
// error: see [VerifyReport.OK].
func (p *Pipe) Verify(ctx context.Context, o VerifyOptions) (report VerifyReport, err error) {
	report = VerifyReport{Pipe: p.Name()}
	err = p.with(ctx, "verify", RoleRead, func(s *transfer.Sync) error { return report.fill(ctx, s, o) })
	return report, err
}

// Verify is [Pipe.Verify] without the remote, offline.
func (p *LocalPipe) Verify(ctx context.Context, o VerifyOptions) (report VerifyReport, err error) {
	report = VerifyReport{Pipe: p.Name()}
	err = p.local("verify", func(s *transfer.Sync) error { return report.fill(ctx, s, o) })
	return report, err
}

func (r *VerifyReport) fill(ctx context.Context, s *transfer.Sync, o VerifyOptions) error {
	r.Problems = []VerifiedFile{}
	found, err := s.Verify(ctx, glob.Filter(o.Include, o.Exclude), o.All)
	if err != nil {
		return err
	}
	for _, f := range found {
		r.Checked++
		r.Bytes += f.Size
		if !f.OK() {
			r.Problems = append(r.Problems, VerifiedFile{f.Key, f.Size, FileCondition(f.Local), FileCondition(f.Remote), withKind(f.Err)})
		}
	}
	return nil
}
