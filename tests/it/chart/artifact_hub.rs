//! Annotations for Artifact Hub in the charts, compared with what they describe.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::helm::Chart as Folder;
use super::{Helm, read};
use crate::servers::{checkout, documents};

const FILES: &str = "https://github.com/clastix/kamaji-telemetry/blob/main/";

/// Files of the repository as they are, rather than as a page.
const RAW_FILES: &str = "https://raw.githubusercontent.com/clastix/kamaji-telemetry/main/";

#[derive(Deserialize)]
struct Chart {
    version: String,
    icon: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Image {
    name: String,
    image: String,
}

#[derive(Deserialize)]
struct Link {
    url: String,
}

fn chart(name: &str) -> Chart {
    serde_yaml_ng::from_str(&read(&format!("charts/{name}/Chart.yaml"))).unwrap()
}

impl Chart {
    fn annotation(&self, key: &str) -> &str {
        self.annotations.get(&format!("artifacthub.io/{key}")).unwrap_or_else(|| panic!("no artifacthub.io/{key}"))
    }

    /// Returns an annotation that contains a YAML list.
    fn list<T: for<'a> Deserialize<'a>>(&self, key: &str) -> Vec<T> {
        serde_yaml_ng::from_str(self.annotation(key)).unwrap_or_else(|error| panic!("artifacthub.io/{key}: {error}"))
    }
}

/// Returns the containers of a workload, including those of a `CronJob`.
pub(super) fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    let specs = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
    let lists =
        specs.into_iter().flat_map(|spec| ["initContainers", "containers"].map(|list| format!("{spec}/{list}")));
    lists.filter_map(|list| object.pointer(&list)?.as_array()).flatten()
}

/// Returns the images of all containers of the objects, those of pods included.
pub(super) fn images(objects: &[Value]) -> Vec<String> {
    let pods = objects.iter().filter_map(|object| object.pointer("/spec/containers")?.as_array()).flatten();
    let containers = objects.iter().flat_map(containers).chain(pods);
    containers.map(|container| container["image"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_listed_images_are_those_that_the_default_values_run() {
    for name in Folder::ALL.map(|chart| chart.name) {
        let folder = checkout("charts").join(name).display().to_string();
        let rendered = documents(&Helm::offline().template_of(&folder, &json!({})).await.unwrap());
        let text = |container: &Value, key: &str| container[key].as_str().unwrap().to_owned();
        let running: BTreeSet<_> = rendered
            .iter()
            .flat_map(containers)
            .map(|container| (text(container, "name"), text(container, "image")))
            .collect();
        let images = chart(name).list::<Image>("images").into_iter();
        let images: BTreeSet<_> = images.map(|image| (image.name, image.image)).collect();
        assert_eq!(images, running, "{name}");
    }
}

#[test]
fn prereleases_security_updates_and_license_are_annotated() {
    let security = read("CHANGELOG.md").split("\n## ").nth(1).unwrap().contains("\n### Security\n");
    for name in Folder::ALL.map(|chart| chart.name) {
        let chart = chart(name);
        assert_eq!(chart.annotation("prerelease"), chart.version.contains('-').to_string(), "{name}");
        assert_eq!(chart.annotation("containsSecurityUpdates"), security.to_string(), "{name}: of the newest changes");
        assert_eq!(chart.annotation("operator"), "false", "{name}");
        let license = format!("\nlicense = \"{}\"\n", chart.annotation("license"));
        assert!(read("Cargo.toml").contains(&license), "{name}: {license:?} is the program's");
    }
}

#[test]
fn the_icon_is_a_picture_of_the_repository() {
    for name in Folder::ALL.map(|chart| chart.name) {
        let icon = chart(name).icon;
        let file = icon.strip_prefix(RAW_FILES).unwrap_or_else(|| panic!("{name}: {icon}"));
        assert!(read(file).starts_with("<svg "), "{name}: {file}");
    }
}

#[derive(Deserialize)]
struct Change {
    kind: String,
    description: String,
}

#[test]
fn the_changes_of_this_version_are_of_the_kinds_that_artifact_hub_knows() {
    for name in Folder::ALL.map(|chart| chart.name) {
        let changes = chart(name).list::<Change>("changes");
        assert!(!changes.is_empty(), "{name}");
        for Change { kind, description } in changes {
            let kinds = ["added", "changed", "deprecated", "removed", "fixed", "security"];
            assert!(kinds.contains(&&*kind) && !description.is_empty(), "{name}: {kind}: {description}");
        }
    }
}

/// The placeholders for the maintainers are marked, and the rest of the file is complete.
#[test]
fn the_repositorys_metadata_has_an_owner_and_marks_its_placeholders() {
    let text = read(".github/artifacthub-repo.yml");
    let metadata: Value = serde_yaml_ng::from_str(&text).unwrap();
    let owner = &metadata["owners"][0];
    assert!(owner["name"].is_string() && owner["email"].as_str().unwrap().contains('@'), "{owner}");
    let is_placeholder = owner["email"].as_str().unwrap().ends_with("example.org");
    assert_eq!(is_placeholder, text.contains("# PLACEHOLDER: the account"), "a placeholder is marked");
}

#[test]
fn every_link_to_a_file_of_the_repository_resolves() {
    for name in Folder::ALL.map(|chart| chart.name) {
        let links = chart(name).list::<Link>("links");
        let files: Vec<_> = links.iter().filter_map(|link| link.url.strip_prefix(FILES)).collect();
        assert!(!files.is_empty(), "{name}");
        for file in files {
            assert!(checkout(file).is_file(), "{name}: {file}");
        }
    }
}
