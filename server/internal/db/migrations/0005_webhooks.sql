-- +goose Up
-- Whom the server tells of changes. The address and the secrets are sealed together; place is the address without what may
-- be a secret in it. The creator is who made it, or last spoke for it, and may be gone. Up to cursor, in the feed of the pipe's record, everything has arrived; behind it there is at most one
-- message that has not, which has an id then and comes to message_cursor. Times are Unix microseconds, 0 where there is none.

CREATE TABLE webhooks (
	id             TEXT    COLLATE "binary" NOT NULL PRIMARY KEY,
	record_id      TEXT    COLLATE "binary" NOT NULL REFERENCES records ON DELETE CASCADE,
	creator_id     TEXT    COLLATE "binary" NOT NULL,
	place          TEXT    COLLATE "binary" NOT NULL,
	settings       TEXT    COLLATE "binary" NOT NULL,
	sealed         TEXT    COLLATE "binary" NOT NULL,
	paused         BOOLEAN NOT NULL,
	disabled       TEXT    COLLATE "binary" NOT NULL,
	disabled_at    BIGINT  NOT NULL,
	cursor         TEXT    COLLATE "binary" NOT NULL,
	message_id     TEXT    COLLATE "binary" NOT NULL,
	message        TEXT    COLLATE "binary" NOT NULL,
	message_cursor TEXT    COLLATE "binary" NOT NULL,
	attempts       BIGINT  NOT NULL,
	retry_at       BIGINT  NOT NULL,
	created_at     BIGINT  NOT NULL,
	updated_at     BIGINT  NOT NULL
);
CREATE INDEX webhooks_by_record ON webhooks (record_id, created_at, id);
CREATE INDEX webhooks_by_disabled ON webhooks (disabled, record_id);

CREATE TABLE deliveries (
	id         TEXT   COLLATE "binary" NOT NULL PRIMARY KEY,
	webhook_id TEXT   COLLATE "binary" NOT NULL REFERENCES webhooks ON DELETE CASCADE,
	at         BIGINT NOT NULL,
	message_id TEXT   COLLATE "binary" NOT NULL,
	type       TEXT   COLLATE "binary" NOT NULL,
	attempt    BIGINT NOT NULL,
	status     BIGINT NOT NULL,
	took       BIGINT NOT NULL,
	error      TEXT   COLLATE "binary" NOT NULL,
	said       TEXT   COLLATE "binary" NOT NULL
);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, at, id);
CREATE INDEX deliveries_by_time ON deliveries (at, id);
