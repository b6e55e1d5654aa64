//! Versions as they may be sent: numbers, never text. The tag of a private build can name a company, so every suffix
//! that is not of a public form is cut, and text that is no version becomes `unknown`.

use std::fmt;
use std::str::FromStr;

/// The largest number of a version: four digits, which is enough for the year of a calendar version.
const MAX_PART: u16 = 9_999;
/// The largest number of a pre-release: three digits, since no project publishes a thousand pre-releases of one
/// version.
const MAX_STAGE: u16 = 999;

macro_rules! part {
    () => {
        "(0|[1-9][0-9]{0,3})"
    };
}
macro_rules! triple {
    () => {
        concat!(part!(), "\\.", part!(), "\\.", part!())
    };
}
macro_rules! stage {
    () => {
        "(-(alpha|beta|rc)\\.(0|[1-9][0-9]{0,2}))?"
    };
}

/// [`KubernetesVersion`] as a regular expression, not anchored.
pub(super) const KUBERNETES_PATTERN: &str = concat!("unknown|v", triple!(), stage!());
/// [`KubernetesMinor`] as a regular expression, not anchored.
pub(super) const MINOR_PATTERN: &str = concat!("unknown|v", part!(), "\\.", part!());
/// [`KamajiVersion`] as a regular expression, not anchored.
pub(super) const KAMAJI_PATTERN: &str =
    concat!("unknown|latest|v", triple!(), stage!(), "|edge-", triple!(), "|", triple!(), "-edge");
/// The agent's own version as a regular expression, not anchored.
pub(super) const SERVICE_PATTERN: &str = concat!(triple!(), stage!());

const UNKNOWN: &str = "unknown";
const LATEST: &str = "latest";
const OTHER: &str = "other";

/// The stage of a release. Stages are ordered, and precede their release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// `-alpha.N`
    Alpha(u16),
    /// `-beta.N`
    Beta(u16),
    /// `-rc.N`
    Rc(u16),
    /// No pre-release.
    Final,
}

/// The three numbers of a version, of up to four digits each, and its stage; ordered as semantic versions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionNumbers {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number.
    pub patch: u16,
    /// The stage of a pre-release, or [`Stage::Final`].
    pub stage: Stage,
}

/// A Kubernetes version: `vX.Y.Z`, `vX.Y.Z-alpha.N`, `-beta.N`, `-rc.N`, or `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KubernetesVersion {
    /// An unknown version, or text that is not one.
    Unknown,
    /// One of more versions than a backend keeps apart. It is never sent, and is not parsed from what is.
    Other,
    /// A release.
    Release(VersionNumbers),
}

/// A Kubernetes minor version: `vX.Y`, or `unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KubernetesMinor {
    /// An unknown version, or text that is not one.
    Unknown,
    /// One of more versions than a backend keeps apart. It is never sent, and is not parsed from what is.
    Other,
    /// A minor version.
    Minor {
        /// The first number.
        major: u16,
        /// The second number.
        minor: u16,
    },
}

/// A Kamaji version: the forms of a [`KubernetesVersion`], Kamaji's edge forms `edge-X.Y.Z` and `X.Y.Z-edge`, and the
/// word `latest`.
///
/// Its order is one of keys only: releases and edge versions are two lines, and `latest` is a version of any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KamajiVersion {
    /// An unknown version, or text that is not one.
    Unknown,
    /// One of more versions than a backend keeps apart. It is never sent, and is not parsed from what is.
    Other,
    /// `latest`, the tag that Kamaji's guides install. It says that somebody follows the newest build, and not which.
    Latest,
    /// A release.
    Release(VersionNumbers),
    /// `edge-X.Y.Z`, the older edge form.
    EdgePrefix(u16, u16, u16),
    /// `X.Y.Z-edge`, the newer edge form.
    EdgeSuffix(u16, u16, u16),
}

/// The minor version of a [`KamajiVersion`]: `vX.Y` of a release, `X.Y` of both edge forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KamajiMinor {
    /// An unknown version.
    Unknown,
    /// One of more versions than a backend keeps apart.
    Other,
    /// `latest`, which is of any minor.
    Latest,
    /// A minor of the stable line.
    Stable {
        /// The first number.
        major: u16,
        /// The second number.
        minor: u16,
    },
    /// A minor of the edge line.
    Edge {
        /// The first number: the year.
        major: u16,
        /// The second number: the month.
        minor: u16,
    },
}

/// The error for text that is not a version in its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical version: expected {expected}")]
pub struct InvalidVersion {
    expected: &'static str,
}

impl VersionNumbers {
    /// Reads `X.Y.Z` with an optional leading `v`. It keeps a stage and cuts any other suffix. Returns `None` if there
    /// are not three numbers.
    fn normalize(text: &str) -> Option<Self> {
        let ((major, minor, patch), suffix) = triple(text.strip_prefix('v').unwrap_or(text))?;
        Some(Self { major, minor, patch, stage: Stage::normalize(suffix) })
    }
}

impl Stage {
    fn normalize(suffix: &str) -> Self {
        let (kind, rest) = suffix.strip_prefix('-').and_then(|suffix| suffix.split_once('.')).unwrap_or_default();
        let stage = number(rest, MAX_STAGE).filter(|(_, rest)| ends_here(rest)).map(|(number, _)| number);
        match (kind, stage) {
            ("alpha", Some(number)) => Self::Alpha(number),
            ("beta", Some(number)) => Self::Beta(number),
            ("rc", Some(number)) => Self::Rc(number),
            _ => Self::Final,
        }
    }
}

impl KubernetesVersion {
    /// Reads the version that a cluster reports. It adds a missing `v` and cuts a suffix that is not a stage. Text that
    /// is no version becomes [`KubernetesVersion::Unknown`].
    pub fn normalize(text: &str) -> Self {
        VersionNumbers::normalize(text.trim()).map_or(Self::Unknown, Self::Release)
    }

    /// Returns the minor version.
    pub fn to_minor(self) -> KubernetesMinor {
        match self {
            Self::Unknown => KubernetesMinor::Unknown,
            Self::Other => KubernetesMinor::Other,
            Self::Release(VersionNumbers { major, minor, .. }) => KubernetesMinor::Minor { major, minor },
        }
    }
}

impl KamajiVersion {
    /// Reads the version in an image's tag or a label as [`KubernetesVersion::normalize`] does, and keeps the edge
    /// forms and `latest`.
    pub fn normalize(text: &str) -> Self {
        let text = text.trim();
        if text == LATEST {
            return Self::Latest;
        }
        let edge_prefix = || {
            let ((x, y, z), _) = triple(text.strip_prefix("edge-")?)?;
            Some(Self::EdgePrefix(x, y, z))
        };
        let edge_suffix = || {
            let ((x, y, z), suffix) = triple(text.strip_prefix('v').unwrap_or(text))?;
            ends_here(suffix.strip_prefix("-edge")?).then_some(Self::EdgeSuffix(x, y, z))
        };
        edge_prefix()
            .or_else(edge_suffix)
            .or_else(|| VersionNumbers::normalize(text).map(Self::Release))
            .unwrap_or(Self::Unknown)
    }

    /// Returns the minor version.
    pub const fn to_minor(self) -> KamajiMinor {
        match self {
            Self::Unknown => KamajiMinor::Unknown,
            Self::Other => KamajiMinor::Other,
            Self::Latest => KamajiMinor::Latest,
            Self::Release(VersionNumbers { major, minor, .. }) => KamajiMinor::Stable { major, minor },
            Self::EdgePrefix(major, minor, _) | Self::EdgeSuffix(major, minor, _) => KamajiMinor::Edge { major, minor },
        }
    }
}

/// Returns whether `text` is `X.Y.Z` with an optional stage, and nothing else.
pub(super) fn is_service_version(text: &str) -> bool {
    VersionNumbers::normalize(text).is_some_and(|release| release.to_string() == text)
}

/// Splits three numbers between dots from the text that follows them.
fn triple(text: &str) -> Option<((u16, u16, u16), &str)> {
    let (x, rest) = number(text, MAX_PART)?;
    let (y, rest) = number(rest.strip_prefix('.')?, MAX_PART)?;
    let (z, rest) = number(rest.strip_prefix('.')?, MAX_PART)?;
    Some(((x, y, z), rest))
}

/// Reads two numbers between a dot, and ignores the text that follows them.
fn pair(text: &str) -> Option<(u16, u16)> {
    let (x, rest) = number(text, MAX_PART)?;
    let (y, _) = number(rest.strip_prefix('.')?, MAX_PART)?;
    Some((x, y))
}

/// Splits the leading digits, as a number of at most `max`, from the text that follows them.
fn number(text: &str, max: u16) -> Option<(u16, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number = text[..digits].parse().ok().filter(|number| *number <= max)?;
    Some((number, &text[digits..]))
}

/// Returns whether a word ends before `rest`, so that `-edgy` is not read as `-edge`.
fn ends_here(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_alphanumeric())
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alpha(number) => write!(f, "-alpha.{number}"),
            Self::Beta(number) => write!(f, "-beta.{number}"),
            Self::Rc(number) => write!(f, "-rc.{number}"),
            Self::Final => Ok(()),
        }
    }
}

impl fmt::Display for VersionNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch, stage } = self;
        write!(f, "{major}.{minor}.{patch}{stage}")
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(UNKNOWN),
            Self::Other => f.write_str(OTHER),
            Self::Release(release) => write!(f, "v{release}"),
        }
    }
}

impl fmt::Display for KubernetesMinor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(UNKNOWN),
            Self::Other => f.write_str(OTHER),
            Self::Minor { major, minor } => write!(f, "v{major}.{minor}"),
        }
    }
}

impl fmt::Display for KamajiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(UNKNOWN),
            Self::Other => f.write_str(OTHER),
            Self::Latest => f.write_str(LATEST),
            Self::Release(release) => write!(f, "v{release}"),
            Self::EdgePrefix(x, y, z) => write!(f, "edge-{x}.{y}.{z}"),
            Self::EdgeSuffix(x, y, z) => write!(f, "{x}.{y}.{z}-edge"),
        }
    }
}

impl fmt::Display for KamajiMinor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(UNKNOWN),
            Self::Other => f.write_str(OTHER),
            Self::Latest => f.write_str(LATEST),
            Self::Stable { major, minor } => write!(f, "v{major}.{minor}"),
            Self::Edge { major, minor } => write!(f, "{major}.{minor}"),
        }
    }
}

/// Returns `read` if it is written exactly as `text`, which is the canonical form then.
fn canonical<T: fmt::Display>(text: &str, read: T, expected: &'static str) -> Result<T, InvalidVersion> {
    if read.to_string() == text { Ok(read) } else { Err(InvalidVersion { expected }) }
}

impl FromStr for KubernetesVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        canonical(text, Self::normalize(text), "vX.Y.Z, vX.Y.Z-(alpha|beta|rc).N or unknown")
    }
}

impl FromStr for KubernetesMinor {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let minor = text.strip_prefix('v').and_then(pair).map(|(major, minor)| Self::Minor { major, minor });
        canonical(text, minor.unwrap_or(Self::Unknown), "vX.Y or unknown")
    }
}

impl FromStr for KamajiMinor {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let read = match text.strip_prefix('v') {
            _ if text == LATEST => Some(Self::Latest),
            Some(release) => pair(release).map(|(major, minor)| Self::Stable { major, minor }),
            None => pair(text).map(|(major, minor)| Self::Edge { major, minor }),
        };
        canonical(text, read.unwrap_or(Self::Unknown), "vX.Y, X.Y, latest or unknown")
    }
}

impl FromStr for KamajiVersion {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let expected = "vX.Y.Z, vX.Y.Z-(alpha|beta|rc).N, edge-X.Y.Z, X.Y.Z-edge, latest or unknown";
        canonical(text, Self::normalize(text), expected)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_kubernetes_version_keeps_its_stage_and_loses_every_other_suffix() {
        for (raw, expected) in [
            ("v1.35.1", "v1.35.1"),
            ("1.35.1", "v1.35.1"),
            (" v1.35.1\n", "v1.35.1"),
            ("v1.36.0-rc.1", "v1.36.0-rc.1"),
            ("v1.36.0-alpha.12", "v1.36.0-alpha.12"),
            ("v1.36.0-beta.0+abc", "v1.36.0-beta.0"),
            ("v1.31.0-rc.1.acme", "v1.31.0-rc.1"),
            ("v1.31.0-rc.1acme", "v1.31.0"),
            ("v1.31.0-rc.1000", "v1.31.0"),
            ("v1.30.4+k3s1", "v1.30.4"),
            ("v1.30.4-eks-a737599", "v1.30.4"),
            ("v1.30.4-gke.1282000", "v1.30.4"),
            ("v1.30.4-acme-bank.7", "v1.30.4"),
            ("v01.030.4", "v1.30.4"),
            ("v1.35", "unknown"),
            ("v12345.1.1", "unknown"),
            ("99999999999999999999.1.1", "unknown"),
            ("acme-1.35.1", "unknown"),
            ("latest", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(KubernetesVersion::normalize(raw).to_string(), expected, "{raw:?}");
        }
    }

    #[test]
    fn a_kamaji_version_keeps_its_edge_forms() {
        for (raw, expected) in [
            ("v1.0.0", "v1.0.0"),
            ("1.0.0", "v1.0.0"),
            ("edge-24.12.1", "edge-24.12.1"),
            ("edge-24.12.1-acme", "edge-24.12.1"),
            ("26.7.4-edge", "26.7.4-edge"),
            ("v26.7.4-edge", "26.7.4-edge"),
            ("26.7.4-edge.acme", "26.7.4-edge"),
            ("26.7.4-edgecase", "v26.7.4"),
            ("v1.0.0-dirty", "v1.0.0"),
            ("edge", "unknown"),
            ("latest", "latest"),
            (" latest\n", "latest"),
            ("Latest", "unknown"),
            ("vlatest", "unknown"),
            ("latest-acme", "unknown"),
            ("latest@sha256:abc", "unknown"),
        ] {
            assert_eq!(KamajiVersion::normalize(raw).to_string(), expected, "{raw:?}");
        }
    }

    #[test]
    fn both_edge_forms_have_the_same_minor_and_other_is_never_parsed() {
        for (version, minor) in [
            ("v1.2.3-rc.1", "v1.2"),
            ("edge-24.12.1", "24.12"),
            ("24.12.7-edge", "24.12"),
            ("latest", "latest"),
            ("x", "unknown"),
        ] {
            assert_eq!(KamajiVersion::normalize(version).to_minor().to_string(), minor);
        }
        assert!("other".parse::<KamajiMinor>().is_err() && "other".parse::<KubernetesMinor>().is_err());
    }

    #[test]
    fn stages_order_before_their_release() {
        let version = KubernetesVersion::normalize;
        assert!(version("v1.36.0-alpha.9") < version("v1.36.0-beta.0"));
        assert!(version("v1.36.0-rc.1") < version("v1.36.0"));
        assert!(version("v1.9.0") < version("v1.10.0"));
    }

    proptest! {
        #[test]
        fn a_version_is_written_in_canonical_form(text in "\\PC{0,24}|v?[0-9]{1,5}(\\.[0-9]{1,5}){0,3}[-+.a-z0-9]{0,12}") {
            let kubernetes = KubernetesVersion::normalize(&text);
            prop_assert_eq!(kubernetes.to_string().parse(), Ok(kubernetes));
            prop_assert_eq!(kubernetes.to_minor().to_string().parse(), Ok(kubernetes.to_minor()));
            let kamaji = KamajiVersion::normalize(&text);
            prop_assert_eq!(kamaji.to_string().parse(), Ok(kamaji));
            prop_assert_eq!(kamaji.to_minor().to_string().parse(), Ok(kamaji.to_minor()));
        }
    }
}
