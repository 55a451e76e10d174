package d6tpipe_test

import (
	"testing"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/apitest"
)

// TestLocalConformance runs the suite on the JSON file.
func TestLocalConformance(t *testing.T) {
	apitest.Run(t, func(t *testing.T) d6tpipe.API { return localAPI(t) })
}

func localAPI(t testing.TB) *d6tpipe.APILocal {
	api, _ := local(t)
	return api
}
