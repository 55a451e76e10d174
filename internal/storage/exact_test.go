package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

func TestExactly(t *testing.T) {
	failed := errors.New("failed")
	for _, wrap := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader,
	} {
		for _, size := range []int{0, 1, 2, 100} {
			data := bytes.Repeat([]byte("x"), size)
			got, err := io.ReadAll(storage.Exactly(t.Context(), wrap(bytes.NewReader(data)), int64(size)))
			require.NoError(t, err)
			require.Equal(t, data, append([]byte{}, got...))

			got, err = io.ReadAll(storage.Exactly(t.Context(), wrap(bytes.NewReader(append(data, 'y'))), int64(size)))
			require.Error(t, err, "too long")
			require.True(t, size == 0 || len(got) < size, "the last bytes are not handed out")

			_, err = io.ReadAll(storage.Exactly(t.Context(), wrap(bytes.NewReader(data)), int64(size+1)))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)

			r := io.MultiReader(bytes.NewReader(data), iotest.ErrReader(failed))
			_, err = io.ReadAll(storage.Exactly(t.Context(), wrap(r), int64(size)))
			require.ErrorIs(t, err, failed)
		}
	}
}

func TestExactlyEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := storage.Exactly(ctx, strings.NewReader("hello"), 5)
	_, err := io.ReadFull(r, make([]byte, 2))
	require.NoError(t, err)
	cancel()
	_, err = r.Read(make([]byte, 2))
	require.ErrorIs(t, err, context.Canceled)

	_, err = io.ReadAll(storage.Exactly(t.Context(), io.MultiReader(strings.NewReader("a"), stuck{}), 1))
	require.ErrorIs(t, err, io.ErrNoProgress)
}

// stuck neither reads nor ends.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }
