//! What is wrong with the cluster, in words that say how to mend it.

use std::fmt;

/// Why the API server did not give what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The resource is not served: its `CustomResourceDefinition` is not installed.
    NotServed {
        /// The plural of the resource, with its group.
        resource: &'static str,
    },
    /// RBAC does not allow it, or the token is not accepted.
    Forbidden {
        /// The plural of the resource, with its group.
        resource: &'static str,
        /// The API server's own words.
        message: String,
    },
    /// No answer, or one that is no good.
    Unreachable {
        /// What went wrong, from the outermost cause to the innermost.
        message: String,
    },
}

impl Failure {
    /// Reads an error of a request for `resource`.
    pub fn of(resource: &'static str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => Self::NotServed { resource },
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => {
                Self::Forbidden { resource, message: status.message.clone() }
            }
            error => Self::Unreachable { message: chain(error) },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed { resource } => write!(
                f,
                "the API server does not serve {resource}: is Kamaji installed in this cluster? \
                 Its CustomResourceDefinition is needed: kubectl get crd {resource}"
            ),
            Self::Forbidden { resource, message } => write!(
                f,
                "the API server refuses {resource}: {message}. Allow this service account to list and watch it, with \
                 the chart's ClusterRole or a rule {{apiGroups: [{}], resources: [{}], verbs: [list, watch]}}",
                resource.split_once('.').map_or("", |(_, group)| group),
                resource.split_once('.').map_or(*resource, |(plural, _)| plural),
            ),
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
