// Million lists a bucket of a server at an address, and prints how many objects there
// are and how much memory the process has had at most, in KiB. It is a program of its
// own because the race detector of the tests takes memory too.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/s3"
)

func main() {
	store, err := s3.New(s3.Options{Endpoint: os.Args[1], Bucket: "bucket", AccessKey: "id", SecretKey: "secret"})
	if err != nil {
		log.Fatal(err)
	}
	l, err := storage.Collect(context.Background(), storage.Retry(store, storage.RetryPolicy{}), "")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Len(), peak())
}

func peak() string {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		log.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	return strings.Fields(rest)[0]
}
