package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Serve answers on l, which it closes, until ctx ends. Then /readyz says no;
// after DrainTime no connection is accepted any more; what runs may finish
// within ShutdownTimeout, and is cut afterwards. That is no error. Handlers see
// the values of ctx, and their own context ends only when they are cut.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := s.server(base)
	failed := make(chan error, 1)
	go func() { failed <- s.listen(server, l) }()
	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("httpd: %w", err), server.Close())
	case <-ctx.Done():
	}
	s.config.Log.Info("shutting down", "requests", s.inflight.count())
	s.ready.stop()
	select {
	case <-time.After(s.config.DrainTime):
	case err := <-failed:
		return errors.Join(fmt.Errorf("httpd: %w", err), server.Close())
	}
	s.shutdown(server, cut)
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("httpd: %w", err)
	}
	return nil
}

// cutTime is how long a handler may take to notice that its context has ended.
const cutTime = 5 * time.Second

// shutdown waits for what runs. The connections are closed before the contexts
// end, so that no half answer of a handler that gives up looks like a whole one.
func (s *Server) shutdown(server *http.Server, cut context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.ShutdownTimeout)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		s.config.Log.Warn("requests are cut", "requests", s.inflight.count())
		_ = server.Close()
		cut()
	}
	if n := s.inflight.wait(cutTime); n > 0 {
		s.config.Log.Error("requests do not end", "requests", n)
	}
	s.ready.wait(cutTime)
}

func (s *Server) listen(server *http.Server, l net.Listener) error {
	l = &listener{l, s.conns}
	if server.TLSConfig != nil {
		return server.ServeTLS(l, "", "")
	}
	return server.Serve(l)
}

func (s *Server) server(base context.Context) *http.Server {
	limits := s.config.Limits
	server := &http.Server{
		Handler:                      s.handler,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            limits.HeaderTime,
		WriteTimeout:                 limits.StallTime, // for what net/http says itself; see paced
		IdleTimeout:                  limits.IdleTime,
		MaxHeaderBytes:               limits.Header,
		ConnState:                    s.conns.state,
		ConnContext:                  s.conns.context,
		BaseContext:                  func(net.Listener) context.Context { return base },
		ErrorLog:                     slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug), // broken handshakes and the like: strangers' noise
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 128, SendPingTimeout: limits.IdleTime / 2, PingTimeout: 15 * time.Second, WriteByteTimeout: limits.StallTime},
	}
	if s.config.Certificate != nil {
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.config.Certificate.get}
	}
	return server
}
