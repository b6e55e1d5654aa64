-- Rollups: what the rows come to, so that no question reads them all. Triggers keep them, so that they are right after
-- whatever changes a row: a cycle, a late one, an erasure, a deletion by age. What comes to nothing goes, looked for
-- only where something is taken away. An hour is a time / 3600000, a day a time / 86400000.

-- Installations, and their control planes, by the hour in which they were last seen. The active ones were seen on two
-- days at least.
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

-- The dimensions of the day on which each installation was last seen, by the hour of that.
CREATE TABLE breakdown_rollup (
    source TEXT    NOT NULL,
    hour   INTEGER NOT NULL,
    metric TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    points INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (source, hour, metric, value)
) STRICT, WITHOUT ROWID;

-- The days of installations: all of them ('all', whose version is ''), and by version ('kamaji', 'kubernetes').
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

-- Events by hour.
CREATE TABLE event_hour_rollup (
    source TEXT    NOT NULL,
    hour   INTEGER NOT NULL,
    kind   TEXT    NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (source, hour, kind)
) STRICT, WITHOUT ROWID;

-- Events by day and version. The tcp_version of an update is the new one.
CREATE TABLE event_day_rollup (
    source         TEXT    NOT NULL,
    day            INTEGER NOT NULL,
    kind           TEXT    NOT NULL,
    kamaji_version TEXT    NOT NULL,
    tcp_version    TEXT    NOT NULL,
    events         INTEGER NOT NULL,
    PRIMARY KEY (source, day, kind, kamaji_version, tcp_version)
) STRICT, WITHOUT ROWID;

-- What the rows of an earlier version come to.

INSERT INTO latest_rollup
SELECT source, time / 3600000, kamaji_version, kubernetes_version, count(*), sum(first_day < time / 86400000),
       sum(running), sum(sleeping), sum(not_ready), sum(upgrading)
FROM latest GROUP BY 1, 2, 3, 4;

INSERT INTO breakdown_rollup
SELECT source, time / 3600000, metric, value, count(*), sum(count)
FROM latest JOIN dimensions USING (installation) WHERE day = time / 86400000 GROUP BY 1, 2, 3, 4;

INSERT INTO day_rollup
SELECT source, 'all', day, '', count(*), sum(running), sum(sleeping), sum(not_ready), sum(upgrading)
FROM days GROUP BY 1, 2, 3, 4;
INSERT INTO day_rollup
SELECT source, 'kamaji', day, kamaji_version, count(*), sum(running), sum(sleeping), sum(not_ready), sum(upgrading)
FROM days GROUP BY 1, 2, 3, 4;
INSERT INTO day_rollup
SELECT source, 'kubernetes', day, kubernetes_version, count(*), sum(running), sum(sleeping), sum(not_ready),
       sum(upgrading)
FROM days GROUP BY 1, 2, 3, 4;

INSERT INTO event_hour_rollup
SELECT source, time / 3600000, kind, count(*) FROM events WHERE source <> 'none' GROUP BY 1, 2, 3;
INSERT INTO event_day_rollup
SELECT source, time / 86400000, kind, kamaji_version, coalesce(tcp_version, new_tcp_version), count(*)
FROM events WHERE source <> 'none' GROUP BY 1, 2, 3, 4, 5;

-- latest and its dimensions

CREATE TRIGGER latest_inserted AFTER INSERT ON latest
BEGIN
    INSERT INTO latest_rollup
    VALUES (NEW.source, NEW.time / 3600000, NEW.kamaji_version, NEW.kubernetes_version,
            1, NEW.first_day < NEW.time / 86400000, NEW.running, NEW.sleeping, NEW.not_ready, NEW.upgrading)
    ON CONFLICT DO UPDATE SET
        installations = installations + excluded.installations, active = active + excluded.active,
        running = running + excluded.running, sleeping = sleeping + excluded.sleeping,
        not_ready = not_ready + excluded.not_ready, upgrading = upgrading + excluded.upgrading;
    INSERT INTO breakdown_rollup
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
    INSERT INTO breakdown_rollup
    SELECT OLD.source, OLD.time / 3600000, metric, value, -1, -count
    FROM dimensions WHERE day = OLD.time / 86400000 AND installation = OLD.installation
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count;
    DELETE FROM latest_rollup
    WHERE source = OLD.source AND hour = OLD.time / 3600000
      AND kamaji_version = OLD.kamaji_version AND kubernetes_version = OLD.kubernetes_version AND installations = 0;
    DELETE FROM breakdown_rollup WHERE source = OLD.source AND hour = OLD.time / 3600000 AND points = 0;
END;

-- Most cycles change nothing but the minute.
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
    INSERT INTO breakdown_rollup
    SELECT NEW.source, NEW.time / 3600000, metric, value, 1, count
    FROM dimensions WHERE day = NEW.time / 86400000 AND installation = NEW.installation
    UNION ALL
    SELECT OLD.source, OLD.time / 3600000, metric, value, -1, -count
    FROM dimensions WHERE day = OLD.time / 86400000 AND installation = OLD.installation
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count;
    DELETE FROM breakdown_rollup WHERE source = OLD.source AND hour = OLD.time / 3600000 AND points = 0;
END;

-- No dimension is ever updated.
CREATE TRIGGER breakdowns_inserted AFTER INSERT ON dimensions
BEGIN
    INSERT INTO breakdown_rollup
    SELECT source, time / 3600000, NEW.metric, NEW.value, 1, NEW.count
    FROM latest WHERE installation = NEW.installation AND time / 86400000 = NEW.day
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count;
END;

CREATE TRIGGER breakdowns_deleted AFTER DELETE ON dimensions
BEGIN
    INSERT INTO breakdown_rollup
    SELECT source, time / 3600000, OLD.metric, OLD.value, -1, -OLD.count
    FROM latest WHERE installation = OLD.installation AND time / 86400000 = OLD.day
    ON CONFLICT DO UPDATE SET points = points + excluded.points, count = count + excluded.count;
    DELETE FROM breakdown_rollup
    WHERE (source, hour) = (SELECT source, time / 3600000 FROM latest WHERE installation = OLD.installation)
      AND metric = OLD.metric AND value = OLD.value AND points = 0;
END;

-- days

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

-- events, which are inserted, lose everything but their uid and their hour, and are deleted.

CREATE TRIGGER events_inserted AFTER INSERT ON events WHEN NEW.source <> 'none'
BEGIN
    INSERT INTO event_hour_rollup VALUES (NEW.source, NEW.time / 3600000, NEW.kind, 1)
    ON CONFLICT DO UPDATE SET events = events + excluded.events;
    INSERT INTO event_day_rollup
    VALUES (NEW.source, NEW.time / 86400000, NEW.kind, NEW.kamaji_version,
            coalesce(NEW.tcp_version, NEW.new_tcp_version), 1)
    ON CONFLICT DO UPDATE SET events = events + excluded.events;
END;

CREATE TRIGGER events_blanked AFTER UPDATE OF source ON events WHEN OLD.source <> 'none' AND NEW.source = 'none'
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
