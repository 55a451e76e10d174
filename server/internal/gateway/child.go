package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3err"
)

// ChildArg is the first argument with which a program runs [RunChild] instead of
// what it does otherwise:
//
//	if len(os.Args) > 1 && os.Args[1] == gateway.ChildArg {
//		os.Exit(gateway.RunChild(context.Background()))
//	}
const ChildArg = "d6tpipe-gateway-child"

// childConfig is what the parent writes to the child's standard input, as one line
// of JSON. It holds keys: it is in no file, no argument and no environment.
type childConfig struct {
	Dir    string  `json:"dir"`
	Socket string  `json:"socket"`
	Bucket string  `json:"bucket"`
	Region string  `json:"region"`
	Keys   keyring `json:"keys"`
}

// Within EmbeddedConfig.Dir.
const (
	bucketsDir = "buckets"  // a folder per bucket, with the files as they are
	sidecarDir = "metadata" // what is known of the files where they cannot hold it themselves
	trashDir   = "trash"    // folders of deleted pipes, on their way
	socketsDir = "run"      // sockets
)

// The S3 server's limits, and the path that tells that it is there.
const (
	maxConnections = 4096
	maxRequests    = 1024
	maxParts       = 10_000
	maxCopy        = 5 << 30 // bytes in one copy, as Amazon has it
	healthPath     = "/-/health"
	objectOwner    = "d6tpipe" // of all that is stored; nobody has an account of this name
)

// RunChild is the S3 server of [Embedded]: the program starts itself once more for
// it, because the S3 server changes the working directory and keeps state that a
// process can have only once. It runs until its standard input ends or ctx does,
// and returns the process's exit code.
func RunChild(ctx context.Context) int {
	signal.Ignore(os.Interrupt) // a terminal sends it to both; the parent knows what is to be done
	if err := runChild(ctx, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "storage:", err)
		return 1
	}
	return 0
}

func runChild(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	decoder := json.NewDecoder(in)
	var cfg childConfig
	if err := decoder.Decode(&cfg); err != nil {
		return errors.New("started without a configuration on its standard input")
	}
	go func() { // ends with the process: nothing can wake a read
		defer cancel()
		io.Copy(io.Discard, in) //nolint:errcheck // however it ends, the parent is gone
	}()
	files, sidecar, err := openFiles(cfg.Dir)
	if err != nil {
		return err
	}
	if err := makeBucket(ctx, files, cfg.Bucket); err != nil {
		return err
	}
	var sweeping sync.WaitGroup
	defer sweeping.Wait()
	defer cancel()
	sweeping.Go(func() { sweepDaily(ctx, cfg, sidecar) })
	keys := iam{keys: cfg.Keys, bucket: cfg.Bucket}
	return embedgw.RunVersityGW(ctx, &guard{files: files, iam: keys, bucket: cfg.Bucket}, &embedgw.Config{
		RootUserAccess: "d6tpipe-" + randomName(), RootUserSecret: rand.Text(), // nobody knows them
		Region: cfg.Region, Ports: []string{cfg.Socket}, SocketPerm: "0600", HealthPath: healthPath,
		MaxConnections: maxConnections, MaxRequests: maxRequests, MultipartMaxParts: maxParts,
		KeepAlive: true, Quiet: true, DisableACLs: true, IAMService: keys,
	})
}

// openFiles opens the folder of the buckets. What is known of a file is in its
// extended attributes, or beside it where the file system has none; what was begun
// in one way stays so.
func openFiles(dir string) (files *posix.Posix, sidecar string, err error) {
	buckets := filepath.Join(dir, bucketsDir)
	for _, d := range []string{buckets, filepath.Join(dir, trashDir)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, "", fmt.Errorf("make the folder of the storage: %w", err)
		}
	}
	opts := posix.PosixOpts{ValidateBucketNames: true, CopyObjectThreshold: maxCopy}
	opts.SetNewDirPerm(0o750)
	opts.SetNewFilePerm(0o640)
	var known meta.MetadataStorer = meta.XattrMeta{}
	beside := filepath.Join(dir, sidecarDir)
	if _, err := os.Stat(beside); err == nil || !hasAttributes(buckets) {
		if err := os.MkdirAll(beside, 0o700); err != nil {
			return nil, "", fmt.Errorf("make the folder of the metadata: %w", err)
		}
		if known, err = meta.NewSideCar(beside); err != nil {
			return nil, "", fmt.Errorf("open the folder of the metadata: %w", err)
		}
		sidecar, opts.SideCarDir = beside, beside
	}
	if files, err = posix.New(buckets, known, opts); err != nil {
		return nil, "", fmt.Errorf("open the folder of the storage: %w", err)
	}
	return files, sidecar, nil
}

// hasAttributes reports whether files in dir can have attributes, by giving one to
// a file.
func hasAttributes(dir string) bool {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name()) //nolint:errcheck // an empty file with a name of its own
	defer f.Close()
	return meta.XattrMeta{}.StoreAttribute(f, "", "", "d6tpipe", []byte("probe")) == nil
}

func makeBucket(ctx context.Context, files *posix.Posix, bucket string) error {
	acl, err := json.Marshal(auth.ACL{Owner: objectOwner})
	if err != nil {
		return fmt.Errorf("make the bucket: %w", err)
	}
	ctx = context.WithValue(ctx, "bucket-owner", auth.Account{Access: objectOwner}) //nolint:staticcheck // the S3 server's key is a string
	err = files.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: &bucket, ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced, CreateBucketConfiguration: &types.CreateBucketConfiguration{},
	}, acl)
	if err != nil && !errors.Is(err, s3err.GetBucketErr(s3err.ErrBucketAlreadyOwnedByYou, bucket)) {
		return fmt.Errorf("make the bucket: %w", err)
	}
	return nil
}

// sweepDaily removes what interrupted operations left behind, once the start is over
// and then every day.
func sweepDaily(ctx context.Context, cfg childConfig, sidecar string) {
	for wait := time.Minute; ; wait = 24 * time.Hour {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := sweep(ctx, cfg.Dir, sidecar, cfg.Bucket, time.Now()); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "storage: sweep:", err) // the parent logs it
		}
	}
}
