package transfer

import (
	"bytes"
	"encoding/binary"
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
	Sum        Hash   `json:"sum"`                   // of the content
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

// A Hash tells contents apart; zero is one that is not known. It is a SHA-256, or
// the CRC-64/NVME of a big file: a SHA-256 of those would cost as much as all the
// rest of a transfer, and what is asked of it is whether a file was edited.
type Hash [32]byte

// crcMark begins a Hash that is a CRC; no SHA-256 that anybody will ever see does.
var crcMark = [24]byte{'c', 'r', 'c', '6', '4', 'n', 'v', 'm', 'e'}

func crcHash(crc uint64) (h Hash) {
	copy(h[:], crcMark[:])
	binary.BigEndian.PutUint64(h[len(crcMark):], crc)
	return h
}

func (h Hash) isCRC() bool { return [24]byte(h[:24]) == crcMark }

// IsZero reports whether the hash is not known.
func (h Hash) IsZero() bool { return h == Hash{} }

// SHA256 returns the hash in hexadecimal, "" when it is none.
func (h Hash) SHA256() string {
	if h.IsZero() || h.isCRC() {
		return ""
	}
	return hex.EncodeToString(h[:])
}

// String returns the hash in hexadecimal, a CRC with its name before it.
func (h Hash) String() string {
	if h.isCRC() {
		return kindCRC + ":" + hex.EncodeToString(h[len(crcMark):])
	}
	return hex.EncodeToString(h[:])
}

// MarshalText is String.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is the reverse of MarshalText.
func (h *Hash) UnmarshalText(text []byte) error {
	into := h[:]
	if digits, ok := bytes.CutPrefix(text, []byte(kindCRC+":")); ok {
		*h, text = crcHash(0), digits
		into = h[len(crcMark):]
	}
	if len(text) != hex.EncodedLen(len(into)) {
		return errors.New("a SHA-256 has 64 digits, a CRC-64 has 16")
	}
	_, err := hex.Decode(into, text)
	return err
}
