package db

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// maxLine is how long a line of a backup may be: PostgreSQL's texts end there.
const maxLine = 1 << 30

// Restore puts a backup into the database, all of it or nothing. It may be one
// of an older program. Whatever is there already is replaced, if force says so;
// otherwise the error matches [ErrNotEmpty]. A backup that is cut or changed is
// refused with [ErrDamaged], and one of a newer program with [ErrNewer], before
// anything is written.
//
// The backup is first read into a SQLite file in the folder for temporary files,
// for this user alone, where it is proven and brought up to date. The file takes
// as much space as the backup.
func (d *DB) Restore(ctx context.Context, r io.Reader, force bool) error {
	if err := d.restore(ctx, r, force); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

func (d *DB) restore(ctx context.Context, r io.Reader, force bool) (err error) {
	dir, err := os.MkdirTemp("", "d6tpipe-restore-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &backupReader{in: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	stage, err := b.open(ctx, d, filepath.Join(dir, "stage.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.Close()) }()
	err = stage.Write(ctx, func(ctx context.Context, tx Tx) error { return b.readAll(ctx, stage, tx) })
	if err != nil {
		return err
	}
	stage.target = 0
	if err := stage.migrate(ctx); err != nil {
		return err
	}
	return d.Write(ctx, func(ctx context.Context, to Tx) error { return d.replace(ctx, to, stage, force) })
}

// replace puts what is staged in the place of what is there.
func (d *DB) replace(ctx context.Context, to Tx, stage *DB, force bool) error {
	parts, err := d.parts(ctx, to)
	if err != nil {
		return err
	}
	if err := clearTables(ctx, to, parts, force); err != nil {
		return err
	}
	return stage.Read(ctx, func(ctx context.Context, from Tx) error { return copyTables(ctx, parts, from, to) })
}

// backupReader reads lines, and remembers what the footer has to say about them.
type backupReader struct {
	in   *bufio.Reader
	last []byte    // the line that was read last
	sum  hash.Hash // of those before it
	rows int64
}

// open reads the header and returns an empty database of the backup's version.
func (b *backupReader) open(ctx context.Context, d *DB, path string) (*DB, error) {
	line, err := b.line()
	if err != nil {
		return nil, err
	}
	var h header
	if err := decode(line, &h); err != nil || h.Backup != "d6tpipe" {
		return nil, fmt.Errorf("%w: this is no backup of d6tpipe", ErrDamaged)
	}
	latest, err := d.latest()
	if err != nil {
		return nil, err
	}
	if h.Format > format || h.Schema > latest {
		return nil, fmt.Errorf("%w: the backup has format %d and schema %d, this one knows %d and %d",
			ErrNewer, h.Format, h.Schema, format, latest)
	}
	if h.Format < 1 || h.Schema < 1 {
		return nil, fmt.Errorf("%w: there is no such version", ErrDamaged)
	}
	return open(ctx, path, schema{migrations: d.migrations, target: h.Schema})
}

// readAll reads the tables into an empty database, and the footer.
func (b *backupReader) readAll(ctx context.Context, stage *DB, tx Tx) error {
	parts, err := stage.parts(ctx, tx)
	if err != nil {
		return err
	}
	line, err := b.line()
	for _, t := range parts {
		if err != nil {
			return err
		}
		if line, err = b.readTable(ctx, tx, t, line); err != nil {
			err = fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	if err != nil {
		return err
	}
	return b.end(line)
}

// readTable reads a table, whose first line has been read, and the line that
// follows its rows.
func (b *backupReader) readTable(ctx context.Context, tx Tx, t table, line []byte) ([]byte, error) {
	want, err := t.shape(ctx, tx)
	if err != nil {
		return nil, err
	}
	var s shape
	if err := decode(line, &s); err != nil || !reflect.DeepEqual(s, want) {
		return nil, fmt.Errorf("%w: its columns are not those of this version", ErrDamaged)
	}
	into := inserter{tx: tx, shape: s}
	for ; ; b.rows++ {
		line, err := b.line()
		if err != nil {
			return nil, err
		}
		if line[0] != '[' {
			return line, into.flush(ctx)
		}
		row, err := s.parse(line)
		if err != nil {
			return nil, err
		}
		if err := into.add(ctx, row); err != nil {
			return nil, err
		}
	}
}

// end compares the footer with what was read, and sees that nothing follows.
func (b *backupReader) end(line []byte) error {
	want, err := marshal(footer{Rows: b.rows, SHA256: hex.EncodeToString(b.sum.Sum(nil))})
	if err != nil {
		return err
	}
	if !bytes.Equal(line, want) {
		return fmt.Errorf("%w: its last line is not that of what comes before", ErrDamaged)
	}
	if _, err := b.in.ReadByte(); err != io.EOF {
		return errors.Join(err, fmt.Errorf("%w: something follows its last line", ErrDamaged))
	}
	return nil
}

// line reads the next line, which is never empty.
func (b *backupReader) line() ([]byte, error) {
	b.sum.Write(b.last)
	b.last = b.last[:0]
	for {
		part, err := b.in.ReadSlice('\n')
		b.last = append(b.last, part...)
		switch {
		case err == nil:
			return b.last, nil
		case err == io.EOF:
			return nil, fmt.Errorf("%w: its end is missing", ErrDamaged)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(b.last) > maxLine:
			return nil, fmt.Errorf("%w: a line has no end", ErrDamaged)
		}
	}
}

// decode reads a line that is an object of known fields.
func decode(line []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// parse reads a line that is a row.
func (s shape) parse(line []byte) ([]any, error) {
	var values []json.RawMessage
	if err := json.Unmarshal(line, &values); err != nil || len(values) != len(s.Columns) {
		return nil, fmt.Errorf("%w: a row is not one", ErrDamaged)
	}
	row := s.row()
	for i, value := range values {
		if string(value) == "null" || json.Unmarshal(value, row[i]) != nil {
			return nil, fmt.Errorf("%w: column %s is no %s", ErrDamaged, s.Columns[i], s.Types[i])
		}
	}
	return row, nil
}

// shape describes a table as it is now.
func (t table) shape(ctx context.Context, tx Tx) (shape, error) {
	rows, err := tx.QueryContext(ctx, t.query())
	if err != nil {
		return shape{}, err
	}
	defer rows.Close()
	return shapeOf(t, rows)
}

// clearTables makes room, if it may.
func clearTables(ctx context.Context, tx Tx, parts []table, force bool) error {
	for _, t := range slices.Backward(parts) {
		if !force {
			found, err := column(ctx, tx, "SELECT 'a row' FROM "+t.name+" LIMIT 1")
			if err != nil {
				return err
			}
			if len(found) > 0 {
				return fmt.Errorf("%w: it has rows in %s; only force replaces them", ErrNotEmpty, t.name)
			}
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+t.name); err != nil {
			return err
		}
	}
	return nil
}

// copyTables copies all rows into empty tables.
func copyTables(ctx context.Context, parts []table, from, to Tx) error {
	for _, t := range parts {
		if err := t.copy(ctx, from, to); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	return nil
}

func (t table) copy(ctx context.Context, from, to Tx) error {
	rows, err := from.QueryContext(ctx, t.query())
	if err != nil {
		return err
	}
	defer rows.Close()
	s, err := shapeOf(t, rows)
	if err != nil {
		return err
	}
	into := inserter{tx: to, shape: s}
	for rows.Next() {
		row := s.row()
		if err := rows.Scan(row...); err != nil {
			return err
		}
		if err := into.add(ctx, row); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), into.flush(ctx))
}

// inserter inserts rows, many with one statement.
type inserter struct {
	tx    Tx
	shape shape
	args  []any
	size  int // of the texts
}

func (i *inserter) add(ctx context.Context, row []any) error {
	i.args = append(i.args, row...)
	for _, value := range row {
		if s, ok := value.(*string); ok {
			i.size += len(*s)
		}
	}
	if len(i.args) < 1000 && i.size < 4<<20 {
		return nil
	}
	return i.flush(ctx)
}

func (i *inserter) flush(ctx context.Context) error {
	if len(i.args) == 0 {
		return nil
	}
	_, err := i.tx.ExecContext(ctx, i.shape.insert(len(i.args)/len(i.shape.Columns)), i.args...)
	if IsUnique(err) || IsForeignKey(err) || errors.Is(err, ErrArgument) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	i.args, i.size = i.args[:0], 0
	return err
}

// insert is a statement for n rows.
func (s shape) insert(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ", s.Table, strings.Join(s.Columns, ", "))
	for arg := range n * len(s.Columns) {
		switch {
		case arg == 0:
			b.WriteString("(")
		case arg%len(s.Columns) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", arg+1)
	}
	return b.String() + ")"
}
