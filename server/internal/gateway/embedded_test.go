package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

func TestEmbeddedCredentials(t *testing.T) {
	w := start(t)
	c, err := w.Credentials(t.Context(), write("alice/sales/"))
	require.NoError(t, err)
	names := []string{"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "endpoint_url", "region_name"}
	require.Len(t, c.Values, len(names), "the Python client passes all of them to boto3")
	for _, name := range names {
		require.NotEmpty(t, c.Values[name], name)
	}
	require.Equal(t, w.url, c.Values["endpoint_url"])
	require.WithinDuration(t, time.Now().Add(time.Hour), c.Expires, patience)
	again, err := w.Credentials(t.Context(), write("alice/sales/"))
	require.NoError(t, err)
	require.NotEqual(t, c.Values["aws_access_key_id"], again.Values["aws_access_key_id"], "a renewed set has another id")
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(format, c)
		require.NotContains(t, text, c.Values["aws_secret_access_key"], format)
		require.NotContains(t, text, c.Values["aws_session_token"], format)
	}

	long, err := w.Credentials(t.Context(), gateway.Grant{Prefix: "a/b/", Role: d6tpipe.RoleRead, Expires: time.Now().Add(99 * time.Hour)})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(gateway.MaxTTL), long.Expires, patience)

	for name, g := range map[string]gateway.Grant{
		"no role":     {Prefix: "a/b/"},
		"admin":       {Prefix: "a/b/", Role: d6tpipe.RoleAdmin},
		"no folder":   read(""),
		"root":        read("/"),
		"no slash":    read("a/b"),
		"dots":        read("a/../b/"),
		"hidden":      read(".sgwtmp/multipart/"),
		"twice":       read("a//b/"),
		"backslash":   read(`a\b/`),
		"expired":     {Prefix: "a/b/", Role: d6tpipe.RoleRead, Expires: time.Now().Add(-time.Minute)},
		"long filter": read("a/b/", d6tpipe.Filter{Include: strings.Repeat("a long name of a file*.csv|", 200)}),
	} {
		_, err := w.Credentials(t.Context(), g)
		require.ErrorIs(t, err, gateway.ErrGrant, name)
	}
}

// All that the clients of the SDK and of Python do.
func TestEmbeddedAllows(t *testing.T) {
	w := start(t)
	writer, reader := w.client(t, write("alice/sales/")), w.client(t, read("alice/sales/"))

	put(t, writer, "alice/sales/2026.csv", "a,b\n")
	put(t, writer, "alice/sales/deep/er/x y+ü%41&=.csv", "deep")
	for _, c := range []*minio.Core{writer, reader} {
		body, err := get(t, c, "alice/sales/deep/er/x y+ü%41&=.csv")
		require.NoError(t, err)
		require.Equal(t, "deep", body)
		info, err := c.StatObject(t.Context(), bucket, "alice/sales/2026.csv", minio.StatObjectOptions{})
		require.NoError(t, err)
		require.EqualValues(t, 4, info.Size)
		require.Equal(t, []string{"alice/sales/2026.csv", "alice/sales/deep/er/x y+ü%41&=.csv"}, keysIn(t, c, minio.ListObjectsOptions{Prefix: "alice/sales/", Recursive: true}))
		require.Equal(t, []string{"alice/sales/2026.csv", "alice/sales/deep/er/x y+ü%41&=.csv"}, keysIn(t, c, minio.ListObjectsOptions{Prefix: "alice/sales/", Recursive: true, UseV1: true}))
		require.Equal(t, []string{"alice/sales/2026.csv", "alice/sales/deep/"}, keysIn(t, c, minio.ListObjectsOptions{Prefix: "alice/sales/"}))
		found, err := c.BucketExists(t.Context(), bucket)
		require.NoError(t, err)
		require.True(t, found)
		region, err := c.GetBucketLocation(t.Context(), bucket)
		require.NoError(t, err)
		require.Equal(t, "us-east-1", region)
	}
	onDisk, err := os.ReadFile(w.file("alice/sales/2026.csv"))
	require.NoError(t, err)
	require.Equal(t, "a,b\n", string(onDisk), "files lie there as they are")

	_, err = writer.CopyObject(t.Context(), bucket, "alice/sales/2026.csv", bucket, "alice/sales/copy.csv", nil, minio.CopySrcOptions{}, minio.PutObjectOptions{})
	require.NoError(t, err)
	require.NoError(t, writer.RemoveObject(t.Context(), bucket, "alice/sales/2026.csv", minio.RemoveObjectOptions{}))
	gone := make(chan minio.ObjectInfo, 2)
	gone <- minio.ObjectInfo{Key: "alice/sales/copy.csv"}
	gone <- minio.ObjectInfo{Key: "alice/sales/deep/er/x y+ü%41&=.csv"}
	close(gone)
	for e := range writer.RemoveObjects(t.Context(), bucket, gone, minio.RemoveObjectsOptions{}) {
		require.NoError(t, e.Err)
	}
	require.Empty(t, keysIn(t, reader, minio.ListObjectsOptions{Prefix: "alice/sales/", Recursive: true}))

	res, err := http.Get(w.url + "/v1/api/")
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode, "the same port answers the API")
}

func TestEmbeddedMultipart(t *testing.T) {
	w := start(t)
	writer := w.client(t, write("alice/sales/"))
	const key = "alice/sales/big"
	data := make([]byte, 11<<20)
	rand.Read(data)
	_, err := writer.Client.PutObject(t.Context(), bucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{PartSize: 5 << 20})
	require.NoError(t, err)
	body, err := get(t, writer, key)
	require.NoError(t, err)
	require.True(t, body == string(data))

	// By hand, as an upload that goes on after a break.
	id, err := writer.NewMultipartUpload(t.Context(), bucket, key, minio.PutObjectOptions{})
	require.NoError(t, err)
	part, err := writer.PutObjectPart(t.Context(), bucket, key, id, 1, strings.NewReader("part"), 4, minio.PutObjectPartOptions{})
	require.NoError(t, err)
	parts, err := writer.ListObjectParts(t.Context(), bucket, key, id, 0, 100)
	require.NoError(t, err)
	require.Len(t, parts.ObjectParts, 1)
	uploads, err := writer.ListMultipartUploads(t.Context(), bucket, "alice/sales/", "", "", "", 100)
	require.NoError(t, err)
	require.Len(t, uploads.Uploads, 1)
	_, err = writer.CompleteMultipartUpload(t.Context(), bucket, key, id, []minio.CompletePart{{PartNumber: 1, ETag: part.ETag}}, minio.PutObjectOptions{})
	require.NoError(t, err)
	body, err = get(t, writer, key)
	require.NoError(t, err)
	require.Equal(t, "part", body)

	id, err = writer.NewMultipartUpload(t.Context(), bucket, key, minio.PutObjectOptions{})
	require.NoError(t, err)
	require.NoError(t, writer.AbortMultipartUpload(t.Context(), bucket, key, id))
	_, err = writer.ListObjectParts(t.Context(), bucket, key, id, 0, 100)
	require.Equal(t, "NoSuchUpload", code(err))
}

// A name is that of a file or that of a folder, and the error says so.
func TestEmbeddedFileOrFolder(t *testing.T) {
	w := start(t)
	c := w.client(t, write("alice/sales/"))
	put(t, c, "alice/sales/a/b", "x")
	put(t, c, "alice/sales/f", "x")
	for key, want := range map[string]string{"alice/sales/a": "ExistingObjectIsDirectory", "alice/sales/f/g": "ObjectParentIsFile"} {
		_, err := c.Client.PutObject(t.Context(), bucket, key, strings.NewReader("y"), 1, minio.PutObjectOptions{})
		require.Equal(t, want, code(err), key)
		require.ErrorContains(t, err, "keeps files in folders")
		_, err = c.NewMultipartUpload(t.Context(), bucket, key, minio.PutObjectOptions{})
		require.Equal(t, want, code(err), key)
		_, err = c.CopyObject(t.Context(), bucket, "alice/sales/f", bucket, key, nil, minio.CopySrcOptions{}, minio.PutObjectOptions{})
		require.Equal(t, want, code(err), key)
	}
}

func TestEmbeddedListAndRemove(t *testing.T) {
	w := start(t)
	c, other := w.client(t, write("alice/sales/")), w.client(t, write("alice/sales2/"))
	for _, key := range []string{"a.csv", "b/c.csv", "b/d.txt"} {
		put(t, c, "alice/sales/"+key, key)
		put(t, other, "alice/sales2/"+key, key)
	}
	require.Equal(t, []string{"a.csv", "b/c.csv", "b/d.txt"}, listed(t, w, read("alice/sales/")))
	require.Equal(t, []string{"a.csv", "b/c.csv"}, listed(t, w, read("alice/sales/", d6tpipe.Filter{Include: "*.csv"})))
	require.Empty(t, listed(t, w, read("alice/none/")))

	require.NoError(t, w.Remove(t.Context(), "alice/sales/"))
	require.NoError(t, w.Remove(t.Context(), "alice/sales/"), "again")
	require.Empty(t, listed(t, w, read("alice/sales/")))
	require.Len(t, listed(t, w, read("alice/sales2/")), 3, "a sibling with a longer name stays")
	w.requireNoFile(t, "alice/sales")
	trash, err := os.ReadDir(filepath.Join(w.dir, "trash"))
	require.NoError(t, err)
	require.Empty(t, trash)
	for _, bad := range []string{"", "/", "alice", "../", "alice/../", "alice//"} {
		require.ErrorIs(t, w.Remove(t.Context(), bad), gateway.ErrGrant, bad)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range w.List(ctx, read("alice/sales2/")) {
		require.ErrorIs(t, err, context.Canceled)
	}
	require.ErrorIs(t, w.Remove(ctx, "alice/sales2/"), context.Canceled)
	require.Len(t, listed(t, w, read("alice/sales2/")), 3, "who is too late removes nothing")
}

func listed(t testing.TB, s gateway.Storage, g gateway.Grant) (all []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), g) {
		require.NoError(t, err)
		require.NotEmpty(t, o.ETag)
		all = append(all, o.Key)
	}
	return all
}

// Keys end when the permission ends, and a server that cannot know says so.
func TestEmbeddedCheck(t *testing.T) {
	verdict := make(chan error, 1)
	verdict <- nil
	w := start(t, func(cfg *gateway.EmbeddedConfig) {
		cfg.Check = func(_ context.Context, g gateway.Grant) error {
			err := <-verdict
			verdict <- err
			if g.Subject != "bob" || g.Prefix != "alice/sales/" || g.Role != d6tpipe.RoleWrite || len(g.Filters) != 1 {
				return fmt.Errorf("not the grant: %+v", g)
			}
			return err
		}
	})
	g := write("alice/sales/", d6tpipe.Filter{Prefix: "sales", Include: "sales/*.csv"})
	g.Subject = "bob"
	c := w.client(t, g)
	put(t, c, "alice/sales/a.csv", "x")
	<-verdict
	verdict <- fmt.Errorf("%w: revoked", gateway.ErrDenied)
	_, err := get(t, c, "alice/sales/a.csv")
	require.Equal(t, "AccessDenied", code(err))
	<-verdict
	verdict <- errors.New("the database is away")
	_, err = get(t, c, "alice/sales/a.csv")
	require.Equal(t, "ServiceUnavailable", code(err))
}

// Keys of the master before are good, those of another server are not; and clocks
// may differ a little.
func TestEmbeddedMasters(t *testing.T) {
	before := start(t)
	old := before.keys(t, write("alice/sales/"))
	after := start(t, func(cfg *gateway.EmbeddedConfig) {
		cfg.Previous, cfg.Master = [][]byte{cfg.Master}, bytes.Repeat([]byte("n"), 32)
	})
	put(t, after.clientWith(t, old), "alice/sales/a", "x")
	fresh := after.keys(t, write("alice/sales/"))
	_, err := before.clientWith(t, fresh).StatObject(t.Context(), bucket, "alice/sales/a", minio.StatObjectOptions{})
	require.Error(t, err)

	url := func(context.Context) string { return "" }
	for text, cfg := range map[string]gateway.EmbeddedConfig{
		"32 bytes": {Dir: t.TempDir(), Master: []byte("short"), PublicURL: url},
		"folder":   {Master: make([]byte, 32), PublicURL: url},
		"no name":  {Dir: t.TempDir(), Master: make([]byte, 32), PublicURL: url, Bucket: "A/b"},
	} {
		_, err = gateway.NewEmbedded(cfg)
		require.ErrorContains(t, err, text)
	}
}

// Two storages on one folder, as when a server is replaced while it still answers.
func TestEmbeddedTwice(t *testing.T) {
	w := start(t)
	w.requireReady(t)
	other := start(t, func(cfg *gateway.EmbeddedConfig) { cfg.Dir = w.dir })
	put(t, w.client(t, write("a/b/")), "a/b/1", "x")
	put(t, other.client(t, write("a/b/")), "a/b/2", "x")
	require.Len(t, listed(t, w, read("a/b/")), 2)
}

// A listing of many pages has every key once, in order, in both forms of the call.
func TestEmbeddedPages(t *testing.T) {
	w := start(t)
	c := w.client(t, write("a/b/"))
	var want []string
	for i := range 25 {
		key := fmt.Sprintf("a/b/%02d/x-%02d.csv", i/3, i)
		put(t, c, key, "x")
		want = append(want, key)
	}
	put(t, c, "a/b/05/hidden.txt", "x")
	put(t, c, "a/b/zz/hidden.txt", "x")
	filtered := w.client(t, read("a/b/", d6tpipe.Filter{Include: "*.csv"}))
	for _, v1 := range []bool{false, true} {
		for _, size := range []int{1, 2, 7, 1000} {
			opts := minio.ListObjectsOptions{Prefix: "a/b/", Recursive: true, MaxKeys: size, UseV1: v1}
			require.Equal(t, want, keysIn(t, filtered, opts), "v1 %v, pages of %d", v1, size)
			opts.Recursive = false
			folders := keysIn(t, filtered, opts)
			require.Len(t, folders, 9, "v1 %v, pages of %d: a folder with nothing to see is not shown", v1, size)
			require.True(t, slices.IsSorted(folders))
		}
	}
	require.Len(t, keysIn(t, c, minio.ListObjectsOptions{Prefix: "a/b/", Recursive: true, MaxKeys: 4}), 27)
}

// A folder with very many files is not read again for every page, and the listing is
// whole.
func TestEmbeddedManyFiles(t *testing.T) {
	count, forms := 11_100, []bool{false} // more than are read ahead
	if os.Getenv("D6TPIPE_PROOF") != "" {
		count, forms = 100_000, []bool{false, true}
	}
	w := start(t)
	w.requireReady(t)
	require.NoError(t, os.MkdirAll(w.file("a/b"), 0o755))
	want := make([]string, count)
	for i := range want {
		want[i] = fmt.Sprintf("a/b/%06d", i)
		require.NoError(t, os.WriteFile(w.file(want[i]), nil, 0o644))
	}
	c := w.client(t, read("a/b/"))
	for _, v1 := range forms {
		began := time.Now()
		got := keysIn(t, c, minio.ListObjectsOptions{Prefix: "a/b/", Recursive: true, UseV1: v1})
		t.Logf("%d files, v1 %v: %v", count, v1, time.Since(began))
		require.True(t, slices.Equal(want, got), "v1 %v: %d of %d", v1, len(got), count)
	}

	page := func(token, after string) minio.ListBucketV2Result {
		p, err := c.ListObjectsV2(bucket, "a/b/", after, token, "", 1000)
		require.NoError(t, err)
		return p
	}
	second := page(page("", "").NextContinuationToken, "")
	require.Equal(t, want[1000], second.Contents[0].Key)
	again := page(second.NextContinuationToken, "")
	require.Equal(t, want[2000], again.Contents[0].Key)
	require.Equal(t, again.Contents, page(second.NextContinuationToken, "").Contents, "a page can be asked for twice")
	require.Equal(t, want[2000], page("0123456789abcdef/"+want[1999], "").Contents[0].Key, "what was kept is gone")
	require.NoError(t, os.WriteFile(w.file("a/b/000500x"), nil, 0o644))
	require.Equal(t, "a/b/000500x", page("", want[500]).Contents[0].Key, "a new listing sees what is new")
}

// Requests that wait for a 100 before they send get it, and a refused one sends
// nothing.
func TestEmbeddedExpectContinue(t *testing.T) {
	w := start(t)
	u, err := w.client(t, write("a/b/")).PresignedPutObject(t.Context(), bucket, "a/b/c", time.Minute)
	require.NoError(t, err)
	for _, good := range []bool{true, false} {
		target := u.String()
		if !good {
			target = strings.Replace(target, "X-Amz-Security-Token=", "X-Amz-Security-Token=x", 1)
		}
		body := &countingReader{Reader: strings.NewReader("hello")}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, target, body)
		require.NoError(t, err)
		req.ContentLength = 5
		req.Header.Set("Expect", "100-continue")
		transport := &http.Transport{ExpectContinueTimeout: time.Minute}
		res, err := transport.RoundTrip(req)
		require.NoError(t, err)
		res.Body.Close()
		transport.CloseIdleConnections()
		if good {
			require.Equal(t, http.StatusOK, res.StatusCode)
		} else {
			require.Equal(t, http.StatusBadRequest, res.StatusCode)
			require.Zero(t, body.n)
		}
	}
}

type countingReader struct {
	io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}
