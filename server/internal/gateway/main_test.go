package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"github.com/d6t/d6tpipe-go/internal/leaktest"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

// s3Arg makes the tests' program a plain S3 server.
const s3Arg = "gateway-test-s3"

// The tests' program is also the ones that they start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case gateway.ChildArg:
			os.Exit(gateway.RunChild(context.Background()))
		case s3Arg:
			fmt.Fprintln(os.Stderr, runS3())
			os.Exit(1)
		}
	}
	leaktest.Main(m)
}

// An s3Server is what runS3 reads from its standard input.
type s3Server struct{ Dir, Addr, Access, Secret string }

func runS3() error {
	var s s3Server
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return err
	}
	files, err := posix.New(s.Dir, meta.XattrMeta{}, posix.PosixOpts{})
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(context.Background(), files, &embedgw.Config{
		RootUserAccess: s.Access, RootUserSecret: s.Secret, Ports: []string{s.Addr},
		MaxConnections: 100, MaxRequests: 100, MultipartMaxParts: 10_000, Quiet: true, KeepAlive: true,
	})
}
