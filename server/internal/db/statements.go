package db

import (
	"context"
	"database/sql"
	"sync"
)

// statements are the queries that a pool has been asked, compiled. SQLite compiles
// the text of a query each time it is asked, which can take longer than the answer.
// PostgreSQL's driver remembers by itself, and has none of these: nil.
type statements struct {
	pool *sql.DB

	mu    sync.RWMutex
	known map[string]*sql.Stmt
}

// mostStatements is how many queries are remembered. There are some dozens in the
// program; a text that is made up each time must not grow this without end.
const mostStatements = 128

func newStatements(pool *sql.DB) *statements {
	return &statements{pool: pool, known: map[string]*sql.Stmt{}}
}

// find returns a query, nil when it is not known.
func (s *statements) find(query string) *sql.Stmt {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.known[query]
}

// learn compiles queries for the next who asks them. It must not be called within a
// transaction, which may have the last connection.
func (s *statements) learn(ctx context.Context, queries []string) {
	if s == nil {
		return
	}
	for _, query := range queries {
		if s.isFull() || s.find(query) != nil {
			continue
		}
		stmt, err := s.pool.PrepareContext(ctx, query)
		if err != nil {
			return // whoever asks it next is told, or comes here again
		}
		s.add(query, stmt)
	}
}

func (s *statements) isFull() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.known) >= mostStatements
}

// add remembers a query, unless somebody else was faster.
func (s *statements) add(query string, stmt *sql.Stmt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[query] != nil || len(s.known) >= mostStatements {
		_ = stmt.Close() // it was not used
		return
	}
	s.known[query] = stmt
}
