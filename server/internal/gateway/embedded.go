package gateway

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// EmbeddedConfig configures [NewEmbedded]. Dir, Master and PublicURL are needed.
type EmbeddedConfig struct {
	// Dir is the folder for everything. The files of a pipe are in
	// Dir/buckets/BUCKET/PREFIX, as they are.
	Dir string
	// Master is the secret from which all keys follow, of 32 bytes or more. Servers
	// that share it accept each other's keys.
	Master []byte
	// Previous are masters that were used before: their keys are good until they
	// expire.
	Previous [][]byte
	// PublicURL returns the URL under which the caller of a request reaches the
	// server, such as "https://pipes.example.com", without a path.
	PublicURL func(ctx context.Context) string
	// Bucket is the name of the bucket; "managed" by default.
	Bucket string
	// Region is what clients are told to sign for; "us-east-1" by default.
	Region string
	// TTL is for how long keys are good; [DefaultTTL] by default.
	TTL time.Duration
	// Check, when it is set, is asked for every request that comes in with keys of
	// grant g, so that keys end at once when a permission does: [ErrDenied] refuses
	// the request, and with any other error the client is told to try again.
	Check func(ctx context.Context, g Grant) error
	// Program is what runs the S3 server: it calls [RunChild]. By default that is
	// this program with [ChildArg].
	Program []string
	// Log receives what happens to the S3 server; nothing by default.
	Log *slog.Logger
}

// Embedded is the storage that the server brings along.
type Embedded struct {
	cfg    EmbeddedConfig
	keys   keyring
	super  *supervisor
	front  *front
	client *http.Client // speaks to the child
	socket string       // its folder
	stop   context.CancelFunc
	done   sync.WaitGroup
}

var _ Storage = (*Embedded)(nil)

var isBucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`).MatchString

// NewEmbedded opens the storage in cfg.Dir and starts its S3 server, which is ready
// a moment later: requests wait for it. The caller must call Close.
func NewEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	keys, err := newKeyring(append([][]byte{cfg.Master}, cfg.Previous...)...)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the storage: %w", err)
	}
	socket, err := socketFolder(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("make a folder for the storage's socket: %w", err)
	}
	e := &Embedded{cfg: cfg, keys: keys, socket: socket}
	e.super = &supervisor{
		program: cfg.Program, log: cfg.Log,
		config: childConfig{Dir: cfg.Dir, Socket: filepath.Join(socket, socketName), Bucket: cfg.Bucket, Region: cfg.Region, Keys: keys},
	}
	e.client = &http.Client{Transport: e.transport()}
	e.super.client = e.client
	e.front = newFront(e)
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.done.Go(func() { e.super.run(ctx) })
	return e, nil
}

func (cfg EmbeddedConfig) withDefaults() (EmbeddedConfig, error) {
	if cfg.Dir == "" || cfg.PublicURL == nil {
		return cfg, errors.New("the embedded storage needs a folder and a public URL")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return cfg, fmt.Errorf("find the folder of the storage: %w", err)
	}
	cfg.Dir = dir
	if cfg.Bucket == "" {
		cfg.Bucket = "managed"
	}
	if !isBucketName(cfg.Bucket) {
		return cfg, fmt.Errorf("%q is no name for a bucket", cfg.Bucket)
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Program) == 0 {
		program, err := thisProgram()
		if err != nil {
			return cfg, fmt.Errorf("find this program: %w", err)
		}
		cfg.Program = []string{program, ChildArg}
	}
	return cfg, nil
}

// thisProgram is the path of this program, of its very version where the system can
// say that: an upgrade may have put another file in its place.
func thisProgram() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

// transport speaks HTTP to the child, when it is up.
func (e *Embedded) transport() *http.Transport {
	return &http.Transport{
		DialContext:           e.dial,
		DisableCompression:    true, // it would change what clients asked for
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       time.Minute,
		ExpectContinueTimeout: time.Second,
		ReadBufferSize:        copyBuffer,
		WriteBufferSize:       copyBuffer,
	}
}

// DialContext connects to the S3 server itself, whatever the address: for the
// server's own requests, with keys like any others.
func (e *Embedded) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := e.super.up.wait(ctx, startLimit); err != nil {
		return nil, err
	}
	return e.dial(ctx, "", "")
}

func (e *Embedded) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(e.socket, socketName))
}

// Bucket is the bucket that all grants are for.
func (e *Embedded) Bucket() string { return e.cfg.Bucket }

// Credentials makes keys for g. Nothing is stored.
func (e *Embedded) Credentials(ctx context.Context, g Grant) (Credentials, error) {
	keys, end, err := e.mint(g)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{Values: values(keys.access, keys.secret, keys.token, e.cfg.PublicURL(ctx), e.cfg.Region), Expires: end}, nil
}

// Inside returns keys for [Embedded.DialContext]: the address is none of the network's.
func (e *Embedded) Inside(_ context.Context, g Grant) (map[string]any, error) {
	keys, _, err := e.mint(g)
	if err != nil {
		return nil, err
	}
	all := values(keys.access, keys.secret, keys.token, "http://storage.internal", e.cfg.Region)
	all["insecure"] = true
	return all, nil
}

func (e *Embedded) mint(g Grant) (temporary, time.Time, error) {
	end, err := g.until(time.Now(), e.cfg.TTL)
	if err != nil {
		return temporary{}, end, err
	}
	if _, err := newAccess(g); err != nil {
		return temporary{}, end, err
	}
	g.Expires = end
	keys, err := e.keys.mint(e.cfg.Bucket, g)
	return keys, end, err
}

// List yields what g shows.
func (e *Embedded) List(ctx context.Context, g Grant) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		g.Role, g.Expires = d6tpipe.RoleRead, time.Now().Add(MaxTTL)
		client, err := e.clientFor(ctx, g)
		if err != nil {
			yield(Object{}, err)
			return
		}
		list(ctx, client, e.cfg.Bucket, g)(yield)
	}
}

// clientFor is a client of the child.
func (e *Embedded) clientFor(ctx context.Context, g Grant) (*minio.Client, error) {
	if err := e.super.up.wait(ctx, startLimit); err != nil {
		return nil, err
	}
	keys, _, err := e.mint(g)
	if err != nil {
		return nil, err
	}
	return minio.New("storage", &minio.Options{
		Creds:     credentials.NewStaticV4(keys.access, keys.secret, keys.token),
		Region:    e.cfg.Region,
		Transport: e.client.Transport,
	})
}

// Remove deletes a folder: it is gone from sight at once, and from the disk when
// Remove returns, or after the next start.
func (e *Embedded) Remove(ctx context.Context, prefix string) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	root, err := os.OpenRoot(e.cfg.Dir)
	if err != nil {
		return fmt.Errorf("remove %q: %w", prefix, err)
	}
	defer root.Close()
	if err := e.trash(ctx, root, prefix); err != nil {
		return fmt.Errorf("remove %q: %w", prefix, err)
	}
	return nil
}

// trash moves a folder and what lies beside it away before it deletes either: that may
// take long, and meanwhile somebody else may have got the folder.
func (e *Embedded) trash(ctx context.Context, root *os.Root, prefix string) error {
	if err := ignoreMissing(root.MkdirAll(trashDir, 0o700)); err != nil {
		return err
	}
	var moved []string
	for _, kind := range []string{bucketsDir, sidecarDir} {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		folder, to := filepath.Join(kind, e.cfg.Bucket, filepath.FromSlash(prefix)), filepath.Join(trashDir, randomName())
		switch err := root.Rename(folder, to); {
		case err == nil:
			moved = append(moved, to)
		case ignoreMissing(err) != nil:
			return err
		}
	}
	var failed error
	for _, folder := range moved {
		failed = errors.Join(failed, root.RemoveAll(folder))
	}
	return failed
}

// Healthy reports whether the S3 server answers.
func (e *Embedded) Healthy(ctx context.Context) error {
	if err := e.super.healthy(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	return nil
}

// Handler answers S3 requests.
func (e *Embedded) Handler() http.Handler { return e.front }

// Close ends the S3 server, after the requests that are under way. The caller stops
// its own server before.
func (e *Embedded) Close() error {
	e.stop()
	e.done.Wait()
	e.client.CloseIdleConnections()
	return os.RemoveAll(e.socket)
}
