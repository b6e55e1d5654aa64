//! Tests of the READMEs: the tables of values are generated from values.yaml, and each `helm install` renders the images that
//! `make image` builds. `make generate` writes the tables.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use super::artifact_hub::containers;
use super::helm::{Chart, Helm};
use super::schema::resolve;
use super::{read, snapshots};
use crate::servers::{checkout, documents};

const BEGIN: &str = "<!-- of values.yaml, by `make generate` -->\n";
const END: &str = "<!-- end of values.yaml -->\n";

/// Registry and organization of the project's own images.
const REGISTRY: &str = "ghcr.io/clastix/";

/// Returns the rows of the table in the order of values.yaml: path, default and comment of each value. A group of values has no
/// default; the schema defines which maps are groups.
fn rows(chart: &Chart) -> Vec<[String; 3]> {
    let (text, defaults, schema) = (chart.file("values.yaml"), chart.defaults(), chart.schema());
    let (mut rows, mut path, mut comment) = (Vec::new(), Vec::<String>::new(), String::new());
    for line in text.lines() {
        let content = line.trim_start();
        if let Some(text) = content.strip_prefix('#') {
            comment.push_str(if comment.is_empty() { text.trim_start() } else { text });
            continue;
        }
        let depth = (line.len() - content.len()) / 2;
        if let Some((key, _)) = content.split_once(':').filter(|_| depth <= path.len()) {
            path.truncate(depth);
            path.push(key.to_owned());
            if let Some(is_group) = is_group(&path, &schema) {
                let default = defaults.pointer(&format!("/{}", path.join("/"))).unwrap();
                let default = if is_group { String::new() } else { format!("`{default}`") };
                rows.push([path.join("."), default, comment.clone()]);
            }
        }
        comment.clear();
    }
    rows
}

/// Returns whether the schema describes values below `path`, or `None` if it does not contain `path`.
fn is_group(path: &[String], root: &Value) -> Option<bool> {
    let mut schema = root;
    for key in path {
        schema = resolve(schema.get("properties")?.get(key)?, root);
    }
    Some(schema.get("properties").is_some())
}

fn table(chart: &Chart) -> String {
    let row = |[path, default, comment]: [String; 3]| {
        assert!(!comment.is_empty(), "{path} has no comment in values.yaml");
        format!("| `{path}` | {default} | {} |\n", comment.replace('|', "\\|"))
    };
    let rows: Vec<_> = rows(chart).into_iter().map(row).collect();
    format!("| value | default | meaning |\n|---|---|---|\n{}", rows.concat())
}

#[test]
fn the_readmes_tables_of_values_match_values_yaml() {
    for chart in Chart::ALL {
        let path = format!("charts/{}/README.md", chart.name);
        let text = read(&path);
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        snapshots::compare(&path, &format!("{before}{BEGIN}{}{END}{after}", table(chart)));
    }
}

/// Returns the `helm install` commands of a Markdown text, each on one line.
fn installations(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.trim_start().trim_start_matches("$ "));
    lines.filter(|line| line.starts_with("helm install ")).map(str::to_owned).collect()
}

/// Renders the release of a `helm install` command. A chart in the registry is rendered from the checkout.
async fn render(command: &str) -> Vec<Value> {
    let mut arguments = vec!["template".to_owned()];
    let mut words = command.split_whitespace().skip(2).map(|word| word.trim_matches(['\'', '"']));
    while let Some(word) = words.next() {
        match word {
            "#" => break,
            "--create-namespace" | "--wait" => {}
            "--version" => drop(words.next()),
            _ if word.starts_with("oci://") || word.starts_with("charts/") => {
                let name = word.rsplit('/').next().unwrap();
                arguments.push(checkout("charts").join(name).display().to_string());
            }
            _ => arguments.push(word.to_owned()),
        }
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let rendered = Helm::offline().run(&arguments).await;
    documents(&rendered.unwrap_or_else(|error| panic!("{command}: {error}")))
}

/// A `docker` that writes its arguments to a file instead of building, one per line.
const DOCKER: &str = "#!/bin/sh\nprintf '%s\\n' \"$@\" >> \"$DOCKER_ARGUMENTS\"\n";

/// Returns the references of the images that `make image` builds, from the tags that it passes to docker.
fn built_images() -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let (docker, arguments) = (folder.path().join("docker"), folder.path().join("arguments"));
    std::fs::write(&docker, DOCKER).unwrap();
    std::fs::set_permissions(&docker, Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let mut make = Command::new("make");
    make.arg("image").current_dir(checkout("")).env("PATH", path).env("DOCKER_ARGUMENTS", &arguments);
    // Variables of the command line of an outer make, which may run this test.
    make.env_remove("MAKEFLAGS").env_remove("MAKEOVERRIDES");
    let output = make.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let arguments = std::fs::read_to_string(arguments).unwrap();
    let arguments: Vec<_> = arguments.lines().collect();
    arguments.windows(2).filter(|pair| pair[0] == "--tag").map(|pair| pair[1].to_owned()).collect()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_documented_installation_renders_images_that_make_builds() {
    let built = built_images();
    let charts = Chart::ALL.map(|chart| format!("charts/{}/README.md", chart.name));
    for path in ["README.md".to_owned()].into_iter().chain(charts) {
        let commands = installations(&read(&path));
        assert!(!commands.is_empty(), "{path} has no `helm install`");
        for command in commands {
            let objects = render(&command).await;
            let images = objects.iter().flat_map(containers).map(|container| container["image"].as_str().unwrap());
            let own: Vec<_> = images.filter(|image| image.starts_with(REGISTRY)).collect();
            assert!(!own.is_empty(), "{path}: `{command}` renders an image of the project");
            for image in own {
                assert!(built.contains(image), "{path}: `{command}` needs {image}, and `make image` builds {built:?}");
            }
        }
    }
}
