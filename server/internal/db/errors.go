package db

import (
	"errors"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	d6tpipe "github.com/d6t/d6tpipe-go"
)

// The kinds of failure, for [errors.Is].
var (
	// ErrNewer says that a newer program made the database or the backup.
	ErrNewer = errors.New("made by a newer program")
	// ErrForeign says that the database holds something else.
	ErrForeign = errors.New("not a database of d6tpipe")
	// ErrDamaged says that a backup is cut or changed, or that the database
	// holds what cannot be.
	ErrDamaged = errors.New("damaged")
	// ErrMissing says that there is no database, or an empty one, where one of
	// ours must be.
	ErrMissing = errors.New("no database of d6tpipe is there")
	// ErrNotEmpty says that a backup would replace what is there.
	ErrNotEmpty = errors.New("the database is not empty")
	// ErrBusy says that a transaction failed because of others as often as it
	// was tried. The same call may succeed later.
	ErrBusy = errors.New("the database is busy")
	// ErrNested says that a transaction was begun within another one.
	ErrNested = errors.New("transaction within a transaction")
	// ErrArgument says that a statement's argument cannot be stored alike by
	// both engines: a time, a text that is not UTF-8 or has a NUL in it.
	ErrArgument = errors.New("not to be stored")
	// errText is the [ErrArgument] that requests are to blame for. It is
	// [d6tpipe.ErrInvalid], and its text is for users.
	errText error = &d6tpipe.StatusError{Status: http.StatusBadRequest, Message: "A text in the request is not UTF-8, or has a NUL in it."}
)

// IsUnique reports whether a statement failed because a value is taken that must
// be unique.
func IsUnique(err error) bool { return UniqueName(err) != "" }

// UniqueName names what was taken when [IsUnique]: table and columns, such as
// "users_email" or "records_kind_name", and "users_pkey" for a primary key. It is
// the same name on both engines.
func UniqueName(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "23505" {
		return strings.TrimSuffix(pg.ConstraintName, "_key")
	}
	lite, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return ""
	}
	_, columns, _ := strings.Cut(lite.Error(), "UNIQUE constraint failed: ")
	columns, _, _ = strings.Cut(columns, " (")
	table, _, _ := strings.Cut(columns, ".")
	switch lite.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return table + "_pkey"
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return table + "_" + strings.ReplaceAll(strings.ReplaceAll(columns, table+".", ""), ", ", "_")
	}
	return ""
}

// IsForeignKey reports whether a statement failed because it would leave a row
// that refers to another one that is not there.
func IsForeignKey(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == "23503"
	}
	lite, ok := errors.AsType[*sqlite.Error](err)
	return ok && lite.Code() == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}
