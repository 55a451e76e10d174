package d6tpipe_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// One file that cannot be read does not stop the others, and the report tells.
func TestReportOfAPartialPush(t *testing.T) {
	both := parties(t, "vendor", "client")
	folder := addDir(t, both[0].api)
	addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "sales"})
	pipe := both[0].open("sales")
	write(t, pipe, "good.csv", "good")
	write(t, pipe, "in the way/bad.csv", "bad")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "in the way"), nil, 0o644))

	report, err := pipe.Push(t.Context(), d6tpipe.PushOptions{Merge: d6tpipe.MergeKeep})
	require.ErrorIs(t, err, d6tpipe.ErrPartial)
	require.Equal(t, []string{"good.csv"}, keys(report))
	require.Len(t, report.Refused, 1, "a file cannot be where a folder has to be")
	require.Equal(t, "in the way/bad.csv", report.Refused[0].Key)

	raw, err := json.Marshal(d6tpipe.FileResult{Key: "bad.csv", Status: d6tpipe.StatusFailed, Err: errors.New("why")})
	require.NoError(t, err)
	require.Contains(t, string(raw), `"error":"why"`)
}

func TestProgressAddsUp(t *testing.T) {
	both := parties(t, "vendor", "client")
	addDir(t, both[0].api)
	addPipe(t, both[0].api, d6tpipe.PipeSettings{Name: "sales"})
	var mu sync.Mutex
	count := map[d6tpipe.EventKind]int{}
	var planned, moved int64
	pipe, err := d6tpipe.OpenPipe(t.Context(), both[0].api, "sales", d6tpipe.OpenOptions{Progress: func(e d6tpipe.Event) {
		mu.Lock()
		defer mu.Unlock()
		count[e.Kind]++
		switch e.Kind {
		case d6tpipe.EventPlanned:
			planned = e.Bytes
		case d6tpipe.EventMoved:
			moved += e.Bytes
		}
	}})
	require.NoError(t, err)
	write(t, pipe, "1.csv", "12345")
	write(t, pipe, "2.csv", "678")
	push(t, pipe)
	require.Equal(t, []int{1, 2, 2, 0, 1}, []int{count[d6tpipe.EventPlanned], count[d6tpipe.EventStarted],
		count[d6tpipe.EventDone], count[d6tpipe.EventFailed], count[d6tpipe.EventFinished]})
	require.EqualValues(t, 8, planned)
	require.EqualValues(t, 8, moved)
}
