-- +goose Up
-- The audit log is read in pages, from its newest line to its oldest, by owner and by actor.

DROP INDEX audit_by_owner;
DROP INDEX audit_by_record;
DROP INDEX audit_by_time;
CREATE INDEX audit_by_owner ON audit (owner_id, at, id);
CREATE INDEX audit_by_actor ON audit (actor, at, id);
CREATE INDEX audit_by_time ON audit (at, id);
