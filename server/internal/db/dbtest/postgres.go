package dbtest

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/stretchr/testify/require"

	"github.com/d6t/d6tpipe-go/server/internal/db"
)

// server is the one PostgreSQL of the test process: each of its own would take
// seconds. It starts with the first test that asks for it.
var server postgres

// errMissing says that PostgreSQL is not installed.
var errMissing = errors.New("needs apt package: postgresql")

// postgres is a cluster in a temporary folder. It listens on a socket there, and
// on no port.
type postgres struct {
	once sync.Once
	err  error // why it did not start

	dir   string
	cmd   *exec.Cmd
	stdin io.Closer // PostgreSQL stops when it closes, also because this process died
	admin *sql.DB

	mu    sync.Mutex
	count int // of databases so far

	making sync.Mutex
	made   string // a database with all tables, for copies; "" while there is none
}

// script runs PostgreSQL until its standard input ends, and removes the folder.
// Nothing reaches a disk, since no test cuts the power. It sorts texts as people
// do, not as bytes, to show who relies on the order of bytes without saying so.
const script = `
exec 2>"$2/log"
init() { "$1/initdb" -D "$2/data" -U postgres -A trust -E UTF8 --locale=C --no-sync $3 >&2; }
init "$1" "$2" "--locale-provider=icu --icu-locale=en" || init "$1" "$2" || exit
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c max_connections=300 \
	-c shared_buffers=32MB -c timezone=Asia/Kathmandu -c log_min_messages=fatal &
pid=$!
cat >/dev/null
kill -INT $pid
wait $pid
rm -rf "$2"
`

// copied is [postgres.database] with all tables: to make them takes longer than to copy
// those of another one.
func (p *postgres) copied(t testing.TB) string {
	t.Helper()
	p.making.Lock()
	defer p.making.Unlock()
	if p.made == "" {
		name := p.database(t, "")
		d, err := db.Open(t.Context(), p.url(name))
		require.NoError(t, err)
		require.NoError(t, d.Close())
		p.made = name
	}
	return p.database(t, " TEMPLATE "+p.made)
}

// database creates a database, with more words to say what is in it, and returns its
// name. It goes away with the others.
func (p *postgres) database(t testing.TB, like string) string {
	t.Helper()
	p.once.Do(func() { p.err = p.start(t) })
	if errors.Is(p.err, errMissing) {
		t.Skip(p.err)
	}
	require.NoError(t, p.err)
	p.mu.Lock()
	p.count++
	name := fmt.Sprintf("test%d", p.count)
	p.mu.Unlock()
	_, err := p.admin.ExecContext(t.Context(), "CREATE DATABASE "+name+like)
	require.NoError(t, err)
	return name
}

func (p *postgres) url(database string) string {
	return "postgres://postgres@/" + database + "?host=" + p.dir
}

// patience is for how long a cluster may take to start, when all packages start theirs.
const patience = 3 * time.Minute

// start makes a cluster and waits until it answers.
func (p *postgres) start(t testing.TB) (err error) {
	bin, err := binaries()
	if err != nil {
		return err
	}
	// A socket's path must be short, and PostgreSQL's user may not enter another TMPDIR.
	if p.dir, err = os.MkdirTemp("/tmp", "d6tpg-"); err != nil {
		return err
	}
	outlives := context.WithoutCancel(t.Context()) // it is for other tests, too
	p.cmd = exec.CommandContext(outlives, "/bin/sh", "-c", script, "sh", bin, p.dir)
	p.cmd.Dir = p.dir
	if err := asOther(p.cmd, p.dir); err != nil {
		return err
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	if p.admin, err = sql.Open("pgx", p.url("postgres")); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if err = p.admin.PingContext(t.Context()); err == nil {
			return nil
		}
		select {
		case <-t.Context().Done():
			return t.Context().Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return fmt.Errorf("PostgreSQL does not start: %w\n%s", err, log)
}

// stop ends it, if it was started.
func (p *postgres) stop() error {
	if p.cmd == nil || p.cmd.Process == nil {
		return nil
	}
	var err error
	if p.admin != nil {
		err = p.admin.Close()
	}
	return errors.Join(err, p.stdin.Close(), p.cmd.Wait(), os.RemoveAll(p.dir))
}

// binaries is the folder with the newest PostgreSQL.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(major(a), major(b)) })), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errMissing
	}
	return filepath.Dir(path), nil
}

// major is the version in the path of a binary.
func major(path string) float64 {
	version, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(filepath.Dir(path))), 64)
	return version
}
