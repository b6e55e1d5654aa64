//! Errors of finding Kamaji's operator and of reading its Deployment.

use std::fmt;

use super::command_line::Undecidable;
use super::{ApiError, OperatorLocation, VersionSource};
use crate::catalog::KamajiVersion;

/// The reason why nothing is known about Kamaji's operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorError {
    /// No Deployment runs the operator.
    NotFound {
        /// The place that was searched.
        location: OperatorLocation,
        /// The names of other Deployments there, at most a few of them.
        found: Vec<String>,
    },
    /// The named Deployment does not run the operator.
    NotOperator {
        /// The Deployment.
        location: OperatorLocation,
    },
    /// A Deployment leaves open whether the operator's telemetry is on.
    Undecidable {
        /// The Deployment.
        location: OperatorLocation,
        /// The reason.
        reason: Undecidable,
        /// Kamaji's version, which is known all the same, and its source.
        version: (KamajiVersion, VersionSource),
    },
    /// Several Deployments run the operator, with and without `--disable-telemetry`.
    Contradictory {
        /// The namespace that was searched.
        namespace: String,
        /// The names of the Deployments, at most a few of them.
        deployments: Vec<String>,
        /// Kamaji's version, which is known all the same, and its source.
        version: (KamajiVersion, VersionSource),
    },
    /// The API server did not return the Deployments.
    Failed {
        /// The place that was searched.
        location: OperatorLocation,
        /// The error of the request.
        error: Box<ApiError>,
    },
}

impl OperatorError {
    /// Returns whether the same request may succeed once the API server is reachable again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Failed { error, .. } if error.is_transient())
    }

    /// Returns Kamaji's version and its source, if a Deployment of the operator was read.
    pub fn version(&self) -> Option<(KamajiVersion, VersionSource)> {
        match self {
            Self::Undecidable { version, .. } | Self::Contradictory { version, .. } => Some(*version),
            Self::NotFound { .. } | Self::NotOperator { .. } | Self::Failed { .. } => None,
        }
    }
}

impl fmt::Display for OperatorLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, deployment } = self;
        match deployment {
            Some(name) => write!(f, "the Deployment {name:?} in the namespace {namespace:?}"),
            None => write!(f, "the Deployments in the namespace {namespace:?}"),
        }
    }
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { location: OperatorLocation { namespace, deployment: Some(name) }, .. } => {
                write!(f, "no Deployment {name:?} in the namespace {namespace:?}")
            }
            Self::NotFound { location: OperatorLocation { namespace, deployment: None }, found } => {
                write!(f, "no Deployment in the namespace {namespace:?} runs Kamaji's operator, \"kamaji manager\"; ")?;
                match &found[..] {
                    [] => write!(f, "there is none at all"),
                    found => write!(f, "found {} instead", found.join(", ")),
                }
            }
            Self::NotOperator { location } => {
                write!(f, "{location} does not run Kamaji's operator, \"kamaji manager\"")
            }
            Self::Undecidable { location, reason, .. } => {
                write!(f, "{location} leaves open how Kamaji's operator runs: {reason}")
            }
            Self::Contradictory { namespace, deployments, .. } => write!(
                f,
                "several Deployments in the namespace {namespace:?} run Kamaji's operator, some with \
                 --disable-telemetry and some without: {}",
                deployments.join(", ")
            ),
            Self::Failed { location, error } => write!(f, "looking for Kamaji's operator in {location}: {error}"),
        }
    }
}
