//! Kamaji's operator: which version runs, and whether its telemetry is on.

use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Container;
use kube::api::ListParams;
use kube::{Api, Client};

use super::api_error::{ApiError, Resource};
use super::within_deadline;
use crate::catalog::KamajiVersion;

const RESOURCE: Resource = Resource { plural: "deployments", group: "apps", verbs: "list", is_custom: false };
/// The label that Kamaji's chart puts on its operator.
const SELECTOR: &str = "app.kubernetes.io/name=kamaji";
const VERSION_LABEL: &str = "app.kubernetes.io/version";
const FLAG: &str = "disable-telemetry";
/// There is one operator in a namespace; more than this is not Kamaji.
const LIMIT: u32 = 10;

/// What is known of Kamaji's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// From the image's tag, else from the label.
    pub version: KamajiVersion,
    /// It runs with `--disable-telemetry`.
    pub telemetry_disabled: bool,
}

/// Why nothing is known of Kamaji's operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorError {
    /// There is no such Deployment.
    NotFound {
        /// Where it was looked for.
        namespace: String,
    },
    /// The API server did not say.
    Failed {
        /// Where it was looked for.
        namespace: String,
        /// Why.
        failure: ApiError,
    },
}

impl OperatorError {
    /// Says whether the answer may be another one as soon as the API server answers.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Failed { failure, .. } if failure.is_transient())
    }
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { namespace } => {
                write!(f, "no Deployment with the label {SELECTOR} in the namespace {namespace:?}")
            }
            Self::Failed { namespace, failure } => {
                write!(f, "looking for Kamaji's Deployment in the namespace {namespace:?}: {failure}")
            }
        }
    }
}

/// Looks for the operator in `namespace`.
pub async fn look(client: &Client, namespace: &str) -> Result<Operator, OperatorError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(SELECTOR).limit(LIMIT);
    let found = within_deadline(deployments.list(&params)).await;
    let found = found.map_err(|error| OperatorError::Failed {
        namespace: namespace.to_owned(),
        failure: ApiError::of(RESOURCE, &error),
    })?;
    if found.items.is_empty() {
        return Err(OperatorError::NotFound { namespace: namespace.to_owned() });
    }
    Ok(read(&found.items))
}

/// Reads Deployments of the operator. One that says it is off is believed before any that does not.
pub fn read(deployments: &[Deployment]) -> Operator {
    let known = |version: &KamajiVersion| *version != KamajiVersion::Unknown;
    Operator {
        version: deployments.iter().map(version).find(known).unwrap_or(KamajiVersion::Unknown),
        telemetry_disabled: deployments.iter().flat_map(containers).any(|container| {
            let words = container.command.iter().chain(&container.args).flatten();
            is_disabled(words.map(String::as_str))
        }),
    }
}

/// The containers of a Deployment's pods.
pub fn containers(deployment: &Deployment) -> &[Container] {
    deployment.spec.template.spec.as_ref().map_or(&[], |spec| &spec.containers)
}

fn version(deployment: &Deployment) -> KamajiVersion {
    let images = containers(deployment).iter().filter_map(|container| container.image.as_deref());
    let from_image = images.filter_map(tag_of_kamaji).map(KamajiVersion::normalise);
    let labels = deployment.metadata.labels.iter().flatten();
    let from_label = labels.filter(|(key, _)| *key == VERSION_LABEL).map(|(_, value)| KamajiVersion::normalise(value));
    from_image.chain(from_label).find(|version| *version != KamajiVersion::Unknown).unwrap_or(KamajiVersion::Unknown)
}

/// The tag of an image whose name says Kamaji, so that a sidecar's is not taken for it.
fn tag_of_kamaji(image: &str) -> Option<&str> {
    let (image, _digest) = image.split_once('@').unwrap_or((image, ""));
    let name = image.rsplit('/').next()?;
    let (name, tag) = name.split_once(':')?;
    name.contains("kamaji").then_some(tag)
}

/// Reads the flag as Go does: one dash or two, alone or with `=` and one of Go's words for true, the last one wins,
/// nothing counts after `--`. A value that Go refuses stops Kamaji itself; it is read as disabled.
fn is_disabled<'a>(words: impl Iterator<Item = &'a str>) -> bool {
    let flags = words.take_while(|word| *word != "--").filter_map(|word| {
        let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
        match flag.split_once('=').unwrap_or((flag, "true")) {
            (FLAG, value) => Some(!matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False")),
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
            let operator = read(&[deployment(image, label, &[])]);
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
            let operator = read(&[deployment("kamaji:v1.0.0", None, args)]);
            assert_eq!(operator.telemetry_disabled, disabled, "{args:?}");
        }
    }

    #[test]
    fn one_of_two_operators_is_enough_to_be_off() {
        let operators =
            [deployment("kamaji:v1.0.0", None, &[]), deployment("kamaji:v1.0.0", None, &["--disable-telemetry"])];
        assert!(read(&operators).telemetry_disabled);
    }
}
