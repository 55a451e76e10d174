package ftp_test

import (
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/d6t/d6tpipe-go/internal/storage/ftp/ftptest"
)

// memory makes a Script a server with files: flat, all of them in "/", changed at
// the time of its clock. What it cannot do besides is for each test to say.
type memory struct {
	mu       sync.Mutex
	files    map[string]memoryFile
	from     string // of RNFR
	now      time.Time
	noOver   bool // RNTO does not replace
	appends  bool // REST and STOR write at the end
	noREST   bool
	noRename string // the name that RNTO refuses
	stamps   string // the command that sets a file's time
}

type memoryFile struct {
	data string
	time time.Time
}

func newMemory() *memory {
	return &memory{files: map[string]memoryFile{}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
}

func (m *memory) script() *ftptest.Script {
	return &ftptest.Script{Features: []string{"EPSV", "MDTM", "SIZE", "REST STREAM"}, On: m.on, Data: m.send, Store: m.store}
}

func (m *memory) set(name, data string, age time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = memoryFile{data, m.now.Add(-age)}
}

func (m *memory) names() (all []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.files {
		all = append(all, name)
	}
	return all
}

func (m *memory) get(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[name].data
}

func (m *memory) on(verb, arg string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if stamp, name, ok := strings.Cut(arg, " "); ok && verb == m.stamps {
		return m.stamp(stamp, name)
	}
	f, ok := m.files[arg]
	switch verb {
	case "CWD":
		if arg != "/" {
			return "550 no"
		}
	case "SIZE", "MDTM", "RETR", "DELE", "RNFR":
		if !ok {
			return "550 no"
		}
	}
	switch verb {
	case "SIZE":
		return fmt.Sprintf("213 %d", len(f.data))
	case "MDTM":
		return "213 " + f.time.Format("20060102150405")
	case "DELE":
		delete(m.files, arg)
	case "REST":
		if m.noREST {
			return "502 no"
		}
	case "RNFR":
		m.from = arg
	case "RNTO":
		if m.noOver && ok || arg == m.noRename {
			return "550 there is one"
		}
		m.files[arg] = m.files[m.from]
		delete(m.files, m.from)
	}
	return ""
}

func (m *memory) stamp(stamp, name string) string {
	f, ok := m.files[name]
	when, err := time.Parse("20060102150405", stamp)
	if !ok || err != nil {
		return "550 no"
	}
	m.files[name] = memoryFile{f.data, when}
	return "213 fine"
}

func (m *memory) send(verb, arg string, off int64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if verb == "RETR" {
		return m.files[arg].data[off:]
	}
	var text strings.Builder
	text.WriteString("drwxr-xr-x 2 a b 0 Nov 23 12:00 .\r\n")
	for name, f := range m.files {
		fmt.Fprintf(&text, "-rw-r--r-- 1 a b %d %s %s\r\n", len(f.data), f.time.Format("Jan _2  2006"), path.Base(name))
	}
	return text.String()
}

func (m *memory) store(verb, arg string, off int64, data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(400 * time.Millisecond)
	old := m.files[arg].data
	switch {
	case verb == "APPE" || m.appends && off > 0:
		data = old + data
	case off > 0:
		rest := ""
		if end := int(off) + len(data); end < len(old) {
			rest = old[end:]
		}
		data = old[:off] + data + rest
	}
	m.files[arg] = memoryFile{data, m.now}
}
