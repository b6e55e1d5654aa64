//! The command line of Kamaji's operator, as Kubernetes and Go read it.
//!
//! Kubernetes replaces `$(NAME)` in `command` and `args` by the container's variables. Only variables with a literal value
//! are known here. A word that depends on another variable leaves the command line undecidable.

use std::collections::HashMap;
use std::fmt;

use crate::agent::kubernetes::deployment::Container;

/// The flag of the operator that turns its telemetry off, in both spellings that Go's flag packages accept.
const FLAGS: [&str; 2] = ["--disable-telemetry", "-disable-telemetry"];

/// The name of Kamaji's program.
const PROGRAM: &str = "kamaji";

/// The subcommand that runs the operator.
const MANAGER: &str = "manager";

/// The other subcommands of Kamaji's program: their containers are not the operator.
const OTHER_SUBCOMMANDS: [&str; 2] = ["kubeconfig-generator", "migrate"];

/// The limit on the characters of a word in a message.
const MAX_WORD: usize = 60;

/// The reason why a Deployment leaves open how Kamaji's operator runs.
///
/// Words are kept up to the first character that a flag's or program's name does not have, because the rest may be a
/// secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undecidable {
    /// The word refers to a variable that has no literal value.
    Variable(String),
    /// The word is a program other than Kamaji's, such as a shell or a wrapper.
    Program(String),
    /// The word is in the position of the subcommand `manager`.
    Subcommand(String),
    /// There are no arguments, so that the command line is that of the image.
    NoArguments,
    /// The container runs `manager` from an image that is not Kamaji's, in a Deployment without Kamaji's label.
    UnknownImage,
    /// The Deployment has Kamaji's label, and no container that is known to be Kamaji's.
    OnlyLabelled,
}

/// The role of a container in the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ContainerRole {
    /// It runs the operator.
    Operator {
        /// True if the operator runs with `--disable-telemetry`.
        telemetry_disabled: bool,
    },
    /// It runs another subcommand of Kamaji's program.
    OtherSubcommand,
    /// It does not run Kamaji's program.
    Foreign,
    /// It may run the operator, but the command line leaves open how.
    Undecidable(Undecidable),
}

/// Returns the role of `container`. `is_kamaji_image` tells whether its image is Kamaji's, so that Kamaji's program is
/// the entry point of a container without a command. `is_kamaji_deployment` tells whether its Deployment is said to be
/// Kamaji's, by a label or by the flag that names it: then `manager` is Kamaji's subcommand in any image.
pub(super) fn role(container: &Container, is_kamaji_image: bool, is_kamaji_deployment: bool) -> ContainerRole {
    let variables = Variables::new(container);
    let mut words = command_line(container);
    let has_command = container.command.iter().flatten().next().is_some();
    if has_command {
        let program = words.next().unwrap_or_default();
        match variables.expand(program) {
            Expanded::Literal(path) if base_name(&path) == PROGRAM => {}
            _ if !is_kamaji_image && !mentions_operator(command_line(container)) => return ContainerRole::Foreign,
            Expanded::Literal(_) => return Undecidable::Program(printable(program)).into(),
            Expanded::Unknown { .. } => return Undecidable::Variable(printable(program)).into(),
        }
    }
    let is_kamaji = is_kamaji_image || has_command;
    let Some(word) = words.next() else {
        return if is_kamaji { Undecidable::NoArguments.into() } else { ContainerRole::Foreign };
    };
    match variables.expand(word) {
        // Other operators have a subcommand of this name too, and their flags say nothing about Kamaji's.
        Expanded::Literal(subcommand) if subcommand == MANAGER && !is_kamaji && !is_kamaji_deployment => {
            Undecidable::UnknownImage.into()
        }
        Expanded::Literal(subcommand) if subcommand == MANAGER => match read_flags(words, &variables) {
            Ok(telemetry_disabled) => ContainerRole::Operator { telemetry_disabled },
            Err(undecidable) => undecidable.into(),
        },
        _ if !is_kamaji => ContainerRole::Foreign,
        Expanded::Literal(subcommand) if OTHER_SUBCOMMANDS.contains(&subcommand.as_str()) => {
            ContainerRole::OtherSubcommand
        }
        Expanded::Literal(_) => Undecidable::Subcommand(printable_subcommand(word)).into(),
        Expanded::Unknown { .. } => Undecidable::Variable(printable(word)).into(),
    }
}

/// Returns whether `container` runs with `--disable-telemetry`, whatever its program is.
///
/// # Errors
///
/// Fails if the flag may be in a word that depends on a variable without a literal value.
pub fn has_disable_flag(container: &Container) -> Result<bool, Undecidable> {
    read_flags(command_line(container), &Variables::new(container))
}

/// Returns the words of the command line with their variables expanded, and the variables themselves, as far as their values
/// are literal.
///
/// Returns `None` if a word depends on a variable without a literal value.
pub fn literal(container: &Container) -> Option<(Vec<String>, HashMap<String, String>)> {
    let variables = Variables::new(container);
    let words = command_line(container).map(|word| match variables.expand(word) {
        Expanded::Literal(literal) => Some(literal),
        Expanded::Unknown { .. } => None,
    });
    Some((words.collect::<Option<_>>()?, variables.0))
}

/// Returns the words of the command line, as the manifest contains them.
fn command_line(container: &Container) -> impl Iterator<Item = &str> {
    container.command.iter().chain(&container.args).flatten().map(String::as_str)
}

/// Returns whether another program may start the operator: a shell whose script runs it, or a wrapper before it.
fn mentions_operator<'a>(words: impl Iterator<Item = &'a str>) -> bool {
    let mut is_program_seen = false;
    words.flat_map(str::split_whitespace).any(|word| {
        let is_manager = is_program_seen && word == MANAGER;
        is_program_seen |= base_name(word) == PROGRAM;
        is_manager
    })
}

fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Returns the beginning of a word that can be logged: up to the end of its first reference to a variable.
fn printable(word: &str) -> String {
    let is_of_name = |c: &char| c.is_ascii_alphanumeric() || "-_./$()".contains(*c);
    let end = word.find(')').map_or(word.len(), |position| position + 1);
    word[..end].chars().take_while(is_of_name).take(MAX_WORD).collect()
}

/// Returns an argument in the place of a subcommand if it looks like one. Anything else may be a secret.
fn printable_subcommand(word: &str) -> String {
    let name = word.split_once('=').map_or(word, |(name, _)| name);
    let is_subcommand = name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    if is_subcommand { name.chars().take(MAX_WORD).collect() } else { "…".to_owned() }
}

/// Reads the flags as Go's `pflag` does: alone or with `=` and one of Go's words for a boolean, the last one wins, and
/// parsing ends at `--`. One dash, which only other flag packages of Go accept, can disable telemetry and not enable it.
///
/// A value that Go rejects prevents the operator from starting; it is read as disabled. The word after a flag without
/// `=` may be its value, and then neither ends the flags nor sets one: there, only words that disable telemetry count.
fn read_flags<'a>(words: impl Iterator<Item = &'a str>, variables: &Variables) -> Result<bool, Undecidable> {
    let mut telemetry_disabled = false;
    let mut may_be_value = false;
    for word in words {
        let literal = match variables.expand(word) {
            Expanded::Literal(literal) => literal,
            Expanded::Unknown { prefix } if may_be_flag(&prefix) => return Err(Undecidable::Variable(printable(word))),
            Expanded::Unknown { prefix } => prefix,
        };
        if literal == "--" && !may_be_value {
            break;
        }
        let may_enable = !may_be_value && literal.starts_with("--");
        let value = flag_value(&literal).filter(|is_disabled| *is_disabled || may_enable);
        telemetry_disabled = value.unwrap_or(telemetry_disabled);
        may_be_value = literal.starts_with('-') && !literal.contains('=') && !FLAGS.contains(&literal.as_str());
    }
    Ok(telemetry_disabled)
}

/// Returns the value of the flag if `word` sets it.
fn flag_value(word: &str) -> Option<bool> {
    let value = FLAGS.into_iter().find_map(|flag| word.strip_prefix(flag))?;
    match value.strip_prefix('=') {
        Some(value) => Some(!matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False")),
        // Another flag goes on with a dash. Whatever else follows the name, pflag rejects.
        None => (!value.starts_with('-')).then_some(true),
    }
}

/// Returns whether a word that begins with `prefix` can set the flag, or end the flags.
fn may_be_flag(prefix: &str) -> bool {
    FLAGS
        .into_iter()
        .any(|flag| flag.starts_with(prefix) || prefix.strip_prefix(flag).is_some_and(|value| value.starts_with('=')))
}

/// A word after the expansion of its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expanded {
    Literal(String),
    /// The word refers to a variable without a known value.
    Unknown {
        /// The text before that variable.
        prefix: String,
    },
}

/// The variables of a container whose values are literal.
struct Variables(HashMap<String, String>);

impl Variables {
    /// Expands the values in their order: a value may refer to variables before it. A later variable of the same name
    /// replaces an earlier one, even if its value is not known.
    fn new(container: &Container) -> Self {
        let mut variables = Self(HashMap::new());
        for variable in container.env.iter().flatten() {
            let name = &variable.name;
            let expanded = if variable.is_reference() {
                Expanded::Unknown { prefix: String::new() }
            } else {
                variables.expand(variable.value.as_deref().unwrap_or_default())
            };
            match expanded {
                Expanded::Literal(value) => variables.0.insert(name.clone(), value),
                Expanded::Unknown { .. } => variables.0.remove(name),
            };
        }
        variables
    }

    /// Expands `$(NAME)` and `$$` as Kubernetes does.
    ///
    /// Source: `third_party/forked/golang/expansion` of Kubernetes. It leaves a reference to an undefined variable as it
    /// is. Here such a variable may come from `envFrom`, or from a Service of the namespace, and is unknown.
    fn expand(&self, word: &str) -> Expanded {
        let mut expanded = String::with_capacity(word.len());
        let mut rest = word;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            if let Some(escaped) = after.strip_prefix('$') {
                expanded.push('$');
                rest = escaped;
            } else if let Some((name, after)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) {
                let Some(value) = self.0.get(name) else { return Expanded::Unknown { prefix: expanded } };
                expanded.push_str(value);
                rest = after;
            } else {
                expanded.push('$');
                rest = after;
            }
        }
        expanded.push_str(rest);
        Expanded::Literal(expanded)
    }
}

impl From<Undecidable> for ContainerRole {
    fn from(undecidable: Undecidable) -> Self {
        Self::Undecidable(undecidable)
    }
}

impl fmt::Display for Undecidable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(word) => {
                write!(f, "the word {word:?} of its command line depends on a variable without a literal value")
            }
            Self::Program(word) => write!(f, "it is started by {word:?}, expected Kamaji's own program"),
            Self::Subcommand(word) => write!(f, "its first argument is {word:?}, expected \"{MANAGER}\""),
            Self::NoArguments => write!(f, "it has no arguments, expected \"{MANAGER}\" and its flags"),
            Self::UnknownImage => write!(
                f,
                "it runs \"{MANAGER}\" from an image that is not called {PROGRAM:?}; --kamaji-deployment names it as Kamaji's"
            ),
            Self::OnlyLabelled => write!(f, "it has Kamaji's label and does not run \"{PROGRAM} {MANAGER}\""),
        }
    }
}

#[cfg(test)]
mod tests;
