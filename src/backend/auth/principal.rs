//! The identity of a reader.

use jiff::Timestamp;

use crate::backend::store::{Digest, Role, Token, TokenRef};

/// The credentials of a request.
pub(super) enum Credentials {
    /// The request has no token and no valid session.
    None,
    /// The token is unknown, expired or revoked.
    Invalid,
    /// The token or the session is valid.
    Principal(Principal),
}

/// An authenticated reader.
#[derive(Debug, Clone)]
pub(in crate::backend) struct Principal {
    /// The token, presented itself or through a session.
    pub(in crate::backend) token: TokenRef,
    /// The role of the token.
    pub(in crate::backend) role: Role,
    /// The time at which the token expires; `None` for a token from a file.
    pub(super) expires: Option<Timestamp>,
    /// The session, if the token is not presented itself.
    pub(in crate::backend) session: Option<Digest>,
}

impl From<Token> for Principal {
    fn from(token: Token) -> Self {
        Self { token: token.reference(), role: token.role, expires: Some(token.expires), session: None }
    }
}
