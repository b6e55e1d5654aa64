-- Times are milliseconds, days are days, both since 1970-01-01 UTC; UUIDs are 16 bytes.

-- The newest cycle of each installation.
CREATE TABLE latest (
    installation       BLOB    NOT NULL PRIMARY KEY,
    first_day          INTEGER NOT NULL,
    time               INTEGER NOT NULL,
    running            INTEGER NOT NULL,
    sleeping           INTEGER NOT NULL,
    not_ready          INTEGER NOT NULL,
    upgrading          INTEGER NOT NULL,
    agent_version      TEXT    NOT NULL,
    kamaji_version     TEXT    NOT NULL,
    kubernetes_version TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX latest_by_time ON latest (time);

-- The newest cycle of each installation and day. The day leads: a day's rows are written and read together.
CREATE TABLE days (
    day                INTEGER NOT NULL,
    installation       BLOB    NOT NULL,
    time               INTEGER NOT NULL,
    running            INTEGER NOT NULL,
    sleeping           INTEGER NOT NULL,
    not_ready          INTEGER NOT NULL,
    upgrading          INTEGER NOT NULL,
    agent_version      TEXT    NOT NULL,
    kamaji_version     TEXT    NOT NULL,
    kubernetes_version TEXT    NOT NULL,
    PRIMARY KEY (day, installation)
) STRICT, WITHOUT ROWID;

-- The extended gauges of the cycles in days.
CREATE TABLE dimensions (
    day          INTEGER NOT NULL,
    installation BLOB    NOT NULL,
    metric       TEXT    NOT NULL,
    value        TEXT    NOT NULL,
    count        INTEGER NOT NULL,
    PRIMARY KEY (day, installation, metric, value)
) STRICT, WITHOUT ROWID;

-- Keyed by a random uid and without a row number, so that not even the order of arrival ties events together.
CREATE TABLE events (
    uid                BLOB    NOT NULL PRIMARY KEY,
    time               INTEGER NOT NULL,
    kind               TEXT    NOT NULL,
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

CREATE INDEX events_by_time ON events (time);
