use serde_json::{Value, json};

use super::*;

fn role_of(container: &Value, is_kamaji_image: bool) -> ContainerRole {
    role(&serde_json::from_value(container.clone()).unwrap(), is_kamaji_image, false)
}

fn with_args(args: &[&str], env: &Value) -> ContainerRole {
    role_of(&json!({"name": "manager", "args": args, "env": env}), true)
}

const ON: ContainerRole = ContainerRole::Operator { telemetry_disabled: false };
const OFF: ContainerRole = ContainerRole::Operator { telemetry_disabled: true };

fn variable(word: &str) -> ContainerRole {
    Undecidable::Variable(word.to_owned()).into()
}

fn program(word: &str) -> ContainerRole {
    Undecidable::Program(word.to_owned()).into()
}

fn from_elsewhere() -> Value {
    json!({"configMapKeyRef": {"name": "a", "key": "b"}})
}

#[test]
fn the_flag_is_read_as_go_reads_it() {
    for (args, expected) in [
        (&[][..], ON),
        (&["--disable-telemetry"], OFF),
        (&["-disable-telemetry"], OFF),
        (&["--disable-telemetry=true"], OFF),
        (&["--disable-telemetry=1"], OFF),
        (&["--disable-telemetry=T"], OFF),
        (&["--disable-telemetry="], OFF),
        (&["--disable-telemetry=yes"], OFF),
        (&["--disable-telemetry=false"], ON),
        (&["--disable-telemetry=0"], ON),
        (&["--disable-telemetry=F"], ON),
        (&["--disable-telemetry", "false"], OFF),
        (&["--disable-telemetry", "--disable-telemetry=false"], ON),
        (&["--disable-telemetry=false", "--disable-telemetry"], OFF),
        (&["--disable-telemetry-not"], ON),
        (&["--disable-telemetry\n"], OFF),
        (&["--disable-telemetry", "-disable-telemetry=false"], OFF),
        (&["--", "--disable-telemetry"], ON),
    ] {
        let words: Vec<_> = std::iter::once("manager").chain(args.iter().copied()).collect();
        assert_eq!(with_args(&words, &json!([])), expected, "{args:?}");
    }
}

#[test]
fn a_word_that_may_be_the_value_of_another_flag_does_not_turn_telemetry_on() {
    for (args, expected) in [
        (&["manager", "--disable-telemetry", "--datastore", "--disable-telemetry=false"][..], OFF),
        (&["manager", "--datastore", "--", "--disable-telemetry"], OFF),
        (&["manager", "--datastore", "--disable-telemetry"], OFF),
        (&["manager", "--datastore", "etcd", "--disable-telemetry"], OFF),
        (&["manager", "--leader-elect", "--disable-telemetry=false"], ON),
    ] {
        assert_eq!(with_args(args, &json!([])), expected, "{args:?}");
    }
}

#[test]
fn variables_with_literal_values_are_expanded() {
    let env = json!([
        {"name": "ARGS", "value": "--disable-telemetry"},
        {"name": "NAME", "value": "disable-telemetry"},
        {"name": "TWICE", "value": "--$(NAME)"},
        {"name": "OFF", "value": "false"},
        {"name": "EMPTY"},
        {"name": "RUN", "value": "manager"},
    ]);
    for (args, expected) in [
        (&["manager", "$(ARGS)"][..], OFF),
        (&["manager", "--$(NAME)=true"], OFF),
        (&["manager", "$(TWICE)"], OFF),
        (&["manager", "$(ARGS)=$(OFF)"], ON),
        (&["manager", "$(ARGS)", "$(ARGS)=$(OFF)"], ON),
        (&["manager", "$(EMPTY)"], ON),
        (&["manager", "--", "$(ARGS)"], ON),
        (&["$(RUN)", "$(ARGS)"], OFF),
    ] {
        assert_eq!(with_args(args, &env), expected, "{args:?}");
    }
}

#[test]
fn an_escaped_reference_is_no_reference() {
    let env = json!([{"name": "ARGS", "value": "--disable-telemetry"}]);
    for (args, expected) in [
        (&["manager", "$$(ARGS)"][..], ON),
        (&["manager", "$(ARGS"], ON),
        (&["manager", "$ARGS"], ON),
        (&["manager", "$$$(ARGS)"], ON),
        (&["manager", "$$$$(ARGS)"], ON),
        (&["manager", "--disable-telemetry=$"], OFF),
        (&["manager", "$$(UNDEFINED)"], ON),
    ] {
        assert_eq!(with_args(args, &env), expected, "{args:?}");
    }
}

#[test]
fn a_variable_without_a_literal_value_leaves_the_flag_open() {
    let env = json!([{"name": "ARGS", "valueFrom": from_elsewhere()}, {"name": "LATER", "value": "$(ARGS)"}]);
    for (word, printed) in [
        ("$(ARGS)", "$(ARGS)"),
        ("$(LATER)", "$(LATER)"),
        ("$(UNDEFINED)", "$(UNDEFINED)"),
        ("--$(ARGS)", "--$(ARGS)"),
        ("--disable-$(ARGS)", "--disable-$(ARGS)"),
        ("--disable-telemetry$(ARGS)", "--disable-telemetry$(ARGS)"),
        ("$(ARGS)=true", "$(ARGS)"),
        ("--disable-telemetry=$(ARGS)", "--disable-telemetry"),
    ] {
        assert_eq!(with_args(&["manager", word], &env), variable(printed), "{word}");
    }
    assert_eq!(with_args(&["$(ARGS)"], &env), variable("$(ARGS)"));
    let replaced = json!([{"name": "A", "value": "--disable-telemetry"}, {"name": "A", "valueFrom": from_elsewhere()}]);
    assert_eq!(with_args(&["manager", "$(A)"], &replaced), variable("$(A)"));
    let from = json!({"name": "m", "args": ["manager", "$(ARGS)"], "envFrom": [{"configMapRef": {"name": "a"}}]});
    assert_eq!(role_of(&from, true), variable("$(ARGS)"));
}

#[test]
fn a_variable_in_another_flag_is_harmless() {
    let env =
        json!([{"name": "POD_IP", "valueFrom": from_elsewhere()}, {"name": "BIND", "value": "metrics-bind-address"}]);
    for args in [
        &["manager", "--metrics-bind-address=$(POD_IP):8080"][..],
        &["manager", "--$(BIND)=$(POD_IP):8080"],
        &["manager", "--pod-namespace=$(UNDEFINED)"],
        &["manager", "--datastore", "etcd-$(POD_IP)"],
        &["manager", "--", "$(POD_IP)"],
    ] {
        assert_eq!(with_args(args, &env), ON, "{args:?}");
    }
    let from = json!({"name": "m", "args": ["manager"], "envFrom": [{"secretRef": {"name": "a"}}]});
    assert_eq!(role_of(&from, true), ON, "variables that the command line does not name");
}

#[test]
fn a_program_that_is_not_kamajis_leaves_the_flag_open() {
    for (command, args, word) in [
        (json!(["sh", "-c"]), json!(["kamaji manager"]), "sh"),
        (json!(["/bin/sh", "-c", "exec /kamaji manager --disable-telemetry"]), json!(null), "/bin/sh"),
        (json!(["/usr/bin/env"]), json!(["kamaji", "manager"]), "/usr/bin/env"),
        (json!(["tini", "--", "/kamaji"]), json!(["manager"]), "tini"),
    ] {
        let container = json!({"name": "manager", "command": command, "args": args});
        assert_eq!(role_of(&container, true), program(word), "{container}");
        assert_eq!(role_of(&container, false), program(word), "{container}");
    }
    let from_variable = json!({"name": "manager", "command": ["$(PROGRAM)"], "args": ["manager"]});
    assert_eq!(role_of(&from_variable, true), variable("$(PROGRAM)"));
    let other = json!({"name": "manager", "command": ["/entrypoint"], "args": ["--disable-telemetry"]});
    assert_eq!(role_of(&other, true), program("/entrypoint"));
}

#[test]
fn arguments_without_the_subcommand_leave_the_flag_open() {
    for (args, expected) in [
        (&["serve"][..], Undecidable::Subcommand("serve".to_owned())),
        (&["--disable-telemetry=false"], Undecidable::Subcommand("--disable-telemetry".to_owned())),
        (&[], Undecidable::NoArguments),
    ] {
        assert_eq!(with_args(args, &json!([])), expected.into(), "{args:?}");
    }
}

#[test]
fn kamajis_own_program_is_read_however_it_is_started() {
    for (command, args) in [
        (json!(["/kamaji"]), json!(["manager", "--disable-telemetry"])),
        (json!(["/ko-app/kamaji", "manager"]), json!(["--disable-telemetry"])),
        (json!(["kamaji", "manager", "--disable-telemetry"]), json!(null)),
        (json!(null), json!(["manager", "--disable-telemetry"])),
        (json!([]), json!(["manager", "--disable-telemetry"])),
    ] {
        let container = json!({"name": "manager", "command": command, "args": args});
        assert_eq!(role_of(&container, true), OFF, "{container}");
        let of_unknown_image = serde_json::from_value(container.clone()).unwrap();
        assert_eq!(role(&of_unknown_image, false, true), OFF, "{container}");
    }
}

#[test]
fn the_manager_of_an_unknown_image_is_kamajis_only_if_its_deployment_is() {
    for command in [json!(null), json!([])] {
        let container = json!({"name": "acme", "command": command, "args": ["manager", "--leader-elect"]});
        assert_eq!(role_of(&container, false), Undecidable::UnknownImage.into(), "{container}");
        assert_eq!(role_of(&container, true), ON, "{container}");
    }
}

#[test]
fn no_secret_is_part_of_a_message() {
    for (args, secret) in [(&["manager", "$(UNDEFINED)hunter2"][..], "hunter2"), (&["s3cr3tToken"], "s3cr3t")] {
        let ContainerRole::Undecidable(reason) = with_args(args, &json!([])) else { panic!("{args:?}") };
        assert!(!reason.to_string().contains(secret), "{reason}");
    }
}

#[test]
fn other_programs_and_subcommands_are_not_the_operator() {
    for container in [
        json!({"name": "proxy", "args": ["--disable-telemetry"]}),
        json!({"name": "proxy"}),
        json!({"name": "proxy", "args": ["$(ARGS)"]}),
        json!({"name": "capi", "command": ["/manager"], "args": ["--leader-elect"]}),
        json!({"name": "shell", "command": ["sh", "-c", "exec nginx"]}),
    ] {
        assert_eq!(role_of(&container, false), ContainerRole::Foreign, "{container}");
    }
    for subcommand in OTHER_SUBCOMMANDS {
        assert_eq!(with_args(&[subcommand, "--disable-telemetry"], &json!([])), ContainerRole::OtherSubcommand);
    }
}

#[test]
fn no_value_is_printed() {
    let env = json!([{"name": "PASSWORD", "value": "marker"}]);
    for args in [
        &["manager", "--disable-telemetry=$(UNDEFINED)marker"][..],
        &["manager", "$(UNDEFINED) marker"],
        &["$(PASSWORD)"],
        &["run:marker"],
    ] {
        let role = with_args(args, &env);
        let ContainerRole::Undecidable(undecidable) = role else { panic!("{args:?}: {role:?}") };
        assert!(!undecidable.to_string().contains("marker"), "{undecidable}");
    }
}
