//! The format of a reader's token, and its creation.
//!
//! A token is a prefix such as `ktt_5f0c9a1e`, an underscore, and 64 hexadecimal digits. The prefix names it in lists
//! and in the audit log, and lets scanners find one that leaked. The rest is its secret, 256 random bits.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};

use crate::backend::store::{AuthStore, Digest, RandomError, Role, StoreTokenError, Token};

/// The first characters of every token.
const TOKEN_MARKER: &str = "ktt_";

/// The number of random bytes in a prefix, which tell tokens apart in a list.
const PREFIX_BYTES: usize = 4;

/// The number of random bytes in a secret, as many as its digest has.
const SECRET_BYTES: usize = 32;

/// The maximum number of characters of a name: it fits into a line of a list.
const MAX_NAME_LENGTH: usize = 64;

/// The name of a token's holder: short, and of characters that a terminal, a log and a page show as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenName(String);

/// A text that is not a [`TokenName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to {MAX_NAME_LENGTH} letters, digits, '.', '_', '@' or '-', the first a letter or a digit, and not `ktt_` at the start"
)]
pub struct InvalidTokenName;

/// An error that kept a token from being created.
#[derive(Debug, thiserror::Error)]
pub enum CreateTokenError {
    /// The system gives no random numbers.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store cannot write, or has a token of this name.
    #[error(transparent)]
    Store(#[from] StoreTokenError),
}

/// Creates a token that is valid for `days`. Returns it with its whole text, which is not stored.
pub async fn create(
    auth_store: &dyn AuthStore,
    name: TokenName,
    role: Role,
    days: u16,
) -> Result<(Token, String), CreateTokenError> {
    // A store has a precision of milliseconds.
    let created = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap_or_default();
    let prefix = format!("{TOKEN_MARKER}{}", random::<PREFIX_BYTES>()?);
    let text = format!("{prefix}_{}", random::<SECRET_BYTES>()?);
    let expires = created + SignedDuration::from_hours(24 * i64::from(days));
    let token = Token { prefix, name: name.0, role, created, expires, revoked: None };
    auth_store.create_token(token.clone(), Digest::of(&text)).await?;
    Ok((token, text))
}

/// Returns the prefix of a token's whole text; `None` if the text is not of this format, and needs no lookup.
pub(super) fn prefix_of(text: &str) -> Option<&str> {
    let (prefix, secret) = text.rsplit_once('_')?;
    let is_hex = |text: &str, bytes: usize| text.len() == 2 * bytes && text.bytes().all(|b| b.is_ascii_hexdigit());
    (is_hex(prefix.strip_prefix(TOKEN_MARKER)?, PREFIX_BYTES) && is_hex(secret, SECRET_BYTES)).then_some(prefix)
}

/// Returns the secret of a new session, or of a login code.
pub(super) fn random_secret() -> Result<String, RandomError> {
    random::<SECRET_BYTES>()
}

/// Returns random bytes as hexadecimal digits, which a double click selects as a whole.
fn random<const BYTES: usize>() -> Result<String, RandomError> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| RandomError)?;
    let mut text = String::with_capacity(2 * BYTES);
    for byte in bytes {
        for half in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(half.into(), 16));
        }
    }
    Ok(text)
}

impl FromStr for TokenName {
    type Err = InvalidTokenName;

    fn from_str(text: &str) -> Result<Self, InvalidTokenName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let valid =
            begins && text.len() <= MAX_NAME_LENGTH && text.bytes().all(allowed) && !text.starts_with(TOKEN_MARKER);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidTokenName) }
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_token_has_a_prefix() {
        let secret = "0123456789abcdef".repeat(4);
        assert_eq!(prefix_of(&format!("ktt_5f0c9a1e_{secret}")), Some("ktt_5f0c9a1e"));
        for wrong in [
            String::new(),
            secret.clone(),
            format!("5f0c9a1e_{secret}"),
            format!("ktt_5f0c9a1_{secret}"),
            format!("ktt_5f0c9a1e_{secret}0"),
            format!("ktt_5f0c9a1e_{}", &secret[1..]),
            format!("ktt_5f0c9a1e{secret}"),
            format!("ktt_5f0c9a1g_{secret}"),
            format!("ktt_5f0c9a1e_{}é", &secret[2..]),
        ] {
            assert_eq!(prefix_of(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_shows_as_it_is_and_is_no_prefix() {
        for good in ["ci", "a.b_c-d@example.org", "0", &"n".repeat(64)] {
            assert!(good.parse::<TokenName>().is_ok(), "{good}");
        }
        for bad in ["", " ci", "-ci", "a b", "a\u{1b}[2J", "<b>", "ktt_5f0c9a1e", "é", &"n".repeat(65)] {
            assert!(bad.parse::<TokenName>().is_err(), "{bad}");
        }
    }
}
