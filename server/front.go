package server

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/d6t/d6tpipe-go/server/internal/httpd"
)

// front is what stands between the network and the handlers.
func (c Config) front(metrics *prometheus.Registry, api, storage http.Handler, checks ...httpd.Check) (*httpd.Server, error) {
	var certificate *httpd.Certificate
	if c.TLSCert != "" {
		var err error
		if certificate, err = httpd.LoadCertificate(c.TLSCert, c.TLSKey, c.Log); err != nil {
			return nil, err
		}
	}
	return httpd.New(httpd.Config{
		API: api, Storage: storage, Checks: checks, Certificate: certificate,
		TrustedProxies: c.TrustedProxies, MetricsFrom: c.MetricsFrom, NoMetrics: c.MetricsListen != "",
		ShutdownTimeout: c.ShutdownTimeout, DrainTime: c.DrainTime,
		Limits: httpd.Limits{Connections: c.MaxConnections, Requests: c.MaxRequests, Transfers: c.MaxTransfers},
		Log:    c.Log, Registry: metrics, Version: c.Version,
	})
}
