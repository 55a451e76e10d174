package db

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/d6t/d6tpipe-go/internal/atomicfile"
)

// A backup is lines of JSON, the same whatever the engine:
//
//	{"backup":"d6tpipe","format":1,"schema":1,"engine":"sqlite","created":"2026-11-25T12:00:00Z"}
//	{"table":"users","columns":["id","username",...],"types":["text","text",...]}
//	["u1","ann",...]
//	...
//	{"rows":12345,"sha256":"..."}
//
// All tables are there, in the order of the list below, their rows in that of
// their keys. The last line counts the rows and has the SHA-256 of all lines
// before it.

// format is the version of the lines, as the schema's is that of the tables.
const format = 1

// table is a part of a backup.
type table struct {
	name string
	keys int // the first columns are its key
}

// tables is all of the schema, now and in former versions. What is referred to
// comes before what refers to it.
var tables = []table{
	{"users", 1}, {"records", 1}, {"grants", 2}, {"teams", 1}, {"members", 2},
	{"audit", 1}, {"usage", 3}, {"listings", 1}, {"meta", 1},
	{"feeds", 1}, {"changes", 2},
	{"tasks", 2}, {"runs", 1},
	{"webhooks", 1}, {"deliveries", 1},
	{"mirrors", 1}, {"mirror_memory", 1},
}

// header is the first line of a backup.
type header struct {
	Backup  string `json:"backup"`
	Format  int    `json:"format"`
	Schema  int64  `json:"schema"`
	Engine  string `json:"engine"`
	Created string `json:"created"`
}

// shape is the line before a table's rows.
type shape struct {
	Table   string   `json:"table"`
	Columns []string `json:"columns"`
	Types   []string `json:"types"`
}

// footer is the last line of a backup.
type footer struct {
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"`
}

// backupWriter writes lines, and remembers what the footer says about them.
type backupWriter struct {
	out  *bufio.Writer
	sum  hash.Hash
	rows int64
}

// Backup writes a snapshot of the database to w, while others go on reading and
// writing. It does not depend on the engine: [DB.Restore] puts it into either.
// What the snapshot has to do with the files of managed storage is the caller's
// concern. A slow w keeps SQLite from emptying its log, which grows meanwhile.
func (d *DB) Backup(ctx context.Context, w io.Writer) error {
	begin := func(int) string { return d.beginBackup }
	_, err := d.once(ctx, job{pool: d.reads, opts: d.read, begin: begin, fn: func(ctx context.Context, tx Tx) error {
		return d.backup(ctx, tx, w)
	}}, 1) // a second try would write a second time
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// BackupFile is [DB.Backup] to a file that this user alone can read. The file is
// there whole and durable, or the one that was there before, or none.
func (d *DB) BackupFile(ctx context.Context, path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), atomicfile.TempPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = d.Backup(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

func (d *DB) backup(ctx context.Context, tx Tx, out io.Writer) error {
	version, err := d.version(ctx, tx)
	if err != nil {
		return err
	}
	w := &backupWriter{out: bufio.NewWriterSize(out, 64<<10), sum: sha256.New()}
	created := time.Now().UTC().Format(time.RFC3339)
	if err := w.line(header{Backup: "d6tpipe", Format: format, Schema: version, Engine: d.name, Created: created}); err != nil {
		return err
	}
	parts, err := d.parts(ctx, tx)
	if err != nil {
		return err
	}
	for _, t := range parts {
		if err := w.table(ctx, tx, t); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	if err := w.line(footer{Rows: w.rows, SHA256: hex.EncodeToString(w.sum.Sum(nil))}); err != nil {
		return err
	}
	return w.out.Flush()
}

// parts are the tables that this version of the schema has.
func (d *DB) parts(ctx context.Context, tx Tx) ([]table, error) {
	names, err := column(ctx, tx, d.tables)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(tables), func(t table) bool { return !slices.Contains(names, t.name) }), nil
}

// table writes a table.
func (w *backupWriter) table(ctx context.Context, tx Tx, t table) error {
	rows, err := tx.QueryContext(ctx, t.query())
	if err != nil {
		return err
	}
	defer rows.Close()
	s, err := shapeOf(t, rows)
	if err != nil {
		return err
	}
	if err := w.line(s); err != nil {
		return err
	}
	for row := s.row(); rows.Next(); w.rows++ {
		if err := rows.Scan(row...); err != nil {
			return err
		}
		if err := checkTexts(row); err != nil {
			return err
		}
		if err := w.line(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (w *backupWriter) line(v any) error {
	line, err := marshal(v)
	if err != nil {
		return err
	}
	w.sum.Write(line)
	_, err = w.out.Write(line)
	return err
}

// marshal is a line. It leaves < and > as they are.
func marshal(v any) ([]byte, error) {
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return line.Bytes(), err
}

// query finds all rows of a table, in an order that both engines share.
func (t table) query() string {
	return "SELECT * FROM " + t.name + " ORDER BY " + "1, 2, 3"[:3*t.keys-2]
}

// shapeOf describes what [table.query] finds.
func shapeOf(t table, rows *sql.Rows) (shape, error) {
	columns, err := rows.ColumnTypes()
	if err != nil {
		return shape{}, err
	}
	s := shape{Table: t.name}
	for _, c := range columns {
		kind := ""
		switch c.DatabaseTypeName() {
		case "TEXT":
			kind = "text"
		case "BIGINT", "INT8":
			kind = "integer"
		case "BOOLEAN", "BOOL":
			kind = "boolean"
		default:
			return shape{}, fmt.Errorf("column %s is of type %s, which no backup can hold", c.Name(), c.DatabaseTypeName())
		}
		s.Columns, s.Types = append(s.Columns, c.Name()), append(s.Types, kind)
	}
	return s, nil
}

// row is where a row of this shape is read into.
func (s shape) row() []any {
	row := make([]any, len(s.Types))
	for i, kind := range s.Types {
		switch kind {
		case "text":
			row[i] = new(string)
		case "integer":
			row[i] = new(int64)
		case "boolean":
			row[i] = new(bool)
		}
	}
	return row
}

// checkTexts refuses what JSON would not give back as it is.
func checkTexts(row []any) error {
	for _, value := range row {
		if s, ok := value.(*string); ok && !utf8.ValidString(*s) {
			return fmt.Errorf("%w: a text is not UTF-8", ErrDamaged)
		}
	}
	return nil
}
