-- +goose Up
-- What the server copies from pipe to pipe by itself. The pipes may be gone. The body has the settings. The first run that is due at
-- force_at or later may remove whatever it finds, 0 when none may; force_run is the id of the last one that might.

CREATE TABLE mirrors (
	id         TEXT   COLLATE "binary" NOT NULL PRIMARY KEY,
	owner_id   TEXT   COLLATE "binary" NOT NULL REFERENCES users ON DELETE CASCADE,
	name       TEXT   COLLATE "binary" NOT NULL,
	source_id  TEXT   COLLATE "binary" NOT NULL,
	target_id  TEXT   COLLATE "binary" NOT NULL,
	body       TEXT   COLLATE "binary" NOT NULL,
	revision   BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	force_at   BIGINT NOT NULL,
	force_run  TEXT   COLLATE "binary" NOT NULL,
	UNIQUE (owner_id, name)
);

-- What a mirror has copied, a compressed archive in base64, '' before the first. The holder has what is newer, in a folder
-- that has the same name written in it.
CREATE TABLE mirror_memory (
	mirror_id TEXT COLLATE "binary" NOT NULL PRIMARY KEY REFERENCES mirrors ON DELETE CASCADE,
	holder    TEXT COLLATE "binary" NOT NULL,
	body      TEXT COLLATE "binary" NOT NULL
);
