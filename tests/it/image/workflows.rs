//! The workflows: what they run is pinned, what they may is the least, and what they publish was tried and can be verified.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use regex::Regex;
use serde_json::{Value, json};

use super::files::{read, yaml};
use crate::servers::checkout;

/// Returns the paths of the workflows.
fn workflows() -> Vec<String> {
    let files = fs::read_dir(checkout(".github/workflows")).unwrap();
    let mut paths: Vec<_> =
        files.map(|file| format!(".github/workflows/{}", file.unwrap().file_name().display())).collect();
    paths.sort();
    paths
}

fn release() -> Value {
    yaml(".github/workflows/release.yml")
}

fn steps(job: &Value) -> impl Iterator<Item = &Value> {
    job["steps"].as_array().into_iter().flatten()
}

/// Returns the index of the first shell line of `job` that contains one of `words`.
fn first_of(job: &Value, words: &[&str]) -> Option<usize> {
    let runs = steps(job).map(|step| step["run"].as_str().unwrap_or_default());
    let lines: Vec<_> = runs.flat_map(str::lines).collect();
    lines.iter().position(|line| words.iter().any(|word| line.contains(word)))
}

/// Returns the steps of `job` that use the action called `name`.
fn uses<'a>(job: &'a Value, name: &str) -> Vec<&'a Value> {
    let is_of = |step: &&Value| step["uses"].as_str().is_some_and(|used| used.split('@').next() == Some(name));
    steps(job).filter(is_of).collect()
}

/// Returns the names of the images that the Makefile builds.
fn images() -> Vec<String> {
    let images = release()["env"]["IMAGES"].as_str().unwrap().to_owned();
    let makefile = read("Makefile");
    let components = makefile.lines().find_map(|line| line.strip_prefix("COMPONENTS := ")).unwrap();
    assert!(makefile.contains("\nIMAGES := $(COMPONENTS) relay\n"));
    assert_eq!(images, format!("{components} relay"), "the workflow publishes what `make image` builds");
    images.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_release_is_built_tried_and_scanned_before_any_of_it_is_published() {
    let publish = &release()["jobs"]["publish"];
    let published = first_of(publish, &["type=registry", "helm push", "cosign sign", "cosign attest"]);
    for before in
        ["cosign verify", "make try-image", "type=local", "sha256sum", "make chart-defaults", "helm\" package"]
    {
        let line = first_of(publish, &[before]);
        assert!(line.is_some() && line < published, "{before}: line {line:?}, and {published:?} publishes");
    }
    for job in ["check", "sbom"] {
        assert!(publish["needs"].as_array().is_some_and(|needs| needs.contains(&Value::from(job))), "{job}");
    }
    let jobs = &yaml(".github/workflows/ci.yml")["jobs"];
    assert_eq!(release()["jobs"]["check"]["uses"], "./.github/workflows/ci.yml");
    assert_eq!(jobs["image"]["strategy"]["matrix"]["image"], json!(images()));
    for (job, image) in [("image", "kamaji-telemetry-"), ("released", "ghcr.io/clastix/kamaji-telemetry-")] {
        let [scan] = uses(&jobs[job], "anchore/scan-action")[..] else { panic!("{job}: expected one scan") };
        let scanned = scan["with"]["image"].as_str().unwrap();
        assert!(scanned.starts_with(&format!("{image}${{{{ matrix.image }}}}:")), "{scanned}");
        assert_eq!((&scan["with"]["severity-cutoff"], &scan["with"]["fail-build"]), (&json!("high"), &Value::Null));
    }
}

#[test]
fn each_image_chart_and_binary_has_its_provenance() {
    let publish = &release()["jobs"]["publish"];
    let attested = uses(publish, "actions/attest");
    let of_images = attested.iter().filter_map(|step| step["with"]["subject-name"].as_str());
    let of_images: Vec<_> = of_images.filter_map(|name| name.strip_prefix("${{ env.IMAGE }}-")).collect();
    assert_eq!(of_images, images());
    for step in &attested[..of_images.len()] {
        let with = &step["with"];
        let image = with["subject-name"].as_str().unwrap().rsplit('-').next().unwrap();
        assert_eq!(with["subject-digest"], format!("${{{{ steps.images.outputs.{image} }}}}"));
        assert_eq!(with["push-to-registry"], true);
    }
    let of_files: Vec<_> = attested.iter().filter_map(|step| step["with"]["subject-checksums"].as_str()).collect();
    assert_eq!(of_files, ["attested"]);
    assert!(first_of(publish, &["$CHARTS/$name\" >>attested"]).is_some(), "the charts");
    assert!(first_of(publish, &["cat dist/SHA256SUMS >>attested"]).is_some(), "the binaries and the SBOMs");
    let pushes: Vec<_> = steps(publish).filter(|step| step["id"] == "images").collect();
    assert!(pushes[0]["run"].as_str().unwrap().contains("--provenance=mode=max --sbom=true"), "{pushes:?}");
}

#[test]
fn a_release_is_created_of_what_could_be_verified_alone() {
    let jobs = &release()["jobs"];
    assert_eq!((&jobs["release"]["needs"], &jobs["verify"]["needs"]), (&json!("verify"), &json!("publish")));
    for image in images() {
        assert_eq!(jobs["publish"]["outputs"][&image], format!("${{{{ steps.images.outputs.{image} }}}}"));
    }
    for command in
        ["cosign verify ", "gh attestation verify \"oci://", "cosign verify-attestation ", "cosign verify-blob "]
    {
        assert!(first_of(&jobs["verify"], &[command]).is_some(), "{command}");
    }
}

#[test]
fn no_workflow_may_more_than_its_job_needs() {
    let more = BTreeMap::from([
        ((".github/workflows/release.yml", "version"), json!({"contents": "read", "packages": "read"})),
        (
            (".github/workflows/release.yml", "publish"),
            json!({"contents": "read", "packages": "write", "id-token": "write", "attestations": "write"}),
        ),
        (
            (".github/workflows/release.yml", "verify"),
            json!({"contents": "read", "packages": "read", "attestations": "read"}),
        ),
        ((".github/workflows/release.yml", "release"), json!({"contents": "write"})),
    ]);
    for path in workflows() {
        let workflow = yaml(&path);
        assert_eq!(workflow["permissions"], json!({}), "{path}: what a job may is written there");
        for (name, job) in workflow["jobs"].as_object().unwrap() {
            let expected = more.get(&(&*path, &**name)).cloned().unwrap_or_else(|| json!({"contents": "read"}));
            assert_eq!(job["permissions"], expected, "{path}: {name}");
        }
    }
    assert_eq!(release()["jobs"]["publish"]["environment"], "release", "a reviewer lets it publish");
}

#[test]
fn what_is_installed_of_others_can_neither_sign_nor_publish() {
    for path in workflows() {
        let workflow = yaml(&path);
        let jobs = workflow["jobs"].as_object().unwrap();
        let installing: Vec<_> =
            jobs.iter().filter(|(_, job)| first_of(job, &["-tools", "cargo "]).is_some()).collect();
        assert_eq!(installing.len(), 1, "that of the audit, or of the SBOM");
        for (name, job) in jobs {
            let installs = installing.iter().any(|(other, _)| *other == name);
            if installs || !uses(job, "anchore/scan-action").is_empty() {
                assert_eq!(job["permissions"], json!({"contents": "read"}), "{name}");
            }
        }
    }
}

#[test]
fn workflows_run_nothing_that_can_change_under_them() {
    let pinned = Regex::new("^([a-z-]+/[a-z-]+)@([0-9a-f]{40}) # (v[0-9]+\\.[0-9]+\\.[0-9]+)$").unwrap();
    let mut commits = BTreeMap::new();
    for path in workflows() {
        let text = read(&path);
        let actions: Vec<_> =
            text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: ")).collect();
        assert!(!actions.is_empty());
        for action in actions.into_iter().filter(|action| !action.starts_with("./")) {
            let found = pinned.captures(action);
            let found = found.unwrap_or_else(|| panic!("{action}: expected OWNER/NAME@COMMIT # vX.Y.Z"));
            let commit = (found[2].to_owned(), found[3].to_owned());
            let known = commits.entry(found[1].to_owned()).or_insert_with(|| commit.clone());
            assert_eq!(*known, commit, "{action}: the workflows use one version");
        }
    }
}

/// Returns the shell commands of the documents that begin with `program`, each on one line.
fn documented(program: &str) -> Vec<String> {
    let files = ["docs/security.md", "CONTRIBUTING.md"];
    let blocks = files.iter().flat_map(|path| {
        let text = read(path);
        let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.replace("\\\n", " "));
        blocks.collect::<Vec<_>>()
    });
    let lines = blocks.flat_map(|block| block.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
    lines.filter(|line| line.starts_with(program)).collect()
}

/// Returns the word behind `flag`, without quotes.
fn argument<'a>(command: &'a str, flag: &str) -> &'a str {
    let mut words = command.split_whitespace().skip_while(|word| *word != flag).skip(1);
    words.next().unwrap_or_else(|| panic!("{command}: expected {flag}")).trim_matches('\'')
}

#[test]
fn the_documented_commands_verify_the_identity_of_the_workflow_that_publishes() {
    let repository = env!("CARGO_PKG_REPOSITORY");
    let path = ".github/workflows/release.yml";
    assert_eq!(yaml(path)["on"]["push"]["tags"], json!(["v*"]));
    let identity = format!("{repository}/{path}@refs/tags/v{}", env!("CARGO_PKG_VERSION"));
    let others = [
        format!("{repository}/{path}@refs/heads/main"),
        format!("{repository}/.github/workflows/ci.yml@refs/tags/v1.0.0"),
        format!("{repository}-fork/{path}@refs/tags/v1.0.0"),
    ];
    let cosign = documented("cosign verify");
    assert!(cosign.len() >= 4, "images, SBOM, charts and checksums: {cosign:#?}");
    for command in &cosign {
        let expected = Regex::new(argument(command, "--certificate-identity-regexp")).unwrap();
        assert!(expected.is_match(&identity), "{command}: expected to match {identity}");
        for other in &others {
            assert!(!expected.is_match(other), "{command}: expected not to match {other}");
        }
        let issuer = argument(command, "--certificate-oidc-issuer");
        assert_eq!(issuer, "https://token.actions.githubusercontent.com", "{command}");
    }
    let gh = documented("gh attestation verify");
    assert!(gh.len() >= 2, "an image and a binary: {gh:#?}");
    let name = repository.trim_start_matches("https://github.com/");
    for command in &gh {
        assert_eq!(argument(command, "--repo"), name, "{command}");
        assert_eq!(argument(command, "--signer-workflow"), format!("{name}/{path}"), "{command}");
    }
    let image = release()["env"]["IMAGE"].as_str().unwrap().to_owned();
    let published: BTreeSet<_> = images().into_iter().map(|name| format!("{image}-{name}")).collect();
    let pattern = Regex::new(&format!("{image}-[a-z]+")).unwrap();
    for command in cosign.iter().chain(&gh) {
        for name in pattern.find_iter(command) {
            assert!(published.contains(name.as_str()), "{command}: no image is called {}", name.as_str());
        }
    }
}
