package d6tpipe_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// TestWatchOfAnotherIsHeld: who waits for another loop of the consumer is told so, once, and
// others are not.
func TestWatchOfAnotherIsHeld(t *testing.T) {
	p := parties(t, "vendor")[0]
	folder := addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	require.NoError(t, os.WriteFile(filepath.Join(folder, "a.csv"), []byte("1"), 0o600))
	held := make(chan struct{}, 10)
	watch := func(consumer string) int {
		o := d6tpipe.WatchOptions{Once: true, ChangesOptions: d6tpipe.ChangesOptions{Consumer: consumer, Held: func() { held <- struct{}{} }}}
		n := 0
		for _, err := range p.open("sales").Watch(t.Context(), o) {
			if err != nil {
				t.Error(err)
			}
			n++
		}
		return n
	}
	second := make(chan int)
	for _, err := range p.open("sales").Changes(t.Context(), d6tpipe.ChangesOptions{Held: func() { t.Error("nobody is there") }}) {
		require.NoError(t, err)
		require.Equal(t, 1, watch("another"))
		require.Empty(t, held)
		go func() { second <- watch("") }()
		select {
		case <-held:
		case <-second:
			t.Fatal("two are the consumer")
		case <-time.After(30 * time.Second):
			t.Fatal("nobody is told")
		}
	}
	require.Zero(t, <-second, "the first one has acknowledged it")
	require.Empty(t, held, "it is told once")
}

// TestWatchTellsOfNamesOnce: names that cannot be used are there at each look, and a
// watcher is told of them when there are others.
func TestWatchTellsOfNamesOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such names")
	}
	p := parties(t, "vendor")[0]
	folder := addDir(t, p.api)
	addPipe(t, p.api, d6tpipe.PipeSettings{Name: "sales"})
	put := func(name string) { require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte("1"), 0o600)) }
	put("a.csv")
	put(`one\bad`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told []string
	o := d6tpipe.WatchOptions{Interval: time.Millisecond, Trouble: func(err error, _ time.Duration) {
		require.ErrorIs(t, err, d6tpipe.ErrPartial)
		told = append(told, err.Error())
		if strings.Contains(err.Error(), "2 refused") || len(told) > 2 {
			cancel()
		}
	}}
	next := map[string]string{"a.csv": "b.csv", "b.csv": "c.csv", "c.csv": `two\bad`}
	for c, err := range p.open("sales").Watch(ctx, o) {
		require.NoError(t, err)
		put(next[c.Key])
	}
	require.Len(t, told, 2, told)
}
