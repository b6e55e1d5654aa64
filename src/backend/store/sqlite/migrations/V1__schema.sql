-- The schema of a store. Until a version of this program is tagged it is edited in place; from then on each change is a
-- migration of its own.
--
-- An hour and a day are numbered since 1970-01-01 UTC, and a time is in milliseconds since then. A UUID has 16 bytes.
--
-- The source says who sent a row: 1 is this project's agent, 2 is Kamaji's built-in telemetry. Every query names its
-- sources, so keys lead with them.
--
-- A column of a version, a name or a state is the id of its word. 0 is no word.
--
-- What is in bulk is beyond its sender's share, and in no figure.

-- The ids are random, so that they don't tell which words came together. A word was written first and last on these days.
CREATE TABLE words (
    id         INTEGER NOT NULL PRIMARY KEY,
    word       TEXT    NOT NULL UNIQUE,
    first_used INTEGER NOT NULL,
    last_used  INTEGER NOT NULL
) STRICT;

CREATE INDEX words_by_first_used ON words (first_used);

-- The latest state of each installation. The hour of confirmation is null until it is confirmed. Bulk is 1 for one that is
-- beyond its sender's share of new installations, or too large. The previous day is that of the last receipt before the day of
-- last_seen, with whether a control plane was not ready, and upgrading, at its end.
--
-- Each point of an extended gauge takes 8 bytes of dimensions: the id of its word, which is the gauge's name, an equals sign and
-- the value, and the count, both as little-endian integers of 4 bytes.
CREATE TABLE latest (
    installation BLOB    NOT NULL PRIMARY KEY,
    source       INTEGER NOT NULL,
    first_seen   INTEGER NOT NULL,
    confirmed    INTEGER,
    last_seen    INTEGER NOT NULL,
    bulk         INTEGER NOT NULL,
    previous_day       INTEGER,
    previous_not_ready INTEGER NOT NULL,
    previous_upgrading INTEGER NOT NULL,
    running      INTEGER NOT NULL,
    sleeping     INTEGER NOT NULL,
    not_ready    INTEGER NOT NULL,
    upgrading    INTEGER NOT NULL,
    agent        INTEGER NOT NULL,
    kamaji       INTEGER NOT NULL,
    kubernetes   INTEGER NOT NULL,
    dimensions   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX latest_by_last_seen ON latest (source, bulk, confirmed IS NULL, last_seen);

-- The last report of each installation and UTC day. The day leads the key: rows of one day are written and read together.
-- The standing by then is 0 if the installation was not confirmed, 1 if it was, and 2 if it was in bulk. Young is 1 if its
-- first receipt was less than 28 days before. Stuck and upgrading_long are 1 if a control plane was not ready, or upgrading, at
-- the end of this day and of the one before.
CREATE TABLE days (
    day          INTEGER NOT NULL,
    installation BLOB    NOT NULL,
    source       INTEGER NOT NULL,
    standing     INTEGER NOT NULL,
    young        INTEGER NOT NULL,
    stuck        INTEGER NOT NULL,
    upgrading_long INTEGER NOT NULL,
    running      INTEGER NOT NULL,
    sleeping     INTEGER NOT NULL,
    not_ready    INTEGER NOT NULL,
    upgrading    INTEGER NOT NULL,
    agent        INTEGER NOT NULL,
    kamaji       INTEGER NOT NULL,
    kubernetes   INTEGER NOT NULL,
    dimensions   BLOB    NOT NULL,
    PRIMARY KEY (day, installation)
) STRICT, WITHOUT ROWID;

-- The key ends with a random uid and there is no row number, so that not even the order of arrival ties events together. The
-- source of an event in bulk is 2 greater than that of others. An event that is older than the retention keeps its uid and
-- its hour, and has the source 0.
CREATE TABLE events (
    source          INTEGER NOT NULL,
    hour            INTEGER NOT NULL,
    uid             BLOB    NOT NULL,
    kind            INTEGER NOT NULL,
    agent           INTEGER NOT NULL,
    kamaji          INTEGER NOT NULL,
    kubernetes      INTEGER NOT NULL,
    tcp_version     INTEGER NOT NULL,
    old_tcp_version INTEGER NOT NULL,
    status          INTEGER NOT NULL,
    cluster_api     INTEGER NOT NULL,
    network_profile INTEGER NOT NULL,
    PRIMARY KEY (source, hour, uid)
) STRICT, WITHOUT ROWID;

-- The events of commits that are not in the table of events yet, nor in the rollups. They are merged into both within a
-- minute, in the order of their keys. The columns of each event are one record of a fixed length.
CREATE TABLE inbox (
    number INTEGER NOT NULL PRIMARY KEY,
    events BLOB    NOT NULL
) STRICT;

-- Numbers of events in bulk by the day of their receipt, whatever becomes of them.
CREATE TABLE bulk_events (
    day    INTEGER NOT NULL PRIMARY KEY,
    events INTEGER NOT NULL
) STRICT;

-- Numbers of refused records by UTC day and reason, without their senders. A request that was refused as a whole is one.
CREATE TABLE refusals (
    day     INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    records INTEGER NOT NULL,
    PRIMARY KEY (day, reason)
) STRICT, WITHOUT ROWID;

-- The hours in which a backend served. Each bit of minutes is a minute of the hour, the lowest bit its first.
CREATE TABLE served_hours (
    hour    INTEGER NOT NULL PRIMARY KEY,
    minutes INTEGER NOT NULL
) STRICT;

-- The random name of the last flush into the two tables above: one that is tried again is not added again.
CREATE TABLE last_flush (
    number INTEGER NOT NULL PRIMARY KEY CHECK (number = 1),
    name   BLOB    NOT NULL
) STRICT;

-- Random keys, made once. The key 'pseudonym' turns the UID of a cluster into the installation that is stored. The key 'public'
-- makes the offsets of the public page.
CREATE TABLE keys (
    name TEXT NOT NULL PRIMARY KEY,
    key  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The weeks of the public page, by the day of their Monday, as they were published: JSON. A row is never changed.
CREATE TABLE public_weeks (
    week    INTEGER NOT NULL PRIMARY KEY,
    content TEXT    NOT NULL
) STRICT;

-- The tokens of readers. The digest is the SHA-256 of the whole text, which is not stored.
CREATE TABLE tokens (
    prefix  TEXT    NOT NULL PRIMARY KEY,
    digest  BLOB    NOT NULL,
    name    TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER
) STRICT, WITHOUT ROWID;

-- A name is free again when its token is revoked, so that a token can be replaced under its name.
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked IS NULL;

-- The sessions of browsers. The token is the prefix of one in tokens or in a file, and token_digest its digest then.
CREATE TABLE sessions (
    digest       BLOB    NOT NULL PRIMARY KEY,
    token        TEXT    NOT NULL,
    token_digest BLOB    NOT NULL,
    expires      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_token ON sessions (token, expires);

-- The audit log. The token is a prefix. Entries without a token are summed by the hour, whose beginning is their time. is_logged is
-- 0 for a command until the process that serves has logged it.
CREATE TABLE audit_log (
    number INTEGER NOT NULL PRIMARY KEY,
    time   INTEGER NOT NULL,
    token  TEXT,
    name   TEXT,
    action TEXT    NOT NULL,
    status INTEGER,
    count  INTEGER NOT NULL,
    is_logged INTEGER NOT NULL
) STRICT;

CREATE INDEX audit_log_by_time ON audit_log (time);
CREATE INDEX audit_log_by_token ON audit_log (token, time);
CREATE INDEX audit_log_to_log ON audit_log (number) WHERE is_logged = 0;

-- The move of another store's rows into this one, until this one is served. is_complete is 0 until all rows are there; a backend
-- does not serve the store before. The position is the last key that was compared, as JSON, from which a move that was interrupted
-- goes on; null at the beginning of a pass.
CREATE TABLE moves (
    number      INTEGER NOT NULL PRIMARY KEY CHECK (number = 1),
    is_complete INTEGER NOT NULL,
    position    TEXT
) STRICT;

-- Rollups are sums over the rows above, so that no question reads all rows. The transaction that changes a row changes them
-- too. A sum over no rows is deleted.

-- Sums over the days of confirmed installations: of all (part 0, version 0), and by the version of Kamaji (1), of Kubernetes (2)
-- and of the agent (3). The weight is the number of control planes, 1,000 at most for each installation, and 50 for a young one.
CREATE TABLE day_rollup (
    source        INTEGER NOT NULL,
    part          INTEGER NOT NULL,
    day           INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    installations INTEGER NOT NULL,
    running       INTEGER NOT NULL,
    sleeping      INTEGER NOT NULL,
    not_ready     INTEGER NOT NULL,
    upgrading     INTEGER NOT NULL,
    left_out      INTEGER NOT NULL,
    weight        INTEGER NOT NULL,
    PRIMARY KEY (source, part, day, version)
) STRICT, WITHOUT ROWID;

-- Sums over the days of confirmed installations by the day of the row and that of the next row of the same installation, which
-- is 2147483647 if there is none. As of a day D, the installations that were last received on a day are its rows whose next day
-- is later than D. Established is 1 if the first receipt was 28 days before the Monday of the row's week, or earlier.
CREATE TABLE active_pair_rollup (
    source         INTEGER NOT NULL,
    next_day       INTEGER NOT NULL,
    day            INTEGER NOT NULL,
    kamaji         INTEGER NOT NULL,
    kubernetes     INTEGER NOT NULL,
    established    INTEGER NOT NULL,
    installations  INTEGER NOT NULL,
    control_planes INTEGER NOT NULL,
    weight         INTEGER NOT NULL,
    PRIMARY KEY (source, next_day, day, kamaji, kubernetes, established)
) STRICT, WITHOUT ROWID;

-- The same sums by version, size and trouble. The size is the place of its class, from 0.
CREATE TABLE active_condition_rollup (
    source         INTEGER NOT NULL,
    next_day       INTEGER NOT NULL,
    day            INTEGER NOT NULL,
    kamaji         INTEGER NOT NULL,
    size           INTEGER NOT NULL,
    stuck          INTEGER NOT NULL,
    upgrading_long INTEGER NOT NULL,
    established    INTEGER NOT NULL,
    installations  INTEGER NOT NULL,
    control_planes INTEGER NOT NULL,
    weight         INTEGER NOT NULL,
    PRIMARY KEY (source, next_day, day, kamaji, size, stuck, upgrading_long, established)
) STRICT, WITHOUT ROWID;

-- Sums over the points of extended gauges in the same rows. The dimension is the word of a gauge and a value, or of a gauge alone,
-- where points is the number of installations that tell of it.
CREATE TABLE active_dimension_rollup (
    source    INTEGER NOT NULL,
    next_day  INTEGER NOT NULL,
    day       INTEGER NOT NULL,
    dimension INTEGER NOT NULL,
    points    INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (source, next_day, day, dimension)
) STRICT, WITHOUT ROWID;

-- Numbers of installations in latest, by the day of their first receipt, and by that of their last.
CREATE TABLE first_seen_rollup (
    source        INTEGER NOT NULL,
    standing      INTEGER NOT NULL,
    day           INTEGER NOT NULL,
    installations INTEGER NOT NULL,
    PRIMARY KEY (source, standing, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE last_seen_rollup (
    source        INTEGER NOT NULL,
    standing      INTEGER NOT NULL,
    day           INTEGER NOT NULL,
    installations INTEGER NOT NULL,
    PRIMARY KEY (source, standing, day)
) STRICT, WITHOUT ROWID;

-- Numbers of events by hour. The source is that of the events, bulk included.
CREATE TABLE event_hour_rollup (
    source INTEGER NOT NULL,
    hour   INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (source, hour, kind)
) STRICT, WITHOUT ROWID;

-- Numbers of events by day and by the minor version of the control plane, without those in bulk. The change is 0 for a creation,
-- 1 for an update to another minor, 2 for one within a minor, and 3 for a deletion. The minor of an update is the new one.
CREATE TABLE event_day_rollup (
    source  INTEGER NOT NULL,
    day     INTEGER NOT NULL,
    change  INTEGER NOT NULL,
    minor   INTEGER NOT NULL,
    events  INTEGER NOT NULL,
    PRIMARY KEY (source, day, change, minor)
) STRICT, WITHOUT ROWID;

-- Numbers of events by ISO week, whose day is its Monday, and aspect, without those in bulk. An event has one or several aspects.
-- The first and the second value are words, or 0:
--   0  creation           minor of Kamaji      minor of the control plane
--   1  minor reached      minor of Kamaji      new minor of the control plane
--   2  minor update       minor before         minor after
--   3  patch upgrade      version of Kamaji
--   4  patch downgrade    version of Kamaji
--   5  deletion           version of Kamaji    last status
--   6  creation that does not tell of Cluster API
--   7  creation without Cluster API
--   8  creation by Cluster API
--   9  creation           network profile
CREATE TABLE event_week_rollup (
    source INTEGER NOT NULL,
    week   INTEGER NOT NULL,
    aspect INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    second INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (source, week, aspect, first, second)
) STRICT, WITHOUT ROWID;
