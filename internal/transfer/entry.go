package transfer

import (
	"encoding/hex"
	"errors"
	"time"
)

// An Entry is what the manifest remembers of one file: what was transferred, or
// found equal on both sides, and nothing else.
type Entry struct {
	Key        string `json:"key"`
	Tag        string `json:"tag,omitempty"`         // the remote's
	RemoteTime Stamp  `json:"remote_time,omitempty"` // the remote's, of its version
	Size       int64  `json:"size"`                  // bytes, here and there
	ModTime    Stamp  `json:"mod_time"`              // of the local file
	Sum        Hash   `json:"sum"`                   // SHA-256 of the content
	Checked    Stamp  `json:"checked"`               // when ModTime and Sum were seen to belong together
	Synced     Stamp  `json:"synced"`                // when the file was transferred
}

// racyWindow is how coarse the clocks of file systems are (FAT counts in 2 s):
// a file that was edited that soon after it was looked at may show the same time.
const racyWindow = Stamp(2 * time.Second)

// racy reports whether the local file may have been edited without its time
// telling so, as in git.
func (e *Entry) racy() bool { return e.ModTime > e.Checked-racyWindow }

// A Stamp is a time in nanoseconds since 1970 UTC, and 0 an unknown one. Files
// are counted in millions, and it takes a third of the room of a time.Time.
type Stamp int64

func now() Stamp { return StampOf(time.Now()) }

// StampOf returns t as a Stamp.
func StampOf(t time.Time) Stamp {
	if t.IsZero() {
		return 0
	}
	return Stamp(t.UnixNano())
}

// Time returns the stamp as a time in UTC, zero when it is unknown.
func (s Stamp) Time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(s)).UTC()
}

// MarshalText writes the time as RFC 3339 has it.
func (s Stamp) MarshalText() ([]byte, error) { return s.Time().MarshalText() }

// UnmarshalText is the reverse of MarshalText.
func (s *Stamp) UnmarshalText(text []byte) error {
	var t time.Time
	err := t.UnmarshalText(text)
	*s = StampOf(t)
	return err
}

// A Hash is a SHA-256; zero is one that is not known.
type Hash [32]byte

// IsZero reports whether the hash is not known.
func (h Hash) IsZero() bool { return h == Hash{} }

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is the reverse of MarshalText.
func (h *Hash) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(h) {
		return errors.New("a SHA-256 has 64 digits")
	}
	_, err := hex.Decode(h[:], text)
	return err
}
