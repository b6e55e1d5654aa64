//! Tokens that a file lists: brought in line with it, in one transaction, which changes nothing where all is as listed.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::{add, command, digest, end, holder, token};
use crate::backend::store::{CREATE_TOKEN, Digest, FileToken, Listing, RefusedToken, Token};

/// A token as it is kept.
struct Kept {
    token: Token,
    digest: Digest,
    listed: bool,
    barred: bool,
}

/// What becomes of a token that is listed.
enum Becomes {
    Valid,
    /// It is already.
    Same,
    Rejections(RefusedToken),
}

pub(super) fn set(connection: &mut Connection, listed: &[FileToken], now: Timestamp) -> rusqlite::Result<Listing> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // First what goes, so that its names are free.
    let mut listing = Listing { revoked: take_out(&transaction, listed, now)?, ..Listing::default() };
    for token in listed {
        match put_in(&transaction, token, now)? {
            Becomes::Valid => listing.created += 1,
            Becomes::Same => {}
            Becomes::Rejections(refused) => listing.refused.push(refused),
        }
    }
    transaction.commit()?;
    Ok(listing)
}

/// Revokes what is not listed any more, or otherwise than it was, and says how much that is.
fn take_out(connection: &Connection, listed: &[FileToken], now: Timestamp) -> rusqlite::Result<u64> {
    let listed: HashMap<_, _> = listed.iter().map(|token| (token.prefix.as_str(), token)).collect();
    let mut statement = connection.prepare_cached("SELECT * FROM tokens WHERE listed = 1")?;
    let were_listed: Vec<_> = statement.query_map([], kept)?.collect::<Result<_, _>>()?;
    let mut revoked = 0;
    for Kept { token, digest, .. } in were_listed {
        let now_listed = listed.get(token.prefix.as_str());
        if token.revoked.is_none() && !now_listed.is_some_and(|listed| is_same(&token, &digest, listed)) {
            end(connection, &token, now)?;
            revoked += 1;
        }
        if now_listed.is_none() {
            connection.execute("UPDATE tokens SET listed = 0 WHERE prefix = ?1", params![token.prefix])?;
        }
    }
    Ok(revoked)
}

fn put_in(connection: &Connection, listed: &FileToken, now: Timestamp) -> rusqlite::Result<Becomes> {
    let FileToken { prefix, name, .. } = listed;
    let mut statement = connection.prepare_cached("SELECT * FROM tokens WHERE prefix = ?1")?;
    match statement.query_row(params![prefix], kept).optional()? {
        Some(Kept { barred: true, listed: was_listed, .. }) => {
            if !was_listed {
                connection.execute("UPDATE tokens SET listed = 1 WHERE prefix = ?1", params![prefix])?;
            }
            return Ok(Becomes::Rejections(RefusedToken::Revoked { prefix: prefix.clone(), name: name.clone() }));
        }
        Some(Kept { token, listed: true, .. }) if token.revoked.is_none() => return Ok(Becomes::Same),
        Some(Kept { token, .. }) if token.revoked.is_none() => {
            let (prefix, name) = (prefix.clone(), name.clone());
            return Ok(Becomes::Rejections(RefusedToken::PrefixTaken { prefix, name }));
        }
        // It comes back, or is new.
        Some(_) | None => {}
    }
    if let Some(by) = holder(connection, name)? {
        let (prefix, name) = (prefix.clone(), name.clone());
        return Ok(Becomes::Rejections(RefusedToken::NameTaken { prefix, name, by }));
    }
    create(connection, listed, now)?;
    Ok(Becomes::Valid)
}

fn create(connection: &Connection, listed: &FileToken, now: Timestamp) -> rusqlite::Result<()> {
    let FileToken { prefix, name, role, digest } = listed.clone();
    let upsert = "INSERT INTO tokens (prefix, digest, name, role, created, expires, revoked, listed, barred)
                  VALUES (?1, ?2, ?3, ?4, ?5, NULL, NULL, 1, 0)
                  ON CONFLICT (prefix) DO UPDATE SET digest = excluded.digest, name = excluded.name,
                      role = excluded.role, created = excluded.created, expires = NULL, revoked = NULL, listed = 1";
    connection.execute(upsert, params![prefix, digest.bytes(), name, role.as_str(), now.as_millisecond()])?;
    let token = Token { prefix, name, role, created: now, expires: None, revoked: None };
    add(connection, &command(&token, CREATE_TOKEN, now))
}

fn is_same(token: &Token, digest: &Digest, listed: &FileToken) -> bool {
    let FileToken { prefix, name, role, digest: listed } = listed;
    token.prefix == *prefix && token.name == *name && token.role == *role && digest == listed
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept { token: token(row)?, digest: digest(row)?, listed: row.get("listed")?, barred: row.get("barred")? })
}
