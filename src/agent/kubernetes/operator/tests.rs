use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

const UPSTREAM: &str = "docker.io/clastix/kamaji:v1.0.0";

fn location() -> OperatorLocation {
    OperatorLocation { namespace: "kamaji-system".to_owned(), deployment: None }
}

fn deployment(name: &str, labels: &[(&str, &str)], pod: &Value) -> Deployment {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {}, "template": {"spec": pod}},
    }))
    .unwrap()
}

/// Returns a Deployment as Kamaji's chart makes it.
fn charted(name: &str, args: &[&str]) -> Deployment {
    let labels = [NAME_LABEL, (VERSION_LABEL, "v1.0.0")];
    deployment(name, &labels, &json!({"containers": [{"name": "manager", "image": UPSTREAM, "args": args}]}))
}

fn kubeconfig_generator() -> Deployment {
    charted("kamaji-kubeconfig-generator", &["kubeconfig-generator", "--leader-elect=true"])
}

/// Returns a Deployment as Kamaji's `config/install.yaml` makes it.
fn installed_by_manifest(args: &[&str]) -> Deployment {
    let labels = [("control-plane", "controller-manager"), ("cluster.x-k8s.io/provider", "kamaji")];
    let container = json!({"name": "manager", "image": "clastix/kamaji:v0.4.1", "command": ["/kamaji"], "args": args});
    deployment("kamaji-controller-manager", &labels, &json!({"containers": [container]}))
}

fn select(deployments: &[Deployment]) -> Result<Operator, OperatorError> {
    let location = location();
    let mut search = Search::new(&location);
    for deployment in deployments {
        search.add(deployment);
    }
    search.finish()
}

fn named(deployment: &Deployment) -> Result<Operator, OperatorError> {
    read_named(Some(deployment), &OperatorLocation { deployment: Some(name(deployment)), ..location() })
}

/// Returns the operator's Deployment, version and state, for an operator that is found.
fn found(deployments: &[Deployment]) -> (String, String, bool) {
    let operator = select(deployments).unwrap();
    (operator.deployment, operator.version.to_string(), operator.telemetry_disabled)
}

fn message(deployments: &[Deployment]) -> String {
    select(deployments).unwrap_err().to_string()
}

#[test]
fn the_operator_is_found_by_what_it_runs() {
    let cozystack = json!({"containers": [{
        "name": "manager",
        "image": "ghcr.io/cozystack/cozystack/kamaji:v1.1.7@sha256:abc",
        "args": ["manager", "--disable-telemetry"],
    }]});
    for (operator, expected) in [
        (charted("kamaji", &["manager"]), ("kamaji", "v1.0.0", false)),
        (installed_by_manifest(&["manager", "--disable-telemetry"]), ("kamaji-controller-manager", "v0.4.1", true)),
        (
            deployment("kamaji", &[NAME_LABEL, (VERSION_LABEL, "26.3.6-edge")], &cozystack),
            ("kamaji", "26.3.6-edge", true),
        ),
    ] {
        let (name, version, is_disabled) = expected;
        let expected = (name.to_owned(), version.to_owned(), is_disabled);
        let other = deployment("web", &[], &json!({"containers": [{"name": "web", "image": "nginx:1"}]}));
        assert_eq!(found(&[other, operator, kubeconfig_generator()]), expected);
    }
}

#[test]
fn the_manager_of_an_image_of_another_name_is_the_operator_only_with_kamajis_label_or_by_its_name() {
    let renamed = json!({"containers": [{"name": "m", "image": "acme.test/tcp-operator:v7", "args": ["manager"]}]});
    let unlabelled = deployment("a", &[("app.kubernetes.io/name", "tenants")], &renamed);
    assert!(message(std::slice::from_ref(&unlabelled)).contains("--kamaji-deployment"));
    assert_eq!(named(&unlabelled).unwrap().deployment, "a");
    assert_eq!(found(&[deployment("a", &[NAME_LABEL], &renamed)]), ("a".to_owned(), "unknown".to_owned(), false));
}

#[test]
fn the_kubeconfig_generator_is_not_the_operator() {
    let error = select(&[kubeconfig_generator()]).unwrap_err();
    let found = vec!["kamaji-kubeconfig-generator".to_owned()];
    assert_eq!(error, OperatorError::NotFound { location: location(), found });
    let message = error.to_string();
    assert!(message.contains("kamaji-system") && message.contains("found kamaji-kubeconfig-generator"), "{message}");
    let operator = charted("kamaji", &["manager", "--disable-telemetry"]);
    assert!(found_disabled(&[kubeconfig_generator(), operator.clone()]));
    assert!(found_disabled(&[operator, kubeconfig_generator()]));
}

fn found_disabled(deployments: &[Deployment]) -> bool {
    found(deployments).2
}

#[test]
fn a_namespace_without_the_operator_is_named() {
    assert!(message(&[]).contains("there is none at all"));
    let others: Vec<_> =
        (0..9).map(|number| deployment(&format!("d{number}"), &[], &json!({"containers": []}))).collect();
    assert!(message(&others).ends_with("found d0, d1, d2, d3, d4 instead"), "{}", message(&others));
}

#[test]
fn only_containers_that_keep_running_are_read() {
    let operator = json!({"name": "manager", "image": UPSTREAM, "args": ["manager"]});
    let with = |init_container: Value| {
        let pod = json!({"initContainers": [init_container], "containers": [
            {"name": "console", "image": "ghcr.io/clastix/kamaji-console:v0.1.2", "args": ["--disable-telemetry"]},
            operator,
        ]});
        select(&[deployment("kamaji", &[NAME_LABEL], &pod)])
    };
    let ended = json!({"name": "i", "image": UPSTREAM, "args": ["manager", "--disable-telemetry"]});
    assert!(!with(ended).unwrap().telemetry_disabled, "an init container ends before the operator starts");
    let script = json!({"name": "i", "image": UPSTREAM, "command": ["sh", "-c", "kamaji manager"]});
    assert!(!with(script).unwrap().telemetry_disabled);
    let native_sidecar =
        |args: &[&str]| json!({"name": "i", "image": UPSTREAM, "restartPolicy": "Always", "args": args});
    assert!(with(native_sidecar(&["manager", "--disable-telemetry"])).unwrap().telemetry_disabled);
    assert!(!with(native_sidecar(&["migrate"])).unwrap().telemetry_disabled);
    assert_eq!(with(native_sidecar(&["migrate"])).unwrap().version.to_string(), "v1.0.0", "not the console's");
}

#[test]
fn operators_that_disagree_are_contradictory() {
    let on = charted("one", &["manager"]);
    let off = installed_by_manifest(&["manager", "--disable-telemetry"]);
    for deployments in [[on.clone(), off.clone()], [off.clone(), on.clone()]] {
        let message = message(&deployments);
        assert!(message.contains("one") && message.contains("kamaji-controller-manager"), "{message}");
    }
    assert!(!named(&on).unwrap().telemetry_disabled, "a name decides");
    assert!(named(&off).unwrap().telemetry_disabled);
    assert!(!found_disabled(&[on, charted("two", &["manager"])]));
}

#[test]
fn the_version_of_several_operators_is_the_labelled_ones() {
    let operators = [installed_by_manifest(&["manager"]), charted("kamaji", &["manager"])];
    assert_eq!(found(&operators), ("kamaji".to_owned(), "v1.0.0".to_owned(), false));
    let image = |tag: &str| {
        let image = format!("clastix/kamaji{tag}");
        let pod = json!({"containers": [{"name": "manager", "image": image, "args": ["manager"]}]});
        deployment(&format!("kamaji{tag}"), &[NAME_LABEL], &pod)
    };
    let source = |tags: &[&str]| {
        let operator = select(&tags.iter().map(|tag| image(tag)).collect::<Vec<_>>()).unwrap();
        (operator.version.to_string(), operator.version_source)
    };
    assert_eq!(source(&["", ":v1.0.0"]), ("v1.0.0".to_owned(), VersionSource::ImageTag));
    assert_eq!(source(&[":v1.0.0", ""]), ("v1.0.0".to_owned(), VersionSource::ImageTag));
    assert_eq!(source(&[":v1.0.0", ":v1.0.0"]), ("v1.0.0".to_owned(), VersionSource::ImageTag));
    assert_eq!(source(&[":v1.0.0", ":v1.0.1"]), ("unknown".to_owned(), VersionSource::Contradictory));
    assert_eq!(source(&[":v1.0.0", ":v1.0.1", ":v1.0.0"]), ("unknown".to_owned(), VersionSource::Contradictory));
}

#[test]
fn a_deployment_that_leaves_the_flag_open_is_named_with_the_word() {
    let open = charted("kamaji", &["manager", "$(ARGS)"]);
    for error in
        [select(std::slice::from_ref(&open)), select(&[charted("two", &["manager"]), open.clone()]), named(&open)]
    {
        let message = error.unwrap_err().to_string();
        assert!(message.contains("\"kamaji\"") && message.contains("\"$(ARGS)\""), "{message}");
    }
    let wrapped = json!({"containers": [{"name": "m", "image": "acme.test/tcp-operator:v7", "command": ["/start"]}]});
    let wrapped = deployment("wrapped", &[NAME_LABEL], &wrapped);
    let error = |reason| {
        let location = OperatorLocation { deployment: Some("wrapped".to_owned()), ..location() };
        Err(OperatorError::Undecidable { location, reason, version: NO_VERSION })
    };
    let expected = error(Undecidable::OnlyLabelled);
    assert_eq!(select(std::slice::from_ref(&wrapped)), expected);
    assert_eq!(select(&[charted("kamaji", &["manager"]), wrapped.clone()]), expected, "it may be the one that counts");
    assert!(matches!(named(&wrapped), Err(OperatorError::NotOperator { .. })));
}

#[test]
fn a_named_deployment_that_is_missing_is_named() {
    let location = OperatorLocation { deployment: Some("operator".to_owned()), ..location() };
    let message = read_named(None, &location).unwrap_err().to_string();
    assert!(message.contains("\"operator\"") && message.contains("\"kamaji-system\""), "{message}");
}

#[test]
fn the_version_is_known_although_the_flag_is_not() {
    let open = select(&[charted("kamaji", &["manager", "$(ARGS)"])]).unwrap_err();
    let contradictory = [charted("one", &["manager"]), charted("two", &["manager", "--disable-telemetry"])];
    for error in [open, select(&contradictory).unwrap_err()] {
        let (version, source) = error.version().unwrap();
        assert_eq!((version.to_string().as_str(), source), ("v1.0.0", VersionSource::ImageTag), "{error}");
    }
}
