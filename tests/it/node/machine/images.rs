//! The images of the node's pods, as archives in OCI's layout: from the binaries that `make test` has built, without an engine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Node, previous_release};
use crate::image::root::{Component, ENVIRONMENT, PROGRAM, Root, USER};
use crate::servers::{checkout, tool_path};

/// The images that the charts run by default, without their tag.
const AGENT_IMAGE: &str = "ghcr.io/clastix/kamaji-telemetry-agent";
const BACKEND_IMAGE: &str = "ghcr.io/clastix/kamaji-telemetry-backend";

/// The tag of the next version, which has the binaries of this one.
pub(crate) const NEXT: &str = "next";

/// The tag of the previous version, whose binaries are those of [`previous`](super::previous).
pub(crate) const PREVIOUS: &str = "previous";

/// An image to build: its name, its root directory, its entry point, its user, and its variables.
struct Image {
    name: String,
    root: PathBuf,
    entrypoint: String,
    environment: Vec<String>,
}

/// Builds the images and loads them into the node, which never pulls one that it has.
pub(super) async fn load(node: &Node) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for component in Component::ALL {
        let repository = match component {
            Component::Agent => AGENT_IMAGE,
            Component::Backend => BACKEND_IMAGE,
        };
        let current = format!("{repository}:{}", env!("CARGO_PKG_VERSION"));
        import_program(node, &folder, &Root::new(component), &current).await;
        tag(node, &current, &format!("{repository}:{NEXT}")).await;
        let previous = format!("{repository}:{PREVIOUS}");
        match previous_release() {
            None => tag(node, &current, &previous).await,
            Some(directory) => {
                let binary = directory.join(format!("images/{}/kamaji-telemetry", component.name()));
                import_program(node, &folder, &Root::of(&binary), &previous).await;
            }
        }
    }
    let (relay, version) = relay_image();
    let current = format!("{relay}:{version}");
    import(node, &folder, &single(&folder, &current, "collector")).await;
    for other in [NEXT, PREVIOUS] {
        tag(node, &current, &format!("{relay}:{other}")).await;
    }
    import(node, &folder, &single(&folder, "localhost/pause:1", "kubernetes/pause")).await;
}

/// Returns the relay's image and its tag, as the agent's chart has them by default.
fn relay_image() -> (String, String) {
    let values =
        fs::read_to_string(checkout("charts/kamaji-telemetry-agent/values.yaml")).expect("the chart has values");
    let values: Value = serde_yaml_ng::from_str(&values).expect("they are YAML");
    let [registry, repository, tag] = ["registry", "repository", "tag"]
        .map(|part| values["relay"]["image"][part].as_str().expect("the image has each part").to_owned());
    (format!("{registry}/{repository}"), tag)
}

/// Imports the image `name` of the program in `root`.
async fn import_program(node: &Node, folder: &TempDir, root: &Root, name: &str) {
    let environment = ENVIRONMENT.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let image = Image { name: name.to_owned(), root: root.path("/"), entrypoint: PROGRAM.to_owned(), environment };
    import(node, folder, &image).await;
}

/// Returns an image of one static program and the CA bundle.
fn single(folder: &TempDir, name: &str, tool: &str) -> Image {
    let root = folder.path().join(tool.replace('/', "-"));
    fs::create_dir_all(root.join("etc/ssl/certs")).expect("the folder is writable");
    fs::copy("/etc/ssl/certs/ca-certificates.crt", root.join("etc/ssl/certs/ca-certificates.crt"))
        .expect("the package ca-certificates is installed");
    fs::copy(tool_path(tool), root.join("program")).expect("the folder is writable");
    Image { name: name.to_owned(), root, entrypoint: "/program".to_owned(), environment: Vec::new() }
}

/// Runs a command of containerd's client on the kubelet's images.
async fn ctr(node: &Node, arguments: &[&str]) -> Result<String, String> {
    let ctr = ["/var/lib/node/tools/containers/usr/bin/ctr", "--namespace=k8s.io", "images"];
    node.inside(&[&ctr, arguments].concat()).await
}

async fn tag(node: &Node, from: &str, to: &str) {
    ctr(node, &["tag", from, to]).await.unwrap_or_else(|error| panic!("{from}: {error}"));
}

/// Writes an image as an archive, and imports it.
async fn import(node: &Node, folder: &TempDir, image: &Image) {
    let layout = folder.path().join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).expect("the folder is writable");
    let layer = layout.join("layer.tar");
    archive(&image.root, &layer);
    let layer = blob(&layout, &fs::read(layer).expect("it was written"), "application/vnd.oci.image.layer.v1.tar");
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": [image.entrypoint],
            "Env": image.environment,
        },
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = blob(&layout, config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest = blob(&layout, manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    manifest["annotations"] = json!({"io.containerd.image.name": image.name});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string()).expect("the folder is writable");
    fs::write(layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string()).expect("it is writable");
    let file = node.disk("images").join("image.tar");
    archive(&layout, &file);
    fs::remove_dir_all(&layout).expect("it is ours");
    let imported = ctr(node, &["import", "/var/lib/images/image.tar"]).await;
    imported.unwrap_or_else(|error| panic!("{}: {error}", image.name));
    fs::remove_file(file).expect("it is ours");
}

/// Returns the machine's architecture by Go's name.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn archive(from: &Path, to: &Path) {
    let status = Command::new("tar")
        .args(["--create", "--numeric-owner", "--exclude=layer.tar", "--file"])
        .arg(to)
        .arg("--directory")
        .arg(from)
        .arg(".")
        .status();
    assert!(status.expect("`tar` is there").success(), "{} can't be archived", from.display());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string can be written to");
        text
    })
}

/// Writes a blob, and returns its descriptor.
fn blob(layout: &Path, content: &[u8], media_type: &str) -> Value {
    let digest = hex(digest(&SHA256, content).as_ref());
    fs::write(layout.join("blobs/sha256").join(&digest), content).expect("the folder is writable");
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()})
}
