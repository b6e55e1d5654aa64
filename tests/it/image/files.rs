//! Facts on which the Dockerfile, the workflows, the tests' set-up and the charts must agree.

use std::fs;

use serde_json::Value;

use super::root::{Component, PACKAGES, PROGRAM, USER};
use crate::servers::{checkout, documents};

fn read(path: &str) -> String {
    fs::read_to_string(checkout(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    documents(&read(path)).remove(0)
}

/// Returns the Dockerfile's instructions called `name`, with continued lines joined.
fn instructions(name: &str) -> Vec<String> {
    let text = read("Dockerfile").replace("\\\n", "");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Returns the directories of the charts.
fn charts() -> Vec<String> {
    let folders = fs::read_dir(checkout("charts")).unwrap();
    folders.map(|folder| format!("charts/{}", folder.unwrap().file_name().display())).collect()
}

#[test]
fn the_image_runs_the_program_that_was_tried_as_the_user_that_was_tried() {
    let [entrypoint] = &instructions("ENTRYPOINT")[..] else { panic!("one ENTRYPOINT") };
    assert_eq!(serde_json::from_str::<Vec<String>>(entrypoint).unwrap(), [PROGRAM]);
    assert_eq!(instructions("USER"), [format!("{USER}:{USER}")]);
    assert!(instructions("CMD").is_empty(), "the charts give the arguments");
    for built in instructions("RUN").iter().filter(|run| run.contains("cargo build")) {
        let built = built.replace('"', "");
        assert!(built.contains(&format!("dist/kamaji-telemetry /image{PROGRAM} ")), "{built}");
        let flags =
            "--profile dist --locked --no-default-features --features ${COMPONENT:?expected agent or backend} --bins";
        assert!(built.contains(flags), "{built}");
    }
    let copied = instructions("COPY");
    assert_eq!(copied, [". .", ". .", "--from=build-static /image /", "--from=build /image /"]);
    let base = "gcr.io/distroless/cc-debian13:nonroot";
    assert!(instructions("ARG").contains(&format!("BASE={base}")), "it is the one whose files the tests have");
    assert_eq!(yaml(".github/workflows/release.yml")["env"]["BASE"], base);
}

#[test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs the images' binaries: run `make test`")]
fn the_images_are_built_from_all_that_their_binaries_were_built_from() {
    let ignore = read(".dockerignore");
    assert!(ignore.lines().any(|line| line == "*"), "nothing is sent to the build but what is named");
    let named: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).map(checkout).collect();
    for component in Component::ALL {
        let sources = component.sources();
        assert!(sources.contains(&checkout("src/main.rs")), "{sources:?}");
        for source in sources {
            let is_sent = named.iter().any(|path| source.starts_with(path));
            assert!(is_sent, ".dockerignore leaves out {}", source.display());
        }
    }
}

#[test]
fn builds_share_a_cache_neither_at_once_nor_with_what_other_sources_left_in_it() {
    let builds: Vec<_> = instructions("RUN").into_iter().filter(|run| run.contains("cargo build")).collect();
    assert_eq!(builds.len(), 2, "one a stage that builds: {builds:?}");
    let caches: Vec<_> = builds.iter().flat_map(|run| run.split_whitespace()).collect();
    let caches: Vec<_> = caches.into_iter().filter_map(|word| word.strip_prefix("--mount=type=cache,")).collect();
    assert_eq!(caches.len(), 2 * builds.len(), "cargo's registry and what was built: {caches:?}");
    for cache in &caches {
        let id = cache.split(',').next().unwrap_or_default();
        assert!(
            id.ends_with("-${COMPONENT}-${TARGETARCH}"),
            "{cache}: two images that are built at once would share it"
        );
        let sharing = caches.iter().filter(|other| other.split(',').next() == Some(id)).count();
        assert_eq!(sharing, 1, "{cache}: two stages that are built at once would share it");
    }
    for build in builds {
        assert!(build.contains("touch src/lib.rs src/main.rs && cargo build --profile dist "), "{build}");
    }
}

#[test]
fn the_charts_run_the_image_as_its_user_and_leave_its_program_to_it() {
    for chart in charts() {
        let values = yaml(&format!("{chart}/values.yaml"));
        let context = &values["podSecurityContext"];
        for field in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert_eq!(context[field], USER, "{chart}: podSecurityContext.{field}");
        }
        let workflow = yaml(".github/workflows/release.yml");
        let pushed = workflow["env"]["IMAGE"].as_str().expect("the images' name");
        let pushed = Component::ALL.map(|component| format!("{pushed}-{}", component.name()));
        let repository = values["image"]["repository"].as_str().expect("the image's name");
        assert!(pushed.contains(&repository.to_owned()), "{repository}: expected of {pushed:?}");
        let (_, component) = chart.rsplit_once('-').expect("a chart is named after its component");
        assert!(repository.ends_with(component), "{chart}: image.repository");
    }
}

#[test]
fn the_charts_are_of_the_programs_version() {
    for component in Component::ALL {
        assert!(charts().contains(&format!("charts/kamaji-telemetry-{}", component.name())), "{component:?}");
    }
    for chart in charts() {
        let chart = yaml(&format!("{chart}/Chart.yaml"));
        for field in ["version", "appVersion"] {
            assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field} of {}", chart["name"]);
        }
    }
}

#[test]
fn everything_is_built_with_the_rust_that_is_said_to_be_needed() {
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(instructions("ARG").contains(&format!("RUST_VERSION={rust}")));
    for from in instructions("FROM").iter().filter(|from| from.contains("library/rust:")) {
        assert!(from.contains("library/rust:${RUST_VERSION}-"), "{from}");
    }
    for workflow in ["ci", "release"] {
        let workflow = yaml(&format!(".github/workflows/{workflow}.yml"));
        assert_eq!(workflow["env"]["RUST_VERSION"], rust);
    }
    let container = &yaml(".github/workflows/ci.yml")["jobs"]["test"]["container"];
    assert_eq!(*container, format!("docker.io/library/rust:{rust}-bookworm"));
}

#[test]
fn the_tests_set_up_installs_the_packages_of_the_base_image() {
    let script = read("tests/tools/packages");
    let (_, list) = script.split_once("packages=(").expect("the script lists the packages");
    let (list, _) = list.split_once(')').expect("a list has an end");
    let installed: Vec<_> = list.split_whitespace().collect();
    // Debian cannot run without these.
    let essential = ["base-files", "libc6", "libgcc-s1"];
    for package in PACKAGES.iter().filter(|package| !essential.contains(*package)) {
        assert!(installed.contains(package), "{package}");
    }
}

/// Returns the index of the first shell line of `job` that contains one of `words`.
fn first_of(job: &Value, words: &[&str]) -> Option<usize> {
    let runs = job["steps"].as_array().into_iter().flatten().map(|step| step["run"].as_str().unwrap_or_default());
    let lines: Vec<_> = runs.flat_map(str::lines).collect();
    lines.iter().position(|line| words.iter().any(|word| line.contains(word)))
}

#[test]
fn a_release_is_built_and_tried_before_any_of_it_is_published() {
    let publish = &yaml(".github/workflows/release.yml")["jobs"]["publish"];
    let published = first_of(publish, &["type=registry", "helm push", "cosign sign", "cosign attest"]);
    for before in ["cosign verify", "docker run", "type=local", "sha256sum", "helm\" package"] {
        let line = first_of(publish, &[before]);
        assert!(line.is_some() && line < published, "{before}: line {line:?}, and {published:?} publishes");
    }
    for job in ["check", "sbom"] {
        assert!(publish["needs"].as_array().is_some_and(|needs| needs.contains(&Value::from(job))), "{job}");
    }
}

#[test]
fn what_is_installed_of_others_can_neither_sign_nor_publish() {
    for workflow in ["ci", "release"] {
        let workflow = yaml(&format!(".github/workflows/{workflow}.yml"));
        assert_eq!(workflow["permissions"], serde_json::json!({}));
        let jobs = workflow["jobs"].as_object().unwrap();
        let installing: Vec<_> =
            jobs.iter().filter(|(_, job)| first_of(job, &["-tools", "cargo "]).is_some()).collect();
        assert_eq!(installing.len(), 1, "that of the audit, or of the SBOM");
        for (name, job) in installing {
            assert_eq!(job["permissions"], serde_json::json!({"contents": "read"}), "{name}");
        }
    }
}

#[test]
fn workflows_run_nothing_that_can_change_under_them() {
    for workflow in ["ci", "release"] {
        let text = read(&format!(".github/workflows/{workflow}.yml"));
        let actions: Vec<_> =
            text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: ")).collect();
        assert!(!actions.is_empty());
        for action in actions {
            let commit = action.split(['@', ' ']).nth(1).unwrap_or_default();
            let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_commit || action.starts_with("./"), "{action}: expected the full hash of a commit");
        }
    }
}
