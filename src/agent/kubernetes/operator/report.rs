//! A report on Kamaji's operator for people, as the preview and the status print it.

use serde::Serialize;

use super::{Operator, OperatorError, OperatorLocation};
use crate::catalog::KamajiVersion;

/// The operator, or what was found instead of it, and the source of Kamaji's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperatorReport {
    /// The namespace of the operator.
    pub namespace: String,
    /// The name of the operator's Deployment, if it is known.
    pub deployment: Option<String>,
    /// The reason why the operator is unknown.
    pub error: Option<String>,
    /// Kamaji's version, or `unknown`.
    pub version: String,
    /// The source of the version, or the reason why it is unknown; none if the operator is unknown.
    pub version_source: Option<String>,
}

impl OperatorReport {
    /// Creates the report on the operator in `location`. A `kamaji_version` that is set takes the place of the operator's.
    pub fn new(
        operator: &Result<Operator, OperatorError>,
        location: &OperatorLocation,
        kamaji_version: Option<KamajiVersion>,
    ) -> Self {
        let sourced = match operator {
            Ok(operator) => Some((operator.version, operator.version_source)),
            Err(error) => error.version(),
        };
        let version = kamaji_version.or(sourced.map(|(version, _)| version)).unwrap_or(KamajiVersion::Unknown);
        let source = sourced.map(|(_, source)| source.to_string());
        Self {
            namespace: location.namespace.clone(),
            deployment: operator.as_ref().ok().map(|operator| operator.deployment.clone()),
            error: operator.as_ref().err().map(ToString::to_string),
            version: version.to_string(),
            version_source: kamaji_version.map(|_| "from --kamaji-version".to_owned()).or(source),
        }
    }

    /// Returns the place of the operator, or the reason why it is unknown.
    pub fn operator(&self) -> String {
        let Self { namespace, deployment, error, .. } = self;
        match deployment {
            Some(name) => format!("Deployment {name:?} in the namespace {namespace:?}"),
            None => format!("unknown: {}", error.as_deref().unwrap_or_default()),
        }
    }

    /// Returns the version, with its source in parentheses.
    pub fn sourced_version(&self) -> String {
        let Self { version, version_source, .. } = self;
        match version_source {
            Some(source) => format!("{version}  ({source})"),
            None => version.clone(),
        }
    }
}
