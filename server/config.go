// Package server is the on-prem repo API of d6tpipe: accounts, permissions,
// credentials and managed storage behind the HTTP contract of package wire. The
// program `d6tpipe serve` is little more than its [Config].
package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// Registration says who may open an account.
type Registration string

// The values of [Registration].
const (
	RegistrationOpen   Registration = "open"   // anybody who reaches the server
	RegistrationClosed Registration = "closed" // the administrator opens accounts
)

// DefaultListen is loopback: who wants more says so.
const DefaultListen = "127.0.0.1:8670"

// Config is everything that an administrator decides. The zero value works: on
// loopback, with SQLite and storage in the data folder. Errors of [Config.Validate]
// name the field as the command line does.
type Config struct {
	// Listen is the address of the API and of managed storage, host:port;
	// [DefaultListen].
	Listen string
	// Data is the folder for the database, the key and the stored files, as far
	// as they have no place of their own; see [DefaultData]. It is made when
	// it is missing, readable by its owner only.
	Data string
	// Database is "", a path or sqlite:///path, or postgres://user:password@host/name.
	// Empty is SQLite in Data. It may hold a password and must not be logged.
	Database string
	// Storage is where the files of managed pipes lie: "", a path or file:///path,
	// or s3://bucket?endpoint_url=...&region_name=.... Empty is a folder in Data. The
	// keys of a bucket come from the environment, as for any S3 program.
	Storage string
	// TLSCert and TLSKey are PEM files, read anew when they change; both or
	// neither.
	TLSCert, TLSKey string
	// PublicURL is how clients reach the server, when that is not what the
	// request's Host says: https://data.example.com. It has no path.
	PublicURL string
	// TrustedProxies are the addresses whose X-Forwarded-For and
	// X-Forwarded-Proto are believed.
	TrustedProxies []netip.Prefix
	// AllowDial are private addresses at which users' remotes and webhooks may lie. Public ones
	// always may, loopback and link-local ones only when they are listed.
	AllowDial []netip.Prefix
	// WebhookHTTP lets users enter addresses of webhooks that have no TLS. Without it
	// they begin with https://.
	WebhookHTTP bool
	// ListingAge is how old a listing of a pipe may be before a pull has it made anew;
	// 30 s, and never with a negative one: then each pull lists the storage itself.
	ListingAge time.Duration
	// Jobs is how many pipes are scanned on their schedules at a time; 2. With a negative
	// one this server does nothing by itself, and leaves that to others on its database.
	Jobs int
	// Mirrors is how many mirrors are run at a time; 2. With a negative number this server
	// runs none, as with a negative Jobs.
	Mirrors int
	// MirrorRate is how many bytes a second all mirrors together may move on this server;
	// 0 is no limit.
	MirrorRate int64
	// AuditAge is for how long the audit log and the usage of pipes are kept; 365 days,
	// and for ever with a negative one.
	AuditAge time.Duration
	// ChangesAge is for how long changes of pipes' files are kept for those who follow
	// them; 7 days, and for ever with a negative one. Those of one pipe take no more than
	// 64 MiB.
	ChangesAge time.Duration
	// Registration says who may open an account; open.
	Registration Registration
	// Message is what users read when they connect.
	Message string
	// Demo opens the account demo with the password demo, which everybody may use and
	// which can change nothing.
	Demo bool
	// ShareUnfiltered lets the owner of a pipe on storage of their own share a child of
	// it that has filters, as the old cloud did, although whoever gets its keys can
	// read more than the filters let through. Without it each such grant has to
	// accept that, which the Python client cannot say.
	ShareUnfiltered bool
	// KeyFile holds the key that seals stored credentials; made when it is
	// missing. Empty is [KeyVariable] in the environment, else a file in the user's
	// folder for configuration, away from Data.
	KeyFile string

	// MetricsListen is an address of its own for /metrics, without TLS and open to
	// whoever reaches it. Empty leaves /metrics on Listen, for MetricsFrom.
	MetricsListen string
	// MetricsFrom are the peers that may read /metrics on Listen; loopback.
	MetricsFrom []netip.Prefix
	// DrainTime is how long, when told to end, the server says that it is not
	// ready and still serves; none.
	DrainTime time.Duration
	// ShutdownTimeout is how long running requests may then take; 30 s.
	ShutdownTimeout time.Duration
	// MaxConnections, MaxRequests (to the API) and MaxTransfers (of managed
	// storage) are how many there may be at a time; 0 means the defaults.
	MaxConnections, MaxRequests, MaxTransfers int

	// mirrorCheck is how often a run of a mirror looks whether it may go on.
	mirrorCheck time.Duration
	// mirrorTurn is after how long it lets others have its worker.
	mirrorTurn time.Duration
	// lease is for how long a run of a job belongs to a server that may have died; 0 is the
	// jobs' own.
	lease time.Duration

	// Log is told of requests and of what goes wrong, never of secrets; nil is
	// silent.
	Log *slog.Logger
	// Version is shown by the metrics and the API's description.
	Version string
}

// DefaultData returns the data folder of whoever runs the program:
// $XDG_DATA_HOME/d6tpipe-server, ~/.local/share/d6tpipe-server without it, and
// the system's folder for a program's data on Windows and macOS.
func DefaultData() (string, error) {
	const name = "d6tpipe-server"
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, name), nil
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		dir, err := os.UserConfigDir()
		return filepath.Join(dir, name), noHome(err)
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "share", name), noHome(err)
}

func noHome(err error) error {
	if err != nil {
		return fmt.Errorf("there is no home for the data, name a folder: %w", err)
	}
	return nil
}

// WithDefaults returns c with what is missing filled in.
func (c Config) WithDefaults() (Config, error) {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.Data == "" {
		var err error
		if c.Data, err = DefaultData(); err != nil {
			return c, err
		}
	}
	if c.Registration == "" {
		c.Registration = RegistrationOpen
	}
	if c.ListingAge == 0 {
		c.ListingAge = 30 * time.Second
	}
	c.ListingAge = max(c.ListingAge, 0)
	if c.mirrorTurn == 0 {
		c.mirrorTurn = mirrorTurn
	}
	if c.mirrorCheck == 0 {
		c.mirrorCheck = mirrorCheck
	}
	if c.Mirrors == 0 {
		c.Mirrors = 2
	}
	if c.Jobs == 0 {
		c.Jobs = 2
	}
	if c.AuditAge == 0 {
		c.AuditAge = 365 * 24 * time.Hour
	}
	if c.ChangesAge == 0 {
		c.ChangesAge = 7 * 24 * time.Hour
	}
	if c.ShutdownTimeout == 0 {
		c.ShutdownTimeout = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Validate reports what cannot be meant. It looks at no file and no network, and
// its errors quote nothing that may hold a password.
func (c Config) Validate() error {
	return errors.Join(
		checkListen("listen", c.Listen),
		checkListen("metrics-listen", c.MetricsListen),
		checkURL("database", c.Database, "sqlite", "postgres", "postgresql"),
		checkStorage(c.Storage),
		checkPublicURL(c.PublicURL),
		c.checkTLS(),
		c.checkRegistration(),
		c.checkNumbers(),
	)
}

func checkListen(name, address string) error {
	if address == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return fmt.Errorf("%s: %q is no address such as 127.0.0.1:8670 or :8670", name, address)
	}
	return nil
}

// checkURL takes what has no scheme for a path.
func checkURL(name, value string, schemes ...string) error {
	scheme, ok := schemeOf(value)
	if !ok {
		return nil
	}
	if !slices.Contains(schemes, scheme) {
		return fmt.Errorf("%s: %s:// is none of the schemes %v", name, scheme, schemes)
	}
	if _, err := parseURL(value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func checkStorage(value string) error {
	if err := checkURL("storage", value, "file", "s3"); err != nil {
		return err
	}
	if scheme, _ := schemeOf(value); scheme == "s3" {
		if _, err := parseBucket(value); err != nil {
			return fmt.Errorf("storage: %w", err)
		}
	}
	return nil
}

func checkPublicURL(value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("public-url: it must be a URL such as https://data.example.com")
	}
	if u.Path != "" && u.Path != "/" {
		return errors.New("public-url: it must not have a path, because the signatures of managed storage cover paths")
	}
	return nil
}

func (c Config) checkTLS() error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("tls-cert and tls-key: name both files, or neither")
	}
	return nil
}

func (c Config) checkRegistration() error {
	switch c.Registration {
	case "", RegistrationOpen, RegistrationClosed:
		return nil
	}
	return fmt.Errorf("registration: %q is neither open nor closed", c.Registration)
}

func (c Config) checkNumbers() error {
	if c.MaxConnections < 0 || c.MaxRequests < 0 || c.MaxTransfers < 0 {
		return errors.New("max-connections, max-requests and max-transfers: they cannot be negative")
	}
	if c.MirrorRate != 0 && c.MirrorRate < d6tpipe.MinMirrorRate {
		return fmt.Errorf("mirror-rate: it is in bytes a second, at least %d, or 0 for no limit", d6tpipe.MinMirrorRate)
	}
	if c.ShutdownTimeout < 0 || c.DrainTime < 0 {
		return errors.New("shutdown-timeout and drain-time: they cannot be negative")
	}
	return nil
}
