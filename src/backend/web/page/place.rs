//! The pages of the navigation.

use std::iter::chain;

use crate::backend::insights::parameters::QuestionName;
use crate::backend::store::Role;

/// A page of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::web) enum Place {
    /// The answer to a question.
    Question(QuestionName),
    /// The list of installations.
    Installations,
    /// The audit log.
    AuditLog,
}

impl Place {
    /// Returns all pages, in the order of the navigation.
    pub(in crate::backend::web) fn all() -> impl Iterator<Item = Self> {
        chain(QuestionName::ALL.map(Self::Question), [Self::Installations, Self::AuditLog])
    }

    /// Returns the path.
    pub(in crate::backend::web) fn path(self) -> &'static str {
        match self {
            Self::Question(QuestionName::Overview) => "/",
            Self::Question(QuestionName::Versions) => "/insights/versions",
            Self::Question(QuestionName::TestMatrix) => "/insights/test-matrix",
            Self::Question(QuestionName::Health) => "/insights/health",
            Self::Question(QuestionName::Upgrades) => "/insights/upgrades",
            Self::Question(QuestionName::Deprecation) => "/insights/deprecation",
            Self::Question(QuestionName::Features) => "/insights/features",
            Self::Question(QuestionName::Coverage) => "/insights/coverage",
            Self::Installations => "/installations",
            Self::AuditLog => "/audit-log",
        }
    }

    /// Returns the name in the navigation.
    pub(in crate::backend::web) fn name(self) -> &'static str {
        match self {
            Self::Question(QuestionName::Overview) => "Overview",
            Self::Question(QuestionName::Versions) => "Versions",
            Self::Question(QuestionName::TestMatrix) => "Test matrix",
            Self::Question(QuestionName::Health) => "Health",
            Self::Question(QuestionName::Upgrades) => "Upgrades",
            Self::Question(QuestionName::Deprecation) => "Deprecation",
            Self::Question(QuestionName::Features) => "Features",
            Self::Question(QuestionName::Coverage) => "Coverage",
            Self::Installations => "Installations",
            Self::AuditLog => "Audit log",
        }
    }

    /// Returns the question that the page answers, which is its heading.
    pub(in crate::backend::web) fn question(self) -> &'static str {
        match self {
            Self::Question(QuestionName::Overview) => "What should be built, tested, fixed and deprecated next?",
            Self::Question(QuestionName::Versions) => "Which versions run, and how fast is a new one adopted?",
            Self::Question(QuestionName::TestMatrix) => "Which pairs of versions should be tested?",
            Self::Question(QuestionName::Health) => "Which release should be fixed?",
            Self::Question(QuestionName::Upgrades) => "Which upgrades are made, and how soon?",
            Self::Question(QuestionName::Deprecation) => "Which versions can be dropped, and when?",
            Self::Question(QuestionName::Features) => "Which features are used?",
            Self::Question(QuestionName::Coverage) => "How complete is the data?",
            Self::Installations => "Which installations report?",
            Self::AuditLog => "Who read or changed something?",
        }
    }

    /// Returns whether readers of a role see the page.
    pub(in crate::backend::web) fn is_for(self, role: Role) -> bool {
        !matches!(self, Self::Installations | Self::AuditLog) || role == Role::Admin
    }
}
