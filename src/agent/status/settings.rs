//! The switches of an agent, as its Deployment sets them.

use std::path::Path;

use clap::Command;
use clap::builder::{BoolishValueParser, TypedValueParser};

use super::AgentCommandLine;
use crate::agent::consent::{DISABLE_TELEMETRY, KamajiOptOut, is_set};
use crate::agent::kubernetes::deployment::{Container, Deployment, EnvVar};
use crate::agent::kubernetes::operator;
use crate::catalog::KamajiVersion;

const SWITCHES: [&str; 3] = [DISABLE_TELEMETRY, "DO_NOT_TRACK", "OTEL_SDK_DISABLED"];
const FOLLOW_FLAG: &str = "--follow-kamaji-opt-out";
const FOLLOW_VARIABLE: &str = "KAMAJI_TELEMETRY_FOLLOW_KAMAJI_OPT_OUT";

/// The settings that decide whether telemetry is on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// The switch of the agent that turns telemetry off, or the setting that keeps it from starting.
    pub(super) disabled_reason: Option<String>,
    /// The reason why some of the agent's switches could not be read.
    pub(super) unverified: Option<String>,
    /// The value of `--follow-kamaji-opt-out`, if it is set.
    pub(super) kamaji_opt_out: Option<KamajiOptOut>,
    /// The value of `--kamaji-namespace`, if it is set.
    pub(super) kamaji_namespace: Option<String>,
    /// The value of `--kamaji-deployment`, if it is set.
    pub(super) kamaji_deployment: Option<String>,
    /// The value of `--kamaji-version`, if it is set.
    pub(super) kamaji_version: Option<KamajiVersion>,
}

impl Settings {
    /// Creates the settings of an agent whose Deployment could not be read.
    pub(super) fn unverified(reason: &str) -> Self {
        Self { unverified: Some(reason.to_owned()), ..Self::default() }
    }

    /// Reads the arguments and the variables of every container.
    ///
    /// An argument takes precedence over its variable, as it does in the agent. The switches that turn telemetry off
    /// are the exception: each of them suffices. `refusal` is the agent's own check.
    pub(super) fn from_deployment(
        deployment: &Deployment,
        refusal: impl Fn(&AgentCommandLine) -> Option<String>,
    ) -> Self {
        let containers: Vec<_> = deployment.containers().collect();
        let variable =
            |name: &str| containers.iter().copied().flat_map(variables).find(|variable| variable.name == name);
        let value = |name: &str| variable(name).and_then(|variable| variable.value.clone());
        let argument = |flag: &str| containers.iter().find_map(|container| argument(container, flag));
        let flags: Vec<_> = containers.iter().copied().map(operator::has_disable_flag).collect();
        // A value that the agent rejects keeps it from starting: telemetry is off then, too.
        let by_argument = boolean_argument(&containers, "--disable-telemetry")
            .map_or_else(|| flags.contains(&Ok(true)), |value| parse_boolean(&value).unwrap_or(true));
        let by_variable = SWITCHES.into_iter().find(|name| value(name).is_some_and(|value| is_set(&value)));
        let switch = if by_argument { Some("--disable-telemetry") } else { by_variable };
        let by_reference = SWITCHES.into_iter().find(|name| variable(name).is_some_and(EnvVar::is_reference));
        let has_env_from = containers.iter().any(|container| container.has_env_from());
        let undecidable = flags.into_iter().find_map(Result::err).map(|undecidable| undecidable.to_string());
        let unverified = by_reference.map(|name| format!("{name} comes from another object")).or(undecidable);
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        let refused = || containers.iter().copied().filter_map(agent_command_line).find_map(|line| refusal(&line));
        let refused = || refused().map(|error| format!("the agent of the Deployment {name:?} does not start: {error}"));
        Self {
            disabled_reason: switch
                .map(|switch| format!("{switch} is set in the Deployment {name:?}"))
                .or_else(refused),
            unverified: unverified
                .or_else(|| has_env_from.then(|| "variables come from other objects (envFrom)".to_owned())),
            kamaji_opt_out: boolean_argument(&containers, FOLLOW_FLAG)
                .or_else(|| value(FOLLOW_VARIABLE))
                .and_then(|value| parse_boolean(&value))
                .map(KamajiOptOut::from),
            kamaji_namespace: argument("--kamaji-namespace").or_else(|| value("KAMAJI_TELEMETRY_KAMAJI_NAMESPACE")),
            kamaji_deployment: argument("--kamaji-deployment")
                .or_else(|| value("KAMAJI_TELEMETRY_KAMAJI_DEPLOYMENT"))
                .filter(|name| !name.is_empty()),
            kamaji_version: argument("--kamaji-version")
                .or_else(|| value("KAMAJI_TELEMETRY_KAMAJI_VERSION"))
                .map(|version| KamajiVersion::normalize(&version)),
        }
    }
}

/// Returns the command line of an agent's container, unless it depends on other objects.
fn agent_command_line(container: &Container) -> Option<AgentCommandLine> {
    let (mut words, literal_variables) = operator::literal(container)?;
    if container.command.iter().flatten().next().is_some() {
        let program = words.remove(0);
        // Another program may have a command of the same name, such as a sidecar's.
        if Path::new(&program).file_name().is_none_or(|name| name != env!("CARGO_PKG_NAME")) {
            return None;
        }
    }
    let is_complete = !container.has_env_from()
        && variables(container).all(|variable| literal_variables.contains_key(&variable.name));
    let is_agent = words.iter().any(|word| word == "agent");
    is_agent.then_some(AgentCommandLine { words, variables: literal_variables, is_complete })
}

fn variables(container: &Container) -> impl Iterator<Item = &EnvVar> {
    container.env.iter().flatten()
}

/// Parses a boolean as the agent's flags do.
fn parse_boolean(value: &str) -> Option<bool> {
    BoolishValueParser::new().parse_ref(&Command::new(""), None, value.as_ref()).ok()
}

/// Returns the value of a boolean flag: the part after its equals sign, or `true` for the flag alone. The last
/// occurrence wins.
fn boolean_argument(containers: &[&Container], flag: &str) -> Option<String> {
    let arguments = containers.iter().flat_map(|container| container.command.iter().chain(&container.args).flatten());
    let mut values = arguments.filter_map(|argument| match argument.strip_prefix(flag)? {
        "" => Some("true".to_owned()),
        rest => rest.strip_prefix('=').map(str::to_owned),
    });
    values.next_back()
}

/// Returns the value of a flag: the next argument, or the part after its equals sign.
fn argument(container: &Container, flag: &str) -> Option<String> {
    let mut arguments = container.command.iter().chain(&container.args).flatten();
    while let Some(argument) = arguments.next() {
        if argument == flag {
            return arguments.next().cloned();
        }
        if let Some(value) = argument.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(container: &Value) -> Settings {
        let deployment = json!({
            "metadata": {"name": "agent"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "relay"}, container]}}},
        });
        let refusal = |line: &AgentCommandLine| line.words.contains(&"refused".to_owned()).then(|| "no".to_owned());
        Settings::from_deployment(&serde_json::from_value(deployment).unwrap(), refusal)
    }

    #[test]
    fn an_agent_that_does_not_start_is_reported_unless_a_switch_turns_it_off() {
        let refused = settings(&json!({"name": "a", "command": ["/kamaji-telemetry"], "args": ["agent", "refused"]}));
        assert_eq!(refused.disabled_reason.unwrap(), "the agent of the Deployment \"agent\" does not start: no");
        let off = settings(&json!({"name": "a", "args": ["agent", "refused", "--disable-telemetry"]}));
        assert!(off.disabled_reason.unwrap().starts_with("--disable-telemetry is set"));
        let other = settings(&json!({"name": "a", "args": ["serve", "refused"]}));
        assert_eq!(other.disabled_reason, None);
        let expanded = json!([{"name": "WORD", "value": "refused"}]);
        assert!(
            settings(&json!({"name": "a", "args": ["agent", "$(WORD)"], "env": expanded})).disabled_reason.is_some()
        );
    }

    #[test]
    fn each_switch_is_read_from_an_argument_or_a_variable() {
        assert_eq!(settings(&json!({"name": "agent", "args": ["agent"]})), Settings::default());
        let by_argument = settings(&json!({"name": "agent", "args": ["agent", "--disable-telemetry=true"]}));
        assert_eq!(by_argument.disabled_reason.unwrap(), "--disable-telemetry is set in the Deployment \"agent\"");
        for value in ["no", "off", "N", "false", "0"] {
            let args = ["agent".to_owned(), format!("--disable-telemetry={value}")];
            assert_eq!(settings(&json!({"name": "agent", "args": args})).disabled_reason, None, "{value}");
        }
        for name in SWITCHES {
            let with = |value: &str| settings(&json!({"name": "agent", "env": [{"name": name, "value": value}]}));
            assert!(with("1").disabled_reason.unwrap().contains(name));
            assert_eq!(with("false").disabled_reason, None);
        }
    }

    #[test]
    fn a_variable_from_another_object_is_reported_as_unverified() {
        let key = json!({"configMapKeyRef": {"name": "a", "key": "b"}});
        let from_key = settings(&json!({"name": "agent", "env": [{"name": "DO_NOT_TRACK", "valueFrom": key}]}));
        assert!(from_key.unverified.unwrap().contains("DO_NOT_TRACK"));
        let from_secret = settings(&json!({"name": "agent", "envFrom": [{"secretRef": {"name": "a"}}]}));
        assert!(from_secret.unverified.unwrap().contains("envFrom"));
    }

    #[test]
    fn the_effect_of_kamajis_switch_is_read_from_the_deployment() {
        for (args, expected) in [
            (json!(["--follow-kamaji-opt-out=false"]), Some(KamajiOptOut::Ignore)),
            (json!(["--follow-kamaji-opt-out"]), Some(KamajiOptOut::Follow)),
            (json!(["--follow-kamaji-opt-out", "--follow-kamaji-opt-out=no"]), Some(KamajiOptOut::Ignore)),
            (json!([]), None),
        ] {
            assert_eq!(settings(&json!({"name": "agent", "args": args})).kamaji_opt_out, expected, "{args}");
        }
    }

    #[test]
    fn the_place_of_kamajis_operator_and_its_version_are_read_from_the_deployment() {
        let by_variable = settings(&json!({"name": "a", "env": [
            {"name": "KAMAJI_TELEMETRY_KAMAJI_NAMESPACE", "value": "elsewhere"},
            {"name": "KAMAJI_TELEMETRY_KAMAJI_DEPLOYMENT", "value": "operator"},
            {"name": "KAMAJI_TELEMETRY_KAMAJI_VERSION", "value": "1.2.3"},
        ]}));
        let arguments = ["--kamaji-namespace", "elsewhere", "--kamaji-deployment=operator", "--kamaji-version=v1.2.3"];
        let expected = Settings {
            kamaji_namespace: Some("elsewhere".to_owned()),
            kamaji_deployment: Some("operator".to_owned()),
            kamaji_version: Some(KamajiVersion::normalize("v1.2.3")),
            ..Settings::default()
        };
        assert_eq!(by_variable, expected);
        assert_eq!(settings(&json!({"name": "a", "args": arguments})), expected);
    }

    #[test]
    fn an_argument_that_depends_on_another_object_is_reported_as_unverified() {
        let key = json!({"configMapKeyRef": {"name": "a", "key": "b"}});
        let from_key =
            settings(&json!({"name": "a", "args": ["$(ARGS)"], "env": [{"name": "ARGS", "valueFrom": key}]}));
        assert!(from_key.unverified.unwrap().contains("$(ARGS)"));
        let literal = [json!({"name": "ARGS", "value": "--disable-telemetry"})];
        assert!(settings(&json!({"name": "a", "args": ["$(ARGS)"], "env": literal})).disabled_reason.is_some());
    }
}
