-- +goose Up
-- What changed of the files of a pipe, as its listings showed it. Each change has a place: the row's seq, and how many of
-- the row's changes come before it. A feed that begins anew gets another epoch. Rows from first on are there; cut_at is
-- when the last row before that was appended, last_at when the last one of all was. It shows nothing ('') before there is
-- a listing. The body of a row is base64 of compressed JSON lines.

CREATE TABLE feeds (
	record_id TEXT   COLLATE "binary" NOT NULL PRIMARY KEY REFERENCES records ON DELETE CASCADE,
	epoch     TEXT   COLLATE "binary" NOT NULL,
	shows     TEXT   COLLATE "binary" NOT NULL,
	first_seq BIGINT NOT NULL,
	next_seq  BIGINT NOT NULL,
	cut_at    BIGINT NOT NULL,
	last_at   BIGINT NOT NULL,
	bytes     BIGINT NOT NULL,
	refused   BIGINT NOT NULL
);

CREATE TABLE changes (
	record_id TEXT   COLLATE "binary" NOT NULL REFERENCES records ON DELETE CASCADE,
	seq       BIGINT NOT NULL,
	at        BIGINT NOT NULL,
	n         BIGINT NOT NULL,
	bytes     BIGINT NOT NULL,
	body      TEXT   COLLATE "binary" NOT NULL,
	PRIMARY KEY (record_id, seq)
);
CREATE INDEX changes_by_time ON changes (at);
