//! The simulated fleet of `demo --load`, against backends.

use std::path::Path;
use std::process::{Command, Output};

use kamaji_telemetry::backend::store::{EventFilter, InstallationFilter, SqliteStore, Store};
use regex::Regex;

use crate::program::command::{run, text};
use crate::program::{Backend, PROGRAM};
use crate::servers::postgres::TestDatabase;
use crate::servers::{Authority, eventually, free_address};

/// The installations of the fleet.
const INSTALLATIONS: &str = "200";

/// The flags that a load asks for.
const FLAGS: [&str; 2] = ["--trusted-proxy=127.0.0.1/32", "--rate-limit-snapshots=0"];

/// Writes the fleet into a new store.
fn fill(file: &Path) {
    let store = format!("sqlite:{}", file.display());
    let filled = Command::new(PROGRAM).args(["demo", "--load", INSTALLATIONS, "--fill", &store]).env_clear().output();
    let filled = filled.unwrap();
    assert!(filled.status.success(), "{}", text(&filled));
}

/// Starts a backend with the fleet in its store.
async fn filled_backend(flags: &[&str]) -> Backend {
    let backend = Backend::start_alive(&[&FLAGS, flags].concat(), &[], fill).await;
    backend.ready().await;
    backend
}

/// Runs a load of a few seconds, 100 times as fast as the real clock: a cycle takes three seconds.
async fn load(to: &str, store: &str, flags: &[&str]) -> Output {
    let words = ["demo", "--load", INSTALLATIONS, "--to", to, "--store", store, "--speed", "100", "--duration", "4s"];
    run(&[&words, flags].concat(), &[]).await
}

fn store_of(backend: &Backend) -> String {
    format!("sqlite:{}", backend.file().display())
}

/// Returns the number in the first group of `pattern`.
fn figure(output: &str, pattern: &str) -> u64 {
    let found = Regex::new(pattern).unwrap().captures(output);
    found.unwrap_or_else(|| panic!("{pattern} is not in {output}"))[1].parse().unwrap()
}

#[tokio::test]
async fn all_that_a_backend_acknowledges_to_a_fleet_is_stored() {
    let backend = filled_backend(&[]).await;
    let pid = std::process::id().to_string();
    let output = load(backend.url(), &store_of(&backend), &["--events-per-day", "200", "--pid", &pid]).await;
    let text = text(&output);
    assert!(output.status.success(), "{text}");

    let store = SqliteStore::open_existing(backend.file()).unwrap();
    let events = store.count_events(EventFilter::default()).await.unwrap().events;
    assert!(events > 20, "{events} events in {text}");
    assert_eq!(figure(&text, r"(\d+) acknowledged in "), events, "{text}");
    assert_eq!(figure(&text, r"stored +(\d+) new events"), events, "{text}");
    let confirmed = InstallationFilter { confirmed: Some(true), bulk: Some(false), ..InstallationFilter::default() };
    assert_eq!(store.installations(confirmed, 0).await.unwrap().matching, 200, "each is a client of its own");
    assert!(text.contains("snapshot of 200 of 200 installations"), "{text}");
    assert!(text.contains("failed        none"), "{text}");
    assert!(figure(&text, r"(\d+) MB at its peak") > 0, "{text}");
}

#[tokio::test]
async fn a_load_over_tls_trusts_the_given_authority_alone() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let (certificate, key) = authority.issue("backend", |_| ());
    let [certificate, key] =
        [("--tls-cert", certificate), ("--tls-key", key)].map(|(flag, path)| format!("{flag}={}", path.display()));
    let backend = filled_backend(&[&certificate, &key]).await;
    let (url, ca) = (format!("https://{}", backend.http()), authority.certificate().display().to_string());
    let trusted = load(&url, &store_of(&backend), &["--ca-file", &ca]).await;
    let text_of_trusted = text(&trusted);
    assert!(trusted.status.success(), "{text_of_trusted}");
    assert!(text_of_trusted.contains("snapshot of 200 of 200 installations"), "{text_of_trusted}");

    let distrusted = text(&load(&url, &store_of(&backend), &[]).await);
    assert!(distrusted.contains("unreachable: "), "{distrusted}");
    assert!(distrusted.contains(" 0 requests acknowledged"), "{distrusted}");
}

#[tokio::test]
async fn a_url_that_is_down_loses_nothing_that_another_acknowledges() {
    let backend = filled_backend(&[]).await;
    let urls = format!("http://{},{}", free_address(), backend.url());
    let output = load(&urls, &store_of(&backend), &["--events-per-day", "200"]).await;
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("snapshot of 200 of 200 installations"), "{text}");
    assert!(figure(&text, r"unreachable: (\d+)") >= 100, "its part is half of the fleet: {text}");
    assert_eq!(figure(&text, r"(\d+) acknowledged in "), figure(&text, r"stored +(\d+) new events"), "{text}");
}

#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
#[tokio::test]
async fn a_killed_backend_of_two_on_one_database_loses_nothing_that_a_fleet_was_acknowledged() {
    let database = TestDatabase::create().await;
    let filled = run(&["demo", "--load", INSTALLATIONS, "--fill", database.address()], &[]).await;
    assert!(filled.status.success(), "{}", text(&filled));
    let mut killed = Backend::start_on(database.address(), &FLAGS).await;
    let other = Backend::start_on(database.address(), &FLAGS).await;
    let urls = format!("{},{}", killed.url(), other.url());
    let flags = ["--events-per-day", "200"];
    let kill = async {
        let accepted = async || {
            let metrics = killed.metrics().await;
            let is_accepted = |line: &str| {
                line.starts_with("kamaji_telemetry_backend_records_accepted_total") && !line.ends_with(" 0")
            };
            metrics.lines().any(is_accepted).then_some(())
        };
        eventually("a backend to accept records", accepted).await;
        killed.kill();
    };
    let (output, ()) = tokio::join!(load(&urls, database.address(), &flags), kill);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("snapshot of 200 of 200 installations"), "{text}");
    assert!(figure(&text, r"stored +(\d+) new events") >= figure(&text, r"(\d+) acknowledged in "), "{text}");
}

#[tokio::test]
async fn the_herd_of_a_fleet_after_an_outage_is_spread_and_brings_its_events() {
    let backend = filled_backend(&[]).await;
    let output = load(backend.url(), &store_of(&backend), &["--outage", "1h", "--events-per-day", "24"]).await;
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    // 200 events of the outage and some of the run, each delivered.
    assert!(figure(&text, r"stored +(\d+) new events") > 150, "{text}");
    assert!(text.contains("snapshot of 200 of 200 installations"), "{text}");
    // 200 installations with 200 events within a minute.
    assert!(figure(&text, r"busiest +(\d+) attempts") < 40, "{text}");
}

#[tokio::test]
async fn a_load_fails_if_the_store_lacks_what_was_acknowledged() {
    let [backend, other] = [filled_backend(&[]).await, filled_backend(&[]).await];
    let output = load(backend.url(), &store_of(&other), &[]).await;
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("200 installations have another snapshot in the store"), "{text}");
}

#[tokio::test]
async fn a_load_needs_backends_or_a_store_and_excludes_the_demo() {
    for (words, expected) in [
        (&["--load=5"][..], "--to"),
        (&["--to=http://127.0.0.1:1"], "--load"),
        (&["--load=0", "--to=http://127.0.0.1:1"], "1..="),
        (&["--load=5", "--to=127.0.0.1"], "expected http:// or https://"),
        (&["--load=5", "--to=http://127.0.0.1:1", "--fill=sqlite:x"], "cannot be used with"),
        (&["--load=5", "--to=http://127.0.0.1:1", "--data=x"], "cannot be used with"),
        (&["--load=5", "--fill=sqlite:x", "--outage=1h"], "cannot be used with"),
    ] {
        let output = run(&[&["demo"], words].concat(), &[]).await;
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output).contains(expected), "{words:?}: {}", text(&output));
    }
    let missing = run(&["demo", "--load=5", "--to=http://127.0.0.1:1", "--store=sqlite:/nowhere/x.db"], &[]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("--store"), "{}", text(&missing));
}
