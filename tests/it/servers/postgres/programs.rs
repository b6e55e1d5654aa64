//! The programs of PostgreSQL, and the user that they run as.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::DEADLINE;

/// The folder of Debian's packages: a folder for each major version, with `bin` in it.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The user that runs the servers where the tests run as root, as which PostgreSQL refuses to run.
const USER: &str = "nobody";

/// Returns the path of a program: of the newest version that Debian's packages installed, or in PATH.
pub(super) fn program(name: &str) -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable();
    let of_path = std::env::var_os("PATH").unwrap_or_default();
    let folders = versions.into_iter().rev().map(|(_, folder)| folder).chain(std::env::split_paths(&of_path));
    let program = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    program.unwrap_or_else(|| {
        panic!(
            "no `{name}` in {DEBIAN}/*/bin or PATH: install Debian's package `postgresql`, as `tests/tools/packages` does \
             as root"
        )
    })
}

/// Returns a program with its first arguments, by which it runs as another user if this process is root's. The program
/// replaces `setpriv`, so that signals reach it, and it is the child that is waited for.
pub(super) fn unprivileged(name: &str) -> (PathBuf, Vec<String>) {
    let Some((user, group)) = other_user() else { return (program(name), Vec::new()) };
    let words = [format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()];
    (find_setpriv(), words.into_iter().chain([program(name).display().to_string()]).collect())
}

/// Runs a program to its end. Panics with its output if it fails.
pub(super) fn run(name: &str, arguments: &[String]) {
    try_run(name, arguments).unwrap_or_else(|output| panic!("{name} {arguments:?}:\n{output}"));
}

/// Runs a program to its end. An error is its output.
pub(super) fn try_run(name: &str, arguments: &[String]) -> Result<(), String> {
    let (program, first) = unprivileged(name);
    // The working directory of root may be closed to another user.
    let output = Command::new(program).args(first).args(arguments).env_clear().current_dir("/").output();
    let output = output.map_err(|error| error.to_string())?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(()) } else { Err(text) }
}

/// Makes an empty folder that the servers' user owns, in a folder that it may then enter.
pub(super) fn make_folder(path: &Path) {
    const WRITABLE: &str = "the folder is writable";
    let mode = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect(WRITABLE);
    fs::create_dir(path).expect(WRITABLE);
    // A server refuses data that others may read.
    mode(path, 0o700);
    if other_user().is_some() {
        let parent = path.parent().expect("a data folder is in another");
        mode(parent, 0o755);
        chown_to_other(path);
    }
}

/// Makes a file one that the servers' user alone may read.
pub(super) fn give_away(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("the folder is writable");
    chown_to_other(path);
}

fn chown_to_other(path: &Path) {
    if let Some((user, group)) = other_user() {
        chown(path, Some(user), Some(group)).expect("root may give a file away");
    }
}

/// Runs SQL statements, each in a transaction of its own, and returns their rows: a line each, columns separated by `|`.
pub(crate) async fn psql(address: &str, statements: &[&str]) -> Result<String, String> {
    let mut command = tokio::process::Command::new(program("psql"));
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--no-password", "--set=ON_ERROR_STOP=1"]);
    command.arg(format!("--dbname={address}"));
    command.args(statements.iter().map(|statement| format!("--command={statement}")));
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PGPASSFILE")).kill_on_drop(true);
    let output =
        tokio::time::timeout(DEADLINE, command.output()).await.map_err(|_| format!("no end in {DEADLINE:?}"))?;
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn find_setpriv() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let setpriv = std::env::split_paths(&path).map(|folder| folder.join("setpriv")).find(|path| path.is_file());
    setpriv.expect("`setpriv` is in PATH: install Debian's package `util-linux`")
}

/// Returns the user and the group that the servers run as, unless it is this process's own.
fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("a system has users");
    let user = users.lines().find_map(|line| line.strip_prefix(USER)?.strip_prefix(':'));
    let fields: Vec<_> = user.expect("a system has the user `nobody`").split(':').collect();
    let id = |field: usize| fields[field].parse().expect("a user has numbers");
    // Password, user, group.
    Some((id(1), id(2)))
}
