package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/catalog"
)

// fill creates n pipes, in an order that is not the names'.
func fill(t *testing.T, api d6tpipe.API, n int) (names []string) {
	t.Helper()
	for i := range n {
		names = append(names, fmt.Sprintf("p%05d", i))
	}
	if file, ok := api.(interface {
		Transact(ctx context.Context, change func(d6tpipe.API) error) error
	}); ok { // one write instead of n
		require.NoError(t, file.Transact(t.Context(), func(tx d6tpipe.API) (err error) {
			for i := n - 1; i >= 0 && err == nil; i-- {
				err = pipes.create(t.Context(), tx, names[i], fmt.Sprint(i))
			}
			return err
		}))
		return names
	}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for w := range errs {
		wg.Go(func() {
			for i := n - 1 - w; i >= 0 && errs[w] == nil; i -= len(errs) {
				errs[w] = pipes.create(t.Context(), api, names[i], fmt.Sprint(i))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	return names
}

var listCases = []testCase{
	{"empty", func(t *testing.T, api d6tpipe.API) {
		require.Empty(t, collect(t, api.Pipes().All(t.Context())))
		require.Empty(t, collect(t, api.Remotes().All(t.Context())))
	}},
	{"many, in order, whole, and stopped in the middle", func(t *testing.T, api d6tpipe.API) {
		want := fill(t, api, 520) // more than a page
		var got []string
		for p, err := range api.Pipes().All(t.Context()) {
			require.NoError(t, err)
			require.Equal(t, strings.TrimLeft(strings.TrimPrefix(p.Name, "p"), "0"), strings.TrimPrefix(string(p.ReadParams), "0"))
			got = append(got, p.Name)
		}
		require.Equal(t, want, got)

		for _, stop := range []int{1, 3, 510} {
			n := 0
			for _, err := range api.Pipes().All(t.Context()) {
				require.NoError(t, err)
				if n++; n == stop {
					break
				}
			}
			require.Equal(t, stop, n)
		}

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		var last error
		for _, err := range api.Pipes().All(ctx) {
			if last = err; err != nil {
				break
			}
			if n++; n == 10 {
				cancel()
			}
		}
		if n < len(want) {
			require.ErrorIs(t, last, context.Canceled, "a list that was cut short must say so")
		}
	}},
	{"a list during changes has each other record once", func(t *testing.T, api d6tpipe.API) {
		fill(t, api, 50)
		done := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < 20 && err == nil; i++ {
				if err = pipes.upsert(t.Context(), api, "changing", fmt.Sprint(i)); err == nil {
					err = pipes.delete(t.Context(), api, "changing")
				}
			}
			done <- err
		}()
		for range 10 {
			seen := map[string]int{}
			for p, err := range api.Pipes().All(t.Context()) {
				require.NoError(t, err)
				seen[p.Name]++
			}
			delete(seen, "changing")
			require.Len(t, seen, 50)
		}
		require.NoError(t, <-done)
	}},
	{"rows are in order of name", func(t *testing.T, api d6tpipe.API) {
		for _, name := range []string{"b", "A", "a", "-", "0", "B"} {
			require.NoError(t, remotes.create(t.Context(), api, name, "1"))
		}
		rows, next, err := backend(t, api).List(t.Context(), catalog.Remotes, "")
		require.NoError(t, err)
		require.Empty(t, next)
		var names []string
		for _, row := range rows {
			var rec struct{ Name string }
			require.NoError(t, json.Unmarshal(row, &rec))
			names = append(names, rec.Name)
		}
		require.Equal(t, []string{"-", "0", "A", "B", "a", "b"}, names)
	}},
}

var raceCases = []testCase{
	{"no record of concurrent writers is lost", func(t *testing.T, api d6tpipe.API) {
		const workers, each = 8, 10
		errs := make(chan error, workers)
		for w := range workers {
			go func() {
				var err error
				for i := 0; i < each && err == nil; i++ {
					name := fmt.Sprintf("w%d-%d", w, i)
					if err = pipes.create(t.Context(), api, name, fmt.Sprint(i)); err == nil {
						err = remotes.upsert(t.Context(), api, name, fmt.Sprint(i))
					}
				}
				errs <- err
			}()
		}
		for range workers {
			require.NoError(t, <-errs)
		}
		for _, n := range []noun{pipes, remotes} {
			names, err := n.names(t.Context(), api)
			require.NoError(t, err)
			require.Len(t, names, workers*each)
			require.True(t, sorted(names))
		}
	}},
	{"one of many creates wins", func(t *testing.T, api d6tpipe.API) {
		const workers = 8
		errs := make(chan error, workers)
		for w := range workers {
			go func() { errs <- pipes.create(t.Context(), api, "same", fmt.Sprint(w)) }()
		}
		won := 0
		for range workers {
			if err := <-errs; err == nil {
				won++
			} else {
				require.ErrorIs(t, err, d6tpipe.ErrExists)
			}
		}
		require.Equal(t, 1, won)
	}},
	{"all of many upserts win", func(t *testing.T, api d6tpipe.API) {
		const workers = 8
		errs := make(chan error, workers)
		for w := range workers {
			go func() { errs <- remotes.upsert(t.Context(), api, "same", fmt.Sprint(w)) }()
		}
		for range workers {
			require.NoError(t, <-errs)
		}
		names, err := remotes.names(t.Context(), api)
		require.NoError(t, err)
		require.Equal(t, []string{"same"}, names)
	}},
	{"updates of different fields do not undo each other", func(t *testing.T, api d6tpipe.API) {
		require.NoError(t, pipes.create(t.Context(), api, "p", "0"))
		errs := make(chan error, 2)
		go func() {
			var err error
			for i := 1; i <= 20 && err == nil; i++ {
				_, err = api.Pipes().Update(t.Context(), d6tpipe.PipeSettings{Name: "p", Schema: raw(fmt.Sprintf(`{"n":%d}`, i))})
			}
			errs <- err
		}()
		go func() {
			var err error
			for i := 1; i <= 20 && err == nil; i++ {
				err = pipes.update(t.Context(), api, "p", fmt.Sprint(i))
			}
			errs <- err
		}()
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
		p, err := api.Pipes().Get(t.Context(), "p")
		require.NoError(t, err)
		require.JSONEq(t, `{"n":20}`, string(p.Schema))
		require.Equal(t, "20", string(p.ReadParams))
	}},
}
