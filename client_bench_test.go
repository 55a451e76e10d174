package d6tpipe_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/wire"
)

// benchServer serves a local catalogue with n pipes.
func benchServer(b *testing.B, n int) string {
	b.Helper()
	api := localAPI(b)
	err := api.Transact(b.Context(), func(tx d6tpipe.API) error {
		for i := range n {
			p := d6tpipe.PipeSettings{Name: fmt.Sprintf("p%d", i), Protocol: d6tpipe.ProtocolS3, Location: "bucket", Schema: json.RawMessage(`{"sep":","}`)}
			if _, err := tx.Pipes().Create(b.Context(), p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(wire.Handler(api.Backend()))
	b.Cleanup(server.Close)
	return server.URL
}

func benchClient(b *testing.B, url string) *d6tpipe.APIClient {
	b.Helper()
	client, err := d6tpipe.NewAPIClient(d6tpipe.Config{Profile: "test", Server: url, Tokens: &tokens{}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.CloseIdleConnections)
	return client
}

// BenchmarkClientGet is a Get over loopback; BenchmarkBareHTTPGet is the same
// request and the same decoding with net/http alone. The difference is what the
// client costs.
func BenchmarkClientGet(b *testing.B) {
	url := benchServer(b, 10)
	client := benchClient(b, url)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Pipes().Get(b.Context(), "p1"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareHTTPGet(b *testing.B) {
	url := benchServer(b, 10)
	transport := &http.Transport{}
	b.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url+"/v1/api/pipes/p1/", nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Authorization", "Token x")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			b.Fatal(err)
		}
		var p d6tpipe.PipeSettings
		if err := json.Unmarshal(body, &p); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkClientList lists 1,000 pipes.
func BenchmarkClientList(b *testing.B) {
	url := benchServer(b, 1000)
	client := benchClient(b, url)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Pipes().Names(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
