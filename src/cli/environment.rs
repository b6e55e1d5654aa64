//! Environment variables and the values of flags, as every command reads them.
//!
//! OpenTelemetry's specification applies to all variables: one that is set and empty is unset, and the words of a setting
//! are read in any case.
//!
//! Source: "Environment Variable Specification" of the OpenTelemetry specification.

use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::process::redact::{REDACTED, redacted};

/// Returns the value of a variable, or `None` if it is unset or empty.
#[cfg(feature = "agent")]
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

/// Prepares `command` and its subcommands for parsing. The help names variables without their values, which may be
/// secrets.
pub(super) fn prepare(command: Command) -> Command {
    prepare_with(command, &|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
}

/// Prepares `command` to be parsed without any variable.
#[cfg(feature = "agent")]
pub(super) fn prepare_without_variables(command: Command) -> Command {
    prepare_with(command, &|_| true)
}

fn prepare_with(command: Command, is_unset: &dyn Fn(&OsStr) -> bool) -> Command {
    let prepare_argument = |argument: Arg| {
        // A switch without a value has no case, which clap asserts.
        let has_case = argument.get_action().takes_values();
        let argument = argument.ignore_case(has_case).hide_env_values(true);
        let is_unset = argument.get_env().is_some_and(is_unset);
        if is_unset { argument.env(Resettable::Reset) } else { argument }
    };
    command.mut_args(prepare_argument).mut_subcommands(|subcommand| prepare_with(subcommand, is_unset))
}

/// Removes from an error what may be a secret: the values that clap repeats.
pub(super) fn without_secrets(mut error: clap::Error) -> clap::Error {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidSubcommand] {
        if let Some(ContextValue::String(value)) = error.get(kind) {
            let value = redacted(value).to_owned();
            error.insert(kind, ContextValue::String(value));
        }
    }
    if error.kind() == ErrorKind::UnknownArgument {
        // The suggestion to pass the argument as a value repeats it.
        error.remove(ContextKind::Suggested);
        if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) {
            let name = flag_name(argument).unwrap_or(REDACTED).to_owned();
            error.insert(ContextKind::InvalidArg, ContextValue::String(name));
        }
    }
    error
}

/// Returns the flag that an argument begins with, without its value.
fn flag_name(argument: &str) -> Option<&str> {
    let name = argument.split_once('=').map_or(argument, |(name, _)| name);
    let letters = name.strip_prefix('-')?;
    letters.chars().all(|c| c.is_ascii_lowercase() || c == '-').then_some(name)
}

#[cfg(test)]
#[cfg(all(feature = "agent", feature = "backend"))]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    fn error(arguments: &[&str]) -> String {
        let words = std::iter::once("kamaji-telemetry").chain(arguments.iter().copied());
        let error = prepare_without_variables(Cli::command()).try_get_matches_from(words).unwrap_err();
        without_secrets(error).to_string()
    }

    #[test]
    fn an_error_names_the_flag_and_no_value_that_may_be_a_secret() {
        for (arguments, named) in [
            (&["agent", "https://user:secret@host"][..], "unexpected argument"),
            (&["agent", "--endpont=https://user:secret@host"], "--endpont"),
            (&["agent", "--headers", "a=b", "secret"], "unexpected argument"),
            (&["agent", "-secret=1"], "unexpected argument"),
            (&["agent", "--timeout=https://user:secret@host"], "--timeout"),
            (&["agent", "--compression", "a=secret"], "--compression"),
            (&["agent", "--export-interval=Bearer secret"], "--export-interval"),
            (&["agent", "--leader-elect=a%40secret"], "--leader-elect"),
            (&["--token=secret", "agent"], "--token"),
            (&["https://user:secret@host"], "unrecognized subcommand"),
            (&["backend", "serve", "--public-url=https://user:secret@host"], "--public-url"),
            (&["backend", "serve", "--http-addr=https://user:secret@host"], "--http-addr"),
            (&["backend", "serve", "--trusted-proxy=https://user:secret@host"], "--trusted-proxy"),
            (&["backend", "token", "create", "--name=ktt_5f0c9a1e_secret00000000"], "--name"),
        ] {
            let error = error(arguments);
            assert!(error.contains(named) && !error.contains("secret"), "{error}");
        }
        assert!(error(&["agent", "--export-interval=5x"]).contains("'5x'"));
    }

    #[test]
    fn the_words_of_every_setting_are_read_in_any_case() {
        let parse = |arguments: &[&str]| {
            let words = std::iter::once("kamaji-telemetry").chain(arguments.iter().copied());
            prepare_without_variables(Cli::command()).try_get_matches_from(words)
        };
        for arguments in [
            &["agent", "--compression=GZIP", "--log-format=JSON", "--leader-elect=True", "--disable-telemetry=OFF"][..],
            &["agent", "--compression=None"],
            &["preview", "--output=Json"],
            &["status", "--output=TABLE"],
            &["catalog", "--output=JSON"],
            &["backend", "token", "create", "--name=a", "--role=Admin"],
        ] {
            assert!(parse(arguments).is_ok(), "{arguments:?}");
        }
    }

    /// Calls `check` with each argument of `command` and its subcommands.
    fn each_argument(command: &Command, check: &mut dyn FnMut(&Arg)) {
        command.get_arguments().for_each(&mut *check);
        command.get_subcommands().for_each(|subcommand| each_argument(subcommand, check));
    }

    #[test]
    fn every_empty_variable_is_unset_and_no_value_is_in_the_help() {
        let mut count = 0;
        each_argument(&prepare_without_variables(Cli::command()), &mut |argument| {
            assert_eq!(argument.get_env(), None, "{}", argument.get_id());
        });
        each_argument(&prepare(Cli::command()), &mut |argument| {
            count += usize::from(argument.get_env().is_some());
            assert!(argument.is_hide_env_values_set(), "{}", argument.get_id());
        });
        assert!(count > 40, "{count} arguments have a variable");
    }
}
