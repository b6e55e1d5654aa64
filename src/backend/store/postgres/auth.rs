//! The tokens, the sessions and the audit log in the database.

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::PostgresStore;
use super::age::sum;
use super::connection::{PostgresConnection, PostgresError};
use crate::backend::store::deletion::MAX_STEP_ROWS;
use crate::backend::store::encoding::CorruptColumn;
use crate::backend::store::{
    AuditLogEntry, AuthStore, CREATE_TOKEN, Digest, MAX_SESSIONS, PrunedAuth, REVOKE_TOKEN, ReadError, Session,
    StoreTokenError, StoredSession, Token, TokenRef, UsedToken, WriteError, truncate_to_hour,
};

impl AuthStore for PostgresStore {
    fn create_token(&self, token: Token, digest: Digest) -> BoxFuture<'_, Result<(), StoreTokenError>> {
        async move {
            let is_free =
                self.change(move |connection| create_token(connection, token.clone(), digest).boxed()).await?;
            if is_free { Ok(()) } else { Err(StoreTokenError::NameTaken) }
        }
        .boxed()
    }

    fn revoke_token(&self, name_or_prefix: String, now: Timestamp) -> BoxFuture<'_, Result<Option<Token>, WriteError>> {
        self.change(move |connection| revoke_token(connection, name_or_prefix.clone(), now).boxed()).boxed()
    }

    fn has_valid_token(&self, now: Timestamp) -> BoxFuture<'_, Result<bool, ReadError>> {
        self.read(move |connection| {
            async move {
                let sql = "SELECT EXISTS (SELECT FROM tokens WHERE revoked IS NULL AND expires > $1)";
                Ok(connection.query_one(sql, &[&now]).await?.try_get(0)?)
            }
            .boxed()
        })
        .boxed()
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<UsedToken>, ReadError>> {
        self.read(|connection| {
            async move {
                let rows = connection.query(TOKENS, &[]).await?;
                let used = |row: &Row| Ok(UsedToken { token: token(row)?, last_used: row.try_get("last_used")? });
                rows.iter().map(used).collect()
            }
            .boxed()
        })
        .boxed()
    }

    fn token(&self, prefix: String) -> BoxFuture<'_, Result<Option<(Token, Digest)>, ReadError>> {
        self.read(move |connection| {
            let prefix = prefix.clone();
            async move {
                let row = connection.query_opt("SELECT * FROM tokens WHERE prefix = $1", &[&prefix]).await?;
                row.map(|row| Ok((token(&row)?, digest(&row, "digest")?))).transpose()
            }
            .boxed()
        })
        .boxed()
    }

    fn open_session(&self, session: Session, now: Timestamp) -> BoxFuture<'_, Result<bool, WriteError>> {
        self.change(move |connection| open_session(connection, session.clone(), now).boxed()).boxed()
    }

    fn session(&self, session: Digest) -> BoxFuture<'_, Result<Option<StoredSession>, ReadError>> {
        self.read(move |connection| {
            async move {
                let row = connection.query_opt(SESSION, &[&session.bytes().as_slice()]).await?;
                row.map(|row| stored_session(&row, session)).transpose()
            }
            .boxed()
        })
        .boxed()
    }

    fn close_session(&self, session: Digest) -> BoxFuture<'_, Result<(), WriteError>> {
        self.change(move |connection| {
            async move {
                connection.begin().await?;
                let sql = "DELETE FROM sessions WHERE digest = $1";
                connection.execute(sql, &[&session.bytes().as_slice()]).await?;
                connection.commit().await
            }
            .boxed()
        })
        .boxed()
    }

    fn record(&self, entries: Vec<AuditLogEntry>) -> BoxFuture<'_, Result<(), WriteError>> {
        self.change(move |connection| {
            let mut entries = entries.clone();
            async move {
                // In the order of the key of those that are summed, so that two backends don't wait for each other.
                entries.sort_by(|a, b| (a.time, &a.action, a.status).cmp(&(b.time, &b.action, b.status)));
                connection.begin().await?;
                for entry in &entries {
                    insert_entry(connection, entry).await?;
                }
                connection.commit().await
            }
            .boxed()
        })
        .boxed()
    }

    fn audit_log(&self, limit: u32) -> BoxFuture<'_, Result<Vec<AuditLogEntry>, ReadError>> {
        self.read(move |connection| {
            async move {
                let newest = "SELECT * FROM audit_log ORDER BY time DESC, number DESC LIMIT $1";
                connection.query(newest, &[&i64::from(limit)]).await?.iter().map(entry).collect()
            }
            .boxed()
        })
        .boxed()
    }

    fn take_commands(&self) -> BoxFuture<'_, Result<Vec<AuditLogEntry>, WriteError>> {
        self.change(|connection| take_commands(connection).boxed()).boxed()
    }

    fn prune_auth(
        &self,
        before: Timestamp,
        now: Timestamp,
        listed: Vec<String>,
    ) -> BoxFuture<'_, Result<PrunedAuth, WriteError>> {
        async move {
            let mut all = PrunedAuth::default();
            loop {
                let listed = listed.clone();
                let step =
                    self.change(move |connection| prune(connection, before, now, listed.clone()).boxed()).await?;
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

/// A token is last used by an answered request: a command has no status.
const TOKENS: &str = "
    SELECT *, (SELECT max(time) FROM audit_log WHERE token = tokens.prefix AND status IS NOT NULL) AS last_used
    FROM tokens ORDER BY created, prefix COLLATE \"C\"";

/// The columns of the token are null if it comes from a file.
const SESSION: &str = "
    SELECT tokens.*, sessions.token AS session_token, sessions.token_digest, sessions.expires AS session_expires
    FROM sessions LEFT JOIN tokens ON tokens.prefix = sessions.token WHERE sessions.digest = $1";

const INSERT_TOKEN: &str = "
    INSERT INTO tokens (prefix, digest, name, role, created, expires, revoked) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (name) WHERE revoked IS NULL DO NOTHING";

/// Adds to the entry of the hour, or inserts one.
const SUM_ENTRY: &str = "
    INSERT INTO audit_log (time, action, status, count, is_logged) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (time, action, coalesce(status, 0)) WHERE token IS NULL
    DO UPDATE SET count = audit_log.count + excluded.count, is_logged = excluded.is_logged";

const INSERT_ENTRY: &str = "
    INSERT INTO audit_log (time, action, status, count, is_logged, token, name) VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Returns false, and writes nothing, if another valid or expired token has the name.
async fn create_token(
    connection: &mut PostgresConnection,
    token: Token,
    digest: Digest,
) -> Result<bool, PostgresError> {
    let Token { prefix, name, role, created, expires, revoked } = &token;
    connection.begin().await?;
    let digest = digest.bytes();
    let inserted = connection
        .execute(INSERT_TOKEN, &[prefix, &digest.as_slice(), name, &role.as_str(), created, expires, revoked])
        .await?;
    if inserted == 0 {
        connection.rollback().await?;
        return Ok(false);
    }
    insert_entry(connection, &AuditLogEntry::of_command(&token, CREATE_TOKEN, *created)).await?;
    connection.commit().await?;
    Ok(true)
}

async fn revoke_token(
    connection: &mut PostgresConnection,
    name_or_prefix: String,
    now: Timestamp,
) -> Result<Option<Token>, PostgresError> {
    connection.begin().await?;
    let find = "SELECT * FROM tokens WHERE prefix = $1 OR (name = $1 AND revoked IS NULL) FOR UPDATE";
    let found = connection.query_opt(find, &[&name_or_prefix]).await?.map(|row| token(&row)).transpose()?;
    if let Some(token) = found.as_ref().filter(|token| token.revoked.is_none()) {
        connection.execute("UPDATE tokens SET revoked = $2 WHERE prefix = $1", &[&token.prefix, &now]).await?;
        connection.execute("DELETE FROM sessions WHERE token = $1", &[&token.prefix]).await?;
        insert_entry(connection, &AuditLogEntry::of_command(token, REVOKE_TOKEN, now)).await?;
    }
    connection.commit().await?;
    Ok(found)
}

/// Returns false, and writes nothing, if the token is in the store and is not what the session was made from any more. The
/// lock of the token makes a revocation wait, which then deletes the session.
async fn open_session(
    connection: &mut PostgresConnection,
    session: Session,
    now: Timestamp,
) -> Result<bool, PostgresError> {
    let Session { digest: of_session, token: prefix, token_digest, expires } = &session;
    connection.begin().await?;
    let row = connection.query_opt("SELECT * FROM tokens WHERE prefix = $1 FOR SHARE", &[prefix]).await?;
    if let Some(row) = row {
        let token = token(&row)?;
        if !digest(&row, "digest")?.matches(token_digest) || token.revoked.is_some() || token.expires <= now {
            connection.rollback().await?;
            return Ok(false);
        }
    }
    connection.execute("DELETE FROM sessions WHERE expires <= $1", &[&now]).await?;
    let beyond_bound = "DELETE FROM sessions WHERE digest IN
                        (SELECT digest FROM sessions WHERE token = $1 ORDER BY expires DESC OFFSET $2)";
    connection.execute(beyond_bound, &[prefix, &i64::from(MAX_SESSIONS - 1)]).await?;
    let insert = "INSERT INTO sessions (digest, token, token_digest, expires) VALUES ($1, $2, $3, $4)";
    let (of_session, token_digest) = (of_session.bytes(), token_digest.bytes());
    connection.execute(insert, &[&of_session.as_slice(), prefix, &token_digest.as_slice(), expires]).await?;
    connection.commit().await?;
    Ok(true)
}

pub(super) async fn insert_entry(
    connection: &mut PostgresConnection,
    entry: &AuditLogEntry,
) -> Result<(), PostgresError> {
    let AuditLogEntry { time, actor, action, status, count } = entry;
    let count = i64::try_from(*count).unwrap_or(i64::MAX);
    // The process that stores the entry of a request logs it.
    let is_logged = !entry.is_command();
    let status = status.map(i32::from);
    if let Some(TokenRef { token, name }) = actor {
        connection.execute(INSERT_ENTRY, &[time, action, &status, &count, &is_logged, token, name]).await?;
    } else {
        let hour = truncate_to_hour(*time);
        connection.execute(SUM_ENTRY, &[&hour, action, &status, &count, &is_logged]).await?;
    }
    Ok(())
}

async fn take_commands(connection: &mut PostgresConnection) -> Result<Vec<AuditLogEntry>, PostgresError> {
    // Commands are rare, and a read waits for nobody.
    let is_any = "SELECT EXISTS (SELECT FROM audit_log WHERE NOT is_logged)";
    if !connection.query_one(is_any, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(Vec::new());
    }
    connection.begin().await?;
    let take = "UPDATE audit_log SET is_logged = true WHERE NOT is_logged RETURNING *";
    let taken: Result<Vec<_>, _> = connection.query(take, &[]).await?.iter().map(entry).collect();
    connection.commit().await?;
    let mut taken = taken?;
    taken.sort_by_key(|entry| entry.time);
    Ok(taken)
}

/// Runs one step. `listed` has the prefixes of tokens that are retained.
async fn prune(
    connection: &mut PostgresConnection,
    before: Timestamp,
    now: Timestamp,
    listed: Vec<String>,
) -> Result<PrunedAuth, PostgresError> {
    connection.begin().await?;
    let old = "DELETE FROM audit_log WHERE number IN (SELECT number FROM audit_log WHERE time < $1 LIMIT $2)";
    let entries = connection.execute(old, &[&before, &i64::from(MAX_STEP_ROWS)]).await?;
    connection.execute("DELETE FROM sessions WHERE expires <= $1", &[&now]).await?;
    let ended = "DELETE FROM tokens WHERE (expires < $1 OR revoked < $1) AND prefix <> ALL($2)";
    let tokens = connection.execute(ended, &[&before, &listed]).await?;
    connection.commit().await?;
    Ok(PrunedAuth { entries, tokens })
}

fn token(row: &Row) -> Result<Token, PostgresError> {
    let role: &str = row.try_get("role")?;
    Ok(Token {
        prefix: row.try_get("prefix")?,
        name: row.try_get("name")?,
        role: role.parse().map_err(|error| CorruptColumn::new("role", error))?,
        created: row.try_get("created")?,
        expires: row.try_get("expires")?,
        revoked: row.try_get("revoked")?,
    })
}

fn stored_session(row: &Row, session: Digest) -> Result<StoredSession, PostgresError> {
    let is_from_file = row.try_get::<_, Option<&str>>("prefix")?.is_none();
    Ok(StoredSession {
        session: Session {
            digest: session,
            token: row.try_get("session_token")?,
            token_digest: digest(row, "token_digest")?,
            expires: row.try_get("session_expires")?,
        },
        token: if is_from_file { None } else { Some((token(row)?, digest(row, "digest")?)) },
    })
}

fn digest(row: &Row, column: &str) -> Result<Digest, PostgresError> {
    let bytes: [u8; 32] =
        row.try_get::<_, &[u8]>(column)?.try_into().map_err(|error| CorruptColumn::new(column, error))?;
    Ok(Digest::from(bytes))
}

fn entry(row: &Row) -> Result<AuditLogEntry, PostgresError> {
    let (token, name): (Option<String>, Option<String>) = (row.try_get("token")?, row.try_get("name")?);
    let status: Option<i32> = row.try_get("status")?;
    Ok(AuditLogEntry {
        time: row.try_get("time")?,
        actor: token.zip(name).map(|(token, name)| TokenRef { token, name }),
        action: row.try_get("action")?,
        status: status.and_then(|status| u16::try_from(status).ok()),
        count: sum(row, "count")?,
    })
}
