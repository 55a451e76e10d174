package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A shipment is an object that goes to a remote in parts.
type shipment struct {
	ctx    context.Context
	key    string
	size   int64
	source string // which version of the file is sent
	cond   storage.Cond

	to   storage.Multipart
	path string // of the log
	up   storage.Upload
	log  *uploadLog

	mu    sync.Mutex
	parts []sentPart // by number, up to the last that has arrived
	have  []bool
}

// begin goes on with the upload that the log tells of, or starts a new one. holds
// reports whether part p is still what was sent.
func (s *shipment) begin(place string, holds func(p sentPart) (bool, error)) error {
	old, err := readUploadLog(s.path)
	if err != nil {
		return err
	}
	if old != nil && old.head.Place == place && old.head.Upload.Key == s.key {
		if old.head.Source == s.source && old.head.Upload.Size == s.size {
			done, err := s.resume(old, holds)
			if done || err != nil {
				return err
			}
		} else if err := s.to.Abort(s.ctx, old.head.Upload); err != nil {
			return err
		}
	}
	if s.up, err = s.to.Begin(s.ctx, s.key, s.size, blockSize); err != nil {
		return err
	}
	s.parts, s.have = nil, nil
	s.log, err = createUploadLog(s.path, uploadHead{uploadVersion, place, s.source, s.up})
	if err != nil {
		err = errors.Join(err, s.abort())
	}
	return err
}

// note remembers what is known of a part. Memory is taken as parts arrive: how many
// there are may be what a remote claims.
func (s *shipment) note(p sentPart, have bool) {
	if more := p.Number + 1 - len(s.parts); more > 0 {
		s.parts, s.have = append(s.parts, make([]sentPart, more)...), append(s.have, make([]bool, more)...)
	}
	s.parts[p.Number], s.have[p.Number] = p, have
}

func (s *shipment) has(n int) bool { return n < len(s.have) && s.have[n] }

// arrived returns part n if the remote has it.
func (s *shipment) arrived(n int) (p sentPart, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok = s.has(n); ok {
		p = s.parts[n]
	}
	return p, ok
}

// resume asks the remote what has arrived. Only a part that both sides know of, and
// that still is what was sent, need not be sent again.
func (s *shipment) resume(old *uploadLog, holds func(p sentPart) (bool, error)) (bool, error) {
	arrived, err := s.to.Arrived(s.ctx, old.head.Upload)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.up, s.log = old.head.Upload, old
	s.parts, s.have = nil, nil
	for _, a := range arrived {
		p, ok := old.sent[a.Number]
		if !ok || a.Size != p.Size || a.Tag != p.Tag {
			continue
		}
		if ok, err = holds(p); err != nil {
			return false, err
		}
		s.note(p, ok)
	}
	return true, old.reopen()
}

// missing are the spans of parts that are still to be sent. Those of a serial upload
// have to follow each other from the first one that is missing.
func (s *shipment) missing() (spans []piece) {
	for n := 0; n < s.up.Parts(); {
		if s.has(n) {
			n++
			continue
		}
		end := s.up.Parts()
		if n < len(s.have) && !s.up.Serial {
			if next := slices.Index(s.have[n:], true); next > 0 {
				end = n + next
			}
		}
		off, _ := s.up.Part(n)
		last, size := s.up.Part(end - 1)
		spans, n = append(spans, piece{number: n, off: off, n: last + size - off}), end
	}
	return spans
}

// arrivedBytes is how much need not be sent.
func (s *shipment) arrivedBytes() (n int64) {
	n = s.size
	for _, p := range s.missing() {
		n -= p.n
	}
	return n
}

// send sends one part; crc is asked for the sum of what was read of r.
func (s *shipment) send(ctx context.Context, p piece, r io.ReadSeeker, crc func() uint64) error {
	part, err := s.to.Send(ctx, s.up, p.number, r, p.n)
	if err != nil {
		return corrupted(s.key, crc(), err)
	}
	sent := sentPart{part, crc()}
	if want, ok := strings.CutPrefix(part.Sum, kindCRC+":"); ok && want != hexCRC(sent.CRC) {
		return &VerifyError{s.key, kindCRC, want, hexCRC(sent.CRC)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(sent, true)
	return s.log.add(sent)
}

// crc is the sum of all that was sent.
func (s *shipment) crc() (whole uint64) {
	for _, p := range s.parts {
		whole = crcJoin(whole, p.CRC, p.Size)
	}
	return whole
}

// finish makes the object appear. One of other bytes than were sent has its Tag in the
// result, beside the error.
func (s *shipment) finish() (storage.Object, error) {
	parts := make([]storage.Part, len(s.parts))
	for i, p := range s.parts {
		parts[i] = p.Part
	}
	o, err := s.to.Finish(s.ctx, s.up, parts, s.cond)
	if err != nil {
		return storage.Object{Tag: corruptTag(err)}, corrupted(s.key, s.crc(), err)
	}
	return o, nil
}

// end closes the log. After success, or an error with which going on makes no
// sense, the upload is forgotten on both sides.
func (s *shipment) end(err error) error {
	if s.log == nil {
		return err
	}
	err = errors.Join(err, s.log.close())
	switch {
	case err == nil:
		return s.log.forget()
	case s.ctx.Err() != nil, errors.Is(err, storage.ErrTemporary), !useless(err) && !errors.Is(err, ErrEdited):
		return err // for the next time
	}
	return errors.Join(err, s.abort())
}

func (s *shipment) abort() error {
	if err := s.to.Abort(s.ctx, s.up); err != nil {
		return fmt.Errorf("%w (and the parts of an upload are left behind)", err)
	}
	if s.log == nil {
		return nil
	}
	return s.log.forget()
}
