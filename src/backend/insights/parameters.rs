//! The questions by name, and their parameters: what each takes, and its parsing.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::source_name;
use super::definitions::{By, Component, Window};
use super::test_matrix::Cover;
use crate::backend::store::SourceKind;

/// The maximum number of characters of a value that an error repeats.
const MAX_REPEATED: usize = 64;

/// A question by its name, as addresses and commands have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuestionName {
    /// The number of installations, and the four answers that maintainers decide by.
    Overview,
    /// Versions in use, and their adoption.
    Versions,
    /// Pairs of versions to test.
    TestMatrix,
    /// Versions that leave control planes stuck.
    Health,
    /// Upgrades of control planes by minor version.
    Upgrades,
    /// Minor versions that can be dropped, and when.
    Deprecation,
    /// Optional features in use.
    Features,
    /// The reach of the data, and its gaps.
    Coverage,
}

/// A parameter of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterName {
    /// The days up to the last complete day.
    Window,
    /// The kind of senders.
    Source,
    /// The unit by which shares are computed.
    By,
    /// The component whose versions are asked for.
    Component,
    /// The share of installations that a test matrix covers, in percent.
    Cover,
}

/// The parameters of a question. Those that it does not take have their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// The window.
    pub window: Window,
    /// The source.
    pub source: SourceKind,
    /// The unit of shares.
    pub by: By,
    /// The component.
    pub component: Component,
    /// The share to cover.
    pub cover: Cover,
}

/// The error of a parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error, ToSchema)]
#[error("{parameter}: {value:?} cannot be used; expected {expected}")]
pub struct ParameterError {
    /// The name of the parameter.
    pub parameter: String,
    /// The value; of a long one the beginning.
    pub value: String,
    /// The expected values, in words.
    pub expected: String,
}

/// A text that is no name of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no question: expected overview, versions, test-matrix, health, upgrades, deprecation, features or coverage")]
pub struct UnknownQuestion;

impl QuestionName {
    /// All questions, in the order of the navigation.
    pub const ALL: [Self; 8] = [
        Self::Overview,
        Self::Versions,
        Self::TestMatrix,
        Self::Health,
        Self::Upgrades,
        Self::Deprecation,
        Self::Features,
        Self::Coverage,
    ];

    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Versions => "versions",
            Self::TestMatrix => "test-matrix",
            Self::Health => "health",
            Self::Upgrades => "upgrades",
            Self::Deprecation => "deprecation",
            Self::Features => "features",
            Self::Coverage => "coverage",
        }
    }

    /// Returns the path of its answer in the API.
    pub const fn api_path(self) -> &'static str {
        match self {
            Self::Overview => "/api/v1/insights/overview",
            Self::Versions => "/api/v1/insights/versions",
            Self::TestMatrix => "/api/v1/insights/test-matrix",
            Self::Health => "/api/v1/insights/health",
            Self::Upgrades => "/api/v1/insights/upgrades",
            Self::Deprecation => "/api/v1/insights/deprecation",
            Self::Features => "/api/v1/insights/features",
            Self::Coverage => "/api/v1/insights/coverage",
        }
    }

    /// Returns the parameters that it takes.
    pub const fn parameters(self) -> &'static [ParameterName] {
        use ParameterName::{By, Component, Cover, Source, Window};
        match self {
            Self::Overview => &[Window, Source, By],
            Self::Versions => &[Window, Source, By, Component],
            Self::TestMatrix => &[Window, Source, By, Cover],
            Self::Health | Self::Upgrades | Self::Features => &[Window, Source],
            Self::Deprecation => &[Source, By, Component],
            Self::Coverage => &[Window],
        }
    }

    /// Returns the values that one of its parameters takes, the default first.
    pub fn values(self, parameter: ParameterName) -> Vec<&'static str> {
        match parameter {
            ParameterName::Window => self.windows().iter().map(|window| window.as_str()).collect(),
            // Kamaji counts what is being made as running, so that nothing of it is stuck.
            ParameterName::Source if self == Self::Health => vec![source_name(SourceKind::Agent)],
            ParameterName::Source => [SourceKind::Agent, SourceKind::Kamaji].map(source_name).to_vec(),
            ParameterName::By => [By::Installations, By::ControlPlanes].map(By::as_str).to_vec(),
            ParameterName::Component => [Component::Kamaji, Component::Kubernetes].map(Component::as_str).to_vec(),
            ParameterName::Cover => vec!["90", "80", "95"],
        }
    }

    /// Returns the windows that it takes, the default first. Distinct installations by pairs, sizes and trouble are
    /// kept for windows of 30 days at most.
    const fn windows(self) -> &'static [Window] {
        use Window::{Days7, Days30, Days90, Days365};
        match self {
            Self::TestMatrix | Self::Features => &[Days30, Days7],
            _ => &[Days30, Days7, Days90, Days365],
        }
    }

    /// Returns what one of its parameters takes, as an error states it.
    fn expected(self, parameter: ParameterName) -> String {
        let words = either(&self.values(parameter));
        if self == Self::Health && parameter == ParameterName::Source {
            return format!(
                "{words}: Kamaji's built-in telemetry counts what is being made as running, so nothing is stuck"
            );
        }
        words
    }
}

impl ParameterName {
    /// All parameters.
    pub const ALL: [Self; 5] = [Self::Window, Self::Source, Self::By, Self::Component, Self::Cover];

    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Source => "source",
            Self::By => "by",
            Self::Component => "component",
            Self::Cover => "cover",
        }
    }

    /// Returns a description.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Window => "Days up to the last complete UTC day.",
            Self::Source => {
                "Kind of the senders: this project's agent, or Kamaji's built-in telemetry. They are never added up."
            }
            Self::By => "Unit of counts and shares. By control planes, an installation weighs 1,000 at most.",
            Self::Component => "Component whose versions are asked for.",
            Self::Cover => "Share of the installations to cover, in percent.",
        }
    }
}

impl Parameters {
    /// Parses the parameters of a question. `others` are the names of further parameters, which an error lists as well.
    pub fn parse<'a>(
        question: QuestionName,
        given: impl IntoIterator<Item = (&'a str, &'a str)>,
        others: &[&str],
    ) -> Result<Self, ParameterError> {
        let mut parameters = Self::default_of(question);
        let mut known: Vec<ParameterName> = Vec::new();
        for (name, value) in given {
            let taken = question.parameters().iter().copied();
            let Some(parameter) = taken.clone().find(|parameter| parameter.as_str() == name) else {
                let mut names: Vec<&str> = taken.map(ParameterName::as_str).collect();
                names.extend(others);
                return Err(ParameterError::new(name, value, either(&names)));
            };
            if known.contains(&parameter) {
                return Err(ParameterError::new(name, value, format!("{name} once")));
            }
            known.push(parameter);
            if !question.values(parameter).contains(&value) {
                return Err(ParameterError::new(name, value, question.expected(parameter)));
            }
            parameters.set(parameter, value);
        }
        Ok(parameters)
    }

    /// Returns the defaults of a question.
    pub fn default_of(question: QuestionName) -> Self {
        Self {
            window: question.windows().first().copied().unwrap_or_default(),
            source: SourceKind::Agent,
            by: By::default(),
            component: Component::default(),
            cover: Cover::default(),
        }
    }

    /// Sets a parameter to one of the words that it takes.
    fn set(&mut self, parameter: ParameterName, word: &str) {
        match parameter {
            ParameterName::Window => self.window = word.parse().unwrap_or(self.window),
            ParameterName::Source if word == source_name(SourceKind::Kamaji) => self.source = SourceKind::Kamaji,
            ParameterName::Source => self.source = SourceKind::Agent,
            ParameterName::By => self.by = word.parse().unwrap_or(self.by),
            ParameterName::Component => self.component = word.parse().unwrap_or(self.component),
            ParameterName::Cover => self.cover = word.parse().unwrap_or(self.cover),
        }
    }

    /// Returns the value of a parameter.
    pub fn value(&self, parameter: ParameterName) -> String {
        match parameter {
            ParameterName::Window => self.window.as_str().to_owned(),
            ParameterName::Source => source_name(self.source).to_owned(),
            ParameterName::By => self.by.as_str().to_owned(),
            ParameterName::Component => self.component.as_str().to_owned(),
            ParameterName::Cover => self.cover.percent().to_string(),
        }
    }

    /// Returns the query of an address for these parameters of a question, such as `window=30d&source=agent`. No value
    /// needs an encoding.
    pub fn query(&self, question: QuestionName) -> String {
        let pairs =
            question.parameters().iter().map(|parameter| format!("{}={}", parameter.as_str(), self.value(*parameter)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

impl ParameterError {
    /// Creates the error of a value, which is cut if it is long. So is the name, which may be any text.
    pub fn new(parameter: &str, value: &str, expected: impl Into<String>) -> Self {
        Self { parameter: cut(parameter), value: cut(value), expected: expected.into() }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_REPEATED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns words as `a`, `a or b`, or `a, b or c`.
pub fn either(words: &[impl AsRef<str>]) -> String {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

impl FromStr for QuestionName {
    type Err = UnknownQuestion;

    fn from_str(text: &str) -> Result<Self, UnknownQuestion> {
        Self::ALL.into_iter().find(|question| question.as_str() == text).ok_or(UnknownQuestion)
    }
}

impl fmt::Display for QuestionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(question: QuestionName, given: &[(&str, &str)]) -> Result<Parameters, ParameterError> {
        Parameters::parse(question, given.iter().copied(), &["format"])
    }

    #[test]
    fn every_value_of_every_parameter_is_parsed_and_written_back() {
        for question in QuestionName::ALL {
            assert_eq!(question.as_str().parse(), Ok(question));
            assert_eq!(question.api_path(), format!("/api/v1/insights/{question}"));
            assert_eq!(parse(question, &[]), Ok(Parameters::default_of(question)));
            for parameter in question.parameters() {
                let values = question.values(*parameter);
                assert_eq!(values[0], Parameters::default_of(question).value(*parameter), "the default is first");
                for value in values {
                    let parsed = parse(question, &[(parameter.as_str(), value)]).unwrap();
                    assert_eq!(parsed.value(*parameter), value);
                    assert!(parsed.query(question).contains(&format!("{}={value}", parameter.as_str())));
                }
            }
        }
    }

    #[test]
    fn what_is_unknown_or_repeated_is_refused_with_what_was_expected() {
        let error = |question, given: &[_]| {
            let ParameterError { parameter, value, expected } = parse(question, given).unwrap_err();
            [parameter, value, expected]
        };
        let versions = QuestionName::Versions;
        assert_eq!(error(versions, &[("window", "1d")]), ["window", "1d", "30d, 7d, 90d or 365d"]);
        assert_eq!(error(versions, &[("window", "")]), ["window", "", "30d, 7d, 90d or 365d"]);
        assert_eq!(error(versions, &[("cover", "90")]), ["cover", "90", "window, source, by, component or format"]);
        assert_eq!(error(versions, &[("by", "installations"), ("by", "installations")])[2], "by once");
        assert_eq!(error(QuestionName::TestMatrix, &[("window", "90d")])[2], "30d or 7d");
        assert!(error(QuestionName::Health, &[("source", "kamaji")])[2].starts_with("agent: Kamaji's"));
    }

    #[test]
    fn an_error_repeats_the_beginning_of_a_long_value() {
        let long = "ä".repeat(10_000);
        let ParameterError { parameter, value, .. } = parse(QuestionName::Health, &[(&long, &long)]).unwrap_err();
        assert_eq!([parameter, value], [(); 2].map(|()| format!("{}…", "ä".repeat(64))));
    }
}
