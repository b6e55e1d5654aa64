//! The tokens, the sessions and the audit log in the store's file.

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::SqliteStore;
use super::columns::{parse, sum, time};
use crate::backend::store::deletion::MAX_STEP_ROWS;
use crate::backend::store::{
    AuditLogEntry, AuthStore, CREATE_TOKEN, Digest, MAX_SESSIONS, PrunedAuth, REVOKE_TOKEN, ReadError, Session,
    StoreTokenError, StoredSession, Token, TokenRef, UsedToken, WriteError, truncate_to_hour,
};

impl AuthStore for SqliteStore {
    fn create_token(&self, token: Token, digest: Digest) -> BoxFuture<'_, Result<(), StoreTokenError>> {
        async move {
            let is_free = self.run(move |connection| create_token(connection, &token, digest)).await?;
            if is_free { Ok(()) } else { Err(StoreTokenError::NameTaken) }
        }
        .boxed()
    }

    fn revoke_token(&self, name_or_prefix: String, now: Timestamp) -> BoxFuture<'_, Result<Option<Token>, WriteError>> {
        self.run(move |connection| revoke_token(connection, &name_or_prefix, now)).boxed()
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
                let used =
                    |row: &Row<'_>| Ok(UsedToken { token: token(row)?, last_used: optional_time(row, "last_used")? });
                statement.query_map([], used)?.collect()
            })
            .boxed()
    }

    fn token(&self, prefix: String) -> BoxFuture<'_, Result<Option<(Token, Digest)>, ReadError>> {
        self.reader
            .run(move |connection| {
                let mut statement = connection.prepare_cached("SELECT * FROM tokens WHERE prefix = ?1")?;
                let found = |row: &Row<'_>| Ok((token(row)?, digest(row, "digest")?));
                statement.query_row(params![prefix], found).optional()
            })
            .boxed()
    }

    fn open_session(&self, session: Session, now: Timestamp) -> BoxFuture<'_, Result<bool, WriteError>> {
        self.run(move |connection| open_session(connection, &session, now)).boxed()
    }

    fn session(&self, digest: Digest) -> BoxFuture<'_, Result<Option<StoredSession>, ReadError>> {
        self.reader
            .run(move |connection| {
                let mut statement = connection.prepare_cached(SESSION)?;
                statement.query_row(params![digest.bytes()], |row| stored_session(row, digest)).optional()
            })
            .boxed()
    }

    fn close_session(&self, digest: Digest) -> BoxFuture<'_, Result<(), WriteError>> {
        self.run(move |connection| {
            connection.execute("DELETE FROM sessions WHERE digest = ?1", params![digest.bytes()])?;
            Ok(())
        })
        .boxed()
    }

    fn record(&self, entries: Vec<AuditLogEntry>) -> BoxFuture<'_, Result<(), WriteError>> {
        self.run(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            entries.iter().try_for_each(|entry| insert_entry(&transaction, entry))?;
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

    fn take_commands(&self) -> BoxFuture<'_, Result<Vec<AuditLogEntry>, WriteError>> {
        self.run(take_commands).boxed()
    }

    fn prune_auth(
        &self,
        before: Timestamp,
        now: Timestamp,
        listed: Vec<String>,
    ) -> BoxFuture<'_, Result<PrunedAuth, WriteError>> {
        async move {
            let listed = serde_json::Value::from(listed).to_string();
            let mut all = PrunedAuth::default();
            loop {
                let listed = listed.clone();
                let step = self.run(move |connection| prune(connection, before, now, &listed)).await?;
                all.entries += step.entries;
                all.tokens += step.tokens;
                if step.entries < u64::from(MAX_STEP_ROWS) {
                    return Ok(all);
                }
            }
        }
        .boxed()
    }
}

const HAS_VALID: &str = "SELECT EXISTS (SELECT 1 FROM tokens WHERE revoked IS NULL AND expires > ?1)";

/// A token is last used by an answered request: a command has no status.
const TOKENS: &str = "
    SELECT *, (SELECT max(time) FROM audit_log WHERE token = tokens.prefix AND status IS NOT NULL) AS last_used
    FROM tokens ORDER BY created, prefix";

/// The columns of the token are null if it comes from a file.
const SESSION: &str = "
    SELECT tokens.*, sessions.token AS session_token, sessions.token_digest, sessions.expires AS session_expires
    FROM sessions LEFT JOIN tokens ON tokens.prefix = sessions.token WHERE sessions.digest = ?1";

/// Returns false, and writes nothing, if another valid or expired token has the name.
fn create_token(connection: &mut Connection, token: &Token, digest: Digest) -> rusqlite::Result<bool> {
    let Token { prefix, name, role, created, expires, revoked } = token;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let is_taken = "SELECT EXISTS (SELECT 1 FROM tokens WHERE name = ?1 AND revoked IS NULL)";
    if transaction.query_row(is_taken, params![name], |row| row.get(0))? {
        return Ok(false);
    }
    transaction.execute(
        "INSERT INTO tokens (prefix, digest, name, role, created, expires, revoked) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            prefix,
            digest.bytes(),
            name,
            role.as_str(),
            created.as_millisecond(),
            expires.as_millisecond(),
            revoked.map(Timestamp::as_millisecond),
        ],
    )?;
    insert_entry(&transaction, &AuditLogEntry::of_command(token, CREATE_TOKEN, *created))?;
    transaction.commit()?;
    Ok(true)
}

fn revoke_token(connection: &mut Connection, name_or_prefix: &str, now: Timestamp) -> rusqlite::Result<Option<Token>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let find = "SELECT * FROM tokens WHERE prefix = ?1 OR (name = ?1 AND revoked IS NULL)";
    let Some(token) = transaction.query_row(find, params![name_or_prefix], token).optional()? else { return Ok(None) };
    if token.revoked.is_none() {
        let revoke = "UPDATE tokens SET revoked = ?2 WHERE prefix = ?1";
        transaction.execute(revoke, params![token.prefix, now.as_millisecond()])?;
        transaction.execute("DELETE FROM sessions WHERE token = ?1", params![token.prefix])?;
        insert_entry(&transaction, &AuditLogEntry::of_command(&token, REVOKE_TOKEN, now))?;
        transaction.commit()?;
    }
    Ok(Some(token))
}

/// Returns false, and writes nothing, if the token is in the store and is not what the session was made from any more.
fn open_session(connection: &mut Connection, session: &Session, now: Timestamp) -> rusqlite::Result<bool> {
    let Session { digest, token, token_digest, expires } = session;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let has_ended = "SELECT EXISTS (SELECT 1 FROM tokens WHERE prefix = ?1
                                    AND (digest <> ?2 OR revoked IS NOT NULL OR expires <= ?3))";
    let which = params![token, token_digest.bytes(), now.as_millisecond()];
    if transaction.query_row(has_ended, which, |row| row.get(0))? {
        return Ok(false);
    }
    transaction.execute("DELETE FROM sessions WHERE expires <= ?1", params![now.as_millisecond()])?;
    let beyond_bound = "DELETE FROM sessions WHERE digest IN
                        (SELECT digest FROM sessions WHERE token = ?1 ORDER BY expires DESC LIMIT -1 OFFSET ?2)";
    transaction.execute(beyond_bound, params![token, MAX_SESSIONS - 1])?;
    let insert = "INSERT INTO sessions (digest, token, token_digest, expires) VALUES (?1, ?2, ?3, ?4)";
    transaction.execute(insert, params![digest.bytes(), token, token_digest.bytes(), expires.as_millisecond()])?;
    transaction.commit()?;
    Ok(true)
}

pub(super) fn insert_entry(connection: &Connection, entry: &AuditLogEntry) -> rusqlite::Result<()> {
    let AuditLogEntry { time, actor, action, status, count } = entry;
    let count = i64::try_from(*count).unwrap_or(i64::MAX);
    // The process that stores the entry of a request logs it.
    let is_logged = !entry.is_command();
    let time = if actor.is_some() { *time } else { truncate_to_hour(*time) }.as_millisecond();
    if actor.is_none() {
        let add = "UPDATE audit_log SET count = count + ?1, is_logged = ?5
                   WHERE token IS NULL AND time = ?2 AND action = ?3 AND status IS ?4";
        if connection.prepare_cached(add)?.execute(params![count, time, action, status, is_logged])? > 0 {
            return Ok(());
        }
    }
    let (token, name) = actor.as_ref().map(|TokenRef { token, name }| (token, name)).unzip();
    let insert = "INSERT INTO audit_log (time, token, name, action, status, count, is_logged)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(insert)?.execute(params![time, token, name, action, status, count, is_logged])?;
    Ok(())
}

fn take_commands(connection: &mut Connection) -> rusqlite::Result<Vec<AuditLogEntry>> {
    // Commands are rare, and a read does not wait for another process that writes.
    let is_any = "SELECT EXISTS (SELECT 1 FROM audit_log WHERE is_logged = 0)";
    if !connection.prepare_cached(is_any)?.query_row([], |row| row.get(0))? {
        return Ok(Vec::new());
    }
    let take = "UPDATE audit_log SET is_logged = 1 WHERE is_logged = 0 RETURNING *";
    let taken: rusqlite::Result<Vec<_>> = connection.prepare_cached(take)?.query_map([], entry)?.collect();
    let mut taken = taken?;
    taken.sort_by_key(|entry| entry.time);
    Ok(taken)
}

/// Runs one step. `listed` is a JSON array of the prefixes of tokens that are retained.
fn prune(connection: &mut Connection, before: Timestamp, now: Timestamp, listed: &str) -> rusqlite::Result<PrunedAuth> {
    let (before, now) = (before.as_millisecond(), now.as_millisecond());
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let old = "DELETE FROM audit_log WHERE number IN (SELECT number FROM audit_log WHERE time < ?1 LIMIT ?2)";
    let entries = transaction.execute(old, params![before, MAX_STEP_ROWS])? as u64;
    transaction.execute("DELETE FROM sessions WHERE expires <= ?1", params![now])?;
    let ended = "DELETE FROM tokens WHERE (expires < ?1 OR revoked < ?1)
                 AND prefix NOT IN (SELECT value FROM json_each(?2))";
    let tokens = transaction.execute(ended, params![before, listed])? as u64;
    transaction.commit()?;
    Ok(PrunedAuth { entries, tokens })
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        prefix: row.get("prefix")?,
        name: row.get("name")?,
        role: parse(row, "role")?,
        created: time(row, "created")?,
        expires: time(row, "expires")?,
        revoked: optional_time(row, "revoked")?,
    })
}

fn stored_session(row: &Row<'_>, session: Digest) -> rusqlite::Result<StoredSession> {
    let is_from_file = row.get_ref("prefix")? == ValueRef::Null;
    Ok(StoredSession {
        session: Session {
            digest: session,
            token: row.get("session_token")?,
            token_digest: digest(row, "token_digest")?,
            expires: time(row, "session_expires")?,
        },
        token: if is_from_file { None } else { Some((token(row)?, digest(row, "digest")?)) },
    })
}

fn digest(row: &Row<'_>, column: &str) -> rusqlite::Result<Digest> {
    Ok(Digest::from(row.get::<_, [u8; 32]>(column)?))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditLogEntry> {
    let (token, name): (Option<String>, Option<String>) = (row.get("token")?, row.get("name")?);
    Ok(AuditLogEntry {
        time: time(row, "time")?,
        actor: token.zip(name).map(|(token, name)| TokenRef { token, name }),
        action: row.get("action")?,
        status: row.get("status")?,
        count: sum(row, "count")?,
    })
}

fn optional_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    if row.get_ref(column)? == ValueRef::Null { Ok(None) } else { time(row, column).map(Some) }
}
