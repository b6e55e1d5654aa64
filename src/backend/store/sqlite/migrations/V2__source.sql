-- Who sent a row: 'agent', or 'kamaji' for the telemetry that Kamaji has built in, whose agent_version is ''. Every
-- question names the one that it asks about, so the index leads with it.
ALTER TABLE latest ADD COLUMN source TEXT NOT NULL DEFAULT 'agent';
ALTER TABLE days   ADD COLUMN source TEXT NOT NULL DEFAULT 'agent';
ALTER TABLE events ADD COLUMN source TEXT NOT NULL DEFAULT 'agent';

DROP INDEX latest_by_time;
DROP INDEX events_by_time;
CREATE INDEX latest_by_source_and_time ON latest (source, time);
CREATE INDEX events_by_source_and_time ON events (source, time);

-- Random, made once: 'pseudonym' turns a cluster UID into the installation that is stored.
CREATE TABLE keys (
    name TEXT NOT NULL PRIMARY KEY,
    key  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
