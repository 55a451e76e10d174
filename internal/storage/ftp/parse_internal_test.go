package ftp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/internal/storage"
)

// TestSend: should a name with a line break get that far, it gets no further.
func TestSend(t *testing.T) {
	for _, name := range []string{"a\r\nDELE b", "a\nb", "a\rb", "a\x00b", "a\xffb", "a\x1bb", "a\x7fb"} {
		require.ErrorIs(t, (&conn{}).send("DELE /"+name), storage.ErrKey)
	}
}

func FuzzListLine(f *testing.F) {
	for _, line := range []string{
		"-rw-r--r--    1 102      105             5 Jan 01  2020 b", "drwxr-xr-x 2 a b 4096 Nov 24 00:00 .", "total 5", "",
		"lrwxrwxrwx 1 a b 4 Feb 29 12:00 l -> x", "05-20-26  03:19PM       <DIR>          a b", "05-20-2026  15:19  12 a", "-rw-r--r-- 1 a 77 2020-01-05 10:11 x",
		"type=file;size=5;modify=20200101000000.123; a b", "Type=OS.unix=slink:/x;; y", "type=cdir; .", "type=cdir; /a/b", "type=dir;size=1; ..", "type=file; .", ";=; ", "229 (|||1|)", "227 (1,2,3,4,5,6)",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, err := parseLine(line, time.Now())
		checkEntry(t, e, err)
		e, err = parseFacts(line)
		checkEntry(t, e, err)
		for _, parse := range []func(string) (int, error){parseEPSV, parsePASV} {
			if port, err := parse(line); err == nil && (port < 1 || port > 65535) {
				t.Fatalf("port %d of %q", port, line)
			}
		}
	})
}

func checkEntry(t *testing.T, e entry, err error) {
	if err != nil {
		return
	}
	if isDots(e.name) && e.kind != isSelf {
		t.Fatalf("%+v leads elsewhere", e)
	}
	if e.kind < isOther || e.kind > isSelf || e.kind != isSelf && e.name == "" || e.kind == isFile && e.size < 0 {
		t.Fatalf("%+v", e)
	}
}
