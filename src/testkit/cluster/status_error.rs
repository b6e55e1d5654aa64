//! Why the simulated API refuses a request, in the words of a real one.

use http::StatusCode;
use serde_json::{Value, json};

use super::kind::Kind;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// There is no object of this name.
    #[error("{} \"{name}\" not found", kind.qualified())]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// There is an object of this name.
    #[error("{} \"{name}\" already exists", kind.qualified())]
    AlreadyExists {
        /// What was to be made.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// The object is not the one, or not in the state, that the request was made for.
    #[error("Operation cannot be fulfilled on {} \"{name}\": {cause}", kind.qualified())]
    Conflict {
        /// What was to be changed.
        kind: Kind,
        /// Its name.
        name: String,
        /// What differs.
        cause: String,
    },
    /// The request asks for a state that the history no longer reaches.
    #[error("too old resource version: {asked} ({oldest})")]
    Expired {
        /// The version that was asked for.
        asked: u64,
        /// The oldest version that can be had.
        oldest: u64,
    },
    /// The request asks for a state of the future.
    #[error("Too large resource version: {asked}, current: {current}")]
    NotYet {
        /// The version that was asked for.
        asked: u64,
        /// The newest version there is.
        current: u64,
    },
    /// The object or an option can't be accepted.
    #[error("{0}")]
    Invalid(String),
    /// The request can't be read.
    #[error("{0}")]
    BadRequest(String),
    /// Nothing is served at this path.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// The path is served, but not with this method.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
}

impl StatusError {
    /// The HTTP status.
    pub const fn code(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::AlreadyExists { .. } | Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::Expired { .. } => StatusCode::GONE,
            Self::NotYet { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => "NotFound",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } => "Conflict",
            Self::Expired { .. } => "Expired",
            Self::NotYet { .. } => "Timeout",
            Self::Invalid(_) => "Invalid",
            Self::BadRequest(_) => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::NotFound { kind, name } | Self::AlreadyExists { kind, name } | Self::Conflict { kind, name, .. } => {
                json!({ "name": name, "group": kind.group(), "kind": kind.plural() })
            }
            Self::NotYet { .. } => json!({
                "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
                "retryAfterSeconds": 1,
            }),
            _ => json!({}),
        }
    }

    /// The `Status` object that tells the client.
    pub fn to_status(&self) -> Value {
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": self.reason(),
            "details": self.details(),
            "code": self.code().as_u16(),
        })
    }
}
