package s3

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// A web identity is exchanged at Amazon, over the internet, a container's keys come
// from next door, by no proxy.
func TestPlaces(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", identityFile, relativeURI, fullURI} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv(fullURI, "http://127.0.0.1/")
	client := clientOf(t)
	require.Equal(t, identityTimeout, client.Timeout)
	require.NotNil(t, client.Transport.(*http.Transport).DialContext, "that it is not there is found out sooner")
	require.Nil(t, client.Transport.(*http.Transport).Proxy)
	t.Setenv(identityFile, "/token")
	client = clientOf(t)
	require.Equal(t, identityTimeout, client.Timeout)
	require.NotNil(t, client.Transport.(*http.Transport).Proxy)
}

func clientOf(t *testing.T) *http.Client {
	p, err := findPlace()
	require.NoError(t, err)
	return p.Provider.(*credentials.IAM).Client
}

// Many of Amazon's machines have no role: their requests are anonymous. One whose
// service fails has no keys for now.
func TestMachines(t *testing.T) {
	for status, want := range map[int]error{http.StatusNotFound: nil, http.StatusForbidden: nil, http.StatusServiceUnavailable: storage.ErrTemporary} {
		var asked atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.WriteHeader(status)
		}))
		defer server.Close()
		creds := credentials.New(&environment{find: func() (*place, error) {
			p := service(time.Minute, machine{server.Client().Transport})
			p.Provider.(*credentials.IAM).Endpoint = server.URL
			return p, nil
		}})
		for range 2 {
			value, err := creds.GetWithContext(nil)
			require.ErrorIs(t, err, want)
			require.Empty(t, value.AccessKeyID)
		}
		require.Equal(t, want == nil, asked.Load() == 1, "it is asked again unless there is nothing to ask")
	}
}
