package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/d6t/d6tpipe-go/server"
)

const serveLong = `Serve the repo API, and storage for pipes that have none, until a signal says
to end. Without any flag it works for this machine alone: on loopback, with its
database and files in a data folder of yours, and open for registration.

Every flag has a variable: --public-url is D6TPIPE_SERVE_PUBLIC_URL. A flag wins.
A password belongs into the variable, because everybody on the machine can read
a command line. SIGTERM and SIGINT end the server when what runs is done; a
second one ends it at once.`

const serveExample = `  # try it
  d6tpipe serve

  # for a team, with TLS
  d6tpipe serve --listen :443 --tls-cert /etc/d6tpipe/cert.pem --tls-key /etc/d6tpipe/key.pem \
    --data /var/lib/d6tpipe --registration closed

  # behind a proxy on the same machine, with PostgreSQL and a bucket
  D6TPIPE_SERVE_DATABASE=postgres://d6tpipe:PASSWORD@db.example.com/d6tpipe \
  d6tpipe serve --storage s3://team-data --trusted-proxy 127.0.0.1 --public-url https://data.example.com`

// A serving is what the flags of serve say.
type serving struct {
	config    server.Config
	logFormat string
	flags     *pflag.FlagSet // those that have variables
}

func newServe() *cobra.Command { return new(serving).command() }

func (s *serving) command() *cobra.Command {
	c := &cobra.Command{
		Use:     "serve",
		Short:   "Serve the repo API",
		Long:    serveLong,
		Example: serveExample,
		Args:    exactly(0),
		RunE:    func(c *cobra.Command, _ []string) error { return s.serve(c) },
	}
	shared, listen := s.sharedFlags(), s.listenFlags()
	c.PersistentFlags().AddFlagSet(shared)
	c.Flags().AddFlagSet(listen)
	s.flags = pflag.NewFlagSet("variables", pflag.ContinueOnError)
	s.flags.AddFlagSet(shared)
	s.flags.AddFlagSet(listen)
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return s.complete(c) }
	c.AddCommand(newBackup(s), newRestore(s), newRotateKey(s), newServeAdmin(s))
	return c
}

// sharedFlags are those that every command needs which looks at the data.
func (s *serving) sharedFlags() *pflag.FlagSet {
	f := pflag.NewFlagSet("data", pflag.ContinueOnError)
	f.StringVar(&s.config.Data, "data", "", "`folder` for the database, the key and the files (default: d6tpipe-server in the user's data folder)")
	f.StringVar(&s.config.Database, "database", "", "`URL` of the database, postgres://USER@HOST/NAME (default: SQLite in the data folder)")
	f.StringVar(&s.config.KeyFile, "key-file", "", "`file` with the key that seals stored credentials, made when it is missing (default: in the user's folder for configuration)")
	f.StringVar(&s.logFormat, "log-format", "text", "format of the log on standard error: text or json")
	return f
}

func (s *serving) listenFlags() *pflag.FlagSet {
	c := &s.config
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.StringVar(&c.Listen, "listen", server.DefaultListen, "`address` to listen on")
	f.StringVar(&c.Storage, "storage", "", "`URL` of the storage for managed pipes, s3://BUCKET (default: a folder in the data folder)")
	f.StringVar(&c.TLSCert, "tls-cert", "", "PEM `file` with the certificate and its chain; read anew when it changes")
	f.StringVar(&c.TLSKey, "tls-key", "", "PEM `file` with the certificate's key")
	f.StringVar(&c.PublicURL, "public-url", "", "`URL` by which clients reach this server, when a proxy is before it")
	f.Var((*prefixes)(&c.TrustedProxies), "trusted-proxy", "address or range of proxies whose X-Forwarded-For is believed; may be repeated")
	f.Var((*prefixes)(&c.AllowDial), "allow-dial", "private address or range where users' remotes and webhooks may lie; may be repeated")
	f.BoolVar(&c.WebhookHTTP, "webhook-http", false, "let users have webhooks without TLS, http://")
	f.StringVar((*string)(&c.Registration), "registration", string(server.RegistrationOpen), "who may open accounts: open or closed")
	f.BoolVar(&c.Demo, "demo", false, "let everybody use the account demo, which can change nothing")
	f.BoolVar(&c.ShareUnfiltered, "share-unfiltered", false, "let owners share children with filters although whoever gets the keys of their storage can read more, as the old cloud did")
	f.StringVar(&c.Message, "message", "", "`text` that users read when they connect")
	f.DurationVar(&c.ListingAge, "listing-age", 30*time.Second, "how old a listing may be before a pull has it made anew; a negative one is never")
	f.DurationVar(&c.ChangesAge, "changes-age", 7*24*time.Hour, "for how long changes of files are kept for who follows them; a negative one is for ever")
	f.Var((*jobsFlag)(&c.Jobs), "jobs", "how many pipes are scanned on their schedules at a time (default 2); with 0 this server does nothing by itself, and leaves it to others on its database")
	f.DurationVar(&c.AuditAge, "audit-age", 365*24*time.Hour, "for how long the audit log is kept; a negative one is for ever")
	f.Var((*jobsFlag)(&c.Mirrors), "mirrors", "how many mirrors are run at a time (default 2); with 0 this server runs none, and leaves them to others on its database")
	f.Var((*byteRate)(&c.MirrorRate), "mirror-rate", "`BYTES` a second that all mirrors together may move, such as 50MiB (default: no limit)")
	f.StringVar(&c.MetricsListen, "metrics-listen", "", "`address` of its own for /metrics (default: on the main one, for --metrics-from)")
	f.Var((*prefixes)(&c.MetricsFrom), "metrics-from", "address or range that may read /metrics; may be repeated (default: loopback)")
	f.DurationVar(&c.DrainTime, "drain-time", 0, "how long, before it ends, the server still serves while /readyz says no")
	f.DurationVar(&c.ShutdownTimeout, "shutdown-timeout", 30*time.Second, "how long running requests may take before they are cut")
	f.IntVar(&c.MaxConnections, "max-connections", 0, "connections at a time (default 10000, or what the system allows)")
	f.IntVar(&c.MaxRequests, "max-requests", 0, "requests to the API at a time (default 1024)")
	f.IntVar(&c.MaxTransfers, "max-transfers", 0, "transfers of managed storage at a time (default 512)")
	return f
}

// jobsFlag is a number for which the zero value of [server.Config] stands for the
// default, and a negative one for none.
type jobsFlag int

func (j *jobsFlag) String() string { return strconv.Itoa(max(int(*j), 0)) }
func (j *jobsFlag) Type() string   { return "int" }

func (j *jobsFlag) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("it must be a number, 0 or more")
	}
	if *j = jobsFlag(n); n == 0 {
		*j = -1
	}
	return nil
}

// complete takes the environment into account, and refuses what cannot be meant.
func (s *serving) complete(c *cobra.Command) error {
	for _, name := range []string{"database", "storage"} {
		if f := c.Flags().Lookup(name); f != nil && f.Changed && server.HasPassword(f.Value.String()) {
			return usage(c, fmt.Errorf("--%s: everybody on this machine can read a password on a command line; put the URL into %s", name, envName(name)))
		}
	}
	if err := fromEnvironment(c, s.flags); err != nil {
		return err
	}
	log, err := newLog(c.ErrOrStderr(), s.logFormat)
	if err != nil {
		return usage(c, err)
	}
	s.config.Log, s.config.Version = log, thisBuild().Version
	if err := s.config.Validate(); err != nil {
		return usage(c, err)
	}
	s.config, err = s.config.WithDefaults()
	return err
}

func newLog(w io.Writer, format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, fmt.Errorf("log-format: %q is neither text nor json", format)
}

// serve listens before it opens the database: an address that is taken is told
// at once, and nothing was touched.
func (s *serving) serve(c *cobra.Command) (err error) {
	ctx, log := c.Context(), s.config.Log
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", s.config.Listen)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }() // Serve has closed it already
	for _, name := range unknownSettings(os.Environ(), s.flags) {
		log.Warn("a variable is no setting, and is ignored; serve --help lists the settings", "variable", name)
	}
	srv, err := server.New(ctx, s.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	stop, err := s.serveMetrics(ctx, srv)
	if err != nil {
		return err
	}
	defer stop()
	log.Info("serving", "address", l.Addr().String(), "tls", s.config.TLSCert != "", "data", s.config.Data, "registration", string(s.config.Registration), "version", s.config.Version)
	err = srv.Serve(ctx, l)
	log.Info("ended")
	return err
}

// serveMetrics serves /metrics on an address of its own until stop is called.
func (s *serving) serveMetrics(ctx context.Context, srv *server.Server) (stop func(), err error) {
	if s.config.MetricsListen == "" {
		return func() {}, nil
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", s.config.MetricsListen)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", srv.Metrics())
	metrics := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := metrics.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.config.Log.Error("metrics are not served any more", "error", err)
		}
	}()
	s.config.Log.Info("serving metrics", "address", l.Addr().String())
	return func() {
		_ = metrics.Close()
		<-done
	}, nil
}
