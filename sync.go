package d6tpipe

import "time"

// A Mode says which files a pull or push moves.
type Mode string

// The modes, under the names that the Python client gives them.
const (
	ModeDefault Mode = "default" // new and modified files
	ModeNew     Mode = "new"     // files that were never synced
	ModeMod     Mode = "mod"     // files that were synced and have changed since
	ModeAll     Mode = "all"     // all files, whether they changed or not
)

// A Merge says what becomes of files that changed on both sides.
type Merge string

// The merge modes.
const (
	MergeFail      Merge = "fail"      // nothing moves; the error names the files
	MergeKeep      Merge = "keep"      // the target's version stays, the other files move
	MergeOverwrite Merge = "overwrite" // the target's version is replaced
)

// PullOptions narrow down a pull. The zero value pulls what is new or modified
// and refuses to overwrite local edits.
type PullOptions struct {
	Mode  Mode
	Merge Merge
	// Files moves exactly these keys, whether they changed or not.
	Files []string
	// Include and Exclude are filters beside the pipe's own.
	Include, Exclude string
	// Recent moves only the n newest of the selected files by modification
	// time, the -n oldest when negative, all when 0.
	Recent int
}

// PushOptions narrow down a push. The zero value pushes what is new or modified
// and refuses when the remote has changes that were not pulled.
type PushOptions = PullOptions

// A File is one file of a pipe.
type File struct {
	Key     string    `json:"key"`           // relative, slash-separated
	Size    int64     `json:"size"`          // bytes
	ModTime time.Time `json:"modified_at"`   // UTC
	Tag     string    `json:"tag,omitempty"` // the remote's: changes whenever the content does
	SHA256  string    `json:"sha256,omitempty"`
}
