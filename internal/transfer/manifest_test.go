package transfer_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/transfer"
)

func entries(n int) []transfer.Entry {
	all := make([]transfer.Entry, n)
	for i := range all {
		all[i] = transfer.Entry{
			Key: fmt.Sprintf("folder%03d/file%07d.csv", i/1000, i), Tag: fmt.Sprintf("%032x", i), RemoteTime: transfer.Stamp(i),
			Size: int64(i), ModTime: sixHours, Checked: 2 * sixHours, Synced: 2 * sixHours, Sum: transfer.Hash{0: byte(i), 1: byte(i >> 8), 31: 0xff},
		}
	}
	return all
}

func TestManifestRoundTrip(t *testing.T) {
	want := entries(40_000) // several batches
	want[3].ModTime, want[4].RemoteTime = -5, 0
	got, valid, err := transfer.DecodeManifest(transfer.EncodeManifest(want))
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, len(transfer.EncodeManifest(want)), valid)
}

func TestManifestLastOneHolds(t *testing.T) {
	all := entries(3)
	newer := all[1]
	newer.Tag = "newer"
	data := transfer.EncodeManifest(all)
	data = transfer.AppendBatch(data, []transfer.Entry{newer, {Key: all[0].Key}})
	data = transfer.AppendBatch(data, []transfer.Entry{{Key: "unknown"}})
	got, _, err := transfer.DecodeManifest(data)
	require.NoError(t, err)
	require.Equal(t, []transfer.Entry{newer, all[2]}, got)
}

// TestManifestTorn cuts the file at every byte of its last batch.
func TestManifestTorn(t *testing.T) {
	first := transfer.EncodeManifest(entries(2))
	whole := transfer.AppendBatch(bytes.Clone(first), entries(4)[2:])
	for cut := len(first); cut < len(whole); cut++ {
		for _, tail := range [][]byte{nil, make([]byte, 100)} { // a power cut may leave zeros
			got, valid, err := transfer.DecodeManifest(append(bytes.Clone(whole[:cut]), tail...))
			require.NoError(t, err)
			require.Equal(t, entries(2), got)
			require.Equal(t, len(first), valid)
		}
	}
}

// TestManifestDamage flips each bit before the last batch.
func TestManifestDamage(t *testing.T) {
	first := transfer.EncodeManifest(entries(2))
	whole := transfer.AppendBatch(bytes.Clone(first), entries(4)[2:])
	for at := range len(first) * 8 {
		data := bytes.Clone(whole)
		data[at/8] ^= 1 << (at % 8)
		_, _, err := transfer.DecodeManifest(data)
		require.Error(t, err, "bit %d", at)
	}
	for _, header := range []string{"", "d6tpipe-manifest 1", "d6tpipe-manifest \n", "d6tpipe-manifest 0\n", "{}", "d6tpipe-manifest x\n"} {
		_, _, err := transfer.DecodeManifest([]byte(header))
		require.ErrorIs(t, err, transfer.ErrDamaged, header)
	}
	_, _, err := transfer.DecodeManifest([]byte("d6tpipe-manifest 2\nwhatever"))
	require.ErrorIs(t, err, transfer.ErrNewer)
}

func TestDamagedManifestIsLeftAloneUntilReset(t *testing.T) {
	p := newPipe(t, remote(many(600)))
	p.must(pull, 600) // three batches
	path := filepath.Join(p.state, "manifest")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[100] ^= 1
	require.NoError(t, os.WriteFile(path, data, 0o600))

	_, err = p.Plan(t.Context(), pull)
	require.ErrorIs(t, err, transfer.ErrDamaged)
	require.ErrorContains(t, err, "reset")
	_, err = p.Files(t.Context())
	require.ErrorIs(t, err, transfer.ErrDamaged)
	_, err = p.RemoveOrphans(t.Context(), transfer.OrphanOptions{Apply: true, Force: true})
	require.ErrorIs(t, err, transfer.ErrDamaged)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, data, after)

	require.NoError(t, p.Reset(t.Context()))
	report := p.must(pull, 0)
	require.Len(t, report.Keys(transfer.StatusDone), 600, "adopted")
	p.must(push, 0)
}

func TestManifestTornTailIsCutOff(t *testing.T) {
	p := newPipe(t, remote(many(10)))
	p.must(pull, 10)
	path := filepath.Join(p.state, "manifest")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	torn := transfer.AppendBatch(nil, entries(5))
	require.NoError(t, os.WriteFile(path, append(bytes.Clone(data), torn[:50]...), 0o600))
	p.must(pull, 0)
	p.write("new", "1")
	p.must(push, 1)
	files, err := p.Files(t.Context())
	require.NoError(t, err)
	require.Len(t, files, 11)
}

func TestManifestIsRewrittenWhenMostOfItIsOld(t *testing.T) {
	p := newPipe(t, remote(many(200)))
	all := transfer.Request{Direction: transfer.Pull, Mode: transfer.ModeAll}
	var most int64
	for range 20 {
		p.must(all, 200)
		info, err := os.Stat(filepath.Join(p.state, "manifest"))
		require.NoError(t, err)
		most = max(most, info.Size())
	}
	one := int64(len(transfer.EncodeManifest(nil))) + 200*150
	require.Less(t, most, 9*one)
	p.must(pull, 0)
}
