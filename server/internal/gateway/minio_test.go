package gateway_test

import (
	"context"
	"crypto/rand"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/conform"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

// startMinIO starts a MinIO with an empty bucket: a server that makes temporary keys
// and heeds policies as Amazon's does. Its licence is the AGPL, so it is no part of
// this project and of no module of it; who has the program can have it asked.
func startMinIO(t testing.TB) gateway.STSConfig {
	t.Helper()
	program, err := exec.LookPath("minio")
	if err != nil {
		t.Skip("needs the program minio in PATH")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	l.Close()
	access, secret := "root-of-the-bucket", rand.Text()
	cmd := exec.CommandContext(t.Context(), program, "server", "--quiet", "--address", addr, t.TempDir())
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+access, "MINIO_ROOT_PASSWORD="+secret, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "HOME="+t.TempDir())
	require.NoError(t, cmd.Start())
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(func() { transport.CloseIdleConnections(); cmd.Process.Kill(); cmd.Wait() })
	client, err := minio.New(addr, &minio.Options{Creds: credentials.NewStaticV4(access, secret, ""), Region: "us-east-1", Transport: transport})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return client.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{}) == nil
	}, patience, 50*time.Millisecond)
	return gateway.STSConfig{BucketConfig: gateway.BucketConfig{
		Endpoint: "http://" + addr, Region: "us-east-1", Bucket: bucket, AccessKey: access, SecretKey: d6tpipe.Secret(secret), Transport: transport,
	}}
}

// TestMinIO: a real STS takes each policy, and a real S3 server heeds it.
func TestMinIO(t *testing.T) {
	cfg := startMinIO(t)
	s, err := gateway.NewSTS(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Healthy(t.Context()))
	w := world{url: cfg.Endpoint}
	as := func(g gateway.Grant) *minio.Core {
		t.Helper()
		c, err := s.Credentials(t.Context(), g)
		require.NoError(t, err)
		return w.clientWith(t, keysOf(c))
	}
	for name, p := range policies {
		g := p.grant
		if !p.deadline.IsZero() {
			g.Expires = time.Now().Add(time.Minute)
		}
		_, err := s.Credentials(t.Context(), g)
		require.NoError(t, err, name)
	}

	writer, reader, other := as(write("alice/x/")), as(read("alice/x/")), as(write("bob/x/"))
	for _, key := range []string{"alice/x/a.csv", "alice/x/old.csv", "alice/x/deep/b c.csv", "alice/x/notes.txt"} {
		put(t, writer, key, "data of "+key)
	}
	put(t, other, "bob/x/victim", "secret")
	body, err := get(t, reader, "alice/x/a.csv")
	require.NoError(t, err)
	require.Equal(t, "data of alice/x/a.csv", body)
	require.Len(t, keysIn(t, reader, minio.ListObjectsOptions{Prefix: "alice/x/", Recursive: true}), 4)
	id, err := writer.NewMultipartUpload(t.Context(), bucket, "alice/x/big", minio.PutObjectOptions{})
	require.NoError(t, err)
	_, err = writer.ListObjectParts(t.Context(), bucket, "alice/x/big", id, 0, 10)
	require.NoError(t, err)

	t.Run("refused", func(t *testing.T) { refusedByPolicy(t, writer, reader, id) })
	t.Run("filters", func(t *testing.T) {
		csv := as(write("alice/x/", d6tpipe.Filter{Include: "*.csv", Exclude: "old*"}))
		for key, ok := range map[string]bool{"a.csv": true, "deep/b c.csv": true, "old.csv": false, "notes.txt": false} {
			_, err := get(t, csv, "alice/x/"+key)
			require.Equal(t, ok, err == nil, "%s: %v", key, err)
			_, err = csv.Client.PutObject(t.Context(), bucket, "alice/x/"+key, strings.NewReader("x"), 1, minio.PutObjectOptions{})
			require.Equal(t, ok, err == nil, "%s: %v", key, err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		g := read("alice/x/")
		g.Expires = time.Now().Add(10 * time.Second)
		c := as(g)
		_, err := get(t, c, "alice/x/notes.txt")
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			_, err := get(t, c, "alice/x/notes.txt")
			return code(err) == "AccessDenied"
		}, patience, 200*time.Millisecond)
	})
	t.Run("boto3", func(t *testing.T) { boto3(t, s) })
	t.Run("conformance", func(t *testing.T) { conforms(t, s) })
	require.NoError(t, s.Remove(t.Context(), "alice/x/"))
	require.Empty(t, listed(t, s, read("alice/x/")))
	body, err = get(t, other, "bob/x/victim")
	require.NoError(t, err)
	require.Equal(t, "secret", body)
}

// refusedByPolicy is what keys for alice/x/ must not be good for. upload is one of the
// writer's that is not complete.
func refusedByPolicy(t *testing.T, writer, reader *minio.Core, upload string) {
	type try = func(ctx context.Context) error
	put := func(c *minio.Core, key string) try {
		return func(ctx context.Context) error {
			_, err := c.Client.PutObject(ctx, bucket, key, strings.NewReader("x"), 1, minio.PutObjectOptions{})
			return err
		}
	}
	read := func(c *minio.Core, key string) try {
		return func(ctx context.Context) error {
			_, _, _, err := c.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
			return err
		}
	}
	list := func(c *minio.Core, prefix string) try {
		return func(context.Context) error {
			_, err := c.ListObjectsV2(bucket, prefix, "", "", "", 10)
			return err
		}
	}
	for name, try := range map[string]try{
		"read key writes":           put(reader, "alice/x/a.csv"),
		"read key writes elsewhere": put(reader, "bob/x/victim"),
		"read key deletes": func(ctx context.Context) error {
			return reader.RemoveObject(ctx, bucket, "alice/x/a.csv", minio.RemoveObjectOptions{})
		},
		"read key begins an upload": func(ctx context.Context) error {
			_, err := reader.NewMultipartUpload(ctx, bucket, "alice/x/y", minio.PutObjectOptions{})
			return err
		},
		"read key ends an upload": func(ctx context.Context) error {
			return reader.AbortMultipartUpload(ctx, bucket, "alice/x/big", upload)
		},
		"another folder":          read(writer, "bob/x/victim"),
		"write to another folder": put(writer, "bob/x/victim"),
		"delete in another folder": func(ctx context.Context) error {
			return writer.RemoveObject(ctx, bucket, "bob/x/victim", minio.RemoveObjectOptions{})
		},
		"a sibling":           put(writer, "alice/x2/a"),
		"list all":            list(writer, ""),
		"list above":          list(writer, "alice/"),
		"list another folder": list(writer, "bob/x/"),
		"list uploads": func(ctx context.Context) error {
			_, err := writer.ListMultipartUploads(ctx, bucket, "", "", "", "", 10)
			return err
		},
		"copy from another folder": func(ctx context.Context) error {
			_, err := writer.CopyObject(ctx, bucket, "bob/x/victim", bucket, "alice/x/copy", nil, minio.CopySrcOptions{}, minio.PutObjectOptions{})
			return err
		},
		"a policy": func(ctx context.Context) error {
			return writer.SetBucketPolicy(ctx, bucket, `{"Version":"2012-10-17","Statement":[]}`)
		},
		"another bucket": func(ctx context.Context) error {
			return writer.MakeBucket(ctx, "another", minio.MakeBucketOptions{})
		},
		"remove the bucket": func(ctx context.Context) error { return writer.RemoveBucket(ctx, bucket) },
	} {
		require.Equal(t, "AccessDenied", code(try(t.Context())), name)
	}
}

// conforms runs the cases that every store must pass, with temporary keys.
func conforms(t *testing.T, s *gateway.STS) {
	c, err := s.Credentials(t.Context(), write("alice/y/"))
	require.NoError(t, err)
	where := d6tpipe.Storage{Protocol: d6tpipe.ProtocolS3, Location: bucket, Dir: "alice/y", Credentials: c.Values}
	report, err := conform.Run(t.Context(), conform.Remote{Dir: "check", Open: func(context.Context) (storage.Store, error) {
		return where.Open(d6tpipe.OpenOptions{})
	}}, conform.Options{})
	require.NoError(t, err)
	require.Empty(t, report.Left)
	passed := 0
	for _, r := range report.Results {
		switch r.Outcome {
		case conform.OK:
			passed++
		case conform.Failed:
			t.Errorf("%s: %s: %s", r.Case, r.Where, r.Reason)
		}
	}
	t.Logf("%d of %d cases passed", passed, len(report.Results))
	require.Greater(t, passed, len(report.Results)/2)
}

// boto3 runs what the Python client does, and may not do, with the keys.
func boto3(t *testing.T, s *gateway.STS) {
	python := pythons(t)[0]
	sets := map[string]map[string]any{}
	for role, g := range map[string]gateway.Grant{"write": write("alice/sales/"), "read": read("alice/sales/")} {
		c, err := s.Credentials(t.Context(), g)
		require.NoError(t, err)
		sets[role] = c.Values
	}
	runClient(t, python, sets, "policy")
}
