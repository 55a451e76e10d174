package pythontest_test

import (
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/internal/wire/wiretest"
	"github.com/d6t/d6tpipe-go/server/pythontest"
)

// TestWiretest: the wire, above the service that stands for the server in the
// SDK's tests.
func TestWiretest(t *testing.T) {
	api, err := d6tpipe.NewAPILocal(d6tpipe.Config{Catalog: filepath.Join(t.TempDir(), "catalog.json")})
	require.NoError(t, err)
	server := httptest.NewServer(wire.New(wiretest.New(api.Backend()), wire.Options{}))
	t.Cleanup(server.Close)
	gateway := s3test.Start(t)
	pythontest.Run(t, pythontest.Target{
		URL: server.URL,
		Bucket: &pythontest.Bucket{
			Name: gateway.Bucket(t), Endpoint: gateway.Endpoint, Region: gateway.Region,
			AccessKey: gateway.AccessKey, SecretKey: gateway.SecretKey,
		},
		Lacks: map[pythontest.Need]string{pythontest.NeedFiles: "the service of the SDK's tests hands out keys to nothing"},
		Known: map[string]string{
			"create-foreign-parent": "the service of the SDK's tests does not look at who names a parent",
			"object-options-false":  "the catalogue leaves out options that are false or empty",
		},
	})
}
