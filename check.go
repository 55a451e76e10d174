package d6tpipe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strings"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/conform"
)

// ErrFaulty says that a remote does not do all that it must; see [Check].
var ErrFaulty = errors.New("the remote does not do all that it must")

// CheckOptions say how to check a remote. The zero value is fine.
type CheckOptions struct {
	// Dir is the folder, below the remote's own, in which the scratch folder is
	// made, or which is looked at when nothing may be written.
	Dir string
	// ReadOnly says to write nothing and to check what can be checked on the
	// files that are there. Remotes of protocol http and https always are.
	ReadOnly bool
	// Full says to move what finds most: objects of 9 MiB, a thousand small ones,
	// uploads in parts whatever the parts' size; together some 200 MiB. Otherwise
	// it is about 6 MiB, 14 more where an upload in parts has large ones, and 1,000
	// requests.
	Full bool
	// Progress is told of each case as it ends.
	Progress func(CheckCase)
	// IdleTimeout is that of [OpenOptions].
	IdleTimeout time.Duration
	// LocalKeys lets the remote use the keys of this machine, as in [OpenOptions].
	// Check does not know who wrote the record: set it when you trust them.
	LocalKeys bool
	// LocalFolders are the folders of this machine in which a remote of protocol
	// dir may lie, as in [OpenOptions]; nil is none.
	LocalFolders []string
	// Dial makes every connection to the storage, as in [OpenOptions].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A CheckReport is what [Check] found out.
type CheckReport struct {
	Remote string `json:"remote"`
	// Scratch is the folder in which the check wrote, below the remote's own; ""
	// when it wrote nothing.
	Scratch string `json:"scratch,omitempty"`
	// Cases are all that ended, in the order in which they ran.
	Cases []CheckCase  `json:"cases"`
	Found Capabilities `json:"found"`
	// Left are the keys, below the remote's folder, that lie in the scratch folder
	// and could not be removed, or are not what the check put there.
	Left     []string      `json:"left,omitempty"`
	Duration time.Duration `json:"duration"` // nanoseconds
}

// OK reports whether no case failed and nothing was left behind.
func (r CheckReport) OK() bool { return len(r.Failed()) == 0 && len(r.Left) == 0 }

// Failed returns the cases that failed.
func (r CheckReport) Failed() (failed []CheckCase) {
	for _, c := range r.Cases {
		if c.Outcome == CheckFailed {
			failed = append(failed, c)
		}
	}
	return failed
}

// A CheckCase is one thing that a remote must do, and what came of it.
type CheckCase struct {
	Name    string       `json:"name"` // "Put/replaces"
	Outcome CheckOutcome `json:"outcome"`
	// Reason says why it failed, with what was wanted and what came, or why it
	// does not apply.
	Reason string `json:"reason,omitempty"`
	// Where is the line of the case that failed, for a report to us.
	Where    string        `json:"where,omitempty"`
	Err      error         `json:"-"`        // of the storage, when one led to the failure
	Duration time.Duration `json:"duration"` // nanoseconds
}

// A CheckOutcome is how a case ended.
type CheckOutcome string

// The outcomes.
const (
	CheckOK            CheckOutcome = "ok"
	CheckFailed        CheckOutcome = "failed"
	CheckNotApplicable CheckOutcome = "not applicable" // the remote cannot do that, and need not
)

// Capabilities are what a remote was found to be able to do. In a check that only
// reads, what takes writing to find out stays at its zero value.
type Capabilities struct {
	ConditionalPut bool   `json:"conditional_put"` // two pushers cannot overwrite each other unseen
	Multipart      bool   `json:"multipart"`       // an upload can go on after a crash
	PartSize       int64  `json:"part_size"`       // of such an upload, the smallest in bytes
	SerialParts    bool   `json:"serial_parts"`    // one part after the other
	Streams        bool   `json:"streams"`         // reading in ranges costs more than it gains
	Sums           string `json:"sums"`            // "md5": the sum that a listing has; "" is none
	ReadSums       string `json:"read_sums"`       // "crc64nvme": the sum that comes with the bytes
	ContentTags    bool   `json:"content_tags"`    // equal content has an equal version
	// TimeResolution is the largest unit, from a minute downwards, of which all
	// times that were seen are multiples.
	TimeResolution time.Duration `json:"time_resolution"`
	LongestKey     int           `json:"longest_key"`     // bytes, folders and all, of those that were tried
	CaseSensitive  bool          `json:"case_sensitive"`  // "A" and "a" are two files
	KeepsForms     bool          `json:"keeps_forms"`     // names of two normal forms of Unicode are two files
	FileAndFolder  bool          `json:"file_and_folder"` // "a" and "a/b" can both be there
}

// checkTimeout is how long one case may take before it is a failure.
const checkTimeout = 10 * time.Minute

// Check finds out whether a remote does what d6tpipe needs of it: it runs the cases
// that d6tpipe's own drivers are tested with, some sixty about listings, reads by
// range and version, uploads that nobody sees half of, conditions, names, removals
// and cancelled calls. Remote is a record of a catalogue ([Collection.Get] of
// [API].Remotes), or one made up for the purpose; its write credentials are used,
// or those for reading where the check only reads. One that was encrypted with [Encode]
// goes through [Decode] first.
//
// It works in a scratch folder of its own, "d6tpipe-check-" and some random
// letters, which it removes with all that it put there, also when a case fails or
// ctx ends (that may take 30 s more). Nothing else is written, changed or removed.
//
// The error matches [ErrFaulty] and the causes when cases failed, [ErrPartial] when
// something could not be removed; the report is whole then. With any other error it
// holds the cases until then: the remote cannot be opened or listed, it hangs, or
// ctx has ended.
func Check(ctx context.Context, remote RemoteSettings, o CheckOptions) (CheckReport, error) {
	report, err := check(ctx, remote, o)
	if err == nil {
		err = report.err()
	}
	if err != nil {
		err = &Error{Op: "check remote", Name: remote.Name, Err: withKind(err)}
	}
	return report, err
}

func check(ctx context.Context, remote RemoteSettings, o CheckOptions) (CheckReport, error) {
	report := CheckReport{Remote: remote.Name}
	if remote.Protocol == ProtocolHTTP || remote.Protocol == ProtocolHTTPS {
		o.ReadOnly = true
	}
	where, err := o.where(remote)
	if err != nil {
		return report, err
	}
	dir := trimDir(o.Dir)
	if !o.ReadOnly {
		dir = path.Join(dir, "d6tpipe-check-"+strings.ToLower(rand.Text()[:12]))
		report.Scratch = dir
	}
	found, err := conform.Run(ctx, conform.Remote{
		Dir: dir, ReadOnly: o.ReadOnly,
		Open: func(context.Context) (storage.Store, error) {
			store, err := openStore(where, o.open())
			if err != nil {
				return nil, err
			}
			return storage.Retry(store, storage.RetryPolicy{}), nil
		},
		Progress: func(r conform.Result) {
			c := checkCase(r)
			report.Cases = append(report.Cases, c)
			if o.Progress != nil {
				o.Progress(c)
			}
		},
	}, conform.Options{Full: o.Full, Timeout: checkTimeout})
	report.Found, report.Left, report.Duration = Capabilities(found.Found), found.Left, found.Duration
	if errors.Is(err, fs.ErrPermission) && !o.LocalKeys && wantsLocalKeys(where) {
		err = fmt.Errorf("%w; the remote has no keys, and the option LocalKeys (--local-keys) allows those of this machine", err)
	}
	return report, err
}

// open is how the remote is opened: by what a record says, nothing of this machine is
// used.
func (o CheckOptions) open() OpenOptions {
	return OpenOptions{IdleTimeout: o.IdleTimeout, LocalKeys: o.LocalKeys, LocalFolders: append([]string{}, o.LocalFolders...), Dial: o.Dial}
}

// where is the remote's own folder, with the credentials for what is to be done.
func (o CheckOptions) where(remote RemoteSettings) (Storage, error) {
	if remote.sealed() {
		return Storage{}, &FieldError{Field: "remote", Reason: "Its settings are encrypted; check what Decode(cfg, remote) returns."}
	}
	if err := remote.Validate(); err != nil {
		return Storage{}, err
	}
	if err := checkDir("dir", o.Dir); err != nil {
		return Storage{}, err
	}
	where, err := PipeSettings{Remote: remote.Name}.storage(remote)
	if err != nil {
		return Storage{}, err
	}
	where.Credentials = remote.WriteCredentials
	switch {
	case o.ReadOnly:
		where.Credentials = remote.ReadCredentials
	case len(remote.WriteCredentials) == 0 && len(remote.ReadCredentials) > 0:
		return Storage{}, fmt.Errorf("%w: there are credentials to read the remote, and none to write to it; CheckOptions.ReadOnly needs none", ErrPermission)
	}
	return where, nil
}

func checkCase(r conform.Result) CheckCase {
	return CheckCase{Name: r.Case, Outcome: CheckOutcome(r.Outcome), Reason: r.Reason, Where: r.Where, Err: withKind(r.Err), Duration: r.Duration}
}

// err says what is wrong with the remote.
func (r CheckReport) err() error {
	var err error
	if failed := r.Failed(); len(failed) > 0 {
		err = &faultyError{failed, len(r.Cases)}
	}
	if len(r.Left) > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d files are left in the scratch folder, such as %q", ErrPartial, len(r.Left), r.Left[0]))
	}
	return err
}

// faultyError names the cases that failed.
type faultyError struct {
	failed []CheckCase
	of     int
}

func (e *faultyError) Error() string {
	names := make([]string, len(e.failed))
	for i, c := range e.failed {
		names[i] = c.Name
	}
	const most = 5
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	return fmt.Sprintf("%v: %d of %d cases failed (%s%s); %s: %s", ErrFaulty, len(e.failed), e.of, strings.Join(names, ", "), more,
		e.failed[0].Name, e.failed[0].Reason)
}

// Unwrap returns [ErrFaulty] and what the storage said; not that a call was
// cancelled: a case did that, and not the caller.
func (e *faultyError) Unwrap() []error {
	causes := []error{ErrFaulty}
	for _, c := range e.failed {
		if c.Err != nil && !errors.Is(c.Err, context.Canceled) && !errors.Is(c.Err, context.DeadlineExceeded) {
			causes = append(causes, c.Err)
		}
	}
	return causes
}
