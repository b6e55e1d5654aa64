//! The version of Kamaji, from its image and the Deployment's label.

use std::fmt;

use crate::catalog::KamajiVersion;

/// The repository of Kamaji's own image, on any registry.
const KAMAJI_REPOSITORY: &str = "clastix/kamaji";

/// The name of Kamaji's image, whoever built it.
const KAMAJI_NAME: &str = "kamaji";

/// The source of Kamaji's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSource {
    /// The tag of Kamaji's own image.
    ImageTag,
    /// The tag of another image, with which the label agrees.
    ImageTagAndLabel,
    /// The label `app.kubernetes.io/version`.
    Label,
    /// Neither the image's tag nor the label can be believed.
    None,
    /// Several operators have different versions.
    Contradictory,
}

/// An image reference, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Image<'a> {
    /// The registry and the path, without tag and digest.
    repository: &'a str,
    tag: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Parses `[REGISTRY[:PORT]/]PATH[:TAG][@DIGEST]`.
    pub(super) fn parse(reference: &'a str) -> Self {
        let (reference, _digest) = reference.split_once('@').unwrap_or((reference, ""));
        // A colon before the last slash is that of a registry's port.
        let name_at = reference.rfind('/').map_or(0, |slash| slash + 1);
        match reference[name_at..].split_once(':') {
            Some((name, tag)) => Self { repository: &reference[..name_at + name.len()], tag: Some(tag) },
            None => Self { repository: reference, tag: None },
        }
    }

    /// Returns whether the image is called `kamaji`, whoever built it.
    pub(super) fn is_kamaji(self) -> bool {
        self.repository.rsplit('/').next() == Some(KAMAJI_NAME)
    }

    /// Returns whether the image is published by Kamaji, or a mirror of that under the same path.
    fn is_upstream(self) -> bool {
        let path = self.repository.strip_suffix(KAMAJI_REPOSITORY);
        path.is_some_and(|registry| registry.is_empty() || registry.ends_with('/'))
    }
}

/// Returns the version of Kamaji and its source, from the operator's image and its label `app.kubernetes.io/version`.
///
/// A vendor's tag may be the version of the vendor's own product, so it counts only where the label agrees. `latest` is
/// not a version, so it counts only as a tag.
pub(super) fn version(image: Image<'_>, label: Option<&str>) -> (KamajiVersion, VersionSource) {
    let known = |text: &str| Some(KamajiVersion::normalize(text)).filter(|version| *version != KamajiVersion::Unknown);
    let (tag, label) = (image.tag.and_then(known), label.and_then(known));
    match (tag, label) {
        (Some(version), _) if image.is_upstream() => (version, VersionSource::ImageTag),
        (Some(version), Some(label)) if version == label => (version, VersionSource::ImageTagAndLabel),
        (_, Some(version)) if version != KamajiVersion::Latest => (version, VersionSource::Label),
        (_, _) => (KamajiVersion::Unknown, VersionSource::None),
    }
}

impl fmt::Display for VersionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ImageTag => "from its image's tag",
            Self::ImageTagAndLabel => "from its image's tag and its label app.kubernetes.io/version, which agree",
            Self::Label => "from its label app.kubernetes.io/version",
            Self::None => "neither its image's tag nor its label app.kubernetes.io/version is a version of Kamaji",
            Self::Contradictory => "several operators run different versions",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_that_can_be_believed_is_taken() {
        use VersionSource::{ImageTag, ImageTagAndLabel, Label, None as Neither};
        for (image, label, version, source) in [
            ("docker.io/clastix/kamaji:v1.0.0", Some("v0.9.9"), "v1.0.0", ImageTag),
            ("clastix/kamaji:26.7.4-edge@sha256:abc", None, "26.7.4-edge", ImageTag),
            ("mirror.test:5000/hub/clastix/kamaji:edge-24.12.1", None, "edge-24.12.1", ImageTag),
            ("clastix/kamaji:latest", Some("v1.0.0"), "latest", ImageTag),
            ("clastix/kamaji:0a1b2c3", Some("v1.0.0"), "v1.0.0", Label),
            ("clastix/kamaji@sha256:abc", Some("26.8.1-edge"), "26.8.1-edge", Label),
            ("clastix/kamaji", None, "unknown", Neither),
            ("ghcr.io/cozystack/cozystack/kamaji:v1.1.7@sha256:abc", None, "unknown", Neither),
            ("ghcr.io/cozystack/cozystack/kamaji:v1.1.7", Some("26.3.6-edge"), "26.3.6-edge", Label),
            ("ghcr.io/cozystack/cozystack/kamaji:v1.1.7", Some("v1.1.7"), "v1.1.7", ImageTagAndLabel),
            ("notclastix/kamaji:v1.0.0", None, "unknown", Neither),
            ("clastix/kamaji-console:v0.1.2", None, "unknown", Neither),
            ("mirror.test:5000/kamaji", Some("acme"), "unknown", Neither),
            ("mirror.test:5000/kamaji:latest", None, "unknown", Neither),
            ("mirror.test:5000/kamaji:latest", Some("latest"), "latest", ImageTagAndLabel),
            ("mirror.test:5000/kamaji:v1.1.7", Some("latest"), "unknown", Neither),
            ("mirror.test:5000/kamaji@sha256:abc", Some("latest"), "unknown", Neither),
            ("", None, "unknown", Neither),
        ] {
            let (found, from) = super::version(Image::parse(image), label);
            assert_eq!((found.to_string().as_str(), from), (version, source), "{image} {label:?}");
        }
    }

    #[test]
    fn an_image_is_kamajis_by_its_whole_name() {
        for (image, is_kamaji) in [
            ("clastix/kamaji:v1.0.0", true),
            ("mirror.test:5000/kamaji@sha256:abc", true),
            ("kamaji", true),
            ("clastix/kamaji-console:v0.1.2", false),
            ("kamaji/proxy:v1", false),
            ("mirror.test/mykamaji:v1", false),
        ] {
            assert_eq!(Image::parse(image).is_kamaji(), is_kamaji, "{image}");
        }
    }
}
