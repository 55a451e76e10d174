package main

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkStart measures commands that do no work, from the start of the program to
// its end, as bench/README.md says.
func BenchmarkStart(b *testing.B) {
	program := filepath.Join(b.TempDir(), "d6tpipe")
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for _, arg := range []string{"version", "--help"} {
		b.Run(arg, func(b *testing.B) {
			var used time.Duration
			for b.Loop() {
				c := exec.CommandContext(b.Context(), program, arg)
				if out, err := c.CombinedOutput(); err != nil || len(out) == 0 {
					b.Fatalf("%v: %s", err, out)
				}
				used += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/start")
			b.ReportMetric(used.Seconds()*1e3/float64(b.N), "cpu-ms/start")
		})
	}
}
