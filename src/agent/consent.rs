//! Consent to telemetry.
//!
//! There are five switches: four of the operator who runs the agent, and `--disable-telemetry` of Kamaji's own operator.
//! Each of them alone turns telemetry off, and none overrides another.

use std::fmt;

use super::kubernetes::ClusterInfo;
use super::kubernetes::operator::{Operator, OperatorError};

/// The environment variable that turns telemetry off whatever `--disable-telemetry` says.
pub const DISABLE_TELEMETRY: &str = "KAMAJI_TELEMETRY_DISABLE_TELEMETRY";

/// The switches of the agent itself, read once at the start of the process. True means off.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OptOut {
    /// `--disable-telemetry`
    pub disable_telemetry: bool,
    /// `KAMAJI_TELEMETRY_DISABLE_TELEMETRY`
    pub disabled_by_variable: bool,
    /// `DO_NOT_TRACK`
    pub do_not_track: bool,
    /// `OTEL_SDK_DISABLED`
    pub otel_sdk_disabled: bool,
}

/// The effect of `--disable-telemetry` of Kamaji's operator on the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KamajiOptOut {
    /// Telemetry is off if Kamaji's built-in telemetry is off, and also if its state is unknown.
    Follow,
    /// The flag of Kamaji's operator has no effect: the built-in telemetry is off because the agent replaces it.
    Ignore,
}

/// The reason why telemetry is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisabledReason {
    /// `--disable-telemetry`
    DisableTelemetry,
    /// `KAMAJI_TELEMETRY_DISABLE_TELEMETRY`
    DisabledByVariable,
    /// `DO_NOT_TRACK`
    DoNotTrack,
    /// `OTEL_SDK_DISABLED`
    OtelSdkDisabled,
    /// Kamaji's operator runs with `--disable-telemetry`.
    Kamaji,
    /// Kamaji's operator could not be found or read.
    OperatorUnknown(OperatorError),
}

impl OptOut {
    /// Returns the first switch that turns telemetry off, or `None` if none does.
    pub fn disabled_reason(self) -> Option<DisabledReason> {
        let Self { disable_telemetry, disabled_by_variable, do_not_track, otel_sdk_disabled } = self;
        [
            (disable_telemetry, DisabledReason::DisableTelemetry),
            (disabled_by_variable, DisabledReason::DisabledByVariable),
            (do_not_track, DisabledReason::DoNotTrack),
            (otel_sdk_disabled, DisabledReason::OtelSdkDisabled),
        ]
        .into_iter()
        .find_map(|(is_set, reason)| is_set.then_some(reason))
    }
}

impl From<bool> for KamajiOptOut {
    /// Converts the value of `--follow-kamaji-opt-out`.
    fn from(follow: bool) -> Self {
        if follow { Self::Follow } else { Self::Ignore }
    }
}

impl KamajiOptOut {
    /// Returns whether `cluster_info` is enough to decide on consent. While the API server is unreachable, Kamaji's
    /// operator may have been told to send nothing.
    pub fn is_decidable(self, cluster_info: &ClusterInfo) -> bool {
        self == Self::Ignore || !cluster_info.is_transient()
    }

    /// Returns the reason why Kamaji's operator turns telemetry off, or `None` if it does not.
    pub fn disabled_reason(self, operator: &Result<Operator, OperatorError>) -> Option<DisabledReason> {
        match (self, operator) {
            (Self::Ignore, _) => None,
            (Self::Follow, Ok(operator)) => operator.telemetry_disabled.then_some(DisabledReason::Kamaji),
            (Self::Follow, Err(error)) => Some(DisabledReason::OperatorUnknown(error.clone())),
        }
    }

    /// Returns whether Kamaji's operator leaves telemetry on.
    pub fn permits(self, operator: &Result<Operator, OperatorError>) -> bool {
        self.disabled_reason(operator).is_none()
    }
}

/// Returns whether an environment variable with this value is set to true. Every value except the common words for false
/// counts as true: in doubt, nothing is sent.
pub fn is_set(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "f" | "false" | "n" | "no" | "off")
}

impl DisabledReason {
    /// Returns whether somebody opted out, as opposed to a state of the cluster that could not be read.
    pub fn is_opt_out(&self) -> bool {
        !matches!(self, Self::OperatorUnknown(_))
    }
}

impl fmt::Display for DisabledReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DisableTelemetry => f.write_str("--disable-telemetry is set"),
            Self::DisabledByVariable => write!(f, "{DISABLE_TELEMETRY} is set"),
            Self::DoNotTrack => f.write_str("DO_NOT_TRACK is set"),
            Self::OtelSdkDisabled => f.write_str("OTEL_SDK_DISABLED is set"),
            Self::Kamaji => f.write_str("Kamaji's operator runs with --disable-telemetry"),
            Self::OperatorUnknown(error) => write!(
                f,
                "whether Kamaji's built-in telemetry is on can't be told: {error}. Set --kamaji-namespace and \
                 --kamaji-deployment to the Deployment of Kamaji's operator, or --follow-kamaji-opt-out=false if this \
                 telemetry is not to depend on it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::kubernetes::operator::{OperatorLocation, VersionSource};
    use crate::catalog::KamajiVersion;

    fn operator(telemetry_disabled: bool) -> Operator {
        Operator {
            deployment: "kamaji".to_owned(),
            version: KamajiVersion::Unknown,
            version_source: VersionSource::None,
            telemetry_disabled,
        }
    }

    #[test]
    fn every_switch_is_enough() {
        assert_eq!(OptOut::default().disabled_reason(), None);
        let off = |opt_out: OptOut| opt_out.disabled_reason().unwrap();
        assert_eq!(off(OptOut { disable_telemetry: true, ..OptOut::default() }), DisabledReason::DisableTelemetry);
        assert_eq!(off(OptOut { disabled_by_variable: true, ..OptOut::default() }), DisabledReason::DisabledByVariable);
        assert_eq!(off(OptOut { do_not_track: true, ..OptOut::default() }), DisabledReason::DoNotTrack);
        assert_eq!(off(OptOut { otel_sdk_disabled: true, ..OptOut::default() }), DisabledReason::OtelSdkDisabled);
    }

    #[test]
    fn following_kamaji_fails_closed() {
        let location = OperatorLocation { namespace: "kamaji-system".to_owned(), deployment: None };
        let not_found = OperatorError::NotFound { location, found: Vec::new() };
        assert_eq!(KamajiOptOut::Follow.disabled_reason(&Ok(operator(false))), None);
        assert_eq!(KamajiOptOut::Follow.disabled_reason(&Ok(operator(true))), Some(DisabledReason::Kamaji));
        let reason = KamajiOptOut::Follow.disabled_reason(&Err(not_found.clone())).unwrap();
        let message = reason.to_string();
        assert!(message.contains("kamaji-system") && message.contains("--kamaji-namespace"), "{message}");
        assert!(message.contains("--kamaji-deployment"), "{message}");
        assert!(message.contains("--follow-kamaji-opt-out=false"), "{message}");
        assert_eq!(KamajiOptOut::Ignore.disabled_reason(&Ok(operator(true))), None);
        assert_eq!(KamajiOptOut::Ignore.disabled_reason(&Err(not_found)), None);
    }
}
