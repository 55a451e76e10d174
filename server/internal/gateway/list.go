package gateway

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/minio/minio-go/v7"
)

// list yields what a grant shows of a bucket, with keys relative to its prefix.
func list(ctx context.Context, client *minio.Client, bucket string, g Grant) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		a, err := newAccess(g)
		if err != nil {
			yield(Object{}, err)
			return
		}
		for o := range client.ListObjectsIter(ctx, bucket, minio.ListObjectsOptions{Prefix: g.Prefix, Recursive: true}) {
			if o.Err != nil {
				yield(Object{}, fmt.Errorf("list %q: %w", g.Prefix, o.Err))
				return
			}
			if o.Key == g.Prefix || !a.sees(o.Key) { // the folder itself is no file
				continue
			}
			out := Object{Key: o.Key[len(g.Prefix):], Size: o.Size, ETag: strings.Trim(o.ETag, `"`), Modified: o.LastModified}
			if !yield(out, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(Object{}, ctx.Err())
		}
	}
}

// remove deletes all that lies below prefix.
func remove(ctx context.Context, client *minio.Client, bucket, prefix string) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	var failed error
	found := func(yield func(minio.ObjectInfo) bool) {
		for o := range client.ListObjectsIter(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if failed = o.Err; failed != nil || !yield(o) {
				return
			}
		}
	}
	results, err := client.RemoveObjectsWithIter(ctx, bucket, found, minio.RemoveObjectsOptions{})
	if err != nil {
		return fmt.Errorf("remove %q: %w", prefix, err)
	}
	for result := range results {
		if result.Err != nil {
			return fmt.Errorf("remove %q: %w", prefix, result.Err)
		}
	}
	if failed != nil {
		return fmt.Errorf("remove %q: %w", prefix, failed)
	}
	return ctx.Err()
}
