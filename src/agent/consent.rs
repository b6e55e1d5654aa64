//! Whether telemetry is on. Every switch is enough to turn it off, and none can be overridden by another.

use std::fmt;

use super::kubernetes::ClusterInfo;
use super::kubernetes::operator::{Operator, OperatorError};

/// The variable beside `--disable-telemetry`.
pub const DISABLE_TELEMETRY: &str = "KAMAJI_TELEMETRY_DISABLE_TELEMETRY";

/// The operator's own switches, as they were given at the start.
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

/// What `--disable-telemetry` of Kamaji's operator means for this telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KamajiOptOut {
    /// Where Kamaji's own telemetry is off, so is this one; where that can't be told, too.
    Follow,
    /// Kamaji's own telemetry is off because this one replaces it: its flag is ignored.
    Ignore,
}

/// Why telemetry is off.
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
    /// Whether Kamaji's operator does can't be told.
    OperatorUnknown(OperatorError),
}

impl OptOut {
    /// Why these alone turn telemetry off, if they do.
    pub fn off(self) -> Option<DisabledReason> {
        let Self { disable_telemetry, disabled_by_variable, do_not_track, otel_sdk_disabled } = self;
        [
            (disable_telemetry, DisabledReason::DisableTelemetry),
            (disabled_by_variable, DisabledReason::DisabledByVariable),
            (do_not_track, DisabledReason::DoNotTrack),
            (otel_sdk_disabled, DisabledReason::OtelSdkDisabled),
        ]
        .into_iter()
        .find_map(|(is_on, off)| is_on.then_some(off))
    }
}

impl From<bool> for KamajiOptOut {
    /// Converts the value of `--follow-kamaji-opt-out`.
    fn from(is_followed: bool) -> Self {
        if is_followed { Self::Follow } else { Self::Ignore }
    }
}

impl KamajiOptOut {
    /// Says whether consent can be told from `look`. Where the cluster can't be read for the moment, Kamaji's operator may
    /// have been told to send nothing.
    pub fn can_tell(self, look: &ClusterInfo) -> bool {
        self == Self::Ignore || !look.is_transient()
    }

    /// Why Kamaji's operator, as it was last seen, turns telemetry off, if it does.
    pub fn off(self, operator: &Result<Operator, OperatorError>) -> Option<DisabledReason> {
        match (self, operator) {
            (Self::Ignore, _) => None,
            (Self::Follow, Ok(operator)) => operator.telemetry_disabled.then_some(DisabledReason::Kamaji),
            (Self::Follow, Err(not_seen)) => Some(DisabledReason::OperatorUnknown(not_seen.clone())),
        }
    }
}

/// Says whether a switch with this value is set. Whatever does not plainly say no counts as yes: in doubt, nothing is
/// sent.
pub fn is_set(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "f" | "false" | "n" | "no" | "off")
}

impl DisabledReason {
    /// Says whether this is what somebody decided, rather than something that is amiss.
    pub fn is_decided(&self) -> bool {
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
            Self::OperatorUnknown(not_seen) => write!(
                f,
                "whether Kamaji's own telemetry is on can't be told: {not_seen}. Set --kamaji-namespace to where \
                 Kamaji runs, or --follow-kamaji-opt-out=false if this telemetry is not to depend on it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::KamajiVersion;

    fn operator(telemetry_disabled: bool) -> Operator {
        Operator { version: KamajiVersion::Unknown, telemetry_disabled }
    }

    #[test]
    fn every_switch_is_enough() {
        assert_eq!(OptOut::default().off(), None);
        let off = |switches: OptOut| switches.off().unwrap();
        assert_eq!(off(OptOut { disable_telemetry: true, ..OptOut::default() }), DisabledReason::DisableTelemetry);
        assert_eq!(off(OptOut { disabled_by_variable: true, ..OptOut::default() }), DisabledReason::DisabledByVariable);
        assert_eq!(off(OptOut { do_not_track: true, ..OptOut::default() }), DisabledReason::DoNotTrack);
        assert_eq!(off(OptOut { otel_sdk_disabled: true, ..OptOut::default() }), DisabledReason::OtelSdkDisabled);
    }

    #[test]
    fn following_kamaji_fails_closed() {
        let not_found = OperatorError::NotFound { namespace: "kamaji-system".to_owned() };
        assert_eq!(KamajiOptOut::Follow.off(&Ok(operator(false))), None);
        assert_eq!(KamajiOptOut::Follow.off(&Ok(operator(true))), Some(DisabledReason::Kamaji));
        let off = KamajiOptOut::Follow.off(&Err(not_found.clone())).unwrap();
        let message = off.to_string();
        assert!(message.contains("kamaji-system") && message.contains("--kamaji-namespace"), "{message}");
        assert!(message.contains("--follow-kamaji-opt-out=false"), "{message}");
        assert_eq!(KamajiOptOut::Ignore.off(&Ok(operator(true))), None);
        assert_eq!(KamajiOptOut::Ignore.off(&Err(not_found)), None);
    }
}
