package d6tpipe

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

func TestHostilePages(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":      ``,
		"a list":       `[]`,
		"no cursor":    `{"changes":[],"more":false}`,
		"long cursor":  `{"changes":[],"cursor":"` + strings.Repeat("x", 2000) + `"}`,
		"endless":      `{"changes":[],"cursor":"x","more":true}`,
		"up":           `{"changes":[{"key":"../a","kind":"new","file":{"size":1}}],"cursor":"x"}`,
		"nameless":     `{"changes":[{"kind":"new","file":{"key":"a","size":1}}],"cursor":"x"}`,
		"ours":         `{"changes":[{"key":".d6tpipe-lock","kind":"new","file":{"size":1}}],"cursor":"x"}`,
		"unknown kind": `{"changes":[{"key":"a","kind":"\u001b[2J","file":{"size":1}}],"cursor":"x"}`,
		"negative":     `{"changes":[{"key":"a","kind":"modified","file":{"size":-1}}],"cursor":"x"}`,
		"was negative": `{"changes":[{"key":"a","kind":"new","file":{"size":1},"before":{"size":-1}}],"cursor":"x"}`,
		"counts wrong": `{"changes":[],"cursor":"x","refused":-1}`,
	} {
		_, err := decodeChangePage([]byte(body))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "\x1b", name)
	}
	page, err := decodeChangePage([]byte(`{"next":1,"changes":[{"key":"a","kind":"gone","file":{"key":"../b","size":-3,"tag":"x"},"before":{"key":"c","size":1}}],"cursor":"x","stale":"no\u001b[2J way"}`))
	require.NoError(t, err)
	require.Equal(t, []Change{{Key: "a", Kind: ChangeGone, File: File{Key: "a"}, Before: &File{Key: "a", Size: 1}}}, page.Changes)
	require.Equal(t, "no[2J way", page.Stale)
}

// FuzzChangePage: what a server says is refused, or good to go by.
func FuzzChangePage(f *testing.F) {
	f.Add([]byte(`{"changes":[{"key":"a","kind":"new","file":{"key":"a","size":1,"modified_at":"2026-11-01T12:00:00Z","tag":"t"}}],"cursor":"c","more":true,"refused":1}`))
	f.Add([]byte(`{"changes":[{"key":"a","kind":"gone","file":{"key":"a"},"before":{"key":"b","size":-1}}],"cursor":"c"}`))
	f.Add([]byte(`{"changes":null,"cursor":"c","stale":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		page, err := decodeChangePage(data)
		if err != nil {
			return
		}
		require.NotEmpty(t, page.Cursor)
		require.False(t, page.More && len(page.Changes) == 0)
		for _, c := range page.Changes {
			require.NoError(t, storage.CheckKey(c.Key))
			require.Equal(t, c.Key, c.File.Key)
			require.Contains(t, []ChangeKind{ChangeNew, ChangeModified, ChangeGone}, c.Kind)
			require.GreaterOrEqual(t, c.File.Size, int64(0))
			if c.Before != nil {
				require.Equal(t, c.Key, c.Before.Key)
			}
		}
		_, err = json.Marshal(page)
		require.NoError(t, err)
	})
}
