//! The errors of the simulated API, with the messages of a real one.

use http::StatusCode;
use serde_json::{Value, json};

use super::kind::Kind;

/// The error of a rejected request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// No object has this name.
    #[error("{} \"{name}\" not found", kind.qualified())]
    NotFound {
        /// The kind of the object.
        kind: Kind,
        /// The name of the object.
        name: String,
    },
    /// Another object has this name already.
    #[error("{} \"{name}\" already exists", kind.qualified())]
    AlreadyExists {
        /// The kind of the object.
        kind: Kind,
        /// The name of the object.
        name: String,
    },
    /// The object has another UID or another version than the request expects.
    #[error("Operation cannot be fulfilled on {} \"{name}\": {cause}", kind.qualified())]
    Conflict {
        /// The kind of the object.
        kind: Kind,
        /// The name of the object.
        name: String,
        /// The difference.
        cause: String,
    },
    /// The requested version is older than the history.
    #[error("too old resource version: {requested} ({oldest})")]
    Expired {
        /// The requested version.
        requested: u64,
        /// The oldest version of the history.
        oldest: u64,
    },
    /// The requested version does not exist yet.
    #[error("Too large resource version: {requested}, current: {current}")]
    TooLargeResourceVersion {
        /// The requested version.
        requested: u64,
        /// The newest version.
        current: u64,
    },
    /// The object or an option is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The request can't be parsed.
    #[error("{0}")]
    BadRequest(String),
    /// The path is not served.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// The path is served, but not with this method.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
}

impl StatusError {
    /// Returns the HTTP status.
    pub const fn code(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::AlreadyExists { .. } | Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::Expired { .. } => StatusCode::GONE,
            Self::TooLargeResourceVersion { .. } => StatusCode::GATEWAY_TIMEOUT,
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
            Self::TooLargeResourceVersion { .. } => "Timeout",
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
            Self::TooLargeResourceVersion { .. } => json!({
                "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
                "retryAfterSeconds": 1,
            }),
            _ => json!({}),
        }
    }

    /// Returns the `Status` object of the response.
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
