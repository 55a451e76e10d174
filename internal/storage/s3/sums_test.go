package s3_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/minio/minio-go/v7/pkg/signer"
	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
	"github.com/d6t/d6tpipe-go/internal/storage/s3/s3test"
	"github.com/d6t/d6tpipe-go/internal/storage/storagetest"
)

func crc(data []byte) string { return fmt.Sprintf("crc64nvme:%016x", crc64nvme.Checksum(data)) }

// knowing is a reader that knows the sum of what it reads, or believes to.
type knowing struct {
	io.Reader
	sum string
}

func (k knowing) Sum() string { return k.sum }

// A remote that keeps sums tells them to whoever reads.
func TestReadersLearnTheSum(t *testing.T) {
	g := s3test.Start(t)
	store := open(t, options(t, g))
	big, small := storagetest.Bytes(1, 9<<20), storagetest.Bytes(2, 1000)
	for key, data := range map[string][]byte{"big": big, "small": small} {
		obj := storagetest.Put(t, store, key, data)
		for _, n := range []int64{-1, 0, int64(len(data))} {
			r, err := store.Open(t.Context(), obj, 0, n)
			require.NoError(t, err)
			require.Equal(t, crc(data), storage.SumOf(r), "%s, %d bytes", key, n)
			require.NoError(t, r.Close())
		}
	}
}

// With the sum in front the remote refuses what is not it, and takes nothing for
// whole that was cut short.
func TestSumsInFront(t *testing.T) {
	g := s3test.Start(t)
	store := open(t, options(t, g))
	data := storagetest.Bytes(1, 4<<20)
	m := storage.MultipartOf(store)
	u, err := m.Begin(t.Context(), "a", 9<<20, 1)
	require.NoError(t, err)
	u.PartSize = int64(len(data))
	other := bytes.Clone(data)
	other[100] ^= 1
	for name, r := range map[string]io.Reader{
		"other bytes": knowing{bytes.NewReader(other), crc(data)},
		"too short":   knowing{bytes.NewReader(data[:1<<20]), crc(data)},
		"fails":       knowing{io.MultiReader(bytes.NewReader(data[:3<<20]), iotest.ErrReader(errSource)), crc(data)},
	} {
		_, err = m.Send(t.Context(), u, 0, r, int64(len(data)))
		require.Error(t, err, name)
		_, err = store.Put(t.Context(), "whole", r, int64(len(data)), storage.Cond{})
		require.Error(t, err, name)
	}
	arrived, err := m.Arrived(t.Context(), u)
	require.NoError(t, err)
	require.Empty(t, arrived)
	require.Empty(t, storagetest.List(t, store, "").Objects())

	part, err := m.Send(t.Context(), u, 0, knowing{bytes.NewReader(data), crc(data)}, int64(len(data)))
	require.NoError(t, err)
	require.Equal(t, crc(data), part.Sum)
	obj, err := store.Put(t.Context(), "whole", knowing{bytes.NewReader(data), crc(data)}, int64(len(data)), storage.Cond{})
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, storagetest.Get(t, store, obj)))
	require.NoError(t, m.Abort(t.Context(), u))
}

var errSource = fmt.Errorf("the source failed")

// transport lets a test stand between a store and the server.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The answer to the last request gets lost: the next attempt finds the object there
// and knows it for its own.
func TestFinishWhoseAnswerIsLost(t *testing.T) {
	g := s3test.Start(t)
	opts := options(t, g)
	real := http.DefaultTransport.(*http.Transport).Clone()
	defer real.CloseIdleConnections()
	var lose atomic.Bool
	opts.Transport = transport(func(r *http.Request) (*http.Response, error) {
		resp, err := real.RoundTrip(r)
		if err == nil && r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && lose.Swap(false) {
			_ = resp.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
		return resp, err
	})
	store := open(t, opts)
	data := storagetest.Bytes(1, 6<<20)
	m := storage.MultipartOf(store)
	u, err := m.Begin(t.Context(), "a", int64(len(data)), 1)
	require.NoError(t, err)
	var parts []storage.Part
	for n := range u.Parts() {
		off, size := u.Part(n)
		part, err := m.Send(t.Context(), u, n, bytes.NewReader(data[off:off+size]), size)
		require.NoError(t, err)
		parts = append(parts, part)
	}
	lose.Store(true)
	_, err = m.Finish(t.Context(), u, parts, storage.Cond{Absent: true})
	require.ErrorIs(t, err, storage.ErrTemporary)
	obj, err := m.Finish(t.Context(), u, parts, storage.Cond{Absent: true})
	require.NoError(t, err)
	require.Equal(t, crc(data), obj.Sum)
	require.True(t, bytes.Equal(data, storagetest.Get(t, store, obj)))
}

// An upload that is not there any more was finished if the object is its own.
func TestFinishOfAnUploadThatIsGone(t *testing.T) {
	for tag, mine := range map[string]bool{"63b8c5b8c8d9b0f0b0e0c7f6f7a3d8b1-2": false, "3c0b4dd6f3a4b3cb9b5f7e0a1f2d3c4b-2": false, compositeOf(etag, etag): true, etag: false} {
		store := script(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				status(404, "<Error><Code>NoSuchUpload</Code></Error>")(w)
				return
			}
			w.Header().Set("ETag", `"`+tag+`"`)
			w.Header().Set("Content-Length", "10")
		})
		u := storage.Upload{Key: "a", ID: "id", Size: 10, PartSize: 5}
		obj, err := store.Multipart().Finish(t.Context(), u, []storage.Part{{Number: 0, Size: 5, Tag: etag}, {Number: 1, Size: 5, Tag: etag}}, storage.Cond{})
		if mine {
			require.NoError(t, err)
			require.Equal(t, tag, obj.Tag)
		} else {
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	}
}

func compositeOf(tags ...string) string {
	whole := md5.New()
	for _, tag := range tags {
		raw, _ := hex.DecodeString(tag)
		whole.Write(raw)
	}
	return fmt.Sprintf("%x-%d", whole.Sum(nil), len(tags))
}

// A remote that does not know conditions is asked beforehand from then on.
func TestConditionsThatAreUnknown(t *testing.T) {
	var puts, heads atomic.Int64
	store := script(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodHead {
			heads.Add(1)
			w.WriteHeader(404)
			return
		}
		puts.Add(1)
		if r.Header.Get("If-None-Match") != "" {
			status(501, "<Error><Code>NotImplemented</Code></Error>")(w)
			return
		}
		w.Header().Set("ETag", `"`+etag+`"`)
	})
	retrying := storage.Retry(store, storage.RetryPolicy{First: time.Millisecond})
	_, err := retrying.Put(t.Context(), "a", strings.NewReader("x"), 1, storage.Cond{Absent: true})
	require.NoError(t, err)
	require.EqualValues(t, 3, puts.Load(), "the second is without a sum")
	require.EqualValues(t, 1, heads.Load())
	require.False(t, store.ConditionalPut())
}

// Every request is signed as minio-go signs it, whatever the name is.
func TestSignature(t *testing.T) {
	keys := append(storagetest.StrangeKeys(), "plain.csv", "a b/c+d/é=&?#%.csv", "日本/語", "~tilde*star'quote(paren)!")
	var checked atomic.Int64
	check := func(r *http.Request) {
		ours := r.Header.Get("Authorization")
		clone := r.Clone(r.Context())
		clone.Header = http.Header{}
		for name, values := range r.Header {
			if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") && lower != "x-amz-date" {
				clone.Header[name] = values
			}
		}
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		require.NoError(t, err)
		if now := time.Now().UTC(); now.Sub(at) >= time.Second || now.Second() != at.Second() {
			return // minio-go takes the time of the second call
		}
		theirs := signer.SignV4(*clone, "ACCESSKEY", canary, session, "us-east-1").Header
		if theirs.Get("X-Amz-Date") != r.Header.Get("X-Amz-Date") {
			return
		}
		checked.Add(1)
		require.Equal(t, theirs.Get("Authorization"), ours, r.URL)
	}
	store := open(t, s3.Options{
		Endpoint: "http://127.0.0.1:9", Bucket: "bucket", AccessKey: "ACCESSKEY", SecretKey: canary, SessionToken: session,
		Transport: transport(func(r *http.Request) (*http.Response, error) {
			check(r)
			return nil, io.ErrUnexpectedEOF
		}),
	})
	for _, key := range keys {
		_, _ = store.Stat(t.Context(), key)
		_, _ = store.Open(t.Context(), storage.Object{Key: key, Tag: "x"}, 5, 10)
		_, _ = store.Put(t.Context(), key, strings.NewReader("x"), 1, storage.Cond{Absent: true})
		_ = store.Remove(t.Context(), key)
		_, _ = storage.Collect(t.Context(), store, key)
	}
	require.Greater(t, checked.Load(), int64(len(keys)))
}

// What a process left that died right after it began an upload goes after a week.
func TestForgottenUploads(t *testing.T) {
	var aborted []string
	store := script(t, func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		switch {
		case r.Method == http.MethodGet && query.Has("uploads"):
			upload := func(key, id string, age time.Duration) string {
				return fmt.Sprintf("<Upload><Key>%s</Key><UploadId>%s</UploadId><Initiated>%s</Initiated></Upload>", key, id, time.Now().Add(-age).UTC().Format(time.RFC3339))
			}
			fmt.Fprint(w, "<ListMultipartUploadsResult>", upload("a", "old", 8*24*time.Hour), upload("a", "young", 6*24*time.Hour), upload("abc", "other", 9*24*time.Hour), "</ListMultipartUploadsResult>")
		case r.Method == http.MethodDelete:
			aborted = append(aborted, query.Get("uploadId"))
			w.WriteHeader(204)
		case r.Method == http.MethodPost:
			fmt.Fprint(w, "<InitiateMultipartUploadResult><UploadId>new</UploadId></InitiateMultipartUploadResult>")
		default:
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})
	u, err := store.Begin(t.Context(), "a", 10, 1)
	require.NoError(t, err)
	require.Equal(t, "new", u.ID)
	require.Equal(t, []string{"old"}, aborted)
}

// A remote that answers with another sum than that of what was sent has other bytes.
func TestAnswersWithAnotherSum(t *testing.T) {
	data := storagetest.Bytes(1, 4<<20)
	store := script(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.CopyN(io.Discard, r.Body, r.ContentLength)
		w.Header().Set("ETag", `"`+etag+`"`)
		w.Header().Set("X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA=")
		w.Header().Set("X-Amz-Checksum-Type", "FULL_OBJECT")
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	for i := range 6 { // the first ones of a store that does not know yet what the remote can
		size := []int64{1 << 20, 4 << 20}[i%2]
		r := knowing{bytes.NewReader(data[:size]), crc(data[:size])}
		_, err := store.Put(t.Context(), "a", r, size, storage.Cond{})
		require.ErrorIs(t, err, storage.ErrCorrupt)
		require.NotErrorIs(t, err, storage.ErrTemporary, "it is not for the driver's caller to try it again and again")
		var sum *storage.SumError
		require.ErrorAs(t, err, &sum)
		require.Equal(t, storage.SumError{Kind: "crc64nvme", Want: strings.TrimPrefix(crc(data[:size]), "crc64nvme:"), Got: "0000000000000000", Tag: etag}, *sum)
	}
}

// aboutSums reports whether a request has a header about sums.
func aboutSums(r *http.Request) bool {
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-checksum") || lower == "x-amz-sdk-checksum-algorithm" {
			return true
		}
	}
	return false
}

// bucket answers as a bucket with one object does, whatever it is called.
func bucket(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // the client may hang up
	w.Header().Set("ETag", `"`+etag+`"`)
	switch query := r.URL.Query(); {
	case r.Method == http.MethodPost && query.Has("uploads"):
		fmt.Fprint(w, "<InitiateMultipartUploadResult><UploadId>new</UploadId></InitiateMultipartUploadResult>")
	case r.Method == http.MethodPost:
		fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>a</Key><ETag>%s-1</ETag></CompleteMultipartUploadResult>", etag)
	case r.Method == http.MethodHead:
		w.Header().Set("Content-Length", "1")
	case r.Method == http.MethodGet && query.Has("uploads"):
		fmt.Fprint(w, "<ListMultipartUploadsResult></ListMultipartUploadsResult>")
	case r.Method == http.MethodGet && query.Has("list-type"):
		fmt.Fprint(w, page(end, "", "a"))
	case r.Method == http.MethodGet:
		fmt.Fprint(w, "x")
	}
}

// Remotes that know no sums refuse the headers about them: Backblaze B2 and others
// with a 400, R2 with a 501. They are read and written all the same.
func TestSumsThatAreRefused(t *testing.T) {
	ops := map[string]func(*s3.Store) error{
		"put": func(s *s3.Store) error {
			_, err := s.Put(t.Context(), "a", strings.NewReader("x"), 1, storage.Cond{Absent: true})
			return err
		},
		"put more": func(s *s3.Store) error {
			_, err := s.Put(t.Context(), "a", knowing{bytes.NewReader(make([]byte, 2<<20)), crc(make([]byte, 2<<20))}, 2<<20, storage.Cond{})
			return err
		},
		"put in parts": func(s *s3.Store) error {
			m := s.Multipart()
			u, err := m.Begin(t.Context(), "a", 2<<20, 1)
			require.NoError(t, err)
			part, err := m.Send(t.Context(), u, 0, bytes.NewReader(make([]byte, 2<<20)), 2<<20)
			require.NoError(t, err)
			_, err = m.Finish(t.Context(), u, []storage.Part{part}, storage.Cond{})
			return err
		},
		"open": func(s *s3.Store) error {
			r, err := s.Open(t.Context(), storage.Object{Key: "a"}, 0, -1)
			if err == nil {
				err = r.Close()
			}
			return err
		},
		"stat": func(s *s3.Store) error { _, err := s.Stat(t.Context(), "a"); return err },
	}
	for name, refuse := range map[string]func(http.ResponseWriter){
		"InvalidArgument": status(400, "<Error><Code>InvalidArgument</Code></Error>"),
		"InvalidRequest":  status(400, "<Error><Code>InvalidRequest</Code></Error>"),
		"NotImplemented":  status(501, "<Error><Code>NotImplemented</Code></Error>"),
	} {
		for op, call := range ops {
			t.Run(name+"/"+op, func(t *testing.T) {
				var refused atomic.Int64
				store := script(t, func(w http.ResponseWriter, r *http.Request) {
					if aboutSums(r) {
						_, _ = io.Copy(io.Discard, r.Body) // the client may hang up
						refused.Add(1)
						refuse(w)
						return
					}
					bucket(w, r)
				})
				require.NoError(t, call(store))
				for _, call := range ops {
					require.NoError(t, call(store))
				}
				require.True(t, store.ConditionalPut(), "that was not what the remote did not know")
				require.LessOrEqual(t, refused.Load(), int64(2), "it is not asked again and again")
			})
		}
	}
}

// A remote that has shown a sum knows sums: what it refuses is something else.
func TestSumsThatAreKnown(t *testing.T) {
	var faulty atomic.Bool
	var plain atomic.Int64
	store := script(t, func(w http.ResponseWriter, r *http.Request) {
		if !aboutSums(r) {
			plain.Add(1)
		}
		if faulty.Load() {
			status(400, "<Error><Code>InvalidArgument</Code></Error>")(w)
			return
		}
		w.Header().Set("X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA=")
		bucket(w, r)
	})
	_, err := store.Stat(t.Context(), "a")
	require.NoError(t, err)
	faulty.Store(true)
	_, err = store.Stat(t.Context(), "a")
	require.ErrorIs(t, err, storage.ErrExpired, "a HEAD with a session token says no more than that")
	_, err = store.Open(t.Context(), storage.Object{Key: "a"}, 0, -1)
	require.ErrorContains(t, err, "InvalidArgument")
	_, err = store.Put(t.Context(), "a", strings.NewReader("x"), 1, storage.Cond{})
	require.ErrorContains(t, err, "InvalidArgument")
	require.Zero(t, plain.Load())
}

// A sum that is found wrong is no reason to go without.
func TestSumsThatAreWrong(t *testing.T) {
	var requests atomic.Int64
	store := script(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		require.True(t, aboutSums(r))
		status(400, "<Error><Code>BadDigest</Code></Error>")(w)
	})
	_, err := store.Put(t.Context(), "a", strings.NewReader("x"), 1, storage.Cond{})
	require.ErrorIs(t, err, storage.ErrCorrupt)
	require.EqualValues(t, 1, requests.Load())
}

// The first small upload finds out whether the remote computes sums.
func TestFirstUploadAsks(t *testing.T) {
	for _, answers := range []bool{true, false} {
		var sums, signed []bool
		store := script(t, func(w http.ResponseWriter, r *http.Request) {
			sums = append(sums, r.Header.Get("X-Amz-Checksum-Crc64nvme") != "")
			signed = append(signed, r.Header.Get("X-Amz-Content-Sha256") != "UNSIGNED-PAYLOAD")
			if answers {
				w.Header().Set("X-Amz-Checksum-Crc64nvme", r.Header.Get("X-Amz-Checksum-Crc64nvme"))
			}
			bucket(w, r)
		})
		for range 3 {
			_, err := store.Put(t.Context(), "a", strings.NewReader("x"), 1, storage.Cond{})
			require.NoError(t, err)
		}
		require.Equal(t, []bool{true, answers, answers}, sums)
		require.Equal(t, []bool{true, !answers, !answers}, signed, "one sum is enough")
	}
}
