//! A child process with its own folder, whose output is printed if the test fails.

use std::fs::{self, File};
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::eventually;

/// The number of lines of output that a failed test prints.
const PRINTED_LINES: usize = 40;

/// The number of attempts to start a server. Another process may take its free ports first.
const START_ATTEMPTS: usize = 3;

/// A running server.
pub(crate) struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    output: PathBuf,
    /// Removed after the process has ended, in the drop of [`Process`].
    folder: TempDir,
}

/// The command line and environment of a server.
pub(crate) struct Launch {
    /// The path of the program; see [`tool_path`].
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Process {
    /// Starts the command that `launch` returns for a new folder and waits until `ready`. Tries again, with other
    /// ports, if the process ends before.
    pub(crate) async fn start<T>(
        mut launch: impl FnMut(&Path) -> (Launch, T),
        mut ready: impl AsyncFnMut(&T) -> bool,
    ) -> (Self, T) {
        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let (launch, context) = launch(folder.path());
            let program = launch.program.display().to_string();
            let mut process = Self::new(launch, folder);
            process.spawn();
            match process.ready(async || ready(&context).await).await {
                Ok(()) => return (process, context),
                Err(status) => last = format!("{program} ended ({status}):\n{}", process.output()),
            }
        }
        panic!("{last}");
    }

    fn new(launch: Launch, folder: TempDir) -> Self {
        let Launch { program, arguments, environment } = launch;
        let output = folder.path().join("output.log");
        Self { program, arguments, environment, child: None, output, folder }
    }

    /// Starts the process without the inherited environment, which may have proxies and OTLP settings.
    fn spawn(&mut self) {
        let output = File::options().create(true).append(true).open(&self.output).expect("the folder is writable");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be duplicated"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.child = Some(child);
    }

    async fn ready(&mut self, mut ready: impl AsyncFnMut() -> bool) -> Result<(), ExitStatus> {
        let what = format!("{} to be ready", self.program.display());
        eventually(&what, async || match self.exited() {
            Some(status) => Some(Err(status)),
            None => ready().await.then_some(Ok(())),
        })
        .await
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("a child can be waited for")
    }

    /// Returns its own folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Returns a figure of its memory from procfs, in bytes: `VmRSS` for resident memory, `VmHWM` for its peak,
    /// `RssAnon` for the part that is not backed by files.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let value = value.unwrap_or_else(|| panic!("a process has no {field}")).trim().trim_end_matches(" kB");
        1_024 * value.parse::<u64>().expect("it is a number of kB")
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("it runs");
        let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
        assert!(status.expect("`kill` is there").success(), "SIG{name} can't be sent");
    }

    /// Suspends the process, and returns once none of its threads runs.
    pub(crate) async fn suspend(&self) {
        self.signal("STOP");
        eventually("all threads to be stopped", async || self.is_suspended().then_some(())).await;
    }

    /// Returns whether all threads are stopped. One that is in a system call stops at its end.
    fn is_suspended(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).expect("it runs");
        // A thread that has ended meanwhile has no state.
        let states = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
        states.into_iter().all(|stat| stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T')))
    }

    /// Kills and reaps the process, as a crash would. Its files remain.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that the process has ended already.
            drop(child.kill());
            child.wait().expect("a child can be waited for");
        }
    }

    /// Starts the process again with the same arguments, ports and files.
    pub(crate) async fn resume(&mut self, ready: impl AsyncFnMut() -> bool) {
        self.spawn();
        if let Err(status) = self.ready(ready).await {
            panic!("{} ended ({status}) when started again:\n{}", self.program.display(), self.output());
        }
    }

    /// Returns its standard output and standard error so far.
    pub(crate) fn output(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let printed = lines[lines.len().saturating_sub(PRINTED_LINES)..].join("\n");
            eprintln!("--- last output of {} ---\n{printed}", self.program.display());
        }
    }
}

/// The ports of servers. They are below those that the kernel gives to connections: one of these would keep the port of a server
/// that is down, and 60 s longer than the connection lasts. They leave out those of a kubelet, and those of Services.
const PORTS: Range<u16> = 11_000..30_000;

/// Returns a free port of loopback. If another process takes it first, [`Process::start`] tries again.
pub(crate) fn free_address() -> SocketAddr {
    let mut random = iter::repeat_with(|| SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS))));
    random.find(|address| TcpListener::bind(address).is_ok()).expect("the numbers never end")
}

/// Returns the path of `tool`, which `tests/tools/build` has built, or of a file in it.
pub(crate) fn tool_path(tool: &str) -> PathBuf {
    let path = tools_folder().join(tool);
    assert!(
        path.is_file(),
        "{} isn't there: run `make test`, which puts it there (it needs Go 1.26 and Node.js 20 or later), or \
         `tests/tools/build` alone",
        path.display()
    );
    path
}

/// Returns the folder into which `tests/tools/build` puts the tools.
pub(crate) fn tools_folder() -> PathBuf {
    variable("KAMAJI_TELEMETRY_TOOLS_DIR").unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME")
            .unwrap_or_else(|| variable("HOME").expect("HOME or KAMAJI_TELEMETRY_TOOLS_DIR is set").join(".cache"));
        cache.join("kamaji-telemetry/tools")
    })
}

/// Returns a path from an environment variable.
pub(super) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
