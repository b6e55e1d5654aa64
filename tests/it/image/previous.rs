//! The script that builds the last release, for the test of an upgrade from it.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::servers::checkout;

/// A stand-in for the Makefile: its target writes the version into each binary.
const MAKEFILE: &str = "\
binaries:
\tfor component in agent backend; do \\
\t\tmkdir -p $(CARGO_TARGET_DIR)/images/ci/$$component && \\
\t\tcp VERSION $(CARGO_TARGET_DIR)/images/ci/$$component/kamaji-telemetry; \\
\tdone
";

/// A repository with the script.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        let path = repository.0.path();
        fs::create_dir_all(path.join("tests/tools")).unwrap();
        fs::copy(checkout("tests/tools/previous"), path.join("tests/tools/previous")).unwrap();
        fs::create_dir_all(path.join("charts/one")).unwrap();
        fs::write(path.join("Makefile"), MAKEFILE).unwrap();
        fs::write(path.join(".gitignore"), "target\n").unwrap();
        repository.git(&["init", "--quiet"]);
        repository
    }

    fn git(&self, arguments: &[&str]) {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        let git = Command::new("git").args(identity).args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(git.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&git.stderr));
    }

    /// Commits a version.
    fn commit(&self, version: &str) {
        fs::write(self.0.path().join("VERSION"), version).unwrap();
        fs::write(self.0.path().join("charts/one/values.yaml"), version).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", version]);
    }

    fn tag(&self, name: &str) {
        self.git(&["tag", name]);
    }

    /// Runs the script, and returns what it prints.
    fn previous(&self) -> String {
        let script = self.0.path().join("tests/tools/previous");
        let output = Command::new(script).env_remove("CARGO_TARGET_DIR").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

#[test]
fn without_a_release_there_is_nothing_to_upgrade_from() {
    let repository = Repository::new();
    repository.commit("1.0.0");
    assert_eq!(repository.previous(), "");
    repository.tag("v1.0.0");
    assert_eq!(repository.previous(), "", "the release itself is no previous one");
}

#[test]
fn an_upgrade_begins_with_the_last_release_before_the_checkout() {
    let repository = Repository::new();
    for version in ["1.9.0", "1.10.0-rc.1", "1.10.0"] {
        repository.commit(version);
        repository.tag(&format!("v{version}"));
    }
    repository.tag("not-a-release");
    let read = |directory: &str, file: &str| fs::read_to_string(Path::new(directory).join(file)).unwrap();
    let of_rc = repository.previous();
    assert_eq!(read(&of_rc, "images/agent/kamaji-telemetry"), "1.10.0-rc.1", "HEAD is v1.10.0");

    repository.commit("1.11.0");
    let directory = repository.previous();
    for file in ["images/agent/kamaji-telemetry", "images/backend/kamaji-telemetry", "charts/one/values.yaml"] {
        assert_eq!(read(&directory, file), "1.10.0", "{file}");
    }
    assert_eq!(repository.previous(), directory, "it is built once");
}
