//! Flags, variables, metrics and chart values that the documents name exist.

use std::collections::BTreeSet;
use std::fs;

use serde_yaml_ng::Value;

use super::{code_spans, commands, documents, matches, sources};
use crate::servers::checkout;

/// Flags of other programs that the examples call: helm, kubectl, docker, cargo, cosign, make's tools, a collector, and
/// Kamaji's operator, whose `--disable-telemetry` is the agent's too.
const OTHERS: [&str; 53] = [
    "--backup",
    "--bench",
    "--bins",
    "--bundle",
    "--certificate-identity-regexp",
    "--certificate-oidc-issuer",
    "--check",
    "--config",
    "--create-namespace",
    "--features",
    "--field-selector",
    "--for",
    "--force-conflicts",
    "--format",
    "--from",
    "--from-literal",
    "--ignore-missing",
    "--install",
    "--installations",
    "--kubeconfig",
    "--lib",
    "--locked",
    "--logs",
    "--namespace",
    "--no-default-features",
    "--nocapture",
    "--output",
    "--path",
    "--privileged",
    "--profile",
    "--program",
    "--quick",
    "--release",
    "--replicas",
    "--repo",
    "--reset-then-reuse-values",
    "--reuse-values",
    "--rm",
    "--server-side",
    "--set",
    "--shrink",
    "--signer-workflow",
    "--size-sort",
    "--skip-tests",
    "--start",
    "--stored",
    "--test",
    "--timeout",
    "--tool",
    "--type",
    "--values",
    "--wait",
    "--wait-for-jobs",
];

/// Variables that are not a flag's: a switch, and those of the tests.
const VARIABLES: [&str; 4] = [
    "KAMAJI_TELEMETRY_DISABLE_TELEMETRY",
    "KAMAJI_TELEMETRY_COLLECTOR",
    "KAMAJI_TELEMETRY_FAULTS_SEED",
    "KAMAJI_TELEMETRY_TEST_POSTGRES",
];

/// Names with a dot that begin as a chart's value: files beside the store, attributes of OpenTelemetry, and what Kubernetes
/// defines.
const OTHER_NAMES: [&str; 7] = [
    "relay.yaml",
    "telemetry.db",
    "telemetry.lock",
    "service.name",
    "service.version",
    "service.instance.id",
    "podSecurityContext.",
];

/// Documents that name what was, rather than what is.
const HISTORY: [&str; 1] = ["CHANGELOG.md"];

/// Fails with every name of the documents that matches `pattern` and is not in `known`.
fn check(pattern: &str, known: &BTreeSet<String>) {
    let mut unknown = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let names = matches(pattern, &text).into_iter().filter(|_| !HISTORY.contains(&&*name));
        unknown.extend(names.filter(|found| !known.contains(*found)).map(|found| format!("{name}: {found}")));
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

fn flags() -> BTreeSet<String> {
    let commands = commands();
    let arguments = commands.iter().flat_map(|(_, command)| command.get_arguments());
    let own = arguments.filter_map(|argument| Some(format!("--{}", argument.get_long()?)));
    own.chain(OTHERS.map(str::to_owned)).collect()
}

#[test]
fn every_flag_in_the_documents_exists() {
    check("--[a-z][a-z-]*[a-z]", &flags());
}

#[test]
fn every_variable_in_the_documents_exists() {
    let commands = commands();
    let arguments = commands.iter().flat_map(|(_, command)| command.get_arguments());
    let own = arguments.filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned()));
    check("KAMAJI_TELEMETRY_[A-Z_]+", &own.chain(VARIABLES.map(str::to_owned)).collect());
}

#[test]
fn every_metric_in_the_documents_exists() {
    let pattern = r"kamaji_telemetry_(agent|backend)_[a-z_]*[a-z]";
    let sources = sources();
    let known = sources.iter().flat_map(|(_, text)| matches(pattern, text)).map(str::to_owned).collect();
    check(pattern, &known);
}

/// Returns the paths of all values of the charts, groups included.
fn values() -> BTreeSet<String> {
    fn collect(before: &str, value: &Value, found: &mut BTreeSet<String>) {
        for (key, below) in value.as_mapping().into_iter().flatten() {
            let path = format!("{before}{}", key.as_str().unwrap());
            collect(&format!("{path}."), below, found);
            found.insert(path);
        }
    }
    let mut found: BTreeSet<_> = ["global.telemetry.disabled".to_owned()].into();
    for chart in fs::read_dir(checkout("charts")).unwrap() {
        let text = fs::read_to_string(chart.unwrap().path().join("values.yaml")).unwrap();
        collect("", &serde_yaml_ng::from_str(&text).unwrap(), &mut found);
    }
    found
}

/// A value is recognized by its first word, which is one of the values', and the dot behind it.
#[test]
fn every_chart_value_in_the_documents_exists() {
    let known = values();
    let groups: BTreeSet<_> = known.iter().filter_map(|path| Some(path.split_once('.')?.0)).collect();
    let mut unknown = Vec::new();
    for path in documents().into_iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("docs"))) {
        let text = fs::read_to_string(&path).unwrap();
        for span in code_spans(&text) {
            let (value, _) = span.split_once('=').unwrap_or((span, ""));
            let (value, _) = value.split_once(':').unwrap_or((value, ""));
            let is_value = value.split_once('.').is_some_and(|(group, _)| groups.contains(group));
            let is_other = OTHER_NAMES.iter().any(|other| value.starts_with(other));
            if is_value && !is_other && !value.contains([' ', '/']) && !known.contains(value) {
                unknown.push(format!("{}: {value}", path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// A path is recognized by its first folder.
#[test]
fn every_path_in_the_documents_exists() {
    let mut missing = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let paths = code_spans(&text).into_iter().filter(|span| {
            let folder = span.split_once('/').map(|(folder, _)| folder);
            folder
                .is_some_and(|folder| ["src", "tests", "charts", "otel-collector", "docs", "benches"].contains(&folder))
        });
        let gone = paths.filter(|span| !span.contains([' ', '{', '*']) && !checkout(span).exists());
        missing.extend(gone.map(|span| format!("{}: {span}", path.display())));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_make_target_in_the_documents_exists() {
    let makefile = fs::read_to_string(checkout("Makefile")).unwrap();
    let is_there = |target: &str| makefile.contains(&format!("\n{target}:"));
    let mut missing = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let targets = code_spans(&text).into_iter().filter_map(|span| span.strip_prefix("make ")?.split(' ').next());
        missing
            .extend(targets.filter(|target| !is_there(target)).map(|target| format!("{}: {target}", path.display())));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
