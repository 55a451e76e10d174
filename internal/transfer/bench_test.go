package transfer_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/dir"
	"github.com/d6t/d6tpipe-go/internal/storage/mem"
	"github.com/d6t/d6tpipe-go/internal/transfer"
)

// BenchmarkPlan plans a million keys, of which a tenth is in step with the remote,
// new here, new there or changed. The goal is 2 s and 1 GB.
func BenchmarkPlan(b *testing.B) {
	const n = 1_000_000
	in := transfer.States{Base: entries(n)}
	in.Remote = make([]storage.Object, n)
	in.Local = make([]transfer.LocalFile, n)
	for i, e := range in.Base {
		in.Remote[i] = storage.Object{Key: strings.Clone(e.Key), Size: e.Size, Tag: strings.Clone(e.Tag)}
		in.Local[i] = transfer.LocalFile{Key: strings.Clone(e.Key), Size: e.Size, ModTime: e.ModTime}
		if i%10 == 0 {
			in.Remote[i].Tag = "changed"
		}
	}
	fresh := append([]transfer.Entry(nil), in.Base...)
	for name, req := range map[string]transfer.Request{"pull": pull, "push": {Direction: transfer.Push, Merge: transfer.MergeKeep}} {
		for state, base := range map[string][]transfer.Entry{"changed": fresh, "first": nil} {
			b.Run(name+"/"+state, func(b *testing.B) {
				in := in
				in.Base = base
				if state == "first" && req.Direction == transfer.Pull {
					in.Local = nil
				} else if state == "first" {
					in.Remote = nil
				}
				b.ReportAllocs()
				for b.Loop() {
					transfer.PlanOf(in, req)
				}
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.Sys>>20), "MiB-sys")
			})
		}
	}
}

// BenchmarkManifest loads 100,000 entries. The goal is 100 ms.
func BenchmarkManifest(b *testing.B) {
	data := transfer.EncodeManifest(entries(100_000))
	log := transfer.EncodeManifest(nil)
	all := entries(100_000)
	for i := 0; i < len(all); i += 256 { // as a pull in order of arrival leaves it
		batch := append([]transfer.Entry(nil), all[i:min(i+256, len(all))]...)
		for j := range batch {
			batch[j], batch[len(batch)-1-j] = batch[len(batch)-1-j], batch[j]
		}
		log = transfer.AppendBatch(log, batch)
	}
	for name, data := range map[string][]byte{"rewritten": data, "appended": log} {
		b.Run("load/"+name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "manifest")
			require.NoError(b, os.WriteFile(path, data, 0o600))
			b.ReportAllocs()
			for b.Loop() {
				data, err := os.ReadFile(path)
				if err == nil {
					_, _, err = transfer.DecodeManifest(data)
				}
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkPull pulls 10,000 files of 10 KiB, syncs and all, and BenchmarkAgain
// finds that there is nothing to do.
func BenchmarkPull(b *testing.B) {
	const n = 10_000
	content := bytes.Repeat([]byte("0123456789"), 1024)
	inMemory := mem.New()
	folder := b.TempDir()
	for i := range n {
		key := fmt.Sprintf("d%02d/f%05d.bin", i%50, i)
		inMemory.Plant(key, append(content[:len(content)-8], fmt.Sprintf("%08d", i)...))
		path := filepath.Join(folder, filepath.FromSlash(key))
		require.NoError(b, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(b, os.WriteFile(path, content, 0o644))
	}
	onDisk, err := dir.New(folder)
	require.NoError(b, err)
	for name, store := range map[string]storage.Store{"mem": inMemory, "dir": onDisk} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				repo := b.TempDir()
				b.StartTimer()
				s, err := transfer.Open(transfer.Config{Store: store, Dir: filepath.Join(repo, "pipe"), State: filepath.Join(repo, "state")})
				require.NoError(b, err)
				p, err := s.Plan(b.Context(), pull)
				require.NoError(b, err)
				report, err := s.Apply(b.Context(), p)
				require.NoError(b, err)
				require.Equal(b, n, report.Files)
				b.StopTimer()
				require.NoError(b, s.Close())
				b.StartTimer()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}

// BenchmarkNothing finds out by a listing of the past that nothing is to be done with
// 100,000 files, as a pull by a server's listing does, in a process that has just begun.
// BenchmarkScanLocal is the part of it that looks at each local file.
func BenchmarkNothing(b *testing.B) {
	cfg, saved := inStep(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		data, err := os.ReadFile(saved)
		require.NoError(b, err)
		listing, err := storage.Restore(data)
		require.NoError(b, err)
		s, err := transfer.Open(cfg)
		require.NoError(b, err)
		p, err := s.Plan(b.Context(), transfer.Request{Direction: transfer.Pull, Seen: &listing})
		require.NoError(b, err)
		require.Empty(b, p.Steps)
		require.Equal(b, 100_000, p.Unchanged)
		_, err = s.Apply(b.Context(), p)
		require.NoError(b, errors.Join(err, s.Close()))
	}
}

func BenchmarkScanLocal(b *testing.B) {
	cfg, _ := inStep(b, 100_000)
	s, err := transfer.Open(cfg)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		l, err := s.ScanLocal(b.Context())
		require.NoError(b, err)
		require.Len(b, l.Files, 100_000)
	}
	require.NoError(b, s.Close())
}

// inStep makes a folder of n files, a manifest that knows them, and the file of a
// listing that has them.
func inStep(b *testing.B, n int) (cfg transfer.Config, saved string) {
	repo := b.TempDir()
	cfg = transfer.Config{Dir: filepath.Join(repo, "pipe"), State: filepath.Join(repo, "state")}
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	known, objects := make([]transfer.Entry, n), make([]storage.Object, n)
	for i := range n {
		key := fmt.Sprintf("year=2026/d%04d/part-%06d.csv", i/100, i)
		path := filepath.Join(cfg.Dir, filepath.FromSlash(key))
		if i%100 == 0 {
			require.NoError(b, os.MkdirAll(filepath.Dir(path), 0o755))
		}
		require.NoError(b, os.WriteFile(path, nil, 0o644))
		require.NoError(b, os.Chtimes(path, old, old))
		tag := fmt.Sprintf("%032x", i)
		objects[i] = storage.Object{Key: key, ModTime: old, Tag: tag, Sum: "md5:" + tag}
		known[i] = transfer.Entry{Key: key, Tag: tag, RemoteTime: transfer.StampOf(old), ModTime: transfer.StampOf(old),
			Sum: transfer.Hash{0: 1}, Checked: transfer.StampOf(old.Add(time.Minute)), Synced: transfer.StampOf(old.Add(time.Minute))}
	}
	l, err := storage.Recall(func(yield func(storage.Object, error) bool) {
		for _, o := range objects {
			if !yield(o, nil) {
				return
			}
		}
	})
	require.NoError(b, err)
	require.NoError(b, os.MkdirAll(cfg.State, 0o700))
	require.NoError(b, os.WriteFile(filepath.Join(cfg.State, "manifest"), transfer.EncodeManifest(known), 0o600))
	saved = filepath.Join(repo, "listing")
	require.NoError(b, os.WriteFile(saved, l.Append(nil), 0o600))
	return cfg, saved
}
