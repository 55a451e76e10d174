-- +goose Up
-- One text for SQLite and PostgreSQL. What has to be bytes is base64, times are Unix microseconds in UTC. Every text
-- compares byte by byte (COLLATE "binary"), so that both engines sort alike and as Go does, names that are joined have one
-- collation, and no update of the operating system's locales spoils an index.

CREATE TABLE users (
	id           TEXT    COLLATE "binary" NOT NULL PRIMARY KEY,
	username     TEXT    COLLATE "binary" NOT NULL UNIQUE,
	email        TEXT    COLLATE "binary" NOT NULL UNIQUE,
	password     TEXT    COLLATE "binary" NOT NULL,
	token_hash   TEXT    COLLATE "binary" NOT NULL UNIQUE,
	token_sealed TEXT    COLLATE "binary" NOT NULL,
	is_admin     BOOLEAN NOT NULL,
	created_at   BIGINT  NOT NULL
);

CREATE TABLE records (
	id         TEXT    COLLATE "binary" NOT NULL PRIMARY KEY,
	kind       TEXT    COLLATE "binary" NOT NULL,
	name       TEXT    COLLATE "binary" NOT NULL,
	owner_id   TEXT    COLLATE "binary" NOT NULL REFERENCES users ON DELETE CASCADE,
	parent_id  TEXT    COLLATE "binary" NOT NULL DEFAULT '',
	managed    BOOLEAN NOT NULL,
	body       TEXT    COLLATE "binary" NOT NULL,
	sealed     TEXT    COLLATE "binary" NOT NULL DEFAULT '',
	shown      TEXT    COLLATE "binary" NOT NULL,
	revision   BIGINT  NOT NULL,
	created_at BIGINT  NOT NULL,
	updated_at BIGINT  NOT NULL,
	UNIQUE (kind, name)
);
CREATE INDEX records_by_owner ON records (owner_id, kind, name);
CREATE INDEX records_by_parent ON records (parent_id);

-- The grantee is "user:ID", "email:a@b", "group:ID" or "public".
CREATE TABLE grants (
	record_id  TEXT   COLLATE "binary" NOT NULL REFERENCES records ON DELETE CASCADE,
	grantee    TEXT   COLLATE "binary" NOT NULL,
	role       BIGINT NOT NULL,
	expires    TEXT   COLLATE "binary" NOT NULL DEFAULT '',
	granted_by TEXT   COLLATE "binary" NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (record_id, grantee)
);
CREATE INDEX grants_by_grantee ON grants (grantee, record_id);

-- The name is "organisation/team".
CREATE TABLE teams (
	id         TEXT   COLLATE "binary" NOT NULL PRIMARY KEY,
	name       TEXT   COLLATE "binary" NOT NULL UNIQUE,
	owner_id   TEXT   COLLATE "binary" NOT NULL REFERENCES users ON DELETE CASCADE,
	created_at BIGINT NOT NULL
);
CREATE INDEX teams_by_owner ON teams (owner_id);

-- The member is "user:ID" or "email:a@b".
CREATE TABLE members (
	team_id  TEXT    COLLATE "binary" NOT NULL REFERENCES teams ON DELETE CASCADE,
	member   TEXT    COLLATE "binary" NOT NULL,
	is_admin BOOLEAN NOT NULL,
	PRIMARY KEY (team_id, member)
);
CREATE INDEX members_by_member ON members (member);

CREATE TABLE audit (
	id        TEXT   COLLATE "binary" NOT NULL PRIMARY KEY,
	at        BIGINT NOT NULL,
	actor     TEXT   COLLATE "binary" NOT NULL,
	peer      TEXT   COLLATE "binary" NOT NULL,
	action    TEXT   COLLATE "binary" NOT NULL,
	kind      TEXT   COLLATE "binary" NOT NULL,
	name      TEXT   COLLATE "binary" NOT NULL,
	record_id TEXT   COLLATE "binary" NOT NULL,
	owner_id  TEXT   COLLATE "binary" NOT NULL,
	detail    TEXT   COLLATE "binary" NOT NULL
);
CREATE INDEX audit_by_owner ON audit (owner_id, at);
CREATE INDEX audit_by_record ON audit (record_id, at);
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE usage (
	record_id TEXT   COLLATE "binary" NOT NULL,
	day       TEXT   COLLATE "binary" NOT NULL,
	what      TEXT   COLLATE "binary" NOT NULL,
	n         BIGINT NOT NULL,
	PRIMARY KEY (record_id, day, what)
);

-- Times are 0 where there is none; a pipe can have changed before it was ever listed.
CREATE TABLE listings (
	record_id  TEXT    COLLATE "binary" NOT NULL PRIMARY KEY REFERENCES records ON DELETE CASCADE,
	etag       TEXT    COLLATE "binary" NOT NULL,
	shows      TEXT    COLLATE "binary" NOT NULL,
	seen_at    BIGINT  NOT NULL,
	scanned_at BIGINT  NOT NULL,
	changed_at BIGINT  NOT NULL,
	files      BIGINT  NOT NULL,
	bytes      BIGINT  NOT NULL,
	body       TEXT    COLLATE "binary" NOT NULL
);

CREATE TABLE meta (
	key   TEXT COLLATE "binary" NOT NULL PRIMARY KEY,
	value TEXT COLLATE "binary" NOT NULL
);
