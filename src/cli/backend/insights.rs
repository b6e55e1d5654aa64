//! `kamaji-telemetry backend insights`

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::StoreArgs;
use crate::backend::admin;
use crate::backend::insights::parameters::{ParameterName, Parameters, QuestionName, either};
use crate::backend::insights::render::AnswerFormat;
use crate::cli::{UsageError, print};

#[derive(Debug, Args)]
pub(super) struct InsightsArgs {
    /// Question.
    #[arg(value_name = "NAME", value_parser = question())]
    question: QuestionName,
    /// Days up to the last complete UTC day: 7d, 30d, 90d or 365d; some questions take the first two alone.
    #[arg(long, value_name = "DAYS")]
    window: Option<String>,
    /// Kind of the senders: agent, or kamaji for its built-in telemetry.
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Unit of counts and shares: installations or control-planes.
    #[arg(long, value_name = "UNIT")]
    by: Option<String>,
    /// Component whose versions are asked for: kamaji or kubernetes.
    #[arg(long, value_name = "COMPONENT")]
    component: Option<String>,
    /// Share of the installations that the test matrix covers, in percent: 80, 90 or 95.
    #[arg(long, value_name = "PERCENT")]
    cover: Option<String>,
    /// Format of the answer.
    #[arg(long, value_enum, default_value = "table")]
    format: FormatArg,
    /// Fewest installations of which a version is shown by its name; the others are shown as other.
    #[arg(long, env = "KAMAJI_TELEMETRY_MIN_VERSION_INSTALLATIONS", default_value = "3", value_name = "NUMBER")]
    min_version_installations: u64,
    #[command(flatten)]
    store: StoreArgs,
}

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// A sentence, and columns for people.
    Table,
    /// One JSON object, as the API sends it.
    Json,
    /// The rows as CSV, as the API sends them.
    Csv,
    /// The test matrix in one line, for `fromJSON` of GitHub Actions.
    Github,
}

/// Parses the name of a question.
fn question() -> impl TypedValueParser<Value = QuestionName> {
    PossibleValuesParser::new(QuestionName::ALL.map(QuestionName::as_str)).try_map(|name| name.parse::<QuestionName>())
}

/// Answers a question.
pub(super) async fn run(args: InsightsArgs) -> anyhow::Result<()> {
    let InsightsArgs {
        question,
        window,
        source,
        by,
        component,
        cover,
        format,
        min_version_installations: min_installations,
        store,
    } = args;
    let flags = [
        (ParameterName::Window, window),
        (ParameterName::Source, source),
        (ParameterName::By, by),
        (ParameterName::Component, component),
        (ParameterName::Cover, cover),
    ];
    let given = flags.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let parameters = parse(question, given, format)?;
    print(&admin::insights::answer(store.location()?, question, parameters, min_installations, format.into()).await?)
}

/// Parses the flags of a question.
fn parse<'a>(
    question: QuestionName,
    given: impl Iterator<Item = (ParameterName, &'a str)> + Clone,
    format: FormatArg,
) -> Result<Parameters, UsageError> {
    let taken = question.parameters();
    if let Some((name, _)) = given.clone().find(|(name, _)| !taken.contains(name)) {
        let taken: Vec<_> = taken.iter().map(|name| format!("--{}", name.as_str())).collect();
        return Err(UsageError(format!(
            "--{}: {question} does not take it; expected {}",
            name.as_str(),
            either(&taken)
        )));
    }
    if format == FormatArg::Github && question != QuestionName::TestMatrix {
        return Err(UsageError(format!("--format: {question} has no github; expected table, json or csv")));
    }
    let given = given.map(|(name, value)| (name.as_str(), value));
    Parameters::parse(question, given, &[]).map_err(|error| UsageError(format!("--{error}")))
}

impl From<FormatArg> for AnswerFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Table => Self::Table,
            FormatArg::Json => Self::Json,
            FormatArg::Csv => Self::Csv,
            FormatArg::Github => Self::Github,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_cannot_be_used_is_named_with_what_was_expected() {
        let error = |question, name, value, format| parse(question, [(name, value)].into_iter(), format).unwrap_err().0;
        assert_eq!(
            error(QuestionName::Versions, ParameterName::Window, "1d", FormatArg::Table),
            "--window: \"1d\" cannot be used; expected 30d, 7d, 90d or 365d"
        );
        assert_eq!(
            error(QuestionName::Health, ParameterName::Cover, "80", FormatArg::Table),
            "--cover: health does not take it; expected --window or --source"
        );
        assert_eq!(
            error(QuestionName::Health, ParameterName::Window, "7d", FormatArg::Github),
            "--format: health has no github; expected table, json or csv"
        );
    }

    #[test]
    fn every_parameter_of_a_question_is_a_flag() {
        let command = InsightsArgs::augment_args(clap::Command::new("insights"));
        for parameter in ParameterName::ALL {
            assert!(command.get_arguments().any(|flag| flag.get_long() == Some(parameter.as_str())), "{parameter:?}");
        }
    }
}
