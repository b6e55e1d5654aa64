//! The catalog: every signal that may leave a cluster, with its attributes, their values, and the reason to collect it.
//!
//! No other module names a signal. The agent builds its signals from the types here, the backend validates what it
//! receives against the tables here, and the relay's allow-list, `docs/signals.md` and `kamaji-telemetry catalog` are
//! generated from them. A value that the types cannot hold cannot be sent: a version is three numbers and a stage, a
//! status is one of nine words, an identity is a random UUID.

pub mod allow_list;
pub mod document;
mod event;
mod status;
mod version;

pub use event::{AttributeValue, Event, EventRecord, ExtendedAttributes, NetworkProfile, UnknownNetworkProfile};
pub use status::{LifecycleState, Status, UnknownStatus};
pub use version::{
    InvalidVersion, KamajiMinor, KamajiVersion, KubernetesMinor, KubernetesVersion, Stage, VersionNumbers,
};

/// `service.name` of every resource, and the name of the instrumentation scope.
pub const SERVICE_NAME: &str = "kamaji-telemetry";

/// `service.version` of every resource: the version of the agent, `X.Y.Z`.
pub const SERVICE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The unit of every metric that counts control planes, as a UCUM annotation.
pub const UNIT_TENANT_CONTROL_PLANE: &str = "{tenant_control_plane}";

/// The unit of the metric that counts datastores, as a UCUM annotation.
pub const UNIT_DATASTORE: &str = "{datastore}";

/// The largest value of a gauge. One etcd serves objects well up to a number two orders of magnitude lower, so that a
/// larger value is an error or a forgery.
pub const MAX_COUNT: u32 = 1_000_000;

/// The storage drivers of Kamaji's `DataStore`, as its API spells them.
pub const DRIVERS: &[&str] = &["etcd", "MySQL", "PostgreSQL", "NATS"];

/// The values that an attribute may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Values {
    /// A string in the canonical form of [`KubernetesVersion`].
    KubernetesVersion,
    /// A string in the canonical form of [`KubernetesMinor`].
    KubernetesMinor,
    /// A string in the canonical form of [`KamajiVersion`].
    KamajiVersion,
    /// A string `X.Y.Z`, with a pre-release stage where there is one.
    ServiceVersion,
    /// A string: a UUID in lower case with hyphens.
    Uuid,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A boolean.
    Bool,
}

impl Values {
    /// Returns whether the attribute may hold the string `text`; always false for [`Values::Bool`].
    pub fn allows_text(self, text: &str) -> bool {
        match self {
            Self::KubernetesVersion => text.parse::<KubernetesVersion>().is_ok(),
            Self::KubernetesMinor => text.parse::<KubernetesMinor>().is_ok(),
            Self::KamajiVersion => text.parse::<KamajiVersion>().is_ok(),
            Self::ServiceVersion => version::is_service_version(text),
            Self::Uuid => is_canonical_uuid(text),
            Self::OneOf(words) => words.contains(&text),
            Self::Bool => false,
        }
    }

    /// Returns the values as a regular expression, anchored at both ends, in the syntax that RE2 and the `regex` crate
    /// share; `None` for [`Values::Bool`], which is not a string.
    pub fn pattern(self) -> Option<String> {
        let body = match self {
            Self::KubernetesVersion => version::KUBERNETES_PATTERN.to_owned(),
            Self::KubernetesMinor => version::MINOR_PATTERN.to_owned(),
            Self::KamajiVersion => version::KAMAJI_PATTERN.to_owned(),
            Self::ServiceVersion => version::SERVICE_PATTERN.to_owned(),
            Self::Uuid => "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}".to_owned(),
            Self::OneOf(words) => words.join("|"),
            Self::Bool => return None,
        };
        Some(format!("^({body})$"))
    }
}

/// Returns whether `text` is a UUID as this project writes it. `Uuid::try_parse` also accepts braces, a URN and upper
/// case.
fn is_canonical_uuid(text: &str) -> bool {
    text.len() == uuid::fmt::Hyphenated::LENGTH
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
        && uuid::Uuid::try_parse(text).is_ok()
}

/// An attribute of a resource, a data point or a log record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// The key on the wire.
    pub key: &'static str,
    /// The values that it may hold.
    pub values: Values,
    /// An extended attribute is sent only if the operator turns the extended signals on, and is not required even then.
    pub extended: bool,
    /// The meaning of the attribute, and the reason to collect it.
    pub reason: &'static str,
}

/// A metric, which is always a gauge of whole numbers from 0 to [`MAX_COUNT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Metric {
    /// The name on the wire.
    pub name: &'static str,
    /// The unit on the wire.
    pub unit: &'static str,
    /// The objects that it counts.
    pub description: &'static str,
    /// The attributes of each data point; all are required.
    pub attributes: &'static [&'static Attribute],
    /// An extended metric is sent only if the operator turns the extended signals on.
    pub extended: bool,
    /// The reason to collect it.
    pub reason: &'static str,
}

/// A kind of event: a log record with this `EventName`, severity INFO, and no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKind {
    /// The `EventName` on the wire.
    pub name: &'static str,
    /// The change that it reports, and the meaning of its time.
    pub description: &'static str,
    /// The attributes; all but the extended ones are required.
    pub attributes: &'static [&'static Attribute],
    /// The reason to collect it.
    pub reason: &'static str,
}

/// `service.name`, on every resource.
pub static SERVICE_NAME_ATTRIBUTE: Attribute = Attribute {
    key: "service.name",
    values: Values::OneOf(&[SERVICE_NAME]),
    extended: false,
    reason: "Identifies Kamaji's telemetry; the same for every installation.",
};

/// `service.version`, on every resource.
pub static SERVICE_VERSION_ATTRIBUTE: Attribute = Attribute {
    key: "service.version",
    values: Values::ServiceVersion,
    extended: false,
    reason: "The version of the agent: which of its bugs may affect the numbers.",
};

/// `service.instance.id`, on the resource of metrics only.
pub static SERVICE_INSTANCE_ID: Attribute = Attribute {
    key: "service.instance.id",
    values: Values::Uuid,
    extended: false,
    reason: "The installation's UUID: random, generated by the agent and deleted with its state. Distinguishes two installations and reveals nothing else.",
};

/// `log.record.uid`, on every log record.
pub static LOG_RECORD_UID: Attribute = Attribute {
    key: "log.record.uid",
    values: Values::Uuid,
    extended: false,
    reason: "Random, one per event: distinguishes a repeated delivery from a second event.",
};

/// `kamaji_version`, on every data point and log record.
pub static KAMAJI_VERSION: Attribute = Attribute {
    key: "kamaji_version",
    values: Values::KamajiVersion,
    extended: false,
    reason: "The version of Kamaji's operator: what to test, and which release breaks what.",
};

/// `kubernetes_version`, on every data point and log record.
pub static KUBERNETES_VERSION: Attribute = Attribute {
    key: "kubernetes_version",
    values: Values::KubernetesVersion,
    extended: false,
    reason: "The version of the management cluster: what to test, and what can be deprecated.",
};

/// `tcp_version`, on created and deleted.
pub static TCP_VERSION: Attribute = Attribute {
    key: "tcp_version",
    values: Values::KubernetesVersion,
    extended: false,
    reason: "The desired Kubernetes version of the tenant control plane.",
};

/// `old_tcp_version`, on updated.
pub static OLD_TCP_VERSION: Attribute = Attribute {
    key: "old_tcp_version",
    values: Values::KubernetesVersion,
    extended: false,
    reason: "The desired version before the change: upgrade paths taken.",
};

/// `new_tcp_version`, on updated.
pub static NEW_TCP_VERSION: Attribute = Attribute {
    key: "new_tcp_version",
    values: Values::KubernetesVersion,
    extended: false,
    reason: "The desired version after the change: upgrade paths taken.",
};

/// `status`, on deleted.
pub static STATUS: Attribute = Attribute {
    key: "status",
    values: Values::OneOf(Status::WORDS),
    extended: false,
    reason: "The last status before the deletion: control planes given up because they did not work.",
};

/// `tcp_version` in its minor form, on `kamaji.tcp.by_version`.
pub static TCP_MINOR: Attribute = Attribute {
    key: "tcp_version",
    values: Values::KubernetesMinor,
    extended: true,
    reason: "The minor version of the tenant control planes: what can be deprecated.",
};

/// `driver`, on the metrics of datastores.
pub static DRIVER: Attribute = Attribute {
    key: "driver",
    values: Values::OneOf(DRIVERS),
    extended: true,
    reason: "The storage driver: which ones to test and to keep.",
};

/// `cluster_api`, on created.
pub static CLUSTER_API: Attribute =
    Attribute { key: "cluster_api", values: Values::Bool, extended: true, reason: "Use of Cluster API: what to test." };

/// `network_profile`, on created.
pub static NETWORK_PROFILE: Attribute = Attribute {
    key: "network_profile",
    values: Values::OneOf(NetworkProfile::WORDS),
    extended: true,
    reason: "Exposure of the API server: what to test.",
};

/// The attributes of the resource that metrics belong to.
pub static METRIC_RESOURCE: &[&Attribute] =
    &[&SERVICE_NAME_ATTRIBUTE, &SERVICE_VERSION_ATTRIBUTE, &SERVICE_INSTANCE_ID];

/// The attributes of the resource that log records belong to. None of them names the installation.
pub static LOG_RESOURCE: &[&Attribute] = &[&SERVICE_NAME_ATTRIBUTE, &SERVICE_VERSION_ATTRIBUTE];

/// Control planes whose API answers.
pub static RUNNING: Metric = state_metric(
    "kamaji.tcp.running",
    "Control planes whose API answers: status Ready, CertificateAuthorityRotating, Migrating, WriteLimited, or a status that Kamaji adds later.",
);

/// Control planes scaled to zero.
pub static SLEEPING: Metric = state_metric("kamaji.tcp.sleeping", "Control planes scaled to zero: status Sleeping.");

/// Control planes that do not work, or do not work yet.
pub static NOT_READY: Metric = state_metric(
    "kamaji.tcp.not_ready",
    "Control planes that do not work, or do not work yet: status NotReady, Provisioning, Unknown, or none.",
);

/// Control planes whose version is being changed.
pub static UPGRADING: Metric =
    state_metric("kamaji.tcp.upgrading", "Control planes whose version is being changed: status Upgrading.");

/// Control planes by their minor version.
pub static BY_VERSION: Metric = Metric {
    name: "kamaji.tcp.by_version",
    unit: UNIT_TENANT_CONTROL_PLANE,
    description: "Control planes by the minor version of their desired Kubernetes version.",
    attributes: &[&TCP_MINOR, &KAMAJI_VERSION, &KUBERNETES_VERSION],
    extended: true,
    reason: "Tenant versions in use, which events alone do not show: what to deprecate.",
};

/// Datastores by driver.
pub static DATASTORE_COUNT: Metric = Metric {
    name: "kamaji.datastore.count",
    unit: UNIT_DATASTORE,
    description: "Datastores by driver.",
    attributes: &[&DRIVER, &KAMAJI_VERSION, &KUBERNETES_VERSION],
    extended: true,
    reason: "Which drivers are installed: what to test.",
};

/// Control planes by their datastore's driver.
pub static DATASTORE_USED_BY: Metric = Metric {
    name: "kamaji.datastore.used_by",
    unit: UNIT_TENANT_CONTROL_PLANE,
    description: "Control planes by the driver of the datastore they use.",
    attributes: &[&DRIVER, &KAMAJI_VERSION, &KUBERNETES_VERSION],
    extended: true,
    reason: "Which drivers are used most: what to build and what to test.",
};

/// Every metric, in the order of the documentation.
pub static METRICS: &[&Metric] =
    &[&RUNNING, &SLEEPING, &NOT_READY, &UPGRADING, &BY_VERSION, &DATASTORE_COUNT, &DATASTORE_USED_BY];

/// The event of a control plane that appeared.
pub static CREATED: EventKind = EventKind {
    name: "kamaji.tcp.created",
    description: "A control plane appeared. Its time is the object's creationTimestamp.",
    attributes: &[&LOG_RECORD_UID, &TCP_VERSION, &KAMAJI_VERSION, &KUBERNETES_VERSION, &CLUSTER_API, &NETWORK_PROFILE],
    reason: "Growth, and the versions that people start with: what to build and what to test.",
};

/// The event of a desired version that changed.
pub static UPDATED: EventKind = EventKind {
    name: "kamaji.tcp.updated",
    description: "A control plane's desired Kubernetes version changed; other changes are not sent. Its time is when the agent saw the change.",
    attributes: &[&LOG_RECORD_UID, &OLD_TCP_VERSION, &NEW_TCP_VERSION, &KAMAJI_VERSION, &KUBERNETES_VERSION],
    reason: "Upgrade paths and downgrades: what to test and what to fix.",
};

/// The event of a deletion that began.
pub static DELETED: EventKind = EventKind {
    name: "kamaji.tcp.deleted",
    description: "A control plane's deletion was seen for the first time. Its time is the object's deletionTimestamp, or without one, when the agent saw the deletion.",
    attributes: &[&LOG_RECORD_UID, &STATUS, &TCP_VERSION, &KAMAJI_VERSION, &KUBERNETES_VERSION],
    reason: "Control planes deleted while they did not work: what to fix.",
};

/// Every kind of event, in the order of the documentation.
pub static EVENT_KINDS: &[&EventKind] = &[&CREATED, &UPDATED, &DELETED];

/// The attributes of the four gauges of states.
static STATE_ATTRIBUTES: &[&Attribute] = &[&KAMAJI_VERSION, &KUBERNETES_VERSION];

/// Returns one of the four gauges of states, which differ only in name and description.
const fn state_metric(name: &'static str, description: &'static str) -> Metric {
    Metric {
        name,
        unit: UNIT_TENANT_CONTROL_PLANE,
        description,
        attributes: STATE_ATTRIBUTES,
        extended: false,
        reason: "How large installations are, how they grow, and what is broken in them.",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    fn every_attribute() -> impl Iterator<Item = &'static Attribute> {
        let of_metrics = METRICS.iter().flat_map(|metric| metric.attributes);
        let of_events = EVENT_KINDS.iter().flat_map(|kind| kind.attributes);
        METRIC_RESOURCE.iter().chain(LOG_RESOURCE).chain(of_metrics).chain(of_events).copied()
    }

    static PATTERNS: LazyLock<Vec<(Values, regex::Regex)>> = LazyLock::new(|| {
        let mut values: Vec<_> = every_attribute().map(|attribute| attribute.values).collect();
        values.dedup();
        let compile = |values: Values| Some((values, regex::Regex::new(&values.pattern()?).unwrap()));
        values.into_iter().filter_map(compile).collect()
    });

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.extend(EVENT_KINDS.iter().map(|kind| kind.name));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn log_records_do_not_name_the_installation() {
        assert!(!LOG_RESOURCE.contains(&&SERVICE_INSTANCE_ID));
        for kind in EVENT_KINDS {
            assert!(!kind.attributes.contains(&&SERVICE_INSTANCE_ID), "{}", kind.name);
        }
    }

    #[test]
    fn the_agents_own_version_is_allowed() {
        assert!(Values::ServiceVersion.allows_text(SERVICE_VERSION));
    }

    /// Generates text near enough to the allowed values to reveal a difference between pattern and parser.
    fn near_values() -> impl Strategy<Value = String> {
        prop_oneof![
            "v?[0-9]{1,5}(\\.[0-9]{1,5}){1,3}(-(alpha|beta|rc)\\.[0-9]{1,4})?(-edge|\\+x)?",
            "v?(edge-)?[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,2}(-edge)?",
            "[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            "(unknown|latest)(-x)?",
            Just("v1.35.1\n".to_owned()),
            prop::sample::select(Status::WORDS).prop_map(str::to_owned),
            prop::sample::select(DRIVERS).prop_map(str::to_owned),
            prop::sample::select(NetworkProfile::WORDS).prop_map(str::to_owned),
            ".{0,20}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn the_patterns_and_the_parsers_allow_the_same_text(text in near_values()) {
            for (values, pattern) in PATTERNS.iter() {
                prop_assert_eq!(pattern.is_match(&text), values.allows_text(&text), "{:?} {:?}", values, text);
            }
        }
    }
}
