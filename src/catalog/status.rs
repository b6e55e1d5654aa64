//! A control plane's status, as Kamaji reports it, and the gauge that counts it.

use std::fmt;
use std::str::FromStr;

/// The status of a control plane: one of the nine that Kamaji defines, or one that it has added since.
///
/// Source: `status.kubernetesResources.version.status` of Kamaji's `TenantControlPlane`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// The control plane is being created.
    Provisioning,
    /// The certificate authority is being replaced; the API answers.
    CertificateAuthorityRotating,
    /// The version is being changed.
    Upgrading,
    /// The data is being moved to another datastore; the API answers.
    Migrating,
    /// The API answers.
    Ready,
    /// The API does not answer, or not yet.
    NotReady,
    /// The control plane is scaled to zero.
    Sleeping,
    /// The API answers, but rejects writes.
    WriteLimited,
    /// Kamaji reports this word, or no status.
    Unknown,
    /// A status that this version does not know. Its word stays in the cluster: it is sent as `Unknown`.
    Undefined,
}

/// The state of a control plane that one of the four gauges counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LifecycleState {
    /// The API answers.
    Running,
    /// The control plane is scaled to zero.
    Sleeping,
    /// The API does not answer, or does not answer yet.
    NotReady,
    /// The version is being changed.
    Upgrading,
}

/// The error for a word that is not a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a status: expected one of {}", Status::WORDS.join(", "))]
pub struct UnknownStatus;

impl Status {
    /// The nine statuses that Kamaji defines.
    const DEFINED: [Self; 9] = [
        Self::Provisioning,
        Self::CertificateAuthorityRotating,
        Self::Upgrading,
        Self::Migrating,
        Self::Ready,
        Self::NotReady,
        Self::Sleeping,
        Self::WriteLimited,
        Self::Unknown,
    ];

    /// The words that may be sent.
    pub const WORDS: &'static [&'static str] = &{
        let mut words = [""; Self::DEFINED.len()];
        let mut at = 0;
        while at < words.len() {
            words[at] = Self::DEFINED[at].as_str();
            at += 1;
        }
        words
    };

    /// Reads Kamaji's word. A missing or empty one is [`Status::Unknown`], one that this version does not know is
    /// [`Status::Undefined`].
    pub fn normalize(word: Option<&str>) -> Self {
        match word {
            None | Some("") => Self::Unknown,
            Some(word) => word.parse().unwrap_or(Self::Undefined),
        }
    }

    /// Returns the word that may be sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "Provisioning",
            Self::CertificateAuthorityRotating => "CertificateAuthorityRotating",
            Self::Upgrading => "Upgrading",
            Self::Migrating => "Migrating",
            Self::Ready => "Ready",
            Self::NotReady => "NotReady",
            Self::Sleeping => "Sleeping",
            Self::WriteLimited => "WriteLimited",
            Self::Unknown | Self::Undefined => "Unknown",
        }
    }

    /// Returns the state that a control plane with this status is counted in. Every status that Kamaji has added so far
    /// means that the API answers, so an unknown one counts as running.
    pub fn state(self) -> LifecycleState {
        match self {
            Self::Ready
            | Self::CertificateAuthorityRotating
            | Self::Migrating
            | Self::WriteLimited
            | Self::Undefined => LifecycleState::Running,
            Self::Sleeping => LifecycleState::Sleeping,
            Self::Upgrading => LifecycleState::Upgrading,
            Self::NotReady | Self::Provisioning | Self::Unknown => LifecycleState::NotReady,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        Self::DEFINED.into_iter().find(|status| status.as_str() == word).ok_or(UnknownStatus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_counts_as_its_documented_state() {
        for (word, state) in [
            (Some("Ready"), LifecycleState::Running),
            (Some("CertificateAuthorityRotating"), LifecycleState::Running),
            (Some("Migrating"), LifecycleState::Running),
            (Some("WriteLimited"), LifecycleState::Running),
            (Some("AddedNextYear"), LifecycleState::Running),
            (Some("Sleeping"), LifecycleState::Sleeping),
            (Some("Upgrading"), LifecycleState::Upgrading),
            (Some("NotReady"), LifecycleState::NotReady),
            (Some("Provisioning"), LifecycleState::NotReady),
            (Some("Unknown"), LifecycleState::NotReady),
            (Some(""), LifecycleState::NotReady),
            (None, LifecycleState::NotReady),
        ] {
            assert_eq!(Status::normalize(word).state(), state, "{word:?}");
        }
    }

    #[test]
    fn a_word_that_kamaji_does_not_define_is_not_sent() {
        assert_eq!(Status::normalize(Some("AcmeSpecial")).as_str(), "Unknown");
    }
}
