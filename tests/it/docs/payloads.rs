//! The README's table and JSON of what is sent.

use std::collections::BTreeSet;

use kamaji_telemetry::catalog::{Attribute, EVENT_KINDS, METRICS};
use serde_json::Value;

use crate::servers::checkout;

/// Returns the keys of attributes that are sent by default.
fn keys<'a>(attributes: &'a [&'a Attribute]) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(|attribute| !attribute.extended).map(|attribute| attribute.key)
}

#[test]
fn the_readme_shows_every_signal_that_is_sent_by_default() {
    let readme = std::fs::read_to_string(checkout("README.md")).unwrap();
    let (_, block) = readme.split_once("```json\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let objects = block.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let shown: Vec<BTreeSet<String>> =
        objects.map(|object| object.as_object().unwrap().keys().cloned().collect()).collect();

    let metrics: Vec<_> = METRICS.iter().filter(|metric| !metric.extended).collect();
    let counts = metrics.iter().map(|metric| metric.name.trim_start_matches("kamaji.tcp."));
    let gauges = counts.chain(keys(metrics[0].attributes)).chain(["uuid"]);
    let events = EVENT_KINDS.iter().map(|kind| keys(kind.attributes).filter(|key| *key != "log.record.uid").collect());
    let expected: Vec<BTreeSet<&str>> = std::iter::once(gauges.collect()).chain(events).collect();
    let shown: Vec<BTreeSet<&str>> = shown.iter().map(|keys| keys.iter().map(String::as_str).collect()).collect();
    assert_eq!(shown, expected);

    let names = metrics.iter().map(|metric| metric.name).chain(EVENT_KINDS.iter().map(|kind| kind.name));
    for name in names {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}
