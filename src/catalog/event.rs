//! Events as values, from the agent's journal to the wire.

use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Attribute, CLUSTER_API, CREATED, DELETED, EventKind, KAMAJI_VERSION, KUBERNETES_VERSION, KamajiVersion,
    KubernetesVersion, LOG_RECORD_UID, NETWORK_PROFILE, NEW_TCP_VERSION, OLD_TCP_VERSION, STATUS, Status, TCP_VERSION,
    UPDATED,
};

/// The exposure of a control plane's API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetworkProfile {
    /// An Ingress.
    Ingress,
    /// A Gateway.
    Gateway,
    /// A Service of type `LoadBalancer`.
    LoadBalancer,
    /// A Service of type `NodePort`.
    NodePort,
    /// A Service of type `ClusterIP`.
    ClusterIp,
}

/// The error for a word that is not a network profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a network profile: expected one of {}", NetworkProfile::WORDS.join(", "))]
pub struct UnknownNetworkProfile;

/// The extended attributes of a new control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExtendedAttributes {
    /// The control plane is managed by Cluster API.
    pub cluster_api: bool,
    /// The exposure of its API server, if it can be determined.
    pub network_profile: Option<NetworkProfile>,
}

/// A change of a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The control plane appeared.
    Created {
        /// The desired version.
        tcp_version: KubernetesVersion,
        /// The extended attributes, if they are sent.
        extended: Option<ExtendedAttributes>,
    },
    /// The desired version changed.
    Updated {
        /// The version before.
        old_tcp_version: KubernetesVersion,
        /// The version after.
        new_tcp_version: KubernetesVersion,
    },
    /// The deletion began.
    Deleted {
        /// The last status before the deletion.
        status: Status,
        /// The last desired version.
        tcp_version: KubernetesVersion,
    },
}

/// An event with all attributes of its log record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventRecord {
    /// A random identity, which distinguishes a repeated delivery from a second event.
    pub uid: Uuid,
    /// The time of the change.
    pub time: Timestamp,
    /// The version of Kamaji at that time.
    pub kamaji_version: KamajiVersion,
    /// The version of the management cluster at that time.
    pub kubernetes_version: KubernetesVersion,
    /// The change itself.
    pub event: Event,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// A string.
    Text(String),
    /// A boolean.
    Bool(bool),
}

impl std::fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

impl NetworkProfile {
    const ALL: [Self; 5] = [Self::Ingress, Self::Gateway, Self::LoadBalancer, Self::NodePort, Self::ClusterIp];

    /// The words of all profiles.
    pub const WORDS: &'static [&'static str] = &[
        Self::ALL[0].as_str(),
        Self::ALL[1].as_str(),
        Self::ALL[2].as_str(),
        Self::ALL[3].as_str(),
        Self::ALL[4].as_str(),
    ];

    /// Returns the word of the profile on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Gateway => "gateway",
            Self::LoadBalancer => "load_balancer",
            Self::NodePort => "node_port",
            Self::ClusterIp => "cluster_ip",
        }
    }
}

impl FromStr for NetworkProfile {
    type Err = UnknownNetworkProfile;

    fn from_str(word: &str) -> Result<Self, UnknownNetworkProfile> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == word).ok_or(UnknownNetworkProfile)
    }
}

impl Event {
    /// Returns the entry of the event in the catalog.
    pub fn kind(&self) -> &'static EventKind {
        match self {
            Self::Created { .. } => &CREATED,
            Self::Updated { .. } => &UPDATED,
            Self::Deleted { .. } => &DELETED,
        }
    }

    /// Returns the versions of the control plane: of an update the one before, then the one after.
    pub fn tcp_versions(self) -> impl Iterator<Item = KubernetesVersion> {
        let (before, version) = match self {
            Self::Created { tcp_version, .. } | Self::Deleted { tcp_version, .. } => (None, tcp_version),
            Self::Updated { old_tcp_version, new_tcp_version } => (Some(old_tcp_version), new_tcp_version),
        };
        before.into_iter().chain([version])
    }

    /// Returns the attributes specific to this kind of event, in the order of the catalog.
    fn attributes(self) -> Vec<(&'static Attribute, AttributeValue)> {
        match self {
            Self::Created { tcp_version, extended } => {
                let mut attributes = vec![text(&TCP_VERSION, tcp_version)];
                if let Some(ExtendedAttributes { cluster_api, network_profile }) = extended {
                    attributes.push((&CLUSTER_API, AttributeValue::Bool(cluster_api)));
                    attributes.extend(network_profile.map(|profile| text(&NETWORK_PROFILE, profile.as_str())));
                }
                attributes
            }
            Self::Updated { old_tcp_version, new_tcp_version } => {
                vec![text(&OLD_TCP_VERSION, old_tcp_version), text(&NEW_TCP_VERSION, new_tcp_version)]
            }
            Self::Deleted { status, tcp_version } => {
                vec![text(&STATUS, status), text(&TCP_VERSION, tcp_version)]
            }
        }
    }
}

impl EventRecord {
    /// Returns every attribute of the log record.
    pub fn attributes(&self) -> Vec<(&'static Attribute, AttributeValue)> {
        // Destructured, so that a new field can't be forgotten.
        let Self { uid, time: _, kamaji_version, kubernetes_version, event } = *self;
        let mut attributes = vec![text(&LOG_RECORD_UID, uid.hyphenated())];
        attributes.extend(event.attributes());
        attributes.push(text(&KAMAJI_VERSION, kamaji_version));
        attributes.push(text(&KUBERNETES_VERSION, kubernetes_version));
        attributes
    }
}

fn text(attribute: &'static Attribute, value: impl std::fmt::Display) -> (&'static Attribute, AttributeValue) {
    (attribute, AttributeValue::Text(value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_profile_is_read_back_from_its_word_and_no_other_word_is_one() {
        for profile in NetworkProfile::ALL {
            assert_eq!(profile.as_str().parse(), Ok(profile));
        }
        assert_eq!("Gateway".parse::<NetworkProfile>(), Err(UnknownNetworkProfile));
    }

    #[test]
    fn each_event_has_exactly_the_attributes_of_its_kind() {
        let version = KubernetesVersion::normalize("v1.35.1");
        let extended = ExtendedAttributes { cluster_api: true, network_profile: Some(NetworkProfile::Gateway) };
        let events = [
            Event::Created { tcp_version: version, extended: Some(extended) },
            Event::Updated { old_tcp_version: version, new_tcp_version: KubernetesVersion::Unknown },
            Event::Deleted { status: Status::Undefined, tcp_version: version },
        ];
        for event in events {
            let record = EventRecord {
                uid: Uuid::new_v4(),
                time: Timestamp::UNIX_EPOCH,
                kamaji_version: KamajiVersion::Unknown,
                kubernetes_version: version,
                event,
            };
            let attributes = record.attributes();
            let mut sent: Vec<_> = attributes.iter().map(|(attribute, _)| attribute.key).collect();
            let mut named: Vec<_> = event.kind().attributes.iter().map(|attribute| attribute.key).collect();
            sent.sort_unstable();
            named.sort_unstable();
            assert_eq!(sent, named);
            for (attribute, value) in attributes {
                if let AttributeValue::Text(text) = value {
                    assert!(attribute.values.allows_text(&text), "{} {text:?}", attribute.key);
                }
            }
        }
    }
}
