package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// report prints a table, and what is not as it should be.
func report(w io.Writer, rows []row) error {
	var b strings.Builder
	b.WriteString("| load | per second | of the limit | CPU ms each | p50 ms | p99 ms | peak MiB: server, storage | target | |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|---|---|---|\n")
	var failed, missed bool
	for _, r := range rows {
		verdict := "met"
		if !r.met() {
			verdict, missed = "missed", true
		}
		if r.got.failed+r.limit.failed > 0 {
			verdict, failed = fmt.Sprintf("%d answers failed, such as %d", r.got.failed+r.limit.failed, max(r.got.status, r.limit.status)), true
		}
		fmt.Fprintf(&b, "| %s | %.0f | %s | %s | %s | %s | %.0f, %.0f | %s | %s |\n", r.name, r.got.rate, r.ofLimit(),
			r.cpu(), millis(r.got.p50), millis(r.got.p99), r.memory.server, r.memory.child, r.wanted(), verdict)
		if r.limit.rate > 0 {
			fmt.Fprintf(&b, "| limit of that | %.0f | 1 | %s | %s | %s | | | |\n", r.limit.rate, millis(r.limit.cpu), millis(r.limit.p50), millis(r.limit.p99))
		}
	}
	_, err := io.WriteString(w, b.String())
	switch {
	case err != nil:
		return err
	case failed:
		return errors.New("not every request was answered as it should be")
	case missed:
		return errMissed
	}
	return nil
}

// met reports whether the targets are.
func (r row) met() bool {
	return r.got.rate >= r.rate && r.got.rate > 0 && r.got.p99 <= r.p99 && max(r.memory.server, r.memory.child) <= r.maxMiB
}

func (r row) ofLimit() string {
	if r.limit.rate == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r.got.rate/r.limit.rate)
}

// cpu is empty when the server has done something else besides.
func (r row) cpu() string {
	if r.besides != nil {
		return ""
	}
	return millis(r.got.cpu)
}

func (r row) wanted() string {
	wanted := fmt.Sprintf("p99 <= %s ms, %.0f MiB each", millis(r.p99), r.maxMiB)
	if r.rate > 0 {
		wanted = fmt.Sprintf(">= %.0f, ", r.rate) + wanted
	}
	return wanted
}

func millis(d time.Duration) string {
	return fmt.Sprintf("%.2f", d.Seconds()*1000)
}
