package storage_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// past yields objects as somebody else's scan would tell of them.
func past(list []storage.Object, err error) iter.Seq2[storage.Object, error] {
	return scripted{objects: list, err: err}.List(context.Background(), "")
}

// mixed are objects of all the forms that are packed in their own way.
func mixed() []storage.Object {
	at := time.Date(2026, 11, 1, 12, 0, 0, 123456789, time.UTC)
	return []storage.Object{
		{Key: "a", Size: 1, ModTime: at, Tag: "etag", Sum: "md5:etag"}, {Key: "bb/ü", Size: 1 << 40, Tag: "sha256:1", Sum: "sha256:1"},
		{Key: "c", ModTime: at.AddDate(-200, 0, 0)}, {Key: "d", Tag: "one", Sum: "crc64nvme:two"}, {Key: "e", Sum: "md5:only"},
	}
}

func TestRecall(t *testing.T) {
	l, err := storage.Recall(past(append(objects("x", "X", "../up", "b"), mixed()...), nil))
	require.NoError(t, err)
	require.False(t, l.Complete(), "nothing may be deleted because of what was")
	require.Equal(t, []string{"../up", "X", "x"}, refusedKeys(l)[:3])
	got, ok := l.Find("d")
	require.True(t, ok)
	require.Equal(t, mixed()[3], got)

	broken := errors.New("cut off")
	l, err = storage.Recall(past(objects("a"), broken))
	require.ErrorIs(t, err, broken)
	require.Zero(t, l.Len())
	_, err = storage.Recall(past([]storage.Object{{Key: "a", Size: -1}}, nil))
	require.Error(t, err)
}

func TestSavedListing(t *testing.T) {
	for name, list := range map[string][]storage.Object{"none": nil, "mixed": mixed(), "refused": objects("A", "a", "b", "../c")} {
		t.Run(name, func(t *testing.T) {
			l, err := storage.Recall(past(list, nil))
			require.NoError(t, err)
			saved := l.Append(nil)
			got, err := storage.Restore(saved)
			require.NoError(t, err)
			require.Equal(t, l.Objects(), got.Objects())
			require.Equal(t, l.Refused, got.Refused)
			require.False(t, got.Complete())
			for i := range saved {
				_, err := storage.Restore(saved[:i])
				require.Error(t, err, "cut off at %d", i)
				saved[i] ^= 1
				_, err = storage.Restore(saved)
				require.Error(t, err, "byte %d flipped", i)
				saved[i] ^= 1
			}
		})
	}
}

func TestRefuse(t *testing.T) {
	l, err := storage.Recall(past(objects("a", "b", "../c"), nil))
	require.NoError(t, err)
	l = l.Refuse([]*storage.KeyError{{Key: "b", Reason: "is bad"}, {Key: "z", Reason: "too"}, {Key: "../c", Reason: "other"}})
	require.Equal(t, objects("a"), l.Objects())
	require.Equal(t, []string{"../c", "b", "z"}, refusedKeys(l))
	require.NotEqual(t, "other", l.Refused[0].Reason)
}

// FuzzRestore: a saved listing whose sum was made right is refused or can be used.
func FuzzRestore(f *testing.F) {
	const head = "d6tpipe listing 1\n"
	l, err := storage.Recall(past(append(mixed(), objects("A", "a")...), nil))
	require.NoError(f, err)
	f.Add(l.Append(nil)[len(head)+4:])
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
		data := append([]byte(head), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		l, err := storage.Restore(append(data, body...))
		if err != nil {
			return
		}
		last := ""
		for obj := range l.All() {
			require.Greater(t, obj.Key, last)
			last = obj.Key
			_, found := l.Find(obj.Key)
			require.True(t, found)
		}
		_ = fmt.Sprint(l.Refused)
	})
}
