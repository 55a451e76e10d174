package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Tx is a transaction, until the function that got it returns. Arguments are
// texts, integers, booleans and what is made of them; bytes are stored as text.
// One statement runs at a time: read the rows of a query to their end, or close
// them, before the next one.
//
// LIKE tells upper from lower case, and wants an ESCAPE when there is something
// to escape.
//
// A statement that fails ends the transaction, whatever is done about its error;
// put "ON CONFLICT DO NOTHING" into a statement whose failure is no failure.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

const (
	// attempts is how often a transaction is tried that others get in the way of.
	attempts = 10
	// patience is after how many attempts a transaction that writes asks to be
	// alone, and so comes through.
	patience = 4
)

// Read calls fn with one snapshot of the database. It does not wait for those
// who write, nor they for it. What fn writes is refused. It may be called again
// after its connection was lost, so it must not change anything outside that a
// second call does not set right.
func (d *DB) Read(ctx context.Context, fn func(context.Context, Tx) error) error {
	j := job{pool: d.reads, opts: d.read, known: d.known, fn: fn}
	return d.run(ctx, func(attempt int) (bool, error) { return d.once(ctx, j, attempt) })
}

// Query calls fn with the rows of one statement that reads. It is what [DB.Read] is,
// for who asks once: a single statement sees one snapshot without a transaction, and
// so takes a third of the messages to the database. The rows are closed afterwards.
func (d *DB) Query(ctx context.Context, fn func(*sql.Rows) error, query string, args ...any) error {
	return d.run(ctx, func(int) (bool, error) { return d.query(ctx, fn, query, args) })
}

// Write calls fn with a transaction that can write, as if there were no other at
// the same time. It is committed when fn returns nil, and survives a power cut
// when Write returns nil; otherwise nothing of it is left. When others get in the
// way fn is called again, with a new transaction, so it must not change anything
// outside that a second call does not set right.
//
// An error of the commit itself, such as a lost connection, leaves it open
// whether the transaction took place.
func (d *DB) Write(ctx context.Context, fn func(context.Context, Tx) error) error {
	j := job{pool: d.writes, opts: d.write, begin: d.beginWrite, fn: fn}
	return d.run(ctx, func(attempt int) (bool, error) { return d.once(ctx, j, attempt) })
}

// WriteAlone is Write when all other transactions that write have ended, and before
// any other begins: those that begin later see what it has written. It is for what
// all of them go by.
func (d *DB) WriteAlone(ctx context.Context, fn func(context.Context, Tx) error) error {
	begin := func(int) string { return d.beginWrite(patience + 1) }
	j := job{pool: d.writes, opts: d.write, begin: begin, fn: fn}
	return d.run(ctx, func(attempt int) (bool, error) { return d.once(ctx, j, attempt) })
}

// job is a transaction to carry out.
type job struct {
	pool  *sql.DB
	opts  sql.TxOptions
	begin func(attempt int) string
	known *statements // of the pool, or nil
	fn    func(context.Context, Tx) error
}

// run tries something until it comes through, fails by itself, or is out of attempts.
func (d *DB) run(ctx context.Context, once func(attempt int) (again bool, err error)) error {
	for attempt := 1; ; attempt++ {
		again, err := once(attempt)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil:
			return ctx.Err() // database/sql has rolled it back for that
		case !again:
			return err
		case attempt == attempts:
			return fmt.Errorf("%w, after %d tries: %w", ErrBusy, attempts, err)
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// once tries a job one time. It reports whether the same may go better again:
// the transaction is known to be rolled back, and not for its own sake.
func (d *DB) once(ctx context.Context, j job, attempt int) (again bool, err error) {
	if d.isWithin(ctx) {
		return false, ErrNested
	}
	tx, err := j.pool.BeginTx(ctx, &j.opts)
	if err != nil {
		return d.conflict(err), err
	}
	t := &transaction{tx: tx, known: j.known}
	defer t.end(ctx)
	if j.begin != nil && j.begin(attempt) != "" {
		_, t.failed = tx.ExecContext(ctx, j.begin(attempt))
	}
	if t.failed == nil {
		err = j.fn(context.WithValue(ctx, within{d}, t), t)
	}
	if err == nil {
		err = t.failed
	}
	if err != nil { // fn may have made its own error of what failed
		why := errors.Join(t.failed, err)
		return d.conflict(why) || d.lost(why), err
	}
	err = tx.Commit()
	return d.conflict(err), err
}

// query tries a query one time, and reports whether it may go better again.
func (d *DB) query(ctx context.Context, fn func(*sql.Rows) error, query string, args []any) (again bool, err error) {
	if d.isWithin(ctx) {
		return false, ErrNested
	}
	rows, err := d.ask(ctx, query, stored(args))
	if err != nil {
		return d.conflict(err) || d.lost(err), err
	}
	defer rows.Close()
	err = fn(rows)
	if failed := rows.Err(); failed != nil { // fn may have made its own error of it, or none
		return d.conflict(failed) || d.lost(failed), failed
	}
	return false, err
}

// ask sends a query outside of any transaction.
func (d *DB) ask(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	d.known.learn(ctx, []string{query})
	if s := d.known.find(query); s != nil {
		return s.QueryContext(ctx, args...)
	}
	return d.reads.QueryContext(ctx, query, args...)
}

// pause waits before the next attempt, longer each time and never as long as
// others do.
func pause(ctx context.Context, attempt int) error {
	longest := min(time.Millisecond<<attempt, 500*time.Millisecond)
	timer := time.NewTimer(longest/2 + rand.N(longest/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// within is the key of a context's transaction on a database.
type within struct{ d *DB }

// isWithin reports whether ctx is that of a transaction that is still open. A
// second one within it would wait for the first on SQLite and not see what it
// wrote on PostgreSQL.
func (d *DB) isWithin(ctx context.Context) bool {
	t, ok := ctx.Value(within{d}).(*transaction)
	return ok && !t.ended.Load()
}

// transaction is a [Tx] that remembers its first failure.
type transaction struct {
	tx     *sql.Tx
	failed error
	ended  atomic.Bool

	known *statements
	asked []string // queries that were not known
}

func (t *transaction) end(ctx context.Context) {
	t.ended.Store(true)
	_ = t.tx.Rollback() // does nothing after a commit
	if t.failed == nil {
		t.known.learn(ctx, t.asked)
	}
}

func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	result, err := t.tx.ExecContext(ctx, query, stored(args)...)
	return result, t.note(err)
}

func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s := t.find(query); s != nil {
		rows, err := t.tx.StmtContext(ctx, s).QueryContext(ctx, stored(args)...)
		return rows, t.note(err)
	}
	rows, err := t.tx.QueryContext(ctx, query, stored(args)...)
	return rows, t.note(err)
}

func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	var row *sql.Row
	if s := t.find(query); s != nil {
		row = t.tx.StmtContext(ctx, s).QueryRowContext(ctx, stored(args)...)
	} else {
		row = t.tx.QueryRowContext(ctx, query, stored(args)...)
	}
	_ = t.note(row.Err()) // the row holds it, too
	return row
}

// find returns a query that is known, and notes one that is not.
func (t *transaction) find(query string) *sql.Stmt {
	s := t.known.find(query)
	if s == nil && t.known != nil {
		t.asked = append(t.asked, query)
	}
	return s
}

func (t *transaction) note(err error) error {
	if t.failed == nil {
		t.failed = err
	}
	return err
}

// stored returns the arguments as both engines take them.
func stored(args []any) []any {
	args = slices.Clone(args)
	for i, arg := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			args[i] = refused{fmt.Errorf("%w: %w", ErrArgument, err)}
			continue
		}
		switch v := value.(type) {
		case string:
			args[i] = text(v)
		case []byte:
			args[i] = text(v)
		case time.Time:
			args[i] = refused{fmt.Errorf("%w: a time that is not in microseconds", ErrArgument)}
		default:
			args[i] = v
		}
	}
	return args
}

// text returns s as an argument, if PostgreSQL would take it. SQLite takes
// anything.
func text[T string | []byte](s T) any {
	if str := string(s); utf8.ValidString(str) && !strings.Contains(str, "\x00") {
		return str
	}
	return refused{fmt.Errorf("%w: %w", ErrArgument, errText)}
}

// refused is an argument that fails the statement it is given to.
type refused struct{ err error }

// Value implements [driver.Valuer].
func (r refused) Value() (driver.Value, error) { return nil, r.err }
