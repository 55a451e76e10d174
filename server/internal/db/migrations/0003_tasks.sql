-- +goose Up
-- What the server does by itself: a task is something that is to be done again and again, a run is one time of it. The
-- subject is the id of what it is for: a record's, a mirror's, a webhook's. What is never is the largest BIGINT, what is
-- not is 0. A task whose run_id is not '' is at work; removed says that it goes when that has ended.

CREATE TABLE tasks (
	kind         TEXT    COLLATE "binary" NOT NULL,
	subject      TEXT    COLLATE "binary" NOT NULL,
	owner_id     TEXT    COLLATE "binary" NOT NULL REFERENCES users ON DELETE CASCADE,
	schedule     TEXT    COLLATE "binary" NOT NULL,
	next_at      BIGINT  NOT NULL,
	scheduled_at BIGINT  NOT NULL,
	asked_at     BIGINT  NOT NULL,
	not_before   BIGINT  NOT NULL,
	urgent       BOOLEAN NOT NULL,
	last_tick    BIGINT  NOT NULL,
	failures     BIGINT  NOT NULL,
	run_id       TEXT    COLLATE "binary" NOT NULL,
	removed      BOOLEAN NOT NULL,
	PRIMARY KEY (kind, subject)
);
CREATE INDEX tasks_by_time ON tasks (kind, next_at);
CREATE INDEX tasks_by_owner ON tasks (owner_id, kind, next_at);

-- The state is "queued", "running", "done" or "failed". Ids begin with the time they were made at, so that they sort by it.
-- Until lease_at a run belongs to its holder.
CREATE TABLE runs (
	id       TEXT   COLLATE "binary" NOT NULL PRIMARY KEY,
	kind     TEXT   COLLATE "binary" NOT NULL,
	subject  TEXT   COLLATE "binary" NOT NULL,
	tick     BIGINT NOT NULL,
	state    TEXT   COLLATE "binary" NOT NULL,
	attempt  BIGINT NOT NULL,
	lost     BIGINT NOT NULL,
	holder   TEXT   COLLATE "binary" NOT NULL,
	lease_at BIGINT NOT NULL,
	began_at BIGINT NOT NULL,
	ended_at BIGINT NOT NULL,
	error    TEXT   COLLATE "binary" NOT NULL,
	detail   TEXT   COLLATE "binary" NOT NULL,
	UNIQUE (kind, subject, tick),
	FOREIGN KEY (kind, subject) REFERENCES tasks ON DELETE CASCADE
);
CREATE INDEX runs_by_state ON runs (state, kind, id);
