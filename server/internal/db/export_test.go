package db

import (
	"context"
	"io/fs"
)

// Attempts is how often a transaction is tried.
const Attempts = attempts

// Migrations is the schema of this program.
func Migrations() fs.FS {
	latest, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err)
	}
	return latest
}

// OpenAs opens a database as a program with other migrations does.
func OpenAs(ctx context.Context, url string, migrations fs.FS) (*DB, error) {
	return open(ctx, url, schema{migrations: migrations})
}

// Tables are those that a backup has.
func Tables() (names []string) {
	for _, t := range tables {
		names = append(names, t.name)
	}
	return names
}

// Known is how many queries are remembered.
func Known(d *DB) int {
	d.known.mu.RLock()
	defer d.known.mu.RUnlock()
	return len(d.known.known)
}
