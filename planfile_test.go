package d6tpipe_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go"
)

func TestPlanFile(t *testing.T) {
	dst, src, _, source := mirrorPipes(t)
	put(t, source, "a.csv", "one")
	put(t, source, "b.csv", "two")
	plan, err := src.PlanPull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	var file bytes.Buffer
	n, err := plan.WriteTo(&file)
	require.NoError(t, err)
	require.EqualValues(t, file.Len(), n)
	require.Equal(t, 4, strings.Count(file.String(), "\n"))
	read, err := d6tpipe.ReadPlan(bytes.NewReader(file.Bytes()))
	require.NoError(t, err)
	require.Equal(t, plan.Steps, read.Steps)
	require.Equal(t, "vendor", read.Pipe)
	require.Equal(t, 2, read.Files)

	_, err = dst.Apply(t.Context(), read)
	require.ErrorIs(t, err, d6tpipe.ErrInvalid, "of another pipe")
	put(t, source, "b.csv", "changed since")
	report, err := src.Apply(t.Context(), read)
	require.ErrorIs(t, err, d6tpipe.ErrConflict)
	require.Equal(t, []string{"b.csv"}, report.Conflicts)
	require.Equal(t, 1, report.Moved)
	require.FileExists(t, filepath.Join(src.Dir(), "a.csv"))
	require.NoFileExists(t, filepath.Join(src.Dir(), "b.csv"))

	_, err = d6tpipe.ReadPlan(strings.NewReader("{}"))
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	_, err = d6tpipe.ReadPlan(bytes.NewReader(file.Bytes()[:file.Len()-10]))
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	_, err = (&d6tpipe.Plan{}).WriteTo(&file)
	require.ErrorIs(t, err, d6tpipe.ErrInvalid)
}

func TestVerify(t *testing.T) {
	_, src, _, source := mirrorPipes(t)
	for _, key := range []string{"a.csv", "b.csv", "c.txt"} {
		put(t, source, key, "content")
	}
	_, err := src.Pull(t.Context(), d6tpipe.PullOptions{})
	require.NoError(t, err)
	report, err := src.Verify(t.Context(), d6tpipe.VerifyOptions{})
	require.NoError(t, err)
	require.True(t, report.OK())
	require.Equal(t, 3, report.Checked)
	require.EqualValues(t, 21, report.Bytes)
	path := filepath.Join(src.Dir(), "a.csv")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte("CONTENT"), 0o644))
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	put(t, src.Dir(), "mine.csv", "x")
	require.NoError(t, os.Remove(filepath.Join(source, "b.csv")))
	report, err = src.Verify(t.Context(), d6tpipe.VerifyOptions{All: true, Exclude: "*.txt"})
	require.NoError(t, err)
	require.Equal(t, []d6tpipe.VerifiedFile{
		{Key: "a.csv", Size: 7, Local: d6tpipe.FileDamaged, Remote: d6tpipe.FileIntact},
		{Key: "b.csv", Size: 7, Local: d6tpipe.FileIntact, Remote: d6tpipe.FileGone},
		{Key: "mine.csv", Size: 1, Local: d6tpipe.FileUnsynced, Remote: d6tpipe.FileUnchecked},
	}, report.Problems)
	report, err = src.LocalPipe.Verify(t.Context(), d6tpipe.VerifyOptions{})
	require.NoError(t, err)
	require.Len(t, report.Problems, 1, "offline")
}

func TestChanges(t *testing.T) {
	_, src, _, source := mirrorPipes(t)
	put(t, source, "a.csv", "one")
	put(t, source, "b.tmp", "the pipe's filter leaves it out")
	seen := func(o d6tpipe.ChangesOptions) (all []string) {
		for c, err := range src.Changes(t.Context(), o) {
			require.NoError(t, err)
			all = append(all, fmt.Sprint(c.Kind, " ", c.Key, " ", c.Before != nil))
		}
		return all
	}
	require.Equal(t, []string{"new a.csv false"}, seen(d6tpipe.ChangesOptions{}))
	require.Empty(t, seen(d6tpipe.ChangesOptions{}))
	put(t, source, "a.csv", "changed")
	require.Empty(t, seen(d6tpipe.ChangesOptions{Include: "*.txt"}))
	require.Equal(t, []string{"modified a.csv true"}, seen(d6tpipe.ChangesOptions{}))
	require.Equal(t, []string{"new a.csv false"}, seen(d6tpipe.ChangesOptions{Consumer: "second"}))
	for _, err := range src.Changes(t.Context(), d6tpipe.ChangesOptions{Consumer: "../x"}) {
		require.ErrorIs(t, err, d6tpipe.ErrInvalid)
	}
	require.NoError(t, os.RemoveAll(filepath.Join(source, "a.csv")))
	for _, err := range src.Changes(t.Context(), d6tpipe.ChangesOptions{}) {
		require.ErrorIs(t, err, d6tpipe.ErrRefused)
	}
	require.Equal(t, []string{"gone a.csv true"}, seen(d6tpipe.ChangesOptions{Force: true}))
}

func ExamplePipe_Changes() {
	// Process what has arrived since the last run, each file at least once.
	process := func(ctx context.Context, pipe *d6tpipe.Pipe, work func(d6tpipe.Change) error) error {
		for c, err := range pipe.Changes(ctx, d6tpipe.ChangesOptions{Consumer: "loader", Include: "*.csv"}) {
			if err != nil {
				return err
			}
			if err := work(c); err != nil {
				return err // c comes again
			}
		}
		return nil
	}
	_ = process
}

func ExampleReadPlan() {
	// One program plans, a person looks at it, another one applies it.
	plan := func(ctx context.Context, pipe *d6tpipe.Pipe, path string) error {
		p, err := pipe.PlanPull(ctx, d6tpipe.PullOptions{})
		if err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = p.WriteTo(f)
		return err
	}
	apply := func(ctx context.Context, pipe *d6tpipe.Pipe, path string) (d6tpipe.Report, error) {
		f, err := os.Open(path)
		if err != nil {
			return d6tpipe.Report{}, err
		}
		defer f.Close()
		p, err := d6tpipe.ReadPlan(f)
		if err != nil {
			return d6tpipe.Report{}, err
		}
		return pipe.Apply(ctx, p)
	}
	_, _ = plan, apply
}

func ExampleEncode() {
	cfg := d6tpipe.Config{Key: "the profile's key"}
	sealed, err := d6tpipe.Encode(cfg, d6tpipe.RemoteSettings{Name: "warehouse", Protocol: d6tpipe.ProtocolS3, Location: "bucket"})
	fmt.Println(err, sealed.Name, sealed.Location == "bucket")
	open, err := d6tpipe.Decode(cfg, sealed)
	fmt.Println(err, open.Location)
	// Output:
	// <nil> warehouse false
	// <nil> bucket
}
