//! The end of servers that no drop ends: those that all tests share.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits for the end of its input, ends the servers whose data is in these folders, and removes the folders of their
/// processes. Each try waits a tenth of a second, and after 5 s another server may have the process ID.
const SCRIPT: &str = "
read -r line
for data in \"$@\"; do
    if read -r server <\"$data/postmaster.pid\"; then
        kill -QUIT \"$server\"
        for try in 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9; do
            kill -0 \"$server\" || break
            sleep 0.1
        done
    fi
    rm -rf \"${data%/*}\"
done";

/// A process that ends servers once this one has ended, however that ends: its input is then closed.
pub(super) struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Starts a watchdog of the servers whose data is in these folders.
    pub(super) fn start(data: &[&Path]) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "watchdog"]).args(data).stdin(Stdio::piped());
        // Ctrl-C is not for it, and nobody waits for its output.
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self { child: command.spawn().expect("`sh` is there") }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("a child can be waited for");
    }
}
