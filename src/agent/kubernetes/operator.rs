//! Kamaji's operator: its version, and whether its built-in telemetry is on.

use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use kube::api::ListParams;
use kube::{Api, Client};

use super::api_error::{ApiError, Resource};
use super::client::within_deadline;
use crate::catalog::KamajiVersion;

const RESOURCE: Resource = Resource { plural: "deployments", group: "apps", verbs: "list", is_custom: false };
/// The label that Kamaji's chart puts on its operator.
const SELECTOR: &str = "app.kubernetes.io/name=kamaji";
const VERSION_LABEL: &str = "app.kubernetes.io/version";
const DISABLE_TELEMETRY_FLAG: &str = "disable-telemetry";
/// The limit on the Deployments in one answer. A namespace has one operator; further Deployments with its label are
/// not Kamaji's.
const MAX_DEPLOYMENTS: u32 = 10;

/// The state of Kamaji's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// The version from the tag of the image, or else from the label `app.kubernetes.io/version`.
    pub version: KamajiVersion,
    /// True if the operator runs with `--disable-telemetry`.
    pub telemetry_disabled: bool,
}

/// An error of reading Kamaji's operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorError {
    /// The namespace has no Deployment with the operator's label.
    NotFound {
        /// The namespace that was searched.
        namespace: String,
    },
    /// The API server did not list the Deployments.
    Failed {
        /// The namespace that was searched.
        namespace: String,
        /// The error of the request.
        error: ApiError,
    },
}

impl OperatorError {
    /// Returns whether the same request may succeed once the API server is reachable again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Failed { error, .. } if error.is_transient())
    }
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { namespace } => {
                write!(f, "no Deployment with the label {SELECTOR} in the namespace {namespace:?}")
            }
            Self::Failed { namespace, error } => {
                write!(f, "looking for Kamaji's Deployment in the namespace {namespace:?}: {error}")
            }
        }
    }
}

/// Reads the operator from the Deployments in `namespace`.
pub async fn read(client: &Client, namespace: &str) -> Result<Operator, OperatorError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(SELECTOR).limit(MAX_DEPLOYMENTS);
    let list = within_deadline(deployments.list(&params)).await.map_err(|error| OperatorError::Failed {
        namespace: namespace.to_owned(),
        error: ApiError::from_kube(RESOURCE, &error),
    })?;
    if list.items.is_empty() {
        return Err(OperatorError::NotFound { namespace: namespace.to_owned() });
    }
    Ok(Operator::from_deployments(&list.items))
}

impl Operator {
    /// Combines the Deployments of the operator. Telemetry counts as disabled if it is in any of them.
    pub fn from_deployments(deployments: &[Deployment]) -> Self {
        let is_known = |version: &KamajiVersion| *version != KamajiVersion::Unknown;
        Self {
            version: deployments.iter().map(version).find(is_known).unwrap_or(KamajiVersion::Unknown),
            telemetry_disabled: deployments.iter().flat_map(containers).any(|container| {
                let arguments = container.command.iter().chain(&container.args).flatten();
                is_telemetry_disabled(arguments.map(String::as_str))
            }),
        }
    }
}

/// Returns the containers in the pod template of a Deployment.
pub fn containers(deployment: &Deployment) -> &[Container] {
    deployment.spec.template.spec.as_ref().map_or(&[], |spec| &spec.containers)
}

fn version(deployment: &Deployment) -> KamajiVersion {
    let images = containers(deployment).iter().filter_map(|container| container.image.as_deref());
    let from_image = images.filter_map(kamaji_tag).map(KamajiVersion::normalise);
    let labels = deployment.metadata.labels.iter().flatten();
    let from_label = labels.filter(|(key, _)| *key == VERSION_LABEL).map(|(_, value)| KamajiVersion::normalise(value));
    from_image.chain(from_label).find(|version| *version != KamajiVersion::Unknown).unwrap_or(KamajiVersion::Unknown)
}

/// Returns the tag of an image whose name contains "kamaji". The image of a sidecar has another name, and its tag must
/// not be reported as Kamaji's version.
fn kamaji_tag(image: &str) -> Option<&str> {
    let (image, _digest) = image.split_once('@').unwrap_or((image, ""));
    // A port in the registry's address also follows a colon, so only the last component of the path is split.
    let name = image.rsplit('/').next()?;
    let (name, tag) = name.split_once(':')?;
    name.contains("kamaji").then_some(tag)
}

/// Parses `--disable-telemetry` as a program in Go does: one dash or two, alone or with `=` and a boolean, the last
/// occurrence wins, and parsing ends at `--`. A value that Go rejects prevents Kamaji from starting; it is read as
/// disabled.
fn is_telemetry_disabled<'a>(arguments: impl Iterator<Item = &'a str>) -> bool {
    let flags = arguments.take_while(|argument| *argument != "--").filter_map(|argument| {
        let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'))?;
        match flag.split_once('=').unwrap_or((flag, "true")) {
            (DISABLE_TELEMETRY_FLAG, value) => Some(!matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False")),
            _ => None,
        }
    });
    flags.last().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str, label: Option<&str>, args: &[&str]) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"labels": label.map(|label| json!({VERSION_LABEL: label}))},
            "spec": {
                "selector": {},
                "template": {"spec": {"containers": [
                    {"name": "proxy", "image": "example.test/istio/proxyv2:1.27.0"},
                    {"name": "manager", "image": image, "args": args},
                ]}},
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_version_is_the_images_and_else_the_labels() {
        for (image, label, expected) in [
            ("docker.io/clastix/kamaji:v1.0.0", Some("v0.9.9"), "v1.0.0"),
            ("example.test:5000/mirror/kamaji:26.7.4-edge@sha256:abc", None, "26.7.4-edge"),
            ("example.test:5000/mirror/kamaji", Some("edge-24.12.1"), "edge-24.12.1"),
            ("kamaji@sha256:abc", Some("v1.0.0"), "v1.0.0"),
            ("kamaji:latest", Some("v1.0.0"), "v1.0.0"),
            ("kamaji:latest", None, "unknown"),
        ] {
            let operator = Operator::from_deployments(&[deployment(image, label, &[])]);
            assert_eq!(operator.version.to_string(), expected, "{image} {label:?}");
        }
    }

    #[test]
    fn the_flag_is_read_as_go_reads_it() {
        for (args, disabled) in [
            (&["manager"][..], false),
            (&["--disable-telemetry"], true),
            (&["-disable-telemetry"], true),
            (&["--disable-telemetry=true"], true),
            (&["--disable-telemetry=1"], true),
            (&["--disable-telemetry=T"], true),
            (&["--disable-telemetry=false"], false),
            (&["--disable-telemetry=0"], false),
            (&["--disable-telemetry=F"], false),
            (&["--disable-telemetry", "false"], true),
            (&["--disable-telemetry=yes"], true),
            (&["--disable-telemetry", "--disable-telemetry=false"], false),
            (&["--disable-telemetry=false", "--disable-telemetry"], true),
            (&["--disable-telemetry-not"], false),
            (&["--", "--disable-telemetry"], false),
        ] {
            let operator = Operator::from_deployments(&[deployment("kamaji:v1.0.0", None, args)]);
            assert_eq!(operator.telemetry_disabled, disabled, "{args:?}");
        }
    }

    #[test]
    fn one_of_two_operators_is_enough_to_be_off() {
        let operators =
            [deployment("kamaji:v1.0.0", None, &[]), deployment("kamaji:v1.0.0", None, &["--disable-telemetry"])];
        assert!(Operator::from_deployments(&operators).telemetry_disabled);
    }
}
