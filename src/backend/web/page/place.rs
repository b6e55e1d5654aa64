//! The pages of the navigation.

use crate::backend::insights::parameters::QuestionName;
use crate::backend::store::Role;

/// A page of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::web) enum Place {
    /// The four answers.
    Overview,
    /// Versions in use, and their adoption.
    Versions,
    /// The pairs of versions to test.
    TestMatrix,
    /// Stuck control planes by version.
    Health,
    /// Upgrades made.
    Upgrades,
    /// Versions that can be dropped.
    Deprecation,
    /// Drivers, profiles, and other features.
    Features,
    /// The reach and the gaps of the data.
    Coverage,
    /// The list of installations.
    Installations,
    /// The audit log.
    AuditLog,
}

impl From<QuestionName> for Place {
    fn from(question: QuestionName) -> Self {
        match question {
            QuestionName::Overview => Self::Overview,
            QuestionName::Versions => Self::Versions,
            QuestionName::TestMatrix => Self::TestMatrix,
            QuestionName::Health => Self::Health,
            QuestionName::Upgrades => Self::Upgrades,
            QuestionName::Deprecation => Self::Deprecation,
            QuestionName::Features => Self::Features,
            QuestionName::Coverage => Self::Coverage,
        }
    }
}

impl Place {
    /// All pages, in the order of the navigation.
    pub(in crate::backend::web) const ALL: [Self; 10] = [
        Self::Overview,
        Self::Versions,
        Self::TestMatrix,
        Self::Health,
        Self::Upgrades,
        Self::Deprecation,
        Self::Features,
        Self::Coverage,
        Self::Installations,
        Self::AuditLog,
    ];

    /// Returns the path.
    pub(in crate::backend::web) fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Versions => "/insights/versions",
            Self::TestMatrix => "/insights/test-matrix",
            Self::Health => "/insights/health",
            Self::Upgrades => "/insights/upgrades",
            Self::Deprecation => "/insights/deprecation",
            Self::Features => "/insights/features",
            Self::Coverage => "/insights/coverage",
            Self::Installations => "/installations",
            Self::AuditLog => "/audit-log",
        }
    }

    /// Returns the name in the navigation.
    pub(in crate::backend::web) fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Versions => "Versions",
            Self::TestMatrix => "Test matrix",
            Self::Health => "Health",
            Self::Upgrades => "Upgrades",
            Self::Deprecation => "Deprecation",
            Self::Features => "Features",
            Self::Coverage => "Coverage",
            Self::Installations => "Installations",
            Self::AuditLog => "Audit log",
        }
    }

    /// Returns the question that the page answers, which is its heading.
    pub(in crate::backend::web) fn question(self) -> &'static str {
        match self {
            Self::Overview => "What should be built, tested, fixed and deprecated next?",
            Self::Versions => "Which versions run, and how fast is a new one adopted?",
            Self::TestMatrix => "Which pairs of versions should be tested?",
            Self::Health => "Which release should be fixed?",
            Self::Upgrades => "Which upgrades are made, and how soon?",
            Self::Deprecation => "Which versions can be dropped, and when?",
            Self::Features => "Which features are used?",
            Self::Coverage => "How complete is the data?",
            Self::Installations => "Which installations report?",
            Self::AuditLog => "Who read or changed something?",
        }
    }

    /// Returns whether readers of a role see the page.
    pub(in crate::backend::web) fn is_for(self, role: Role) -> bool {
        !matches!(self, Self::Installations | Self::AuditLog) || role == Role::Admin
    }
}
