//! What an agent is told, as its Deployment shows it.

use clap::Command;
use clap::builder::{BoolishValueParser, TypedValueParser};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, EnvVar};

use crate::agent::consent::{DISABLE_TELEMETRY, KamajiOptOut, is_set};
use crate::agent::kubernetes::operator::{self, Operator};

const SWITCHES: [&str; 3] = [DISABLE_TELEMETRY, "DO_NOT_TRACK", "OTEL_SDK_DISABLED"];
const FOLLOW_FLAG: &str = "--follow-kamaji-opt-out";
const FOLLOW_VARIABLE: &str = "KAMAJI_TELEMETRY_FOLLOW_KAMAJI_OPT_OUT";

/// The settings that decide whether telemetry is on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// The switch of its own that turns it off.
    pub(super) off: Option<String>,
    /// Why its switches can't be seen, or not all of them.
    pub(super) unseen: Option<String>,
    pub(super) kamaji_opt_out: Option<KamajiOptOut>,
    pub(super) kamaji_namespace: Option<String>,
}

impl Settings {
    pub(super) fn unseen(why: &str) -> Self {
        Self { unseen: Some(why.to_owned()), ..Self::default() }
    }

    /// Reads them. An argument goes before its variable, as it does for the agent; but each switch is enough.
    pub(super) fn of(deployment: &Deployment) -> Self {
        let containers = operator::containers(deployment);
        let variable = |name: &str| containers.iter().flat_map(variables).find(|variable| variable.name == name);
        let value = |name: &str| variable(name).and_then(|variable| variable.value.clone());
        let argument = |flag: &str| containers.iter().find_map(|container| argument(container, flag));
        let by_argument = Operator::from_deployments(std::slice::from_ref(deployment)).telemetry_disabled;
        let by_variable = SWITCHES.into_iter().find(|name| value(name).is_some_and(|value| is_set(&value)));
        let off = if by_argument { Some("--disable-telemetry") } else { by_variable };
        let from_elsewhere = SWITCHES.into_iter().find(|name| variable(name).is_some_and(|it| it.value_from.is_some()));
        let from_files = containers.iter().any(|container| container.env_from.iter().flatten().next().is_some());
        let unseen = from_elsewhere.map(|name| format!("{name} comes from another object"));
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        Self {
            off: off.map(|switch| format!("{switch} is set in the Deployment {name:?}")),
            unseen: unseen.or_else(|| from_files.then(|| "variables come from other objects (envFrom)".to_owned())),
            kamaji_opt_out: switch(containers, FOLLOW_FLAG)
                .or_else(|| value(FOLLOW_VARIABLE))
                .and_then(|word| BoolishValueParser::new().parse_ref(&Command::new(""), None, word.as_ref()).ok())
                .map(KamajiOptOut::from),
            kamaji_namespace: argument("--kamaji-namespace").or_else(|| value("KAMAJI_TELEMETRY_KAMAJI_NAMESPACE")),
        }
    }
}

fn variables(container: &Container) -> impl Iterator<Item = &EnvVar> {
    container.env.iter().flatten()
}

/// Returns the value of a switch: behind an equals sign, or `true` for the flag alone. The last one wins.
fn switch(containers: &[Container], flag: &str) -> Option<String> {
    let words = containers.iter().flat_map(|container| container.command.iter().chain(&container.args).flatten());
    let values = words.filter_map(|word| match word.strip_prefix(flag)? {
        "" => Some("true".to_owned()),
        rest => rest.strip_prefix('=').map(str::to_owned),
    });
    values.last()
}

/// The value of `flag`, behind it or behind an equals sign.
fn argument(container: &Container, flag: &str) -> Option<String> {
    let mut words = container.command.iter().chain(&container.args).flatten();
    while let Some(word) = words.next() {
        if word == flag {
            return words.next().cloned();
        }
        if let Some(value) = word.strip_prefix(flag).and_then(|rest| rest.strip_prefix('=')) {
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
        Settings::of(&serde_json::from_value(deployment).unwrap())
    }

    #[test]
    fn each_switch_is_seen_as_an_argument_or_a_variable() {
        assert_eq!(settings(&json!({"name": "agent", "args": ["agent"]})), Settings::default());
        let by_argument = settings(&json!({"name": "agent", "args": ["agent", "--disable-telemetry=true"]}));
        assert_eq!(by_argument.off.unwrap(), "--disable-telemetry is set in the Deployment \"agent\"");
        for name in SWITCHES {
            let with = |value: &str| settings(&json!({"name": "agent", "env": [{"name": name, "value": value}]}));
            assert!(with("1").off.unwrap().contains(name));
            assert_eq!(with("false").off, None);
        }
    }

    #[test]
    fn what_comes_from_elsewhere_is_said_not_to_be_seen() {
        let key = json!({"configMapKeyRef": {"name": "a", "key": "b"}});
        let from_key = settings(&json!({"name": "agent", "env": [{"name": "DO_NOT_TRACK", "valueFrom": key}]}));
        assert!(from_key.unseen.unwrap().contains("DO_NOT_TRACK"));
        let from_all = settings(&json!({"name": "agent", "envFrom": [{"secretRef": {"name": "a"}}]}));
        assert!(from_all.unseen.unwrap().contains("envFrom"));
    }

    #[test]
    fn what_kamajis_flag_means_is_the_agents_to_say() {
        for (args, expected) in [
            (json!(["--follow-kamaji-opt-out=false"]), Some(KamajiOptOut::Ignore)),
            (json!(["--follow-kamaji-opt-out"]), Some(KamajiOptOut::Follow)),
            (json!(["--follow-kamaji-opt-out", "--follow-kamaji-opt-out=no"]), Some(KamajiOptOut::Ignore)),
            (json!([]), None),
        ] {
            assert_eq!(settings(&json!({"name": "agent", "args": args})).kamaji_opt_out, expected, "{args}");
        }
        let variable = json!([{"name": "KAMAJI_TELEMETRY_KAMAJI_NAMESPACE", "value": "elsewhere"}]);
        assert_eq!(settings(&json!({"name": "a", "env": variable})).kamaji_namespace.as_deref(), Some("elsewhere"));
    }
}
