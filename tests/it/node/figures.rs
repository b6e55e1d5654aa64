//! The figures of the node's tests, which `make test` prints at its end.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::scene::Scene;

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

    /// Waits until exactly these events are stored, each once, and writes a row: the injury, the events, how many of them are
    /// missing and repeated, and the time since it began.
    pub(super) async fn lost_nothing(self, scene: &Scene, events: &[String]) {
        scene.stored(&events.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let Self { name, begun } = self;
        let row = format!("| {name} | {} | 0 | 0 | {:.1} s |\n", events.len(), begun.elapsed().as_secs_f64());
        write(&name.replace(' ', "-"), &row);
    }
}
