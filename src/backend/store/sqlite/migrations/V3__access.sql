-- Who may read. Times are milliseconds since 1970-01-01 UTC; of a secret there is only its SHA-256.
CREATE TABLE tokens (
    prefix  TEXT    NOT NULL PRIMARY KEY,
    digest  BLOB    NOT NULL,
    name    TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER
) STRICT, WITHOUT ROWID;

-- A name can be given again once its token was revoked, so that a token can be replaced under its name.
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked IS NULL;

-- Those who signed in on the page, each with a token.
CREATE TABLE sessions (
    digest       BLOB    NOT NULL PRIMARY KEY,
    token        TEXT    NOT NULL,
    token_digest BLOB    NOT NULL,
    expires      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_token ON sessions (token, expires);

-- Who read what, and when. No token where nobody is known: those are summed by the hour, whose beginning is their time.
CREATE TABLE audit_log (
    number INTEGER NOT NULL PRIMARY KEY,
    time   INTEGER NOT NULL,
    token  TEXT,
    name   TEXT,
    what   TEXT    NOT NULL,
    status INTEGER,
    count  INTEGER NOT NULL
) STRICT;

CREATE INDEX audit_log_by_time ON audit_log (time);
CREATE INDEX audit_log_by_token ON audit_log (token, time);
