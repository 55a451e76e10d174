package transfer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

const uploadsName = "uploads"

// An uploadLog is the file that remembers an upload in parts: a line of JSON about
// the upload, and one for each part that the remote has acknowledged. It is not
// synced: what a power cut takes away is sent again.
type uploadLog struct {
	path string
	head uploadHead
	sent map[int]sentPart
	f    *os.File
}

// uploadHead says what was being sent where.
type uploadHead struct {
	Version int            `json:"version"`
	Place   string         `json:"place"`
	Source  string         `json:"source"` // which version of the file
	Upload  storage.Upload `json:"upload"`
}

const uploadVersion = 1

// sentPart is a part that has arrived, and the CRC-64/NVME of what was sent.
type sentPart struct {
	storage.Part
	CRC uint64 `json:"crc"`
}

func uploadPath(state, place, key string) string {
	name := sha256.Sum256([]byte(place + "\x00" + key))
	return filepath.Join(state, uploadsName, hex.EncodeToString(name[:16]))
}

// createUploadLog begins a log, in the place of one that is there.
func createUploadLog(path string, head uploadHead) (*uploadLog, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &uploadLog{path: path, head: head, sent: map[int]sentPart{}, f: f}
	if err := l.write(head); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// readUploadLog returns nil when there is none, or none that can be understood.
func readUploadLog(path string) (*uploadLog, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := &uploadLog{path: path, sent: map[int]sentPart{}}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &l.head) != nil || !l.head.sound() {
		return nil, nil
	}
	for lines.Scan() {
		var p sentPart
		if json.Unmarshal(lines.Bytes(), &p) != nil {
			continue // torn
		}
		if _, size := l.head.Upload.Part(p.Number); p.Number >= 0 && p.Number < l.head.Upload.Parts() && p.Size == size {
			l.sent[p.Number] = p
		}
	}
	return l, nil
}

func (h uploadHead) sound() bool {
	u := h.Upload
	return h.Version == uploadVersion && storage.CheckKey(u.Key) == nil && u.ID != "" &&
		u.Size > 0 && u.PartSize > 0 && u.PartSize%blockSize == 0
}

// reopen makes a log that was read ready for more parts.
func (l *uploadLog) reopen() (err error) {
	l.f, err = os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = l.f.WriteString("\n") // ends a line that was torn
	return err
}

func (l *uploadLog) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = l.f.Write(append(line, '\n'))
	return err
}

func (l *uploadLog) add(p sentPart) error { return l.write(p) }

func (l *uploadLog) close() error { return l.f.Close() }

// forget removes the log of an upload that is over.
func (l *uploadLog) forget() error { return ignoreMissing(os.Remove(l.path)) }

// sweepUploads aborts the uploads that nobody will go on with: of files that were
// edited or are gone, and those that were left alone for too long. The caller holds
// the lock. What cannot be aborted now stays for another time.
func (s *Sync) sweepUploads(ctx context.Context, d Direction) error {
	version := s.localVersion
	switch d {
	case Pull:
		return nil // which could not abort them
	case Mirror:
		version = s.originVersion
	}
	entries, err := os.ReadDir(filepath.Join(s.cfg.State, uploadsName))
	if err != nil || len(entries) == 0 {
		return ignoreMissing(err)
	}
	m := storage.MultipartOf(s.cfg.Store)
	for _, e := range entries {
		l, err := readUploadLog(filepath.Join(s.cfg.State, uploadsName, e.Name()))
		if err != nil {
			return err
		}
		if l == nil || l.head.Place != s.cfg.Place || m == nil {
			if older(e, forgotten) {
				err = ignoreMissing(os.Remove(filepath.Join(s.cfg.State, uploadsName, e.Name())))
			}
			if err != nil {
				return err
			}
			continue
		}
		now, err := version(l.head.Upload.Key)
		if err != nil {
			return err
		}
		if now == l.head.Source && !older(e, forgotten) {
			continue
		}
		if m.Abort(ctx, l.head.Upload) == nil {
			if err := l.forget(); err != nil {
				return err
			}
		}
	}
	return nil
}
