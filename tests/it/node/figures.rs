//! The figures of the node's tests, which `make test` prints at its end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::scene::Scene;

/// The time for which the store is watched after the last event: two intervals of the exports, in the second of which an event
/// that is sent once more has arrived.
const OBSERVATION: Duration = Duration::from_secs(2);

/// Prints rows of a table and writes them to `target/tmp/node/{file}.md`, since the output of a passing test is not shown.
pub(super) fn write(file: &str, rows: &str) {
    print!("node: {rows}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
    fs::create_dir_all(&folder).expect("cargo's folder can be written to");
    fs::write(folder.join(format!("{file}.md")), rows).expect("cargo's folder can be written to");
}

/// An injury, from its beginning on.
pub(super) struct Injury {
    name: &'static str,
    begun: Instant,
}

impl Injury {
    pub(super) fn begin(name: &'static str) -> Self {
        Self { name, begun: Instant::now() }
    }

    /// Waits until exactly these events are stored, each once, and observes that it stays so.
    pub(super) async fn lost_nothing(self, scene: &Scene, events: &[String]) {
        scene.stored(&events.iter().map(String::as_str).collect::<Vec<_>>()).await;
        self.observe(events, async || scene.events()).await;
    }

    /// Reads the events once more after the time of observation, writes a row, and asserts that none is missing and none repeated.
    /// The row has the injury, the number of events, how many of them are missing and how many were repeated within the time of
    /// observation, and the time from the beginning until all were stored.
    pub(super) async fn observe(self, events: &[String], read: impl AsyncFnOnce() -> Vec<String>) {
        let Self { name, begun } = self;
        let seconds = begun.elapsed().as_secs_f64();
        tokio::time::sleep(OBSERVATION).await;
        let found = read().await;
        let (lost, repeated) = (missing(events, &found), missing(&found, events));
        let (events, window) = (events.len(), OBSERVATION.as_secs());
        let row = format!("| {name} | {events} | {lost} | {repeated} in {window} s | {seconds:.1} s |\n");
        write(&name.replace(' ', "-"), &row);
        assert_eq!((lost, repeated), (0, 0), "{name}: {found:?}");
    }
}

/// Returns how many of the events are not in `others`. An event that is there once answers for one.
fn missing(events: &[String], others: &[String]) -> usize {
    let mut others: Vec<_> = others.iter().collect();
    let is_missing = |event: &&String| match others.iter().position(|other| other == event) {
        Some(position) => {
            others.swap_remove(position);
            false
        }
        None => true,
    };
    events.iter().filter(is_missing).count()
}
