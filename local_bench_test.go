package d6tpipe_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

// BenchmarkLocal measures the catalogue file at three sizes: a record read from
// a file that has not changed, a durable change, and the whole list.
func BenchmarkLocal(b *testing.B) {
	for _, size := range []int{100, 1000, 10000} {
		api, path := local(b)
		require.NoError(b, api.Transact(b.Context(), func(tx d6tpipe.API) error {
			for i := range size {
				p := s3pipe(fmt.Sprintf("p%05d", i))
				p.Options = d6tpipe.PipeOptions{Dir: "data/" + p.Name, Include: "*.csv|*.parquet"}
				p.Schema = json.RawMessage(`{"columns": ["a", "b"], "rows": 12345678901234567890}`)
				if _, err := tx.Pipes().Create(b.Context(), p); err != nil {
					return err
				}
			}
			return nil
		}))
		old := time.Now().Add(-time.Minute) // as a file that was not changed just now
		require.NoError(b, os.Chtimes(path, old, old))
		b.Run(fmt.Sprintf("get/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				_, err := api.Pipes().Get(b.Context(), fmt.Sprintf("p%05d", i%size))
				require.NoError(b, err)
			}
		})
		b.Run(fmt.Sprintf("list/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				names, err := api.Pipes().Names(b.Context())
				require.NoError(b, err)
				require.Len(b, names, size)
			}
		})
		b.Run(fmt.Sprintf("open/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				openLocal(b, path)
			}
		})
		b.Run(fmt.Sprintf("update/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				p := d6tpipe.PipeSettings{Name: fmt.Sprintf("p%05d", i%size), ReadParams: json.RawMessage(fmt.Sprint(i))}
				_, err := api.Pipes().Update(b.Context(), p)
				require.NoError(b, err)
			}
		})
	}
}
