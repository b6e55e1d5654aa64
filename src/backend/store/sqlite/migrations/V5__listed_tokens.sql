-- Tokens that a file lists, and that last as long as it does: those expire at no time. To let a column be empty takes
-- another table.
CREATE TABLE tokens_of_both_kinds (
    prefix  TEXT    NOT NULL PRIMARY KEY,
    digest  BLOB    NOT NULL,
    name    TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    revoked INTEGER,
    -- 1 where the file listed it at the last look: as long as it does, its row stays.
    listed  INTEGER NOT NULL,
    -- 1 where it was revoked by hand: then no file brings it back.
    barred  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO tokens_of_both_kinds
SELECT prefix, digest, name, role, created, expires, revoked, 0, revoked IS NOT NULL FROM tokens;

DROP TABLE tokens;
ALTER TABLE tokens_of_both_kinds RENAME TO tokens;

-- A name can be given again once its token was revoked, so that a token can be replaced under its name.
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked IS NULL;
