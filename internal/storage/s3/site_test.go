package s3_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
)

// hostOf is the host to which a store sends its first request.
func hostOf(t *testing.T, opts s3.Options) string {
	t.Helper()
	r := &recorder{}
	opts.Bucket, opts.Transport = "bucket", r
	_, err := open(t, opts).Stat(t.Context(), "a")
	require.Error(t, err)
	require.Len(t, r.urls, 1, "it is not asked for")
	return strings.TrimSuffix(strings.TrimPrefix(r.urls[0], "https://bucket.s3."), ".amazonaws.com/a")
}

// Where keys of the environment are used, so is its region, as Amazon's tools do it.
func TestRegionOfTheEnvironment(t *testing.T) {
	bare(t)
	require.Equal(t, "us-east-1", hostOf(t, s3.Options{Chain: true}))
	config := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(config, []byte("[default]\nregion = eu-west-1\n[profile work]\nregion = eu-west-2\n"), 0o600))
	t.Setenv("AWS_CONFIG_FILE", config)
	require.Equal(t, "eu-west-1", hostOf(t, s3.Options{Chain: true}))
	for _, set := range [][3]string{ // from the weakest on; profiles need keys
		{"AWS_ACCESS_KEY_ID", "KEY", "eu-west-1"}, {"AWS_PROFILE", "work", "eu-west-2"}, {"AWS_DEFAULT_REGION", "eu-west-3", "eu-west-3"}, {"AWS_REGION", "eu-north-1", "eu-north-1"},
	} {
		t.Setenv("AWS_SECRET_ACCESS_KEY", canary)
		t.Setenv(set[0], set[1])
		require.Equal(t, set[2], hostOf(t, s3.Options{Chain: true}))
	}
	require.Equal(t, "ca-west-1", hostOf(t, s3.Options{Chain: true, Region: "ca-west-1"}))
	require.Equal(t, "us-east-1", hostOf(t, s3.Options{}), "the environment was not asked for")
	require.Equal(t, "us-east-1", hostOf(t, s3.Options{Chain: true, AccessKey: "KEY", SecretKey: canary}), "keys of one's own know their region")
}

// regions plays Amazon with a bucket in one region, which the others name.
type regions struct {
	t        *testing.T
	bucketIn string
	answer   func(w http.ResponseWriter, r *http.Request, region string)
	asked    map[string]int
}

func (a *regions) RoundTrip(r *http.Request) (*http.Response, error) {
	region := strings.TrimSuffix(strings.TrimPrefix(r.URL.Host, "bucket.s3."), ".amazonaws.com")
	require.Equal(a.t, "https", r.URL.Scheme)
	require.Contains(a.t, r.Header.Get("Authorization"), "/"+region+"/s3/aws4_request", "signed for where it goes")
	a.asked[region]++
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	if region != a.bucketIn {
		_, _ = io.Copy(io.Discard, r.Body)
		a.answer(w, r, a.bucketIn)
	} else {
		bucket(w, r)
	}
	resp := w.Result()
	resp.Request = r
	return resp, r.Body.Close()
}

// What Amazon says to a request in the wrong region.
func redirect(w http.ResponseWriter, _ *http.Request, region string) {
	w.Header().Set("Location", "https://evil.example.com/")
	w.Header().Set("X-Amz-Bucket-Region", region)
	status(301, "<Error><Code>PermanentRedirect</Code><Endpoint>evil.example.com</Endpoint></Error>")(w)
}

func malformed(w http.ResponseWriter, r *http.Request, region string) {
	if r.Method == http.MethodHead {
		w.Header().Set("X-Amz-Bucket-Region", region)
		w.WriteHeader(400)
		return
	}
	status(400, fmt.Sprintf("<Error><Code>AuthorizationHeaderMalformed</Code><Region>%s</Region></Error>", region))(w)
}

func amazonOf(t *testing.T, a *regions) *s3.Store {
	a.t, a.asked = t, map[string]int{}
	return open(t, s3.Options{Bucket: "bucket", AccessKey: "ACCESSKEY", SecretKey: canary, SessionToken: session, Transport: a})
}

// A bucket of Amazon's is found in the region in which it is, whatever is asked first.
func TestRegionOfTheBucket(t *testing.T) {
	put := func(size int) func(storage.Store) error {
		return func(s storage.Store) error {
			_, err := s.Put(t.Context(), "a", bytes.NewReader(make([]byte, size)), int64(size), storage.Cond{})
			return err
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, string){"redirect": redirect, "malformed": malformed} {
		for op, call := range map[string]func(storage.Store) error{
			"list":     func(s storage.Store) error { _, err := storage.Collect(t.Context(), s, ""); return err },
			"stat":     func(s storage.Store) error { _, err := s.Stat(t.Context(), "a"); return err },
			"open":     func(s storage.Store) error { _, err := s.Open(t.Context(), storage.Object{Key: "a"}, 0, 0); return err },
			"put":      put(1),
			"put more": put(2 << 20),
			"begin": func(s storage.Store) error {
				_, err := storage.MultipartOf(s).Begin(t.Context(), "a", 5<<20, 1)
				return err
			},
			"remove": func(s storage.Store) error { return s.Remove(t.Context(), "a") },
		} {
			t.Run(name+"/"+op, func(t *testing.T) {
				a := &regions{bucketIn: "eu-west-1", answer: answer}
				store := storage.Retry(amazonOf(t, a), storage.RetryPolicy{First: time.Millisecond})
				require.NoError(t, call(store))
				before := a.asked["us-east-1"]
				require.NoError(t, call(store))
				require.Equal(t, before, a.asked["us-east-1"], "it is known from then on")
				require.Len(t, a.asked, 2)
			})
		}
	}
}

// What an answer names is the name of a region, and it is believed once.
func TestRegionsThatAreNotFollowed(t *testing.T) {
	for _, region := range []string{"evil.example.com/", "eu-west-1.evil", "lb-1.eu-west-1.elb", "us-east-1", "", "EU-WEST-1", "x@evil.example.com"} {
		for _, answer := range []func(http.ResponseWriter, *http.Request, string){redirect, malformed} {
			a := &regions{bucketIn: "nowhere", answer: func(w http.ResponseWriter, r *http.Request, _ string) { answer(w, r, region) }}
			for op, err := range everyError(t, amazonOf(t, a)) {
				require.Error(t, err)
				require.NotErrorIs(t, err, storage.ErrTemporary, "%s %s", op, region)
			}
			require.Len(t, a.asked, 1, region)
		}
	}
	next := map[string]string{"us-east-1": "eu-west-1", "eu-west-1": "eu-west-2"}
	a := &regions{bucketIn: "eu-west-2", answer: func(w http.ResponseWriter, r *http.Request, _ string) {
		redirect(w, r, next[strings.Split(r.URL.Host, ".")[2]])
	}}
	_, err := storage.Retry(amazonOf(t, a), storage.RetryPolicy{First: time.Millisecond}).Stat(t.Context(), "a")
	require.ErrorContains(t, err, "the bucket is in region eu-west-2")
	require.NotErrorIs(t, err, storage.ErrTemporary)
	require.Len(t, a.asked, 2)
}
