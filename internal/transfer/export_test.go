package transfer

import (
	"context"
	"maps"
	"slices"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// What the tests of the planner and of the manifest's format look at.

type States struct {
	Base    []Entry
	Remote  []storage.Object
	Local   []LocalFile
	Refused []*storage.KeyError
}

func PlanOf(in States, req Request) *Plan {
	return newPlan(states{base: in.Base, remote: in.Remote, local: in.Local, refused: in.Refused}, req, req.matcher(nil))
}

func (p *Plan) Forget() []string { return p.forget }

func EncodeManifest(entries []Entry) []byte         { return encodeLog(entries) }
func AppendBatch(data []byte, batch []Entry) []byte { return appendBatch(data, batch) }
func DecodeManifest(data []byte) ([]Entry, int, error) {
	l, err := decodeLog(data)
	if err != nil {
		return nil, 0, err
	}
	return l.entries(), l.valid, nil
}

// CRCHex is the CRC-64/NVME of data as an Object's Sum has it.
func CRCHex(data []byte) string { return hexCRC(crcOf(data)) }

// Scans are the ways to look at a folder.
var Scans = map[string]func(ctx context.Context, dir string) (LocalListing, error){
	"here":       func(ctx context.Context, dir string) (LocalListing, error) { return scanWith(ctx, dir, openScan) },
	"any system": func(ctx context.Context, dir string) (LocalListing, error) { return scanWith(ctx, dir, openRoot) },
}

// A FakeFolder is a folder that is not there: what is in it are folders by their names,
// and files, which are nil. Enter and Names are what fails, if they are not nil.
type FakeFolder struct {
	In           map[string]*FakeFolder
	Enter, Names error
}

// Scan looks at the folder.
func (d *FakeFolder) Scan(ctx context.Context) (LocalListing, error) { return scan(ctx, fakeScan{d}) }

// ErrNotFolder is what a folder says that has become something else.
var ErrNotFolder = errNotFolder

type fakeScan struct{ d *FakeFolder }

func (s fakeScan) names() ([]string, error) {
	return slices.Collect(maps.Keys(s.d.In)), s.d.Names
}

func (s fakeScan) stat(name string) (LocalFile, bool, error) {
	return statFile(1, 1, 1, true), s.d.In[name] != nil, nil
}

func (s fakeScan) enter(name string) (scanFolder, error) {
	if err := s.d.In[name].Enter; err != nil {
		return nil, err
	}
	return fakeScan{s.d.In[name]}, nil
}

func (fakeScan) close() {}

func scanWith(ctx context.Context, path string, open func(string) (scanFolder, error)) (LocalListing, error) {
	dir, err := open(path)
	if err != nil {
		return LocalListing{}, err
	}
	return scan(ctx, dir)
}
