//! A control plane's status, as Kamaji reports it, and what it counts as.

use std::fmt;
use std::str::FromStr;

/// The status of a control plane: one of the nine that Kamaji defines, or one that it has added since.
///
/// Source: `status.kubernetesResources.version.status` of Kamaji's `TenantControlPlane`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Being made for the first time.
    Provisioning,
    /// Its certificate authority is being replaced; the API answers.
    CertificateAuthorityRotating,
    /// Its version is being changed.
    Upgrading,
    /// Its data is being moved to another datastore; the API answers.
    Migrating,
    /// The API answers.
    Ready,
    /// The API does not answer, or not yet.
    NotReady,
    /// Scaled to zero.
    Sleeping,
    /// The API answers, and refuses writes.
    WriteLimited,
    /// Kamaji does not know, or has not said.
    Unknown,
    /// A status that this version does not know. Its word stays in the cluster: it leaves as `Unknown`.
    Undefined,
}

/// What a control plane counts as: one of the four gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CountedState {
    /// The API answers.
    Running,
    /// Scaled to zero.
    Sleeping,
    /// Does not work, or not yet.
    NotReady,
    /// Changes its version.
    Upgrading,
}

/// A word that is no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a status: expected one of {}", Status::WORDS.join(", "))]
pub struct UnknownStatus;

impl Status {
    /// The nine that Kamaji defines.
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

    /// The words that may leave a cluster.
    pub const WORDS: &'static [&'static str] = &{
        let mut words = [""; Self::DEFINED.len()];
        let mut at = 0;
        while at < words.len() {
            words[at] = Self::DEFINED[at].as_str();
            at += 1;
        }
        words
    };

    /// Reads Kamaji's word. None, or an empty one, is [`Status::Unknown`]; one that this version does not know is
    /// [`Status::Undefined`].
    pub fn normalise(word: Option<&str>) -> Self {
        match word {
            None | Some("") => Self::Unknown,
            Some(word) => word.parse().unwrap_or(Self::Undefined),
        }
    }

    /// The word that may leave a cluster.
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

    /// Which of the four gauges a control plane with this status counts in. Kamaji has only ever added statuses of
    /// control planes whose API answers, so one that is not known yet is taken for running.
    pub fn state(self) -> CountedState {
        match self {
            Self::Ready
            | Self::CertificateAuthorityRotating
            | Self::Migrating
            | Self::WriteLimited
            | Self::Undefined => CountedState::Running,
            Self::Sleeping => CountedState::Sleeping,
            Self::Upgrading => CountedState::Upgrading,
            Self::NotReady | Self::Provisioning | Self::Unknown => CountedState::NotReady,
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
    fn each_status_counts_as_the_design_says() {
        for (word, state) in [
            (Some("Ready"), CountedState::Running),
            (Some("CertificateAuthorityRotating"), CountedState::Running),
            (Some("Migrating"), CountedState::Running),
            (Some("WriteLimited"), CountedState::Running),
            (Some("AddedNextYear"), CountedState::Running),
            (Some("Sleeping"), CountedState::Sleeping),
            (Some("Upgrading"), CountedState::Upgrading),
            (Some("NotReady"), CountedState::NotReady),
            (Some("Provisioning"), CountedState::NotReady),
            (Some("Unknown"), CountedState::NotReady),
            (Some(""), CountedState::NotReady),
            (None, CountedState::NotReady),
        ] {
            assert_eq!(Status::normalise(word).state(), state, "{word:?}");
        }
    }

    #[test]
    fn a_word_that_kamaji_does_not_define_does_not_leave() {
        assert_eq!(Status::normalise(Some("AcmeSpecial")).as_str(), "Unknown");
    }
}
