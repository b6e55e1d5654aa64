//! Facts on which the Dockerfiles, the workflows, the tests' set-up and the charts must agree.

use std::fs;

use serde_json::Value;

use super::root::{Component, PACKAGES, PROGRAM, USER};
use crate::servers::{checkout, documents};

/// The Dockerfile of the components' images, and that of the relay's.
const DOCKERFILES: [&str; 2] = ["Dockerfile", "otel-collector/Dockerfile"];

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(checkout(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(super) fn yaml(path: &str) -> Value {
    documents(&read(path)).remove(0)
}

/// Returns the instructions called `name` of the components' Dockerfile, with continued lines joined.
fn instructions(name: &str) -> Vec<String> {
    instructions_of("Dockerfile", name)
}

fn instructions_of(dockerfile: &str, name: &str) -> Vec<String> {
    let text = read(dockerfile).replace("\\\n", "");
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
    let base = base("Dockerfile");
    assert!(
        base.starts_with("gcr.io/distroless/cc-debian13:nonroot@"),
        "{base}: expected that whose files the tests have"
    );
}

/// Returns the base image of a Dockerfile.
fn base(dockerfile: &str) -> String {
    let arguments = instructions_of(dockerfile, "ARG");
    arguments.iter().find_map(|argument| argument.strip_prefix("BASE=")).expect("a base").to_owned()
}

#[test]
fn the_relays_image_is_the_collector_of_its_manifest_alone() {
    let of = |name| instructions_of("otel-collector/Dockerfile", name);
    assert_eq!(of("ENTRYPOINT"), ["[\"/usr/local/bin/kamaji-telemetry-relay\"]"]);
    assert_eq!(of("USER"), [format!("{USER}:{USER}")]);
    assert!(of("CMD").is_empty(), "the chart gives the arguments");
    let base = base("otel-collector/Dockerfile");
    assert!(base.starts_with("gcr.io/distroless/static-debian13:nonroot@"), "{base}: expected one without a C library");
    assert!(of("ENV").iter().any(|variables| variables.contains("CGO_ENABLED=0")), "expected a static binary");
    let [generate, build] = &of("RUN")[..] else { panic!("one instruction generates the source, one compiles it") };
    assert!(generate.ends_with("/builder --config otel-collector/builder.yaml --skip-compilation"), "{generate}");
    let output = yaml("otel-collector/builder.yaml")["dist"]["output_path"].as_str().unwrap().to_owned();
    assert!(build.contains(&format!("go -C {} build", output.trim_start_matches("./"))), "{build}");
    assert!(build.contains(" -o /image/usr/local/bin/kamaji-telemetry-relay "), "{build}");
    let ignore = read(".dockerignore");
    let copied = of("COPY");
    let (last, read) = copied.split_last().unwrap();
    assert_eq!(last, "--from=build /image /");
    let read = read.iter().flat_map(|copied| copied.split(' ').collect::<Vec<_>>().into_iter().rev().skip(1));
    for file in read {
        assert!(ignore.lines().any(|line| line.strip_prefix('!') == Some(file)), ".dockerignore leaves out {file}");
    }
}

#[test]
fn the_relay_is_built_by_the_builder_of_its_components_version() {
    let version = yaml("otel-collector/builder.yaml")["dist"]["version"].as_str().unwrap().to_owned();
    let builder = format!("go.opentelemetry.io/collector/cmd/builder v{version} ");
    assert!(read("tests/tools/collector/go.mod").contains(&builder), "expected {builder}");
    assert!(read("otel-collector/builder.yaml").contains(&format!("receiver/otlpreceiver v{version}\n")));
    let workflow = &yaml(".github/workflows/ci.yml")["jobs"]["test"]["steps"];
    let go = workflow.as_array().unwrap().iter().find_map(|step| step["with"]["go-version"].as_str()).unwrap();
    let images = instructions_of("otel-collector/Dockerfile", "FROM");
    assert!(images[0].contains(&format!("library/golang:{go}.")), "{images:?}: expected the tests' Go {go}");
}

#[test]
fn each_image_that_a_build_starts_from_is_pinned_by_its_digest() {
    let digest = regex::Regex::new("^[a-z0-9./-]+:[a-zA-Z0-9.-]+@sha256:[0-9a-f]{64}$").unwrap();
    let frontends = DOCKERFILES.map(|path| read(path).lines().next().unwrap().replace("# syntax=", ""));
    assert_eq!(frontends[0], frontends[1], "one frontend");
    let container = yaml(".github/workflows/ci.yml")["jobs"]["test"]["container"]["image"].as_str().unwrap().to_owned();
    let mut pinned = vec![frontends[0].clone(), container.clone()];
    let mut built = Vec::new();
    for path in DOCKERFILES {
        pinned.push(base(path));
        let froms = instructions_of(path, "FROM");
        let images = froms.iter().map(|from| from.trim_start_matches("--platform=$BUILDPLATFORM "));
        let images = images.filter_map(|from| from.split(' ').next());
        built.extend(images.filter(|image| !["${BASE}", "base"].contains(image)).map(str::to_owned));
    }
    assert_eq!(built.len(), 3, "the images that compile: {built:?}");
    assert!(built.contains(&container), "{container}: expected the image in which the programs are compiled");
    for image in pinned.iter().chain(&built) {
        assert!(digest.is_match(image), "{image}: expected NAME:TAG@sha256:…");
    }
}

#[test]
fn the_images_have_the_same_labels() {
    let keys = DOCKERFILES.map(|path| {
        let [labels] = &instructions_of(path, "LABEL")[..] else { panic!("{path}: expected one LABEL") };
        let words = labels.split("org.opencontainers.image.").skip(1);
        words.map(|label| label.split_once('=').unwrap().0.to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(keys[0], keys[1]);
    assert!(keys[0].contains(&"revision".to_owned()), "{keys:?}");
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
        let registry = values["image"]["registry"].as_str().map(|registry| format!("{registry}/")).unwrap_or_default();
        let name = format!("{registry}{repository}");
        assert!(pushed.contains(&name), "{name}: expected of {pushed:?}");
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
    let images = instructions("FROM").into_iter().filter(|from| from.contains("library/rust:"));
    let images: Vec<_> = images.collect();
    assert_eq!(images.len(), 2, "one a stage that builds: {images:?}");
    for from in images {
        assert!(from.contains(&format!("library/rust:{rust}-")), "{from}");
    }
    for workflow in ["ci", "release"] {
        let workflow = yaml(&format!(".github/workflows/{workflow}.yml"));
        assert_eq!(workflow["env"]["RUST_VERSION"], rust);
    }
    let container = &yaml(".github/workflows/ci.yml")["jobs"]["test"]["container"]["image"];
    assert!(
        container.as_str().unwrap().starts_with(&format!("docker.io/library/rust:{rust}-bookworm@")),
        "{container}"
    );
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
