-- The schema of a store. Until a version of this program is tagged it is edited in place; from then on each change is a
-- migration of its own.
--
-- A time is in milliseconds and a day in days, both since 1970-01-01 UTC. A UUID has 16 bytes.
--
-- The source says who sent a row: 'agent', or 'kamaji' for Kamaji's built-in telemetry, whose agent_version is ''. Every
-- query names one source, so indexes lead with it.

-- The latest snapshot of each installation.
CREATE TABLE latest (
    installation       BLOB    NOT NULL PRIMARY KEY,
    first_day          INTEGER NOT NULL,
    time               INTEGER NOT NULL,
    running            INTEGER NOT NULL,
    sleeping           INTEGER NOT NULL,
    not_ready          INTEGER NOT NULL,
    upgrading          INTEGER NOT NULL,
    source             TEXT    NOT NULL,
    agent_version      TEXT    NOT NULL,
    kamaji_version     TEXT    NOT NULL,
    kubernetes_version TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX latest_by_source_and_time ON latest (source, time);

-- The latest snapshot of each installation and day. The day leads the key: rows of one day are written and read together.
CREATE TABLE days (
    day                INTEGER NOT NULL,
    installation       BLOB    NOT NULL,
    time               INTEGER NOT NULL,
    running            INTEGER NOT NULL,
    sleeping           INTEGER NOT NULL,
    not_ready          INTEGER NOT NULL,
    upgrading          INTEGER NOT NULL,
    source             TEXT    NOT NULL,
    agent_version      TEXT    NOT NULL,
    kamaji_version     TEXT    NOT NULL,
    kubernetes_version TEXT    NOT NULL,
    PRIMARY KEY (day, installation)
) STRICT, WITHOUT ROWID;

-- The extended gauges of the snapshots in days.
CREATE TABLE dimensions (
    day          INTEGER NOT NULL,
    installation BLOB    NOT NULL,
    metric       TEXT    NOT NULL,
    value        TEXT    NOT NULL,
    count        INTEGER NOT NULL,
    PRIMARY KEY (day, installation, metric, value)
) STRICT, WITHOUT ROWID;

-- The key is a random uid and there is no row number, so that not even the order of arrival ties events together. An event
-- that is older than the retention keeps its uid and its time, and has the source 'none', which no query names.
CREATE TABLE events (
    uid                BLOB    NOT NULL PRIMARY KEY,
    time               INTEGER NOT NULL,
    kind               TEXT    NOT NULL,
    source             TEXT    NOT NULL,
    agent_version      TEXT    NOT NULL,
    kamaji_version     TEXT    NOT NULL,
    kubernetes_version TEXT    NOT NULL,
    tcp_version        TEXT,
    old_tcp_version    TEXT,
    new_tcp_version    TEXT,
    status             TEXT,
    cluster_api        INTEGER,
    network_profile    TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX events_by_source_and_time ON events (source, time);

-- Random keys, made once. The key 'pseudonym' turns the UID of a cluster into the installation that is stored.
CREATE TABLE keys (
    name TEXT NOT NULL PRIMARY KEY,
    key  BLOB NOT NULL
) STRICT, WITHOUT ROWID;

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

-- The audit log. The token is a prefix. Entries without a token are summed by the hour, whose beginning is their time.
CREATE TABLE audit_log (
    number INTEGER NOT NULL PRIMARY KEY,
    time   INTEGER NOT NULL,
    token  TEXT,
    name   TEXT,
    action TEXT    NOT NULL,
    status INTEGER,
    count  INTEGER NOT NULL
) STRICT;

CREATE INDEX audit_log_by_time ON audit_log (time);
CREATE INDEX audit_log_by_token ON audit_log (token, time);

-- Rollups are sums over the rows above, so that no query reads all rows. Triggers maintain them, so that they are right
-- after every change of a row: a snapshot, an older one that comes later, an erasure, a deletion by age. A rollup row that
-- sums up nothing is deleted. Only the triggers that subtract look for it. An hour is time / 3600000, a day is
-- time / 86400000.

-- Sums over latest, by the hour in which an installation was last seen. An active installation was seen on two days at
-- least.
CREATE TABLE latest_rollup (
    source             TEXT    NOT NULL,
    hour               INTEGER NOT NULL,
    kamaji_version     TEXT    NOT NULL,
    kubernetes_version TEXT    NOT NULL,
    installations      INTEGER NOT NULL,
    active             INTEGER NOT NULL,
    running            INTEGER NOT NULL,
    sleeping           INTEGER NOT NULL,
    not_ready          INTEGER NOT NULL,
    upgrading          INTEGER NOT NULL,
    PRIMARY KEY (source, hour, kamaji_version, kubernetes_version)
) STRICT, WITHOUT ROWID;

-- Sums over the dimensions of the day on which an installation was last seen, by the hour of that snapshot.
CREATE TABLE dimension_rollup (
    source TEXT    NOT NULL,
    hour   INTEGER NOT NULL,
    metric TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    points INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (source, hour, metric, value)
) STRICT, WITHOUT ROWID;

-- Sums over days: of all installations (component 'all', version ''), and by the version of each component.
CREATE TABLE day_rollup (
    source        TEXT    NOT NULL,
    component     TEXT    NOT NULL,
    day           INTEGER NOT NULL,
    version       TEXT    NOT NULL,
    installations INTEGER NOT NULL,
    running       INTEGER NOT NULL,
    sleeping      INTEGER NOT NULL,
    not_ready     INTEGER NOT NULL,
    upgrading     INTEGER NOT NULL,
    PRIMARY KEY (source, component, day, version)
) STRICT, WITHOUT ROWID;

-- Numbers of events by hour.
CREATE TABLE event_hour_rollup (
    source TEXT    NOT NULL,
    hour   INTEGER NOT NULL,
    kind   TEXT    NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (source, hour, kind)
) STRICT, WITHOUT ROWID;

-- Numbers of events by day and version. The tcp_version of an update is the new one.
CREATE TABLE event_day_rollup (
    source         TEXT    NOT NULL,
    day            INTEGER NOT NULL,
    kind           TEXT    NOT NULL,
    kamaji_version TEXT    NOT NULL,
    tcp_version    TEXT    NOT NULL,
    events         INTEGER NOT NULL,
    PRIMARY KEY (source, day, kind, kamaji_version, tcp_version)
) STRICT, WITHOUT ROWID;

-- Triggers of latest and dimensions.

CREATE TRIGGER latest_inserted AFTER INSERT ON latest
BEGIN
    INSERT INTO latest_rollup
    VALUES (NEW.source, NEW.time / 3600000, NEW.kamaji_version, NEW.kubernetes_version,
            1, NEW.first_day < NEW.time / 86400000, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading)
    ON CONFLICT DO UPDATE SET
        installations = installations + excluded.installations, active = active + excluded.active,
        running = running + excluded.running, sleeping = sleeping + excluded.sleeping,
        not_ready = not_ready + excluded.not_ready, upgrading = upgrading + excluded.upgrading;
    INSERT INTO dimension_rollup
    SELECT NEW.source, NEW.time / 3600000, metric, value, 1, count
    FROM dimensions WHERE day = NEW.time / 86400000 AND installation = NEW.installation
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count;
END;

CREATE TRIGGER latest_deleted AFTER DELETE ON latest
BEGIN
    INSERT INTO latest_rollup
    VALUES (OLD.source, OLD.time / 3600000, OLD.kamaji_version, OLD.kubernetes_version,
            -1, -(OLD.first_day < OLD.time / 86400000), -OLD.running, -OLD.sleeping, -OLD.not_ready, -OLD.upgrading)
    ON CONFLICT DO UPDATE SET
        installations = installations + excluded.installations, active = active + excluded.active,
        running = running + excluded.running, sleeping = sleeping + excluded.sleeping,
        not_ready = not_ready + excluded.not_ready, upgrading = upgrading + excluded.upgrading;
    INSERT INTO dimension_rollup
    SELECT OLD.source, OLD.time / 3600000, metric, value, -1, -count
    FROM dimensions WHERE day = OLD.time / 86400000 AND installation = OLD.installation
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count;
    DELETE FROM latest_rollup
    WHERE source = OLD.source AND hour = OLD.time / 3600000
      AND kamaji_version = OLD.kamaji_version AND kubernetes_version = OLD.kubernetes_version AND installations = 0;
    DELETE FROM dimension_rollup WHERE source = OLD.source AND hour = OLD.time / 3600000 AND points = 0;
END;

-- Most snapshots change nothing but the minute.
CREATE TRIGGER latest_updated AFTER UPDATE ON latest
WHEN (NEW.source, NEW.time / 3600000, NEW.kamaji_version, NEW.kubernetes_version,
      NEW.first_day < NEW.time / 86400000, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading)
  IS NOT (OLD.source, OLD.time / 3600000, OLD.kamaji_version, OLD.kubernetes_version,
      OLD.first_day < OLD.time / 86400000, OLD.running, OLD.sleeping, OLD.not_ready, OLD.upgrading)
BEGIN
    INSERT INTO latest_rollup
    VALUES (NEW.source, NEW.time / 3600000, NEW.kamaji_version, NEW.kubernetes_version,
            1, NEW.first_day < NEW.time / 86400000, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading),
           (OLD.source, OLD.time / 3600000, OLD.kamaji_version, OLD.kubernetes_version,
            -1, -(OLD.first_day < OLD.time / 86400000), -OLD.running, -OLD.sleeping, -OLD.not_ready, -OLD.upgrading)
    ON CONFLICT DO UPDATE SET
        installations = installations + excluded.installations, active = active + excluded.active,
        running = running + excluded.running, sleeping = sleeping + excluded.sleeping,
        not_ready = not_ready + excluded.not_ready, upgrading = upgrading + excluded.upgrading;
    DELETE FROM latest_rollup
    WHERE source = OLD.source AND hour = OLD.time / 3600000
      AND kamaji_version = OLD.kamaji_version AND kubernetes_version = OLD.kubernetes_version AND installations = 0;
END;

CREATE TRIGGER latest_moved AFTER UPDATE ON latest
WHEN (NEW.source, NEW.time / 3600000) IS NOT (OLD.source, OLD.time / 3600000)
BEGIN
    INSERT INTO dimension_rollup
    SELECT NEW.source, NEW.time / 3600000, metric, value, 1, count
    FROM dimensions WHERE day = NEW.time / 86400000 AND installation = NEW.installation
    UNION ALL
    SELECT OLD.source, OLD.time / 3600000, metric, value, -1, -count
    FROM dimensions WHERE day = OLD.time / 86400000 AND installation = OLD.installation
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count;
    DELETE FROM dimension_rollup WHERE source = OLD.source AND hour = OLD.time / 3600000 AND points = 0;
END;

-- A dimension is inserted and deleted, and never updated.
CREATE TRIGGER dimensions_inserted AFTER INSERT ON dimensions
BEGIN
    INSERT INTO dimension_rollup
    SELECT source, time / 3600000, NEW.metric, NEW.value, 1, NEW.count
    FROM latest WHERE installation = NEW.installation AND time / 86400000 = NEW.day
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count;
END;

CREATE TRIGGER dimensions_deleted AFTER DELETE ON dimensions
BEGIN
    INSERT INTO dimension_rollup
    SELECT source, time / 3600000, OLD.metric, OLD.value, -1, -OLD.count
    FROM latest WHERE installation = OLD.installation AND time / 86400000 = OLD.day
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count;
    DELETE FROM dimension_rollup
    WHERE (source, hour) = (SELECT source, time / 3600000 FROM latest WHERE installation = OLD.installation)
      AND metric = OLD.metric AND value = OLD.value AND points = 0;
END;

-- Triggers of days.

CREATE TRIGGER days_inserted AFTER INSERT ON days
BEGIN
    INSERT INTO day_rollup
    VALUES (NEW.source, 'all', NEW.day, '', 1, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading),
           (NEW.source, 'kamaji', NEW.day, NEW.kamaji_version,
            1, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading),
           (NEW.source, 'kubernetes', NEW.day, NEW.kubernetes_version,
            1, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading)
    ON CONFLICT DO UPDATE SET
        installations = installations + excluded.installations,
        running = running + excluded.running, sleeping = sleeping + excluded.sleeping,
        not_ready = not_ready + excluded.not_ready, upgrading = upgrading + excluded.upgrading;
END;

CREATE TRIGGER days_deleted AFTER DELETE ON days
BEGIN
    INSERT INTO day_rollup
    VALUES (OLD.source, 'all', OLD.day, '', -1, -OLD.running, -OLD.sleeping, -OLD.not_ready, -OLD.upgrading),
           (OLD.source, 'kamaji', OLD.day, OLD.kamaji_version,
            -1, -OLD.running, -OLD.sleeping, -OLD.not_ready, -OLD.upgrading),
           (OLD.source, 'kubernetes', OLD.day, OLD.kubernetes_version,
            -1, -OLD.running, -OLD.sleeping, -OLD.not_ready, -OLD.upgrading)
    ON CONFLICT DO UPDATE SET
        installations = installations + excluded.installations,
        running = running + excluded.running, sleeping = sleeping + excluded.sleeping,
        not_ready = not_ready + excluded.not_ready, upgrading = upgrading + excluded.upgrading;
    DELETE FROM day_rollup
    WHERE source = OLD.source AND component IN ('all', 'kamaji', 'kubernetes') AND day = OLD.day
      AND version IN ('', OLD.kamaji_version, OLD.kubernetes_version) AND installations = 0;
END;

CREATE TRIGGER days_updated AFTER UPDATE ON days
WHEN (NEW.source, NEW.day, NEW.kamaji_version, NEW.kubernetes_version,
      NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading)
  IS NOT (OLD.source, OLD.day, OLD.kamaji_version, OLD.kubernetes_version,
      OLD.running, OLD.sleeping, OLD.not_ready, OLD.upgrading)
BEGIN
    INSERT INTO day_rollup
    VALUES (NEW.source, 'all', NEW.day, '', 1, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading),
           (NEW.source, 'kamaji', NEW.day, NEW.kamaji_version,
            1, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading),
           (NEW.source, 'kubernetes', NEW.day, NEW.kubernetes_version,
            1, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading),
           (OLD.source, 'all', OLD.day, '', -1, -OLD.running, -OLD.sleeping, -OLD.not_ready, -OLD.upgrading),
           (OLD.source, 'kamaji', OLD.day, OLD.kamaji_version,
            -1, -OLD.running, -OLD.sleeping, -OLD.not_ready, -OLD.upgrading),
           (OLD.source, 'kubernetes', OLD.day, OLD.kubernetes_version,
            -1, -OLD.running, -OLD.sleeping, -OLD.not_ready, -OLD.upgrading)
    ON CONFLICT DO UPDATE SET
        installations = installations + excluded.installations,
        running = running + excluded.running, sleeping = sleeping + excluded.sleeping,
        not_ready = not_ready + excluded.not_ready, upgrading = upgrading + excluded.upgrading;
    DELETE FROM day_rollup
    WHERE source = OLD.source AND component IN ('all', 'kamaji', 'kubernetes') AND day = OLD.day
      AND version IN ('', OLD.kamaji_version, OLD.kubernetes_version) AND installations = 0;
END;

-- Triggers of events. An event is inserted, stripped of everything but its uid and its hour, and deleted.

CREATE TRIGGER events_inserted AFTER INSERT ON events WHEN NEW.source <> 'none'
BEGIN
    INSERT INTO event_hour_rollup VALUES (NEW.source, NEW.time / 3600000, NEW.kind, 1)
    ON CONFLICT DO UPDATE SET events = events + excluded.events;
    INSERT INTO event_day_rollup
    VALUES (NEW.source, NEW.time / 86400000, NEW.kind, NEW.kamaji_version,
            coalesce(NEW.tcp_version, NEW.new_tcp_version), 1)
    ON CONFLICT DO UPDATE SET events = events + excluded.events;
END;

CREATE TRIGGER events_stripped AFTER UPDATE OF source ON events WHEN OLD.source <> 'none' AND NEW.source = 'none'
BEGIN
    INSERT INTO event_hour_rollup VALUES (OLD.source, OLD.time / 3600000, OLD.kind, -1)
    ON CONFLICT DO UPDATE SET events = events + excluded.events;
    INSERT INTO event_day_rollup
    VALUES (OLD.source, OLD.time / 86400000, OLD.kind, OLD.kamaji_version,
            coalesce(OLD.tcp_version, OLD.new_tcp_version), -1)
    ON CONFLICT DO UPDATE SET events = events + excluded.events;
    DELETE FROM event_hour_rollup
    WHERE source = OLD.source AND hour = OLD.time / 3600000 AND kind = OLD.kind AND events = 0;
    DELETE FROM event_day_rollup
    WHERE source = OLD.source AND day = OLD.time / 86400000 AND kind = OLD.kind AND kamaji_version = OLD.kamaji_version
      AND tcp_version = coalesce(OLD.tcp_version, OLD.new_tcp_version) AND events = 0;
END;

CREATE TRIGGER events_deleted AFTER DELETE ON events WHEN OLD.source <> 'none'
BEGIN
    INSERT INTO event_hour_rollup VALUES (OLD.source, OLD.time / 3600000, OLD.kind, -1)
    ON CONFLICT DO UPDATE SET events = events + excluded.events;
    INSERT INTO event_day_rollup
    VALUES (OLD.source, OLD.time / 86400000, OLD.kind, OLD.kamaji_version,
            coalesce(OLD.tcp_version, OLD.new_tcp_version), -1)
    ON CONFLICT DO UPDATE SET events = events + excluded.events;
    DELETE FROM event_hour_rollup
    WHERE source = OLD.source AND hour = OLD.time / 3600000 AND kind = OLD.kind AND events = 0;
    DELETE FROM event_day_rollup
    WHERE source = OLD.source AND day = OLD.time / 86400000 AND kind = OLD.kind AND kamaji_version = OLD.kamaji_version
      AND tcp_version = coalesce(OLD.tcp_version, OLD.new_tcp_version) AND events = 0;
END;
