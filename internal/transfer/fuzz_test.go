package transfer_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// A world is both sides and the manifest, with a number for each content.
type world struct{ base, local, remote map[string]int }

// fuzzKeys are good names, colliding ones and hostile ones.
var fuzzKeys = []string{"a", "b/c", "d", "D", "e", "e/f", "../x", "nul", "z", "\u00e9", "e\u0301"}

// worldOf takes one byte for each key: two bits for each of the three states.
func worldOf(data []byte) world {
	w := world{map[string]int{}, map[string]int{}, map[string]int{}}
	for i, key := range fuzzKeys {
		if i >= len(data) {
			break
		}
		good := storage.CheckKey(key) == nil
		for shift, side := range []map[string]int{w.base, w.local, w.remote} {
			content := int(data[i] >> (2 * shift) & 3)
			if content > 0 && (good || shift == 2) {
				side[key] = content
			}
		}
	}
	return w
}

func stampOf(content int) transfer.Stamp { return sixHours * transfer.Stamp(content) }

// states are what three scans of the world would see.
func (w world) states() (in transfer.States) {
	for key, content := range w.base {
		in.Base = append(in.Base, transfer.Entry{Key: key, Tag: fmt.Sprint(content), Size: 1, Sum: transfer.Hash{byte(content)}, ModTime: stampOf(content), Checked: 9 * sixHours, Synced: 9 * sixHours})
	}
	for key, content := range w.local {
		in.Local = append(in.Local, transfer.LocalFile{Key: key, Size: 1, ModTime: stampOf(content), Equal: w.remote[key] == content})
	}
	var keys []string
	for key, content := range w.remote {
		if err := storage.CheckKey(key); err != nil {
			in.Refused = append(in.Refused, &storage.KeyError{Key: key, Reason: "hostile"})
			continue
		}
		keys = append(keys, key)
		in.Remote = append(in.Remote, storage.Object{Key: key, Size: 1, Tag: fmt.Sprint(content), ModTime: stampOf(content).Time()})
	}
	for _, e := range storage.Collisions(keys) {
		in.Refused = append(in.Refused, e)
		in.Remote = slices.DeleteFunc(in.Remote, func(o storage.Object) bool { return o.Key == e.Key })
	}
	slices.SortFunc(in.Base, func(a, b transfer.Entry) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(in.Local, func(a, b transfer.LocalFile) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(in.Remote, func(a, b storage.Object) int { return strings.Compare(a.Key, b.Key) })
	slices.SortFunc(in.Refused, func(a, b *storage.KeyError) int { return strings.Compare(a.Key, b.Key) })
	return in
}

// apply does what the plan says.
func (w world) apply(p *transfer.Plan) {
	for _, s := range p.Steps {
		switch s.Action {
		case transfer.Download:
			w.local[s.Key] = w.remote[s.Key]
		case transfer.Upload:
			w.remote[s.Key] = w.local[s.Key]
		case transfer.Adopt:
		default:
			continue
		}
		w.base[s.Key] = w.local[s.Key]
	}
	for _, key := range p.Forget() {
		delete(w.base, key)
	}
}

func requestOf(how byte) transfer.Request {
	return transfer.Request{
		Direction: []transfer.Direction{transfer.Pull, transfer.Push}[how&1],
		Mode:      []transfer.Mode{transfer.ModeDefault, transfer.ModeNew, transfer.ModeMod, transfer.ModeAll}[how>>1&3],
		Merge:     []transfer.Merge{transfer.MergeFail, transfer.MergeKeep, transfer.MergeOverwrite, transfer.MergeFail}[how>>3&3],
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(byte(0), []byte{0x15, 0x25, 0x31, 0x30, 0x10, 0x30, 0x30, 0x20})
	f.Add(byte(1), []byte{0x05, 0x04, 0x19, 0x1b, 0x3f, 0x00, 0x11, 0x3f, 0x0c, 0x30, 0x0c})
	f.Add(byte(16), bytes.Repeat([]byte{0x36}, 11))
	f.Add(byte(17), bytes.Repeat([]byte{0x1e}, 11))
	f.Fuzz(func(t *testing.T, how byte, data []byte) {
		w, req := worldOf(data), requestOf(how)
		before := worldOf(data)
		p := transfer.PlanOf(w.states(), req)
		checkPlan(t, w, p)
		if len(p.Conflicts()) > 0 {
			return // cannot be applied
		}
		w.apply(p)
		for key := range before.local {
			require.Contains(t, w.local, key, "a sync deletes nothing")
		}
		for key := range before.remote {
			require.Contains(t, w.remote, key, "a sync deletes nothing")
		}
		again := transfer.PlanOf(w.states(), req)
		if req.Mode != transfer.ModeAll {
			for _, s := range again.Steps {
				require.Contains(t, []transfer.Action{transfer.Skip}, s.Action, "the second plan is empty: %+v", s)
			}
		}
		w.apply(again)
		require.Equal(t, len(again.Steps), len(transfer.PlanOf(w.states(), req).Steps))
	})
}

func checkPlan(t *testing.T, w world, p *transfer.Plan) {
	t.Helper()
	refused := map[string]bool{}
	for _, e := range p.Refused {
		refused[e.Key] = true
	}
	last := ""
	for _, s := range p.Steps {
		require.Less(t, last, s.Key)
		last = s.Key
		require.False(t, refused[s.Key], "a step on a refused key: %+v", s)
		require.NoError(t, storage.CheckKey(s.Key))
		base, local, remote := w.base[s.Key], w.local[s.Key], w.remote[s.Key]
		if p.Merge == transfer.MergeOverwrite || local == remote {
			continue
		}
		switch s.Action {
		case transfer.Download:
			require.True(t, local == 0 || local == base, "a local edit would be lost: %+v", s)
		case transfer.Upload:
			require.True(t, remote == 0 || remote == base, "a remote change would be lost: %+v", s)
		case transfer.Adopt:
			require.Fail(t, "adopted what is not equal")
		}
	}
}

func FuzzManifest(f *testing.F) {
	data := transfer.EncodeManifest(entries(3))
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Add(transfer.AppendBatch(data, []transfer.Entry{{Key: entries(1)[0].Key}}))
	f.Add([]byte("d6tpipe-manifest 1\nd6tb"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, valid, err := transfer.DecodeManifest(data)
		if err != nil {
			require.Nil(t, got)
			return
		}
		require.LessOrEqual(t, valid, len(data))
		require.True(t, slices.IsSortedFunc(got, func(a, b transfer.Entry) int { return strings.Compare(a.Key, b.Key) }))
		again, _, err := transfer.DecodeManifest(transfer.EncodeManifest(got))
		require.NoError(t, err)
		require.Equal(t, len(got), len(again))
		for i := range got {
			require.Equal(t, got[i], again[i])
		}
	})
}
