-- The schema of a store. Until a version of this program is tagged it is edited in place; from then on each change is a
-- migration of its own, which only adds: the release before it goes on with the schema after it.
--
-- Needs PostgreSQL 13 or later. Every primary key holds the column by which a distributed PostgreSQL would shard
-- (installation, uid), every write is one INSERT … ON CONFLICT on such a key, and nothing needs a trigger or LISTEN.
--
-- An hour and a day are numbered since 1970-01-01 UTC.
--
-- The source says who sent a row: 1 is this project's agent, 2 is Kamaji's built-in telemetry. Every query names its
-- sources, so keys lead with them.
--
-- A column of a version, a name or a state is the id of its word. 0 is no word.
--
-- What is in bulk is beyond its sender's share, and in no figure.

-- The ids are random, so that they don't tell which words came together. A word was written first and last on these days.
CREATE TABLE words (
    id         int  NOT NULL PRIMARY KEY,
    word       text NOT NULL UNIQUE,
    first_used int  NOT NULL,
    last_used  int  NOT NULL
);

CREATE INDEX words_by_first_used ON words (first_used);

-- The slots of writers: each adds to its own rows of the rollups, so that writers don't wait for each other. A slot whose time is
-- over belongs to nobody, and its rows are added to those of slot 0.
CREATE TABLE slots (
    slot   smallint    NOT NULL PRIMARY KEY,
    holder uuid        NOT NULL,
    until  timestamptz NOT NULL
);

-- The backends that do the jobs of all, by the clock of the server.
CREATE TABLE jobs (
    name   text        NOT NULL PRIMARY KEY,
    holder uuid        NOT NULL,
    until  timestamptz NOT NULL
);

-- The latest state of each installation. The hour of confirmation is null until it is confirmed. Bulk is true for one that is
-- beyond its sender's share of new installations, or too large. The previous day is that of the last receipt before the day of
-- last_seen, with whether a control plane was not ready, and upgrading, at its end.
--
-- Each point of an extended gauge takes 8 bytes of dimensions: the id of its word, which is the gauge's name, an equals sign and
-- the value, and the count, both as little-endian integers of 4 bytes.
--
-- Within an hour no indexed column changes: pages keep room for the next version of a row.
CREATE TABLE latest (
    installation uuid     NOT NULL PRIMARY KEY,
    source       smallint NOT NULL,
    first_seen   int      NOT NULL,
    confirmed    int,
    last_seen    int      NOT NULL,
    bulk         boolean  NOT NULL,
    previous_day       int,
    previous_not_ready boolean NOT NULL,
    previous_upgrading boolean NOT NULL,
    running      int      NOT NULL,
    sleeping     int      NOT NULL,
    not_ready    int      NOT NULL,
    upgrading    int      NOT NULL,
    agent        int      NOT NULL,
    kamaji       int      NOT NULL,
    kubernetes   int      NOT NULL,
    dimensions   bytea    NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX latest_by_last_seen ON latest (source, bulk, (confirmed IS NULL), last_seen);

-- The last report of each installation and UTC day. The standing by then is 0 if the installation was not confirmed, 1 if it was,
-- and 2 if it was in bulk. Young is true if its first receipt was less than 28 days before. Stuck and upgrading_long are true if
-- a control plane was not ready, or upgrading, at the end of this day and of the one before.
--
-- There is a partition for each day, named days_ and its number. A partition is dropped when its rows are older than the retention.
CREATE TABLE days (
    day          int      NOT NULL,
    installation uuid     NOT NULL,
    source       smallint NOT NULL,
    standing     smallint NOT NULL,
    young        boolean  NOT NULL,
    stuck        boolean  NOT NULL,
    upgrading_long boolean NOT NULL,
    running      int      NOT NULL,
    sleeping     int      NOT NULL,
    not_ready    int      NOT NULL,
    upgrading    int      NOT NULL,
    agent        int      NOT NULL,
    kamaji       int      NOT NULL,
    kubernetes   int      NOT NULL,
    dimensions   bytea    NOT NULL,
    PRIMARY KEY (installation, day)
) PARTITION BY RANGE (day);

-- The source of an event in bulk is 2 greater than that of others. An event that is older than the retention keeps its uid and
-- its hour, and has the source 0.
--
-- The rows of a table lie in the order in which they were written, which would tie events to each other. Events therefore wait in
-- arrivals until the hour in which they were received is over. Then those of whole hours move to events, in the order of their uids.
CREATE TABLE events (
    uid             uuid     NOT NULL PRIMARY KEY,
    hour            int      NOT NULL,
    source          smallint NOT NULL,
    kind            int      NOT NULL,
    agent           int      NOT NULL,
    kamaji          int      NOT NULL,
    kubernetes      int      NOT NULL,
    tcp_version     int      NOT NULL,
    old_tcp_version int      NOT NULL,
    status          int      NOT NULL,
    cluster_api     smallint NOT NULL,
    network_profile int      NOT NULL
);

CREATE INDEX events_by_hour ON events (source, hour, uid);

CREATE TABLE arrivals (
    LIKE events INCLUDING ALL,
    -- The hour of the receipt, by the clock of the server.
    received int NOT NULL DEFAULT floor(extract(epoch FROM now()) / 3600)::int
);

-- Numbers of events in bulk by the day of their receipt, whatever becomes of them.
CREATE TABLE bulk_events (
    day    int    NOT NULL PRIMARY KEY,
    events bigint NOT NULL
);

-- Numbers of refused records by UTC day and reason, without their senders. A request that was refused as a whole is one.
CREATE TABLE refusals (
    day     int    NOT NULL,
    reason  text   NOT NULL,
    records bigint NOT NULL,
    PRIMARY KEY (day, reason)
);

-- The hours in which a backend served. Each bit of minutes is a minute of the hour, the lowest bit its first.
CREATE TABLE served_hours (
    hour    int    NOT NULL PRIMARY KEY,
    minutes bigint NOT NULL
);

-- The random names of the last flushes into the two tables above: one that is tried again is not added again.
CREATE TABLE flushes (
    name  uuid        NOT NULL PRIMARY KEY,
    added timestamptz NOT NULL DEFAULT now()
);

-- Random keys, made once. The key 'pseudonym' turns the UID of a cluster into the installation that is stored. The key 'public'
-- makes the offsets of the public page.
CREATE TABLE keys (
    name text  NOT NULL PRIMARY KEY,
    key  bytea NOT NULL
);

-- The weeks of the public page, by the day of their Monday, as they were published: JSON. A row is never changed.
CREATE TABLE public_weeks (
    week    int  NOT NULL PRIMARY KEY,
    content text NOT NULL
);

-- The tokens of readers. The digest is the SHA-256 of the whole text, which is not stored.
CREATE TABLE tokens (
    prefix  text           NOT NULL PRIMARY KEY,
    digest  bytea          NOT NULL,
    name    text           NOT NULL,
    role    text           NOT NULL,
    created timestamptz(3) NOT NULL,
    expires timestamptz(3) NOT NULL,
    revoked timestamptz(3)
);

-- A name is free again when its token is revoked, so that a token can be replaced under its name.
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked IS NULL;

-- The sessions of browsers. The token is the prefix of one in tokens or in a file, and token_digest its digest then.
CREATE TABLE sessions (
    digest       bytea          NOT NULL PRIMARY KEY,
    token        text           NOT NULL,
    token_digest bytea          NOT NULL,
    expires      timestamptz(3) NOT NULL
);

CREATE INDEX sessions_by_token ON sessions (token, expires);

-- The audit log. The token is a prefix. Entries without a token are summed by the hour, whose beginning is their time. is_logged is
-- false for a command until a process that serves has logged it.
CREATE TABLE audit_log (
    number    bigint         GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    time      timestamptz(3) NOT NULL,
    token     text,
    name      text,
    action    text           NOT NULL,
    status    int,
    count     bigint         NOT NULL,
    is_logged boolean        NOT NULL
);

CREATE UNIQUE INDEX audit_log_of_nobody ON audit_log (time, action, coalesce(status, 0)) WHERE token IS NULL;
CREATE INDEX audit_log_by_time ON audit_log (time);
CREATE INDEX audit_log_by_token ON audit_log (token, time);
CREATE INDEX audit_log_to_log ON audit_log (number) WHERE NOT is_logged;

-- The move of another store's rows into this one, until this one is served. is_complete is false until all rows are there; a backend
-- does not serve the store before. The position is the last key that was compared, as JSON, from which a move that was interrupted
-- goes on; null at the beginning of a pass.
CREATE TABLE moves (
    number      int     NOT NULL PRIMARY KEY CHECK (number = 1),
    is_complete boolean NOT NULL,
    position    text
);

-- Rollups are sums over the rows above, so that no question reads all rows. The transaction that changes a row changes them
-- too, in the rows of its writer's slot: a sum of one slot may be negative. Questions add the slots up.

-- Sums over the days of confirmed installations: of all (part 0, version 0), and by the version of Kamaji (1), of Kubernetes (2)
-- and of the agent (3). The weight is the number of control planes, 1,000 at most for each installation, and 50 for a young one.
CREATE TABLE day_rollup (
    source        int    NOT NULL,
    part          int    NOT NULL,
    day           int    NOT NULL,
    version       int    NOT NULL,
    slot          int    NOT NULL,
    installations bigint NOT NULL,
    running       bigint NOT NULL,
    sleeping      bigint NOT NULL,
    not_ready     bigint NOT NULL,
    upgrading     bigint NOT NULL,
    left_out      bigint NOT NULL,
    weight        bigint NOT NULL,
    PRIMARY KEY (source, part, day, version, slot)
);

-- Sums over the days of confirmed installations by the day of the row and that of the next row of the same installation, which
-- is 2147483647 if there is none. As of a day D, the installations that were last received on a day are its rows whose next day
-- is later than D. Established is 1 if the first receipt was 28 days before the Monday of the row's week, or earlier.
CREATE TABLE active_pair_rollup (
    source         int    NOT NULL,
    next_day       int    NOT NULL,
    day            int    NOT NULL,
    kamaji         int    NOT NULL,
    kubernetes     int    NOT NULL,
    established    int    NOT NULL,
    slot           int    NOT NULL,
    installations  bigint NOT NULL,
    control_planes bigint NOT NULL,
    weight         bigint NOT NULL,
    PRIMARY KEY (source, next_day, day, kamaji, kubernetes, established, slot)
);

-- The same sums by version, size and trouble. The size is the place of its class, from 0.
CREATE TABLE active_condition_rollup (
    source         int    NOT NULL,
    next_day       int    NOT NULL,
    day            int    NOT NULL,
    kamaji         int    NOT NULL,
    size           int    NOT NULL,
    stuck          int    NOT NULL,
    upgrading_long int    NOT NULL,
    established    int    NOT NULL,
    slot           int    NOT NULL,
    installations  bigint NOT NULL,
    control_planes bigint NOT NULL,
    weight         bigint NOT NULL,
    PRIMARY KEY (source, next_day, day, kamaji, size, stuck, upgrading_long, established, slot)
);

-- Sums over the points of extended gauges in the same rows. The dimension is the word of a gauge and a value, or of a gauge alone,
-- where points is the number of installations that tell of it.
CREATE TABLE active_dimension_rollup (
    source    int    NOT NULL,
    next_day  int    NOT NULL,
    day       int    NOT NULL,
    dimension int    NOT NULL,
    slot      int    NOT NULL,
    points    bigint NOT NULL,
    count     bigint NOT NULL,
    PRIMARY KEY (source, next_day, day, dimension, slot)
);

-- Numbers of installations in latest, by the day of their first receipt, and by that of their last.
CREATE TABLE first_seen_rollup (
    source        int    NOT NULL,
    standing      int    NOT NULL,
    day           int    NOT NULL,
    slot          int    NOT NULL,
    installations bigint NOT NULL,
    PRIMARY KEY (source, standing, day, slot)
);

CREATE TABLE last_seen_rollup (
    source        int    NOT NULL,
    standing      int    NOT NULL,
    day           int    NOT NULL,
    slot          int    NOT NULL,
    installations bigint NOT NULL,
    PRIMARY KEY (source, standing, day, slot)
);

-- Numbers of events by hour. The source is that of the events, bulk included.
CREATE TABLE event_hour_rollup (
    source int    NOT NULL,
    hour   int    NOT NULL,
    kind   int    NOT NULL,
    slot   int    NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (source, hour, kind, slot)
);

-- Numbers of events by day and by the minor version of the control plane, without those in bulk. The change is 0 for a creation,
-- 1 for an update to another minor, 2 for one within a minor, and 3 for a deletion. The minor of an update is the new one.
CREATE TABLE event_day_rollup (
    source int    NOT NULL,
    day    int    NOT NULL,
    change int    NOT NULL,
    minor  int    NOT NULL,
    slot   int    NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (source, day, change, minor, slot)
);

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
    source int    NOT NULL,
    week   int    NOT NULL,
    aspect int    NOT NULL,
    first  int    NOT NULL,
    second int    NOT NULL,
    slot   int    NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (source, week, aspect, first, second, slot)
);
