//! Kamaji's operator: its Deployment, its version, and whether its built-in telemetry is on.

mod command_line;
mod error;
mod image;
mod report;

use kube::Client;
use kube::api::ListParams;

use super::api_error::{ApiError, Resource};
use super::client::within_deadline;
use super::deployment::{self, Deployment};
use crate::catalog::KamajiVersion;
use command_line::ContainerRole;
pub use command_line::{Undecidable, has_disable_flag, literal};
pub use error::OperatorError;
use image::Image;
pub use image::VersionSource;
pub use report::OperatorReport;

const LIST: Resource = Resource { plural: "deployments", group: "apps", verbs: "list", is_custom: false };
const GET: Resource = Resource { verbs: "get", ..LIST };

/// The label that Kamaji's chart puts on its operator, and on its other Deployments as well.
const NAME_LABEL: (&str, &str) = ("app.kubernetes.io/name", "kamaji");
const VERSION_LABEL: &str = "app.kubernetes.io/version";

/// Excludes the Deployments of TenantControlPlanes, which Kamaji labels with the name of the control plane. There may be
/// thousands of them in the operator's namespace.
const SELECTOR: &str = "!kamaji.clastix.io/name";

/// The limit on the Deployments in one answer, which bounds the memory. A Deployment has up to about 20 kB.
const PAGE: u32 = 50;

/// The limit on the names of other Deployments in a message.
const MAX_NAMED: usize = 5;

/// A version of Kamaji and its source.
type SourcedVersion = (KamajiVersion, VersionSource);

const NO_VERSION: SourcedVersion = (KamajiVersion::Unknown, VersionSource::None);

/// The place where the agent looks for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorLocation {
    /// The namespace (`--kamaji-namespace`).
    pub namespace: String,
    /// The Deployment (`--kamaji-deployment`); `None` to find it by what it runs.
    pub deployment: Option<String>,
}

/// Kamaji's operator as its Deployment describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The name of the Deployment.
    pub deployment: String,
    /// The version of Kamaji.
    pub version: KamajiVersion,
    /// The source of the version, or the reason why it is unknown.
    pub version_source: VersionSource,
    /// True if the operator runs with `--disable-telemetry`.
    pub telemetry_disabled: bool,
}

/// Finds the operator in `location` and reads its Deployment.
///
/// If `location` names a Deployment, only that one is requested, which needs no permission but `get` for that name.
/// Otherwise the Deployments of the namespace are listed, and the operator is recognized by what it runs.
///
/// # Errors
///
/// Fails if the operator is not found, or if its Deployment leaves open whether its telemetry is on.
pub async fn find(client: &Client, location: &OperatorLocation) -> Result<Operator, OperatorError> {
    let failed = |resource, error: kube::Error| OperatorError::Failed {
        location: location.clone(),
        error: Box::new(ApiError::from_kube(resource, &error)),
    };
    if let Some(name) = &location.deployment {
        let deployment = match within_deadline(deployment::get(client, &location.namespace, name)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            deployment => Some(deployment.map_err(|error| failed(GET, error))?),
        };
        return read_named(deployment.as_ref(), location);
    }
    let mut search = Search::new(location);
    let mut params = ListParams::default().labels(SELECTOR).limit(PAGE);
    loop {
        let page = within_deadline(deployment::list(client, &location.namespace, &params)).await;
        let page = page.map_err(|error| failed(LIST, error))?;
        for deployment in &page.items {
            search.add(deployment);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return search.finish(),
        }
    }
}

/// Reads the Deployment that `location` names.
fn read_named(deployment: Option<&Deployment>, location: &OperatorLocation) -> Result<Operator, OperatorError> {
    let location = location.clone();
    let Some(deployment) = deployment else { return Err(OperatorError::NotFound { location, found: Vec::new() }) };
    match Reading::new(deployment, true) {
        Reading::Operator(operator) => Ok(operator),
        Reading::Undecidable { reason, version } => Err(OperatorError::Undecidable { location, reason, version }),
        Reading::OtherSubcommand | Reading::Foreign => Err(OperatorError::NotOperator { location }),
    }
}

/// The search for the operator among the Deployments of a namespace.
struct Search<'a> {
    location: &'a OperatorLocation,
    /// The operators, and whether each has Kamaji's label.
    operators: Vec<(Operator, bool)>,
    /// The first Deployment that may be the operator.
    undecidable: Option<OperatorError>,
    /// Some of the other Deployments.
    others: Vec<String>,
}

impl<'a> Search<'a> {
    fn new(location: &'a OperatorLocation) -> Self {
        Self { location, operators: Vec::new(), undecidable: None, others: Vec::new() }
    }

    fn add(&mut self, deployment: &Deployment) {
        let is_labelled = deployment.label(NAME_LABEL.0) == Some(NAME_LABEL.1);
        match Reading::new(deployment, is_labelled) {
            Reading::Operator(operator) => self.operators.push((operator, is_labelled)),
            Reading::Undecidable { reason, version } => self.add_undecidable(deployment, reason, version),
            // Whoever labels a Deployment as Kamaji may run it from an image of another name. Its switch is not known.
            Reading::Foreign if is_labelled => self.add_undecidable(deployment, Undecidable::OnlyLabelled, NO_VERSION),
            Reading::OtherSubcommand | Reading::Foreign => {
                if self.others.len() < MAX_NAMED {
                    self.others.push(name(deployment));
                }
            }
        }
    }

    fn add_undecidable(&mut self, deployment: &Deployment, reason: Undecidable, version: SourcedVersion) {
        let location = OperatorLocation { deployment: Some(name(deployment)), ..self.location.clone() };
        self.undecidable.get_or_insert(OperatorError::Undecidable { location, reason, version });
    }

    /// Returns the operator. If there are several, they must agree on the telemetry, because it is not known which of
    /// them manages the TenantControlPlanes.
    fn finish(self) -> Result<Operator, OperatorError> {
        let Self { location, mut operators, undecidable, others } = self;
        if let Some(error) = undecidable {
            return Err(error);
        }
        let first = operators.first().map(|(operator, _)| operator.telemetry_disabled);
        let is_contradictory = operators.iter().any(|(operator, _)| Some(operator.telemetry_disabled) != first);
        let deployments = operators.iter().map(|(operator, _)| operator.deployment.clone()).take(MAX_NAMED).collect();
        if operators.iter().any(|(_, is_labelled)| *is_labelled) {
            operators.retain(|(_, is_labelled)| *is_labelled);
        }
        let operators = operators.into_iter().map(|(operator, _)| operator);
        let Some(operator) = operators.reduce(Operator::combine_versions) else {
            return Err(OperatorError::NotFound { location: location.clone(), found: others });
        };
        if is_contradictory {
            let namespace = location.namespace.clone();
            let version = (operator.version, operator.version_source);
            return Err(OperatorError::Contradictory { namespace, deployments, version });
        }
        Ok(operator)
    }
}

impl Operator {
    /// Combines operators that agree on the telemetry. Different versions are no version: either may be the wrong one.
    fn combine_versions(self, other: Self) -> Self {
        match (self.version, other.version) {
            (one, another) if one == another => self,
            (_, KamajiVersion::Unknown) if other.version_source == VersionSource::None => self,
            (KamajiVersion::Unknown, _) if self.version_source == VersionSource::None => other,
            _ => Self { version: KamajiVersion::Unknown, version_source: VersionSource::Contradictory, ..self },
        }
    }
}

/// The reading of one Deployment.
enum Reading {
    Operator(Operator),
    /// It runs the operator, or may: its command line leaves open how.
    Undecidable {
        reason: Undecidable,
        version: SourcedVersion,
    },
    /// It runs another subcommand of Kamaji's program, such as the kubeconfig generator.
    OtherSubcommand,
    /// It does not run Kamaji's program.
    Foreign,
}

impl Reading {
    /// Reads a Deployment. `is_kamaji` tells whether it is said to be Kamaji's, by its label or by its name.
    fn new(deployment: &Deployment, is_kamaji: bool) -> Self {
        let mut reading = Self::Foreign;
        for container in deployment.containers() {
            let image = Image::parse(container.image.as_deref().unwrap_or_default());
            let version = image::version(image, deployment.label(VERSION_LABEL));
            match command_line::role(container, image.is_kamaji(), is_kamaji) {
                ContainerRole::Foreign => {}
                ContainerRole::OtherSubcommand => {
                    if let Self::Foreign = reading {
                        reading = Self::OtherSubcommand;
                    }
                }
                ContainerRole::Undecidable(reason) => return Self::Undecidable { reason, version },
                ContainerRole::Operator { telemetry_disabled } => {
                    let was_disabled = matches!(&reading, Self::Operator(operator) if operator.telemetry_disabled);
                    let (version, version_source) = version;
                    reading = Self::Operator(Operator {
                        deployment: name(deployment),
                        version,
                        version_source,
                        telemetry_disabled: telemetry_disabled || was_disabled,
                    });
                }
            }
        }
        reading
    }
}

fn name(deployment: &Deployment) -> String {
    deployment.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests;
