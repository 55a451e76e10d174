package mem_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestStore(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store { return mem.New() })
}

func TestHostile(t *testing.T) {
	store := mem.New()
	planted := storagetest.Hostile(t, store, func(key string) error {
		store.Plant(key, []byte("evil"))
		return nil
	})
	require.GreaterOrEqual(t, planted, 110)
}

func TestDecorated(t *testing.T) {
	for name, decorate := range map[string]func(*testing.T, storage.Store) storage.Store{
		"Prefix": func(t *testing.T, s storage.Store) storage.Store {
			for _, key := range []string{"x", "data/sales2/x", "data/x", "data/sales-private/x"} {
				storagetest.Put(t, s, key, []byte("outside"))
			}
			inside, err := storage.Prefix(s, "data/sales/")
			require.NoError(t, err)
			return inside
		},
		"Retry": func(_ *testing.T, s storage.Store) storage.Store { return storage.Retry(s, storage.RetryPolicy{}) },
		"Watch": func(_ *testing.T, s storage.Store) storage.Store {
			return storage.Watch(s, storage.Meter{Read: func(string, int) {}, Written: func(string, int) {}})
		},
		"Idle": func(_ *testing.T, s storage.Store) storage.Store { return storage.Idle(s, 1e9) },
	} {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) storage.Store { return decorate(t, mem.New()) })
		})
	}
}

func TestHostileBelowPrefix(t *testing.T) {
	store := mem.New()
	inside, err := storage.Prefix(store, "data")
	require.NoError(t, err)
	planted := storagetest.Hostile(t, inside, func(key string) error {
		if key == "" {
			return errors.New("that is a key of the folder above")
		}
		store.Plant("data/"+key, []byte("evil"))
		return nil
	})
	require.GreaterOrEqual(t, planted, 110)
}
