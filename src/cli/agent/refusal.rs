//! The check of an agent's command line, without running it.

use clap::error::ErrorKind;
use clap::{Arg, CommandFactory, FromArgMatches};

use crate::agent::status::AgentCommandLine;
use crate::cli::{Cli, Command, environment};

/// Returns the reason why an agent with this command line does not start, in the agent's own words. Files are not read,
/// because those of the agent may be elsewhere.
///
/// Returns `None` if it starts, and also if the command line is not one of an agent.
pub(in crate::cli) fn refusal(line: &AgentCommandLine) -> Option<String> {
    let command = environment::prepare_without_variables(Cli::command());
    let matches = command.try_get_matches_from(words(line));
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(Cli { command: Command::Agent(args), .. }) => {
            let variable = |name: &str| line.variables.get(name).filter(|value| !value.is_empty()).cloned();
            let checked = args.into_config(variable).and_then(|config| config.exporter.validate().map(drop));
            checked.err().map(|error| format!("{error:#}"))
        }
        Ok(_) => None,
        // The other of two flags that need each other may be in a variable whose value is not known.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument && !line.is_complete => None,
        Err(error) => Some(message(&environment::without_secrets(error))),
    }
}

/// Returns the words of the command line. A variable is appended as the flag that it stands for, unless that flag is set.
fn words(line: &AgentCommandLine) -> Vec<String> {
    let mut words = vec![env!("CARGO_PKG_NAME").to_owned()];
    words.extend(line.words.iter().cloned());
    let command = Cli::command();
    let agent = command.find_subcommand("agent");
    let arguments = command.get_arguments().chain(agent.into_iter().flat_map(clap::Command::get_arguments));
    let by_variable: Vec<_> = arguments.filter_map(|argument| by_variable(argument, line)).collect();
    words.extend(by_variable);
    words
}

/// Returns the argument that stands for a variable of the agent.
fn by_variable(argument: &Arg, line: &AgentCommandLine) -> Option<String> {
    let flag = format!("--{}", argument.get_long()?);
    let value = line.variables.get(argument.get_env()?.to_str()?).filter(|value| !value.is_empty())?;
    let sets_flag =
        |word: &String| word.strip_prefix(&flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
    (!line.words.iter().any(sets_flag)).then(|| format!("{flag}={value}"))
}

/// Returns the message of clap in one line, without its hints.
fn message(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let message = lines.collect::<Vec<_>>().join(" ");
    message.strip_prefix("error: ").unwrap_or(&message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str], variables: &[(&str, &str)]) -> Option<String> {
        let owned = |text: &&str| (*text).to_owned();
        refusal(&AgentCommandLine {
            words: words.iter().map(owned).collect(),
            variables: variables.iter().map(|(name, value)| (owned(name), owned(value))).collect(),
            is_complete: true,
        })
    }

    #[test]
    fn what_the_agent_refuses_is_found_in_arguments_and_variables() {
        for (words, variables, expected) in [
            (&["agent", "--endpoint=collector:4317"][..], &[][..], "has no scheme"),
            (&["agent"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/v1/metrics")], "path"),
            (&["agent"], &[("OTEL_EXPORTER_OTLP_HEADERS", "novalue")], "--headers"),
            (&["agent", "--namespace=A"], &[], "--namespace"),
            (&["agent"], &[("KAMAJI_TELEMETRY_KAMAJI_NAMESPACE", "a/b")], "--kamaji-namespace"),
            (&["agent", "--kamaji-version", "soon"], &[], "is no version"),
            (&["agent"], &[("KAMAJI_TELEMETRY_LEASE_DURATION", "1ms")], "--lease-duration"),
            (&["agent"], &[("KAMAJI_TELEMETRY_LOG_FORMAT", "xml")], "--log-format"),
            (&["agent"], &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a:1")], "one connection serves both"),
            (&["agent"], &[("OTEL_METRIC_EXPORT_INTERVAL", "soon")], "OTEL_METRIC_EXPORT_INTERVAL"),
            (&["agent"], &[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "a")], "--client-certificate-file"),
            (&["agent", "--ca-file=a"], &[], "plain HTTP"),
            (&["agent", "--extendet"], &[], "--extendet"),
        ] {
            let refused = refused(words, variables).unwrap_or_default();
            assert!(refused.contains(expected), "{words:?} {variables:?}: {refused:?}");
            assert!(!refused.contains('\n') && !refused.starts_with("error"), "{refused}");
        }
    }

    #[test]
    fn an_agent_that_starts_is_not_refused() {
        assert_eq!(refused(&["agent"], &[]), None);
        assert_eq!(refused(&["agent"], &[("OTEL_EXPORTER_OTLP_COMPRESSION", ""), ("POD_NAMESPACE", "")]), None);
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")];
        assert_eq!(
            refused(&["agent", "--endpoint=http://collector:4317"], &variables),
            None,
            "the flag takes precedence"
        );
        assert_eq!(
            refused(&["agent", "--ca-file=/nowhere", "--endpoint=https://a:1"], &[]),
            None,
            "files are not read"
        );
        assert_eq!(refused(&["agent", "--leader-elect"], &[("POD_NAME", "a")]), None);
        let with_secret = AgentCommandLine {
            words: vec!["agent".to_owned(), "--client-key-file=a".to_owned(), "--endpoint=https://a:1".to_owned()],
            is_complete: false,
            ..AgentCommandLine::default()
        };
        assert_eq!(refusal(&with_secret), None, "the certificate may be in a Secret");
    }
}
