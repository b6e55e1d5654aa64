//! Whether telemetry is on. Every switch is enough to turn it off, and none can be overridden by another.

use std::fmt;

use super::cluster::Look;
use super::cluster::operator::{NotSeen, Operator};

/// The variable beside `--disable-telemetry`.
pub const DISABLE_TELEMETRY: &str = "KAMAJI_TELEMETRY_DISABLE_TELEMETRY";

/// The operator's own switches, as they were given at the start.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switches {
    /// `--disable-telemetry`
    pub disable_telemetry: bool,
    /// `KAMAJI_TELEMETRY_DISABLE_TELEMETRY`
    pub disabled_by_variable: bool,
    /// `DO_NOT_TRACK`
    pub do_not_track: bool,
    /// `OTEL_SDK_DISABLED`
    pub otel_sdk_disabled: bool,
}

/// What Kamaji's own `--disable-telemetry` means for this telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KamajiFlag {
    /// Where Kamaji's own telemetry is off, so is this one; where that can't be told, too.
    Follow,
    /// Kamaji's own telemetry is off because this one replaces it.
    Replaces,
}

/// Why telemetry is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Off {
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
    KamajiNotSeen(NotSeen),
}

impl Switches {
    /// Why these alone turn telemetry off, if they do.
    pub fn off(self) -> Option<Off> {
        let Self { disable_telemetry, disabled_by_variable, do_not_track, otel_sdk_disabled } = self;
        [
            (disable_telemetry, Off::DisableTelemetry),
            (disabled_by_variable, Off::DisabledByVariable),
            (do_not_track, Off::DoNotTrack),
            (otel_sdk_disabled, Off::OtelSdkDisabled),
        ]
        .into_iter()
        .find_map(|(is_on, off)| is_on.then_some(off))
    }
}

impl KamajiFlag {
    /// Says whether consent can be told from `look`. Where the cluster can't be read for the moment, Kamaji's operator may
    /// have been told to send nothing.
    pub fn can_tell(self, look: &Look) -> bool {
        self == Self::Replaces || !look.is_passing()
    }

    /// Why Kamaji's operator, as it was last seen, turns telemetry off, if it does.
    pub fn off(self, operator: &Result<Operator, NotSeen>) -> Option<Off> {
        match (self, operator) {
            (Self::Replaces, _) => None,
            (Self::Follow, Ok(operator)) => operator.telemetry_disabled.then_some(Off::Kamaji),
            (Self::Follow, Err(not_seen)) => Some(Off::KamajiNotSeen(not_seen.clone())),
        }
    }
}

/// Says whether a switch with this value is set. Whatever does not plainly say no counts as yes: in doubt, nothing is
/// sent.
pub fn is_set(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "f" | "false" | "n" | "no" | "off")
}

impl Off {
    /// Says whether this is what somebody decided, rather than something that is amiss.
    pub fn is_decided(&self) -> bool {
        !matches!(self, Self::KamajiNotSeen(_))
    }
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DisableTelemetry => f.write_str("--disable-telemetry is set"),
            Self::DisabledByVariable => write!(f, "{DISABLE_TELEMETRY} is set"),
            Self::DoNotTrack => f.write_str("DO_NOT_TRACK is set"),
            Self::OtelSdkDisabled => f.write_str("OTEL_SDK_DISABLED is set"),
            Self::Kamaji => f.write_str("Kamaji's operator runs with --disable-telemetry"),
            Self::KamajiNotSeen(not_seen) => write!(
                f,
                "whether Kamaji's own telemetry is on can't be told: {not_seen}. Set --kamaji-namespace to where \
                 Kamaji runs, or --kamaji-flag=replaces if this telemetry is not to depend on it"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::KamajiVersion;

    fn operator(telemetry_disabled: bool) -> Operator {
        Operator { version: KamajiVersion::Unknown, telemetry_disabled }
    }

    #[test]
    fn every_switch_is_enough() {
        assert_eq!(Switches::default().off(), None);
        let off = |switches: Switches| switches.off().unwrap();
        assert_eq!(off(Switches { disable_telemetry: true, ..Switches::default() }), Off::DisableTelemetry);
        assert_eq!(off(Switches { disabled_by_variable: true, ..Switches::default() }), Off::DisabledByVariable);
        assert_eq!(off(Switches { do_not_track: true, ..Switches::default() }), Off::DoNotTrack);
        assert_eq!(off(Switches { otel_sdk_disabled: true, ..Switches::default() }), Off::OtelSdkDisabled);
    }

    #[test]
    fn following_kamaji_fails_closed() {
        let not_found = NotSeen::NotFound { namespace: "kamaji-system".to_owned() };
        assert_eq!(KamajiFlag::Follow.off(&Ok(operator(false))), None);
        assert_eq!(KamajiFlag::Follow.off(&Ok(operator(true))), Some(Off::Kamaji));
        let off = KamajiFlag::Follow.off(&Err(not_found.clone())).unwrap();
        let message = off.to_string();
        assert!(message.contains("kamaji-system") && message.contains("--kamaji-namespace"), "{message}");
        assert!(message.contains("--kamaji-flag=replaces"), "{message}");
        assert_eq!(KamajiFlag::Replaces.off(&Ok(operator(true))), None);
        assert_eq!(KamajiFlag::Replaces.off(&Err(not_found)), None);
    }
}
