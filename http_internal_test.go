package d6tpipe

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPostAfterRefusedConnection: what never left may be sent again.
func TestPostAfterRefusedConnection(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"name":"a"}`)
	}))
	defer server.Close()
	t.Setenv("D6TPIPE_TOKEN", "token")
	client, err := NewAPIClient(Config{Profile: "test", Server: server.URL})
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	var dials atomic.Int32
	transport := client.server.client.GetClient().Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) <= 2 { // a port that is free now need not be free in a moment
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
		}
		return dial(ctx, network, addr)
	}
	limits := Limits{Call: time.Minute, Backoff: time.Millisecond}
	_, err = client.WithLimits(limits).Pipes().Create(t.Context(), PipeSettings{Name: "a", Protocol: ProtocolS3, Location: "b"})
	require.NoError(t, err)
	require.EqualValues(t, 3, dials.Load())
}
