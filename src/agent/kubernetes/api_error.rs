//! Errors of the API server, with a text that says how to fix the cause.

use std::fmt;

use http::StatusCode;
use kube::client::AuthError;
use kube::core::Status;

use super::auth_error;
use crate::agent::error_chain;
use crate::agent::tls_error::{self, TlsSettings};

/// The limit on the characters of a message of the API server, or of a webhook behind it: a few sentences.
const MAX_MESSAGE_CHARS: usize = 500;

/// The reason that kube gives for an answer that is no `Status`.
const NO_STATUS: &str = "Failed to parse error data";

/// The text in place of such an answer.
const NO_STATUS_MESSAGE: &str =
    "the answer is no Status of the Kubernetes API: is a proxy or another server in between?";

/// The settings of the connection in a kubeconfig.
const TLS_SETTINGS: TlsSettings = TlsSettings {
    trusted: "the kubeconfig's certificate-authority",
    identity: "the kubeconfig's client-certificate and client-key",
};

/// A resource of the Kubernetes API, with the verbs that the agent uses on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// The plural, as in the path of a request.
    pub plural: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The verbs that the agent needs, comma-separated as in an RBAC rule.
    pub verbs: &'static str,
    /// True if the resource is served only where its `CustomResourceDefinition` is installed.
    pub is_custom: bool,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plural, group, .. } = self;
        if group.is_empty() { f.write_str(plural) } else { write!(f, "{plural}.{group}") }
    }
}

/// The words by which an authorizer refuses: `User "…" cannot list resource "…"`.
const RBAC_REFUSAL: &str = " cannot ";

/// An error of a request to the API server, by what an operator has to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiError {
    /// The resource is not served, because its `CustomResourceDefinition` is not installed.
    NotServed {
        /// The requested resource.
        resource: Resource,
    },
    /// RBAC does not allow the request, or the token is not accepted.
    Forbidden {
        /// The requested resource.
        resource: Resource,
        /// The message of the API server.
        message: String,
    },
    /// The API server answered with another status, which a retry will not change by itself.
    UnexpectedStatus {
        /// The requested resource.
        resource: Resource,
        /// The HTTP status code.
        code: u16,
        /// The message of the API server.
        message: String,
    },
    /// The API server did not answer, answered with a transient status, or sent an unreadable answer.
    Unreachable {
        /// The error with its causes, outermost first.
        message: String,
    },
}

impl ApiError {
    /// Classifies the error of a request for `resource`.
    pub fn from_kube(resource: Resource, error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Unreachable { message: unreachable(error) } };
        let message = message(status);
        match status.code {
            // JSON that is no `Status` is read as an empty one.
            0 => Self::Unreachable { message: NO_STATUS_MESSAGE.to_owned() },
            404 if resource.is_custom => Self::NotServed { resource },
            401 | 403 => Self::Forbidden { resource, message },
            code if is_transient_status(code) => Self::Unreachable { message: format!("it answers {code}: {message}") },
            code => Self::UnexpectedStatus { resource, code, message },
        }
    }

    /// Returns whether a retry may succeed without a change to the cluster's configuration.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// Describes why a request got no answer.
fn unreachable(error: &kube::Error) -> String {
    if let Some(error) = error_chain::causes(error).find_map(|cause| cause.downcast_ref::<AuthError>()) {
        return auth_error::describe(error);
    }
    if let Some(text) = tls_error::describe(error, TLS_SETTINGS) {
        return text;
    }
    let text = error_chain::text(error);
    // The types of the proxies' errors are private to hyper-util.
    let is_of_proxy = |cause: &str| ["tunnel error", "SOCKS error"].into_iter().any(|kind| cause.starts_with(kind));
    if error_chain::causes(error).any(|cause| is_of_proxy(&cause.to_string())) {
        return format!("{text}; the proxy is set by HTTPS_PROXY or by the kubeconfig's proxy-url");
    }
    text
}

/// Returns the beginning of the API server's message. The body of an answer that is no `Status` is left out: it comes from
/// a proxy or another server, and may repeat the request with its token.
fn message(status: &Status) -> String {
    if status.reason == NO_STATUS {
        return NO_STATUS_MESSAGE.to_owned();
    }
    status.message.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// Returns whether a status code says nothing about the requested resource, because the server is overloaded, starting
/// or failing.
fn is_transient_status(code: u16) -> bool {
    // A list whose next page has expired is complete when it is repeated.
    let is_expired = code == StatusCode::GONE.as_u16();
    is_expired || code == StatusCode::TOO_MANY_REQUESTS.as_u16() || code >= StatusCode::INTERNAL_SERVER_ERROR.as_u16()
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed { resource } => write!(
                f,
                "the API server does not serve {resource}: is Kamaji installed in this cluster? \
                 Its CustomResourceDefinition is needed: kubectl get crd {resource}"
            ),
            // A quota, an admission policy and a namespace that ends refuse with 403 as well.
            Self::Forbidden { resource, message } if !message.contains(RBAC_REFUSAL) => {
                write!(f, "the API server refuses {resource}: {message}")
            }
            Self::Forbidden { resource, message } => write!(
                f,
                "the API server refuses {resource}: {message}. Allow it to this service account, with the chart's \
                 roles or a rule {{apiGroups: [{}], resources: [{}], verbs: [{}]}}",
                if resource.group.is_empty() { "\"\"" } else { resource.group },
                resource.plural,
                resource.verbs,
            ),
            Self::UnexpectedStatus { resource, code, message } => {
                write!(f, "the API server answers {code} to a request for {resource}: {message}")
            }
            Self::Unreachable { message } => write!(f, "the API server can't be reached: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_authorizers_refusal_ends_in_the_rule_that_allows_the_request() {
        let resource = Resource { plural: "configmaps", group: "", verbs: "get", is_custom: false };
        let text = |message: &str| ApiError::Forbidden { resource, message: message.to_owned() }.to_string();
        let of_rbac = "configmaps is forbidden: User \"agent\" cannot get resource \"configmaps\" in API group \"\"";
        assert!(text(of_rbac).contains("resources: [configmaps], verbs: [get]"), "{}", text(of_rbac));
        for other in [
            "configmaps \"a\" is forbidden: exceeded quota: none, requested: count/configmaps=1, used: 0, limited: 0",
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'names' with binding 'names' denied request: no",
            "configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated",
        ] {
            assert!(!text(other).contains("verbs") && text(other).contains(other), "{}", text(other));
        }
    }
}
