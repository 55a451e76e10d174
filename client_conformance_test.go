package d6tpipe_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/apitest"
	"github.com/d6t/d6tpipe-go/internal/wire"
	"github.com/d6t/d6tpipe-go/internal/wire/wiretest"
)

// TestClientConformance runs the suite on the client, the wire and the JSON
// file.
func TestClientConformance(t *testing.T) {
	apitest.Run(t, func(t *testing.T) d6tpipe.API {
		url := serve(t, wire.Handler(localAPI(t).Backend()).ServeHTTP)
		return dial(t, url, d6tpipe.Limits{})
	})
}

// TestAccountConformance runs the suite as a user of a service with accounts.
func TestAccountConformance(t *testing.T) {
	apitest.Run(t, func(t *testing.T) d6tpipe.API {
		service := wiretest.New(localAPI(t).Backend())
		client := dial(t, serve(t, wire.New(service, wire.Options{}).ServeHTTP), d6tpipe.Limits{})
		_, err := client.Register(t.Context(), "me", "me@example.com", "secret")
		require.NoError(t, err)
		return client
	})
}
