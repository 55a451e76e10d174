package storage

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// NewTransport is how drivers that speak HTTP to a bucket connect; dial nil is the
// usual way. It keeps as many connections as a pull has workers: the default of two
// idle ones would make most requests pay for a new connection. Compression is off,
// because it would hide the length and the bytes that were asked for.
func NewTransport(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Transport {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   64,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true,
	}
	if dial != nil {
		t.Proxy, t.DialContext = nil, dial
	}
	return t
}
