//! What is wrong with the cluster, in words that say how to mend it.

use std::fmt;

use http::StatusCode;

/// What is asked of the API server, for whoever has to allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// As in the path: the plural.
    pub plural: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The verbs that are needed, as in a rule of RBAC.
    pub verbs: &'static str,
    /// Served only where its `CustomResourceDefinition` is installed.
    pub is_custom: bool,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plural, group, .. } = self;
        if group.is_empty() { f.write_str(plural) } else { write!(f, "{plural}.{group}") }
    }
}

/// Why the API server did not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiError {
    /// The resource is not served: its `CustomResourceDefinition` is not installed.
    NotServed {
        /// What was asked for.
        resource: Resource,
    },
    /// RBAC does not allow it, or the token is not accepted.
    Forbidden {
        /// What was asked for.
        resource: Resource,
        /// The API server's own words.
        message: String,
    },
    /// The API server answers, and not with what was asked for.
    Refused {
        /// What was asked for.
        resource: Resource,
        /// The status of the answer.
        code: u16,
        /// The API server's own words.
        message: String,
    },
    /// No answer, or one that is no good.
    Unreachable {
        /// What went wrong, from the outermost cause to the innermost.
        message: String,
    },
}

impl ApiError {
    /// Reads an error of a request for `resource`.
    pub fn of(resource: Resource, error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Unreachable { message: chain(error) } };
        let message = status.message.clone();
        match status.code {
            404 if resource.is_custom => Self::NotServed { resource },
            401 | 403 => Self::Forbidden { resource, message },
            code if is_transient(code) => Self::Unreachable { message: format!("it answers {code}: {message}") },
            code => Self::Refused { resource, code, message },
        }
    }

    /// Says whether nothing has to be mended but the connection to the API server, or that server itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// A server that is overloaded, starting or failing says nothing of what was asked for.
fn is_transient(code: u16) -> bool {
    code == StatusCode::TOO_MANY_REQUESTS.as_u16() || code >= StatusCode::INTERNAL_SERVER_ERROR.as_u16()
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed { resource } => write!(
                f,
                "the API server does not serve {resource}: is Kamaji installed in this cluster? \
                 Its CustomResourceDefinition is needed: kubectl get crd {resource}"
            ),
            Self::Forbidden { resource, message } => write!(
                f,
                "the API server refuses {resource}: {message}. Allow it to this service account, with the chart's \
                 roles or a rule {{apiGroups: [{}], resources: [{}], verbs: [{}]}}",
                if resource.group.is_empty() { "\"\"" } else { resource.group },
                resource.plural,
                resource.verbs,
            ),
            Self::Refused { resource, code, message } => {
                write!(f, "the API server answers {code} to a request for {resource}: {message}")
            }
            Self::Unreachable { message } => write!(f, "the API server can't be reached: {message}"),
        }
    }
}

/// An error with its causes, each once: libraries repeat them.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
