package gateway_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/signer"
	"github.com/stretchr/testify/require"

	d6tpipe "github.com/d6t/d6tpipe-go"
	"github.com/d6t/d6tpipe-go/server/internal/gateway"
)

// send signs a request whose path and query are sent as they are written here.
func (w *world) send(t testing.TB, k keys, method, target, body string, header ...string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url, strings.NewReader(body))
	require.NoError(t, err)
	path, query, _ := strings.Cut(target, "?")
	plain, err := url.PathUnescape(path)
	require.NoError(t, err)
	req.URL.Path, req.URL.RawPath, req.URL.RawQuery = plain, path, query
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	var more []string // tokens, besides the one that is signed
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "X-Amz-Security-Token" {
			more = append(more, header[i+1])
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	if k.access != "" {
		req = signer.SignV4(*req, k.access, k.secret, k.token, "us-east-1")
	}
	req.Header["X-Amz-Security-Token"] = append(req.Header["X-Amz-Security-Token"], more...)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(data)
}

// A victim is what nobody but bob's writer may see or change.
const victim = "bob/secret/plan.csv"

func TestMisuse(t *testing.T) {
	w := start(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	bob, alice := w.client(t, write("bob/secret/")), w.client(t, write("alice/x/"))
	sibling := w.client(t, write("alice/x2/"))
	put(t, bob, victim, "secret")
	put(t, sibling, "alice/x2/file", "secret")
	put(t, alice, "alice/x/mine", "mine")
	bobsUpload, err := bob.NewMultipartUpload(t.Context(), bucket, "bob/secret/big", minio.PutObjectOptions{})
	require.NoError(t, err)
	bobsPart, err := bob.PutObjectPart(t.Context(), bucket, "bob/secret/big", bobsUpload, 1, strings.NewReader("part"), 4, minio.PutObjectPartOptions{})
	require.NoError(t, err)
	alicesUpload, err := alice.NewMultipartUpload(t.Context(), bucket, "alice/x/big", minio.PutObjectOptions{})
	require.NoError(t, err)

	writer, reader := w.keys(t, write("alice/x/")), w.keys(t, read("alice/x/"))
	csvReader, csvWriter := w.keys(t, read("alice/x/", d6tpipe.Filter{Include: "*.csv"})), w.keys(t, write("alice/x/", d6tpipe.Filter{Include: "*.csv"}))
	_, secretOfBob, _ := strings.Cut(victim, "/")
	deleteBoth := `<Delete><Object><Key>alice/x/none</Key></Object><Object><Key>` + victim + `</Key></Object></Delete>`
	complete := fmt.Sprintf(`<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>`, bobsPart.ETag)
	copyFrom := func(source string) []string { return []string{"X-Amz-Copy-Source", source} }

	for _, c := range []struct {
		name           string
		keys           keys
		method, target string
		body           string
		header         []string
	}{
		{"read another folder", writer, "GET", "/managed/" + victim, "", nil},
		{"look at another folder's file", writer, "HEAD", "/managed/" + victim, "", nil},
		{"read a sibling with a longer name", writer, "GET", "/managed/alice/x2/file", "", nil},
		{"write a sibling with a longer name", writer, "PUT", "/managed/alice/x2/new", "x", nil},
		{"write beside the folder", writer, "PUT", "/managed/alice/new", "x", nil},
		{"write the folder's own name", writer, "PUT", "/managed/alice/x", "x", nil},
		{"delete in another folder", writer, "DELETE", "/managed/" + victim, "", nil},
		{"read key writes", reader, "PUT", "/managed/alice/x/new", "x", nil},
		{"read key deletes", reader, "DELETE", "/managed/alice/x/mine", "", nil},
		{"read key begins an upload", reader, "POST", "/managed/alice/x/new?uploads=", "", nil},
		{"read key uploads a part", reader, "PUT", "/managed/alice/x/big?partNumber=1&uploadId=" + alicesUpload, "x", nil},
		{"read key completes", reader, "POST", "/managed/alice/x/big?uploadId=" + alicesUpload, complete, nil},
		{"read key gives an upload up", reader, "DELETE", "/managed/alice/x/big?uploadId=" + alicesUpload, "", nil},
		{"read key lists uploads", reader, "GET", "/managed?prefix=alice/x/&uploads=", "", nil},
		{"read key copies", reader, "PUT", "/managed/alice/x/new", "", copyFrom("/managed/alice/x/mine")},
		{"read key tags", reader, "PUT", "/managed/alice/x/mine?tagging=", "<Tagging><TagSet></TagSet></Tagging>", nil},
		{"copy from another folder", writer, "PUT", "/managed/alice/x/new", "", copyFrom("/managed/" + victim)},
		{"copy from another folder, escaped", writer, "PUT", "/managed/alice/x/new", "", copyFrom("managed%2Fbob%2Fsecret%2Fplan.csv")},
		{"copy from another folder, by dots", writer, "PUT", "/managed/alice/x/new", "", copyFrom("/managed/alice/x/../../" + victim)},
		{"copy from another folder, by escaped dots", writer, "PUT", "/managed/alice/x/new", "", copyFrom("/managed/alice/x/%2e%2e/%2e%2e/" + victim)},
		{"copy into another folder", writer, "PUT", "/managed/bob/secret/new", "", copyFrom("/managed/alice/x/mine")},
		{"copy a part from another folder", writer, "PUT", "/managed/alice/x/big?partNumber=1&uploadId=" + alicesUpload, "", copyFrom("/managed/" + victim)},
		{"bob's upload under alice's key", writer, "PUT", "/managed/alice/x/big?partNumber=1&uploadId=" + bobsUpload, "x", nil},
		{"bob's upload under bob's key", writer, "PUT", "/managed/bob/secret/big?partNumber=1&uploadId=" + bobsUpload, "x", nil},
		{"complete bob's upload under alice's key", writer, "POST", "/managed/alice/x/big?uploadId=" + bobsUpload, complete, nil},
		{"complete bob's upload under bob's key", writer, "POST", "/managed/bob/secret/big?uploadId=" + bobsUpload, complete, nil},
		{"parts of bob's upload", writer, "GET", "/managed/bob/secret/big?uploadId=" + bobsUpload, "", nil},
		{"give up a path for an upload", writer, "DELETE", "/managed/alice/x/big?uploadId=..%2F..%2F..%2Fbob", "", nil},
		{"give up the parent of all uploads", writer, "DELETE", "/managed/alice/x/big?uploadId=..", "", nil},
		{"a part into a path", writer, "PUT", "/managed/alice/x/big?partNumber=1&uploadId=..%2F..%2F..%2Fbob%2Fsecret", "x", nil},
		{"all buckets", writer, "GET", "/", "", nil},
		{"another bucket", writer, "GET", "/other/alice/x/mine", "", nil},
		{"make a bucket", writer, "PUT", "/other", "", nil},
		{"make this bucket", writer, "PUT", "/managed", "", nil},
		{"delete the bucket", writer, "DELETE", "/managed", "", nil},
		{"the bucket's policy", writer, "PUT", "/managed?policy=", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::managed/*"]}]}`, nil},
		{"read the bucket's policy", writer, "GET", "/managed?policy=", "", nil},
		{"the bucket's ACL", writer, "PUT", "/managed?acl=", "", []string{"X-Amz-Acl", "public-read-write"}},
		{"read the bucket's ACL", writer, "GET", "/managed?acl=", "", nil},
		{"an object's ACL", writer, "PUT", "/managed/alice/x/mine?acl=", "", []string{"X-Amz-Acl", "public-read"}},
		{"versions", writer, "GET", "/managed?versions=&prefix=alice/x/", "", nil},
		{"versioning", writer, "PUT", "/managed?versioning=", "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", nil},
		{"a website", writer, "PUT", "/managed?website=", "", nil},
		{"CORS", writer, "PUT", "/managed?cors=", "", nil},
		{"select", writer, "POST", "/managed/alice/x/mine?select=&select-type=2", "", nil},
		{"the S3 server's own accounts", writer, "PATCH", "/list-users", "", nil},
		{"a new account", writer, "PATCH", "/create-user", "", nil},
		{"a bucket by the S3 server's administration", writer, "PATCH", "/other/create", "", nil},
		{"the S3 server's health", writer, "GET", "/-/health", "", nil},
		{"list all", writer, "GET", "/managed?list-type=2", "", nil},
		{"list all, older", writer, "GET", "/managed", "", nil},
		{"list with a shorter prefix", writer, "GET", "/managed?list-type=2&prefix=alice/", "", nil},
		{"list without the slash", writer, "GET", "/managed?list-type=2&prefix=alice/x", "", nil},
		{"list another folder", writer, "GET", "/managed?prefix=bob/secret/", "", nil},
		{"list by dots", writer, "GET", "/managed?prefix=alice/x/../../bob/", "", nil},
		{"list with two prefixes", writer, "GET", "/managed?prefix=alice/x/&prefix=bob/secret/", "", nil},
		{"list uploads of another folder", writer, "GET", "/managed?prefix=bob/secret/&uploads=", "", nil},
		{"dots", writer, "GET", "/managed/alice/x/../../" + victim, "", nil},
		{"escaped dots", writer, "GET", "/managed/alice/x/%2e%2e/%2e%2e/" + victim, "", nil},
		{"escaped slashes", writer, "GET", "/managed/alice%2Fx%2F..%2F..%2Fbob%2F" + url.PathEscape(secretOfBob), "", nil},
		{"escaped bucket", writer, "GET", "/managed%2F" + victim, "", nil},
		{"dots before the bucket", writer, "GET", "/x/../managed/" + victim, "", nil},
		{"two slashes", writer, "PUT", "/managed/alice/x//new", "x", nil},
		{"a dot", writer, "PUT", "/managed/alice/x/./new", "x", nil},
		{"a backslash", writer, "PUT", "/managed/alice/x/..%5C..%5Cbob", "x", nil},
		{"a control character", writer, "PUT", "/managed/alice/x/a%0Ab", "x", nil},
		{"a NUL", writer, "PUT", "/managed/alice/x/a%00b", "x", nil},
		{"not UTF-8", writer, "PUT", "/managed/alice/x/a%FFb", "x", nil},
		{"what is being uploaded", writer, "GET", "/managed/alice/x/.sgwtmp/multipart", "", nil},
		{"a name of the server", writer, "PUT", "/managed/alice/x/.mine.sgwtmp.1", "x", nil},
		{"a customer's key", writer, "PUT", "/managed/alice/x/new", "x", []string{"X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256"}},
		{"a name outside of the filter, GET", csvReader, "GET", "/managed/alice/x/mine", "", nil},
		{"a name outside of the filter, HEAD", csvReader, "HEAD", "/managed/alice/x/mine", "", nil},
		{"a name outside of the filter, attributes", csvReader, "GET", "/managed/alice/x/mine?attributes=", "", []string{"X-Amz-Object-Attributes", "ETag"}},
		{"a name outside of the filter, PUT", csvWriter, "PUT", "/managed/alice/x/new", "x", nil},
		{"a name outside of the filter, upload", csvWriter, "POST", "/managed/alice/x/new?uploads=", "", nil},
		{"a name outside of the filter, DELETE", csvWriter, "DELETE", "/managed/alice/x/mine", "", nil},
		{"a name outside of the filter, copied into it", csvWriter, "PUT", "/managed/alice/x/new.csv", "", copyFrom("/managed/alice/x/mine")},
		{"a name outside of the filter, made to look like it by a version", csvWriter, "PUT", "/managed/alice/x/new.csv", "", copyFrom("/managed/alice/x/mine?versionId=a.csv")},
		{"the same, escaped", csvWriter, "PUT", "/managed/alice/x/new.csv", "", copyFrom("/managed/alice/x/mine%3FversionId=a.csv")},
		{"a name outside of the filter, made to look like it by a query", csvReader, "GET", "/managed/alice/x/mine%3F.csv", "", nil},
		{"copied out of the filter", csvWriter, "PUT", "/managed/alice/x/new", "", copyFrom("/managed/alice/x/mine.csv")},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, answer := w.send(t, c.keys, c.method, c.target, c.body, c.header...)
			require.GreaterOrEqual(t, status, 400, answer)
			require.Less(t, status, 502, answer)
			require.NotContains(t, answer, "secret</", "a file's content")
			if c.method == http.MethodHead {
				require.Empty(t, answer)
			} else {
				require.Contains(t, answer, "<Code>", "an error of the S3 protocol")
			}
		})
	}

	t.Run("delete a foreign key among own ones", func(t *testing.T) {
		_, answer := w.send(t, writer, "POST", "/managed?delete=", deleteBoth, "Content-Md5", md5Of(deleteBoth))
		require.Contains(t, answer, "AccessDenied")
		require.Contains(t, answer, "<Key>"+victim+"</Key>")
	})
	t.Run("delete outside of the filter", func(t *testing.T) {
		body := `<Delete><Object><Key>alice/x/mine</Key></Object><Object><Key>alice/x/../../` + victim + `</Key></Object><Object><Key>alice/x//mine</Key></Object></Delete>`
		_, answer := w.send(t, csvWriter, "POST", "/managed?delete=", body, "Content-Md5", md5Of(body))
		require.NotContains(t, answer, "<Deleted>")
	})
	t.Run("a form of a browser", func(t *testing.T) {
		status, answer := w.postForm(t, writer, "bob/secret/form")
		require.Equal(t, http.StatusForbidden, status, answer)
	})

	requireIntact(t, w, bob)
	all, err := os.ReadDir(w.file("alice/x"))
	require.NoError(t, err)
	require.Len(t, all, 1, "nothing was written")
}

func requireIntact(t testing.TB, w *world, bob *minio.Core) {
	t.Helper()
	body, err := get(t, bob, victim)
	require.NoError(t, err)
	require.Equal(t, "secret", body)
	require.Equal(t, []string{victim}, keysIn(t, bob, minio.ListObjectsOptions{Prefix: "bob/secret/", Recursive: true}))
	buckets, err := os.ReadDir(w.dir + "/buckets")
	require.NoError(t, err)
	for _, b := range buckets {
		require.Contains(t, []string{bucket, ".vgwlocks"}, b.Name())
	}
	uploads, err := bob.ListMultipartUploads(t.Context(), bucket, "bob/secret/", "", "", "", 10)
	require.NoError(t, err)
	require.Len(t, uploads.Uploads, 1)
	parts, err := bob.ListObjectParts(t.Context(), bucket, "bob/secret/big", uploads.Uploads[0].UploadID, 0, 10)
	require.NoError(t, err)
	require.Len(t, parts.ObjectParts, 1)
	require.EqualValues(t, 4, parts.ObjectParts[0].Size)
}

// postForm uploads as a browser's form does, with a policy that is signed.
func (w *world) postForm(t testing.TB, k keys, key string) (int, string) {
	t.Helper()
	now := time.Now().UTC()
	scope := strings.Join([]string{k.access, now.Format("20060102"), "us-east-1", "s3", "aws4_request"}, "/")
	policy := base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf(
		`{"expiration":%q,"conditions":[["eq","$bucket","managed"],["eq","$key",%q],["eq","$x-amz-date",%q],["eq","$x-amz-algorithm","AWS4-HMAC-SHA256"],["eq","$x-amz-credential",%q],["eq","$x-amz-security-token",%q]]}`,
		now.Add(time.Hour).Format("2006-01-02T15:04:05.000Z"), key, now.Format("20060102T150405Z"), scope, k.token)))
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, value := range map[string]string{
		"key": key, "policy": policy, "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": scope, "x-amz-date": now.Format("20060102T150405Z"),
		"x-amz-security-token": k.token, "x-amz-signature": signer.PostPresignSignatureV4(policy, now, k.secret, "us-east-1"),
	} {
		require.NoError(t, form.WriteField(name, value))
	}
	file, err := form.CreateFormFile("file", "f")
	require.NoError(t, err)
	io.WriteString(file, "x")
	require.NoError(t, form.Close())
	res, err := http.Post(w.url+"/managed", form.FormDataContentType(), &body)
	require.NoError(t, err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(data)
}

// The server's own process stops what the S3 protocol has besides files, whatever
// the S3 server would do with it.
func TestFrontRefuses(t *testing.T) {
	w := start(t, func(cfg *gateway.EmbeddedConfig) { cfg.Program = []string{"/bin/false"} }) // nobody is behind it
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	k := w.keys(t, write("alice/x/"))
	for _, target := range []string{
		"PUT /managed", "DELETE /managed", "PATCH /managed", "OPTIONS /managed", "POST /managed", "GET /managed?policy=", "GET /managed?acl=", "GET /managed?versions=",
		"GET /managed?versioning=", "PUT /managed?policy=", "GET /managed?cors=", "GET /managed?lifecycle=", "HEAD /managed?acl=", "POST /managed?delete=&acl=",
		"PATCH /managed/a", "POST /managed/a", "POST /managed/a?select=&select-type=2", "POST /managed/a?restore=", "GET /managed/a?acl=", "GET /managed/a?versionId=1",
		"GET /managed/a?torrent=", "PUT /managed/a?acl=", "PUT /managed/a?retention=", "PUT /managed/a?legal-hold=", "DELETE /managed/a?versionId=1", "OPTIONS /managed/a",
	} {
		method, path, _ := strings.Cut(target, " ")
		status, answer := w.send(t, k, method, path, "")
		require.Equal(t, http.StatusForbidden, status, target)
		if method != http.MethodHead {
			require.Contains(t, answer, "no such operation", target)
		}
	}
	large := bytes.Repeat([]byte("x"), 9<<20)
	status, answer := w.send(t, k, "POST", "/managed?delete=", string(large))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer, "EntityTooLarge")
}

// Keys that are not whole, not together, or not good any more.
func TestMisuseOfKeys(t *testing.T) {
	w := start(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	put(t, w.client(t, write("alice/x/")), "alice/x/mine", "mine")
	good, other := w.keys(t, read("alice/x/")), w.keys(t, write("alice/x/"))
	flipped := func(token string, at int) string {
		with := byte('A')
		if token[at] == with {
			with = 'B'
		}
		return token[:at] + string(with) + token[at+1:]
	}
	foreign := start(t, func(cfg *gateway.EmbeddedConfig) { cfg.Master = bytes.Repeat([]byte("x"), 32) }).keys(t, write("alice/x/"))
	otherBucket := start(t, func(cfg *gateway.EmbeddedConfig) { cfg.Bucket = "other" }).keys(t, write("alice/x/"))
	for name, c := range map[string]struct {
		keys keys
		code string
	}{
		"no keys":                   {keys{}, "AccessDenied"},
		"no token":                  {keys{good.access, good.secret, ""}, "InvalidToken"},
		"token of another key":      {keys{good.access, good.secret, other.token}, "InvalidToken"},
		"key of another token":      {keys{other.access, good.secret, good.token}, "InvalidToken"},
		"wrong secret":              {keys{good.access, other.secret, good.token}, "SignatureDoesNotMatch"},
		"no secret":                 {keys{good.access, "", good.token}, "AccessDenied"},
		"tampered at the start":     {keys{good.access, good.secret, flipped(good.token, 0)}, "InvalidToken"},
		"tampered in the middle":    {keys{good.access, good.secret, flipped(good.token, len(good.token)/2)}, "InvalidToken"},
		"tampered at the end":       {keys{good.access, good.secret, flipped(good.token, len(good.token)-2)}, "InvalidToken"},
		"cut":                       {keys{good.access, good.secret, good.token[:len(good.token)-4]}, "InvalidToken"},
		"with more":                 {keys{good.access, good.secret, good.token + "AAAA"}, "InvalidToken"},
		"too long":                  {keys{good.access, good.secret, strings.Repeat("A", 4000)}, "InvalidToken"},
		"not base64":                {keys{good.access, good.secret, "!!!"}, "InvalidToken"},
		"made up":                   {keys{"ASIA0123456789ABCDEF", good.secret, good.token}, "InvalidToken"},
		"a permanent key":           {keys{"AKIA" + good.access[4:], good.secret, good.token}, "InvalidToken"},
		"the S3 server's own owner": {keys{"d6tpipe", good.secret, ""}, "InvalidToken"},
		"of another server":         {foreign, "InvalidToken"},
		"for another bucket":        {otherBucket, "InvalidToken"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := w.send(t, c.keys, "GET", "/managed/alice/x/mine", "")
			require.GreaterOrEqual(t, status, 400)
			require.Contains(t, answer, "<Code>"+c.code+"</Code>")
		})
	}
	t.Run("good", func(t *testing.T) {
		status, answer := w.send(t, good, "GET", "/managed/alice/x/mine", "")
		require.Equal(t, 200, status)
		require.Equal(t, "mine", answer)
	})
	t.Run("two tokens", func(t *testing.T) {
		status, answer := w.send(t, good, "GET", "/managed/alice/x/mine", "", "X-Amz-Security-Token", other.token)
		require.Equal(t, 400, status)
		require.Contains(t, answer, "two ways")
	})
	t.Run("signed twice", func(t *testing.T) {
		u, err := w.clientWith(t, other).PresignedGetObject(t.Context(), bucket, "alice/x/mine", time.Minute, nil)
		require.NoError(t, err)
		status, _ := w.send(t, good, "GET", u.EscapedPath()+"?"+u.RawQuery, "")
		require.GreaterOrEqual(t, status, 400)
	})
}

// URLs that somebody signs with his keys can do what the keys can.
func TestMisuseOfURLs(t *testing.T) {
	w := start(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	put(t, w.client(t, write("alice/x/")), "alice/x/mine", "mine")
	reader, filtered := w.client(t, read("alice/x/")), w.client(t, write("alice/x/", d6tpipe.Filter{Exclude: "mine"}))
	use := func(method string, c *minio.Core, key string, signed string) int {
		u, err := c.Presign(t.Context(), signed, bucket, key, time.Minute, nil)
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), method, u.String(), strings.NewReader(""))
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		return res.StatusCode
	}
	require.Equal(t, 200, use("GET", reader, "alice/x/mine", "GET"))
	require.Equal(t, 403, use("PUT", reader, "alice/x/mine", "PUT"), "a read key's URL to write")
	require.Equal(t, 403, use("DELETE", reader, "alice/x/mine", "DELETE"))
	require.Equal(t, 403, use("PUT", reader, "alice/x/mine", "GET"), "another method than the one that was signed")
	require.Equal(t, 403, use("GET", reader, "alice/y/mine", "GET"))
	require.Equal(t, 403, use("GET", filtered, "alice/x/mine", "GET"))
	require.Equal(t, 200, use("PUT", filtered, "alice/x/new", "PUT"))

	u, err := reader.Presign(t.Context(), "GET", bucket, "alice/x/mine", time.Minute, nil)
	require.NoError(t, err)
	for name, bad := range map[string]string{
		"another key":   strings.Replace(u.String(), "/mine", "/new", 1),
		"no token":      strings.Replace(u.String(), "X-Amz-Security-Token", "X-Amz-Other", 1),
		"another time":  strings.Replace(u.String(), "X-Amz-Expires=60", "X-Amz-Expires=6000", 1),
		"no signature":  strings.Replace(u.String(), "X-Amz-Signature", "X-Amz-Other", 1),
		"another query": u.String() + "&response-content-type=text/html",
	} {
		res, err := http.Get(bad)
		require.NoError(t, err)
		res.Body.Close()
		require.GreaterOrEqual(t, res.StatusCode, 400, name)
	}
}

// A listing shows what the filters show, and no hint of anything else.
func TestFilteredListing(t *testing.T) {
	w := start(t)
	c := w.client(t, write("alice/x/"))
	for _, key := range []string{"a.csv", "a.txt", "in/b.csv", "in/old/c.csv", "private/d.txt"} {
		put(t, c, "alice/x/"+key, "x")
	}
	_, err := c.NewMultipartUpload(t.Context(), bucket, "alice/x/private/e.txt", minio.PutObjectOptions{})
	require.NoError(t, err)
	filtered := w.client(t, write("alice/x/", d6tpipe.Filter{Include: "*.csv"}, d6tpipe.Filter{Prefix: "x", Exclude: "x/in/old/*"}))
	require.Equal(t, []string{"alice/x/a.csv", "alice/x/in/b.csv"}, keysIn(t, filtered, minio.ListObjectsOptions{Prefix: "alice/x/", Recursive: true}))
	require.Equal(t, []string{"alice/x/a.csv", "alice/x/in/"}, keysIn(t, filtered, minio.ListObjectsOptions{Prefix: "alice/x/"}))
	require.Equal(t, []string{"alice/x/in/b.csv"}, keysIn(t, filtered, minio.ListObjectsOptions{Prefix: "alice/x/in/"}), "no folder in which all is excluded")
	for _, target := range []string{"/managed?prefix=alice/x/&max-keys=1&list-type=2", "/managed?prefix=alice/x/&max-keys=1", "/managed?prefix=alice/x/pri&delimiter=a", "/managed?prefix=alice/x/&uploads=&delimiter=/"} {
		status, answer := w.send(t, w.keys(t, write("alice/x/", d6tpipe.Filter{Include: "*.csv"})), "GET", target, "")
		require.Equal(t, 200, status, answer)
		require.NotContains(t, strings.Replace(answer, "<Prefix>alice/x/pri</Prefix>", "", 1), "pri", target)
		require.NotContains(t, answer, ".txt", target)
	}
	http.DefaultClient.CloseIdleConnections()
}

func md5Of(body string) string {
	sum := md5.Sum([]byte(body))
	return base64.StdEncoding.EncodeToString(sum[:])
}
