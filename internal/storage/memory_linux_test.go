package storage_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMillionKeys lists a million objects, as one who pulls does, in a process that
// may not take more than 200 MB for it.
func TestMillionKeys(t *testing.T) {
	const keys, most = 1_000_000, 200_000_000
	server := httptest.NewServer(pagesOf(keys))
	defer server.Close()
	program := filepath.Join(t.TempDir(), "million")
	build := exec.Command("go", "build", "-race=false", "-o", program, "./testdata/million")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var stdout, stderr bytes.Buffer
	list := exec.Command(program, server.URL)
	list.Stdout, list.Stderr = &stdout, &stderr
	for _, setting := range os.Environ() { // Go's defaults are what users have
		if name, _, _ := bytes.Cut([]byte(setting), []byte("=")); string(name) != "GOGC" && string(name) != "GOMEMLIMIT" {
			list.Env = append(list.Env, setting)
		}
	}
	require.NoError(t, list.Run(), "%s", stderr.String())
	var listed, peak int
	_, err = fmt.Sscan(stdout.String(), &listed, &peak)
	require.NoError(t, err)
	t.Logf("%d KiB at most", peak)
	require.Equal(t, keys, listed)
	require.Less(t, peak<<10, most)
}

// pagesOf answers as S3 does that holds n objects.
func pagesOf(n int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _ := strconv.Atoi(r.URL.Query().Get("continuation-token")) // there is none at first
		last := min(first+1000, n)
		var page bytes.Buffer
		page.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>`)
		fmt.Fprintf(&page, "<KeyCount>%d</KeyCount><IsTruncated>%v</IsTruncated>", last-first, last < n)
		if last < n {
			fmt.Fprintf(&page, "<NextContinuationToken>%d</NextContinuationToken>", last)
		}
		for i := first; i < last; i++ {
			page.WriteString("<Contents><Key>year=" + strconv.Itoa(2000+i*26/n) + "/month=10/part-" + strconv.Itoa(10_000_000+i) + ".parquet</Key><LastModified>2026-11-23T12:00:")
			page.WriteString(strconv.Itoa(10+i%50) + ".000Z</LastModified><ETag>&quot;")
			sum := binary.BigEndian.AppendUint64(nil, uint64(i)*0x9e3779b97f4a7c15)
			page.WriteString(hex.EncodeToString(append(sum, sum...)))
			page.WriteString("&quot;</ETag><Size>" + strconv.Itoa(i*1000) + "</Size><StorageClass>STANDARD</StorageClass></Contents>")
		}
		page.WriteString("</ListBucketResult>")
		w.Header().Set("Content-Type", "application/xml")
		_, _ = w.Write(page.Bytes()) // who is gone wants no more
	})
}
