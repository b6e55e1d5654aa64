//! Tokens, sessions and the audit log in the store's file.

mod listed;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::SqliteStore;
use super::columns::{parse, sum, time};
use crate::backend::store::{
    AuditLogEntry, AuthStore, CREATE_TOKEN, CreateError, Digest, FileToken, Listing, MAX_SESSIONS, PrunedAuth,
    REVOKE_TOKEN, ReadError, Session, Token, TokenRef, UsedToken, WriteError, cut_to_hour,
};

impl AuthStore for SqliteStore {
    fn create_token(&self, token: Token, digest: Digest) -> BoxFuture<'_, Result<(), CreateError>> {
        async move {
            let created = self.writer.run(move |connection| create(connection, &token, digest)).await?;
            if created { Ok(()) } else { Err(CreateError::NameTaken) }
        }
        .boxed()
    }

    fn revoke_token(&self, which: String, now: Timestamp) -> BoxFuture<'_, Result<Option<Token>, WriteError>> {
        self.writer.run(move |connection| revoke(connection, &which, now)).boxed()
    }

    fn set_listed_tokens(&self, listed: Vec<FileToken>, now: Timestamp) -> BoxFuture<'_, Result<Listing, WriteError>> {
        self.writer.run(move |connection| listed::set(connection, &listed, now)).boxed()
    }

    fn has_valid_token(&self, now: Timestamp) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.reader
            .run(move |connection| {
                let mut statement = connection.prepare_cached(HAS_VALID)?;
                statement.query_row(params![now.as_millisecond()], |row| row.get(0))
            })
            .boxed()
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<UsedToken>, ReadError>> {
        self.reader
            .run(|connection| {
                let mut statement = connection.prepare_cached(TOKENS)?;
                statement
                    .query_map([], |row| Ok(UsedToken { token: token(row)?, last_used: optional_time(row, "used")? }))?
                    .collect()
            })
            .boxed()
    }

    fn token(&self, prefix: String) -> BoxFuture<'_, Result<Option<(Token, Digest)>, ReadError>> {
        self.reader
            .run(move |connection| {
                let mut statement = connection.prepare_cached("SELECT * FROM tokens WHERE prefix = ?1")?;
                statement.query_row(params![prefix], |row| Ok((token(row)?, digest(row)?))).optional()
            })
            .boxed()
    }

    fn open_session(
        &self,
        session: Session,
        verified: Digest,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, WriteError>> {
        self.writer.run(move |connection| open(connection, &session, verified, now)).boxed()
    }

    fn session(&self, digest: Digest) -> BoxFuture<'_, Result<Option<(Timestamp, Token)>, ReadError>> {
        self.reader
            .run(move |connection| {
                let mut statement = connection.prepare_cached(SESSION)?;
                let found = |row: &Row<'_>| Ok((time(row, "session_expires")?, token(row)?));
                statement.query_row(params![digest.bytes()], found).optional()
            })
            .boxed()
    }

    fn close_session(&self, digest: Digest) -> BoxFuture<'_, Result<(), WriteError>> {
        self.writer
            .run(move |connection| {
                connection.execute("DELETE FROM sessions WHERE digest = ?1", params![digest.bytes()])?;
                Ok(())
            })
            .boxed()
    }

    fn record(&self, entries: Vec<AuditLogEntry>) -> BoxFuture<'_, Result<(), WriteError>> {
        self.writer
            .run(move |connection| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                entries.iter().try_for_each(|entry| add(&transaction, entry))?;
                transaction.commit()
            })
            .boxed()
    }

    fn audit_log(&self, limit: u32) -> BoxFuture<'_, Result<Vec<AuditLogEntry>, ReadError>> {
        self.reader
            .run(move |connection| {
                let newest = "SELECT * FROM audit_log ORDER BY time DESC, number DESC LIMIT ?1";
                connection.prepare_cached(newest)?.query_map(params![limit], entry)?.collect()
            })
            .boxed()
    }

    fn prune_auth(&self, before: Timestamp, now: Timestamp) -> BoxFuture<'_, Result<PrunedAuth, WriteError>> {
        async move {
            let mut all = PrunedAuth::default();
            loop {
                let step = self.writer.run(move |connection| prune(connection, before, now)).await?;
                all.entries += step.entries;
                all.tokens += step.tokens;
                if step.entries < u64::from(STEP) {
                    return Ok(all);
                }
            }
        }
        .boxed()
    }
}

/// The most entries that one step of a deletion takes, as of other rows: a write waits no longer for it than for the
/// commit before.
const STEP: u32 = 1_024;

const HAS_VALID: &str =
    "SELECT EXISTS (SELECT 1 FROM tokens WHERE revoked IS NULL AND (expires IS NULL OR expires > ?1))";

const TOKENS: &str = "
    SELECT *, (SELECT max(time) FROM audit_log WHERE token = tokens.prefix AND status IS NOT NULL) AS used
    FROM tokens ORDER BY created, prefix";

const SESSION: &str = "
    SELECT tokens.*, sessions.expires AS session_expires
    FROM sessions JOIN tokens ON tokens.prefix = sessions.token WHERE sessions.digest = ?1";

/// Says whether the name was free.
fn create(connection: &mut Connection, token: &Token, digest: Digest) -> rusqlite::Result<bool> {
    let Token { prefix, name, role, created, expires, revoked } = token;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if holder(&transaction, name)?.is_some() {
        return Ok(false);
    }
    transaction.execute(
        "INSERT INTO tokens (prefix, digest, name, role, created, expires, revoked, listed, barred)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0)",
        params![
            prefix,
            digest.bytes(),
            name,
            role.as_str(),
            created.as_millisecond(),
            expires.map(Timestamp::as_millisecond),
            revoked.map(Timestamp::as_millisecond),
        ],
    )?;
    add(&transaction, &command(token, CREATE_TOKEN, *created))?;
    transaction.commit()?;
    Ok(true)
}

/// The prefix of the token that has this name.
fn holder(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT prefix FROM tokens WHERE name = ?1 AND revoked IS NULL")?;
    statement.query_row(params![name], |row| row.get(0)).optional()
}

fn revoke(connection: &mut Connection, which: &str, now: Timestamp) -> rusqlite::Result<Option<Token>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let find = "SELECT * FROM tokens WHERE prefix = ?1 OR (name = ?1 AND revoked IS NULL)";
    let Some(token) = transaction.query_row(find, params![which], token).optional()? else { return Ok(None) };
    if token.revoked.is_none() {
        end(&transaction, &token, now)?;
    }
    // Where the file listed it no longer, it is kept from now on rather than from then.
    let bar = "UPDATE tokens SET barred = 1, revoked = ?2 WHERE prefix = ?1 AND barred = 0";
    transaction.execute(bar, params![token.prefix, now.as_millisecond()])?;
    transaction.commit()?;
    Ok(Some(token))
}

/// Ends a token that is not revoked yet, and its sessions.
fn end(connection: &Connection, token: &Token, now: Timestamp) -> rusqlite::Result<()> {
    let end = "UPDATE tokens SET revoked = ?2 WHERE prefix = ?1";
    connection.execute(end, params![token.prefix, now.as_millisecond()])?;
    connection.execute("DELETE FROM sessions WHERE token = ?1", params![token.prefix])?;
    add(connection, &command(token, REVOKE_TOKEN, now))
}

fn command(token: &Token, what: &str, time: Timestamp) -> AuditLogEntry {
    AuditLogEntry { time, who: Some(token.who()), what: what.to_owned(), status: None, count: 1 }
}

/// Says whether the token is still what was verified, without which nothing is changed.
fn open(connection: &mut Connection, session: &Session, verified: Digest, now: Timestamp) -> rusqlite::Result<bool> {
    let Session { digest, token, expires } = session;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_valid = "SELECT EXISTS (SELECT 1 FROM tokens WHERE prefix = ?1 AND digest = ?2 AND revoked IS NULL
                                   AND (expires IS NULL OR expires > ?3))";
    let which = params![token, verified.bytes(), now.as_millisecond()];
    if !transaction.query_row(is_valid, which, |row| row.get(0))? {
        return Ok(false);
    }
    transaction.execute("DELETE FROM sessions WHERE expires <= ?1", params![now.as_millisecond()])?;
    let crowded = "DELETE FROM sessions WHERE digest IN
                   (SELECT digest FROM sessions WHERE token = ?1 ORDER BY expires DESC LIMIT -1 OFFSET ?2)";
    transaction.execute(crowded, params![token, MAX_SESSIONS - 1])?;
    let insert = "INSERT INTO sessions (digest, token, expires) VALUES (?1, ?2, ?3)";
    transaction.execute(insert, params![digest.bytes(), token, expires.as_millisecond()])?;
    transaction.commit()?;
    Ok(true)
}

fn add(connection: &Connection, entry: &AuditLogEntry) -> rusqlite::Result<()> {
    let AuditLogEntry { time, who, what, status, count } = entry;
    let count = i64::try_from(*count).unwrap_or(i64::MAX);
    let time = if who.is_some() { *time } else { cut_to_hour(*time) }.as_millisecond();
    if who.is_none() {
        let sum = "UPDATE audit_log SET count = count + ?1
                   WHERE token IS NULL AND time = ?2 AND what = ?3 AND status IS ?4";
        if connection.prepare_cached(sum)?.execute(params![count, time, what, status])? > 0 {
            return Ok(());
        }
    }
    let (token, name) = who.as_ref().map(|TokenRef { token, name }| (token, name)).unzip();
    let insert = "INSERT INTO audit_log (time, token, name, what, status, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.prepare_cached(insert)?.execute(params![time, token, name, what, status, count])?;
    Ok(())
}

fn prune(connection: &mut Connection, before: Timestamp, now: Timestamp) -> rusqlite::Result<PrunedAuth> {
    let (before, now) = (before.as_millisecond(), now.as_millisecond());
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let old = "DELETE FROM audit_log WHERE number IN (SELECT number FROM audit_log WHERE time < ?1 LIMIT ?2)";
    let entries = transaction.execute(old, params![before, STEP])? as u64;
    transaction.execute("DELETE FROM sessions WHERE expires <= ?1", params![now])?;
    // One that is listed must not be forgotten to have been revoked.
    let ended = "DELETE FROM tokens WHERE (expires < ?1 OR revoked < ?1) AND listed = 0";
    let tokens = transaction.execute(ended, params![before])? as u64;
    transaction.commit()?;
    Ok(PrunedAuth { entries, tokens })
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        prefix: row.get("prefix")?,
        name: row.get("name")?,
        role: parse(row, "role")?,
        created: time(row, "created")?,
        expires: optional_time(row, "expires")?,
        revoked: optional_time(row, "revoked")?,
    })
}

fn digest(row: &Row<'_>) -> rusqlite::Result<Digest> {
    Ok(Digest::from(row.get::<_, [u8; 32]>("digest")?))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditLogEntry> {
    let (token, name): (Option<String>, Option<String>) = (row.get("token")?, row.get("name")?);
    Ok(AuditLogEntry {
        time: time(row, "time")?,
        who: token.zip(name).map(|(token, name)| TokenRef { token, name }),
        what: row.get("what")?,
        status: row.get("status")?,
        count: sum(row, "count")?,
    })
}

fn optional_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    if row.get_ref(column)? == rusqlite::types::ValueRef::Null { Ok(None) } else { time(row, column).map(Some) }
}
