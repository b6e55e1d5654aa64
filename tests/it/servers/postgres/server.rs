//! One server of PostgreSQL.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::eventually;
use super::super::process::{Launch, Process, free_address};
use super::programs::{give_away, make_folder, psql, run, try_run, unprivileged};

/// The superuser.
pub(super) const SUPERUSER: &str = "kt";

/// Settings of both servers, each of which may be the primary. What makes a commit durable is left as it is: `fsync`,
/// `full_page_writes` and `synchronous_commit`. They are in a file: `pg_rewind` recovers a killed server before it compares, and
/// would lose the log that it reads if the server did not keep it.
const SETTINGS: [&str; 11] = [
    "listen_addresses = '127.0.0.1'",
    // Tests reach it over TCP, and a folder for sockets would be one of the machine's.
    "unix_socket_directories = ''",
    // Those of stores of tests that have ended may not have closed yet.
    "max_connections = 200",
    "shared_buffers = '32MB'",
    "max_wal_senders = 5",
    // A standby that was away finds what it missed, without a slot that would have to be moved at each promotion.
    "wal_keep_size = '512MB'",
    "max_wal_size = '512MB'",
    // A standby that has lost its primary tries again at once rather than after 5 s.
    "wal_retrieve_retry_interval = '200ms'",
    // A recovery syncs the data first: all of it at once rather than each of a thousand files.
    "recovery_init_sync_method = 'syncfs'",
    "log_checkpoints = off",
    "timezone = 'UTC'",
];

/// The state of a copy of another server's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejoined {
    /// Only what differed was copied.
    Rewound,
    /// All of the data was copied.
    Copied,
}

/// A running server, or one that was killed.
pub(crate) struct PostgresServer {
    /// Its name among the standbys of a primary.
    name: &'static str,
    process: Process,
    address: SocketAddr,
    data: PathBuf,
}

impl PostgresServer {
    /// Starts an empty server.
    pub(super) async fn start(name: &'static str) -> Self {
        Self::launch(name, initialize).await
    }

    /// Starts a standby of a server, from a base backup.
    pub(super) async fn start_standby(name: &'static str, primary: &Self) -> Self {
        Self::launch(name, |data| primary.copy_to(data)).await
    }

    async fn launch(name: &'static str, prepare: impl Fn(&Path)) -> Self {
        let launch = |folder: &Path| {
            let (address, data) = (free_address(), folder.join("data"));
            make_folder(&data);
            prepare(&data);
            let (program, mut arguments) = unprivileged("postgres");
            arguments.extend(["-D".to_owned(), data.display().to_string()]);
            arguments.extend([format!("--port={}", address.port()), format!("--cluster_name={name}")]);
            (Launch { program, arguments, environment: Vec::new() }, (address, data))
        };
        let ready = async |(address, _): &(SocketAddr, PathBuf)| is_ready(*address).await;
        let (process, (address, data)) = Process::start(launch, ready).await;
        Self { name, process, address, data }
    }

    /// Returns its name among the standbys of a primary.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the address of its port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the folder of its data.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Runs SQL statements as the superuser, each in a transaction of its own, and returns their rows: a line each, columns
    /// separated by `|`.
    pub(crate) async fn sql(&self, statements: &[&str]) -> String {
        let rows = psql(&url(self.address), statements).await;
        rows.unwrap_or_else(|error| panic!("{}: {statements:?}: {error}", self.name))
    }

    /// Kills all of its processes, as a failure of the machine would. Its files remain.
    pub(crate) fn kill(&mut self) {
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                break;
            }
            // One may have ended meanwhile.
            signal("KILL", &processes);
            self.process.stop();
            std::thread::yield_now();
        }
        self.process.stop();
    }

    /// Ends it as `pg_ctl stop -m immediate` does: its next start recovers as from a crash.
    pub(crate) async fn stop_immediately(&mut self) {
        self.process.signal("QUIT");
        eventually("PostgreSQL to end", async || self.process.exited()).await;
        // The postmaster does not wait for the last of its children.
        self.kill();
    }

    /// Starts it again with the data that is there, and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let address = self.address;
        self.process.resume(async || is_ready(address).await).await;
    }

    /// Suspends all of its processes: its connections stay, and nothing answers.
    pub(crate) async fn suspend(&self) {
        let suspended = || {
            let processes = self.processes();
            signal("STOP", &processes);
            processes.iter().all(|process| is_suspended(*process))
        };
        eventually("PostgreSQL to be suspended", async || suspended().then_some(())).await;
    }

    /// Lets all of its suspended processes run again.
    pub(crate) fn unsuspend(&self) {
        signal("CONT", &self.processes());
    }

    /// Listens on all addresses, where `user` gets in with a password, and over TLS only. Starts again, as after a crash.
    pub(super) async fn admit_others(&mut self, user: &str, password: &str, certificate: &Path, key: &Path) {
        const WRITABLE: &str = "the folder is writable";
        for (from, to) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.data.join(to);
            fs::copy(from, &to).expect(WRITABLE);
            give_away(&to);
        }
        let rules = fs::OpenOptions::new().append(true).open(self.data.join("pg_hba.conf"));
        // Behind the rules for loopback.
        writeln!(rules.expect(WRITABLE), "hostssl all {user} all scram-sha-256").expect(WRITABLE);
        let password = format!("ALTER ROLE {user} PASSWORD '{password}'");
        self.sql(&[&password, "ALTER SYSTEM SET ssl = on", "ALTER SYSTEM SET listen_addresses = '*'"]).await;
        self.stop_immediately().await;
        self.resume().await;
    }

    /// Makes the data of a killed server that of a standby of `primary`.
    pub(super) async fn follow(&self, primary: &Self) -> Rejoined {
        // The timeline of the promotion is in the control file only from a checkpoint on, and `pg_rewind` reads it there.
        primary.sql(&["CHECKPOINT"]).await;
        let data = format!("--target-pgdata={}", self.data.display());
        let source = format!("--source-server={} dbname=postgres", connection(primary.address));
        let options = ["--write-recovery-conf", "--no-sync"].map(str::to_owned);
        if try_run("pg_rewind", &[[data, source], options].concat()).is_ok() {
            return Rejoined::Rewound;
        }
        fs::remove_dir_all(&self.data).expect("the folder is writable");
        make_folder(&self.data);
        primary.copy_to(&self.data);
        Rejoined::Copied
    }

    fn copy_to(&self, data: &Path) {
        let words = [
            format!("--dbname={}", connection(self.address)),
            format!("--pgdata={}", data.display()),
            "--write-recovery-conf".into(),
            "--wal-method=stream".into(),
            "--checkpoint=fast".into(),
            "--no-sync".into(),
        ];
        run("pg_basebackup", &words);
    }

    /// Returns its processes, which have the folder of the data as their working directory.
    fn processes(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").expect("a system has processes");
        let id = |entry: fs::DirEntry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            // One that has ended has none.
            (fs::read_link(entry.path().join("cwd")).ok()? == self.data).then_some(id)
        };
        processes.flatten().filter_map(id).collect()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes the data of an empty server. Checksums are what `pg_rewind` needs.
fn initialize(data: &Path) {
    let words = [
        format!("--pgdata={}", data.display()),
        format!("--username={SUPERUSER}"),
        "--auth=trust".into(),
        "--encoding=UTF8".into(),
        "--locale=C".into(),
        "--data-checksums".into(),
        // Its data has to outlive kills of processes, which a write to the page cache does.
        "--no-sync".into(),
        "--no-instructions".into(),
    ];
    run("initdb", &words);
    let file = data.join("postgresql.conf");
    fs::write(file, SETTINGS.join("\n")).expect("the folder is writable");
}

/// Returns the parameters of a superuser's connection.
fn connection(address: SocketAddr) -> String {
    format!("host={} port={} user={SUPERUSER}", address.ip(), address.port())
}

/// Returns the address of a superuser's connection.
pub(super) fn url(address: SocketAddr) -> String {
    format!("postgres://{SUPERUSER}@{address}/postgres?sslmode=disable&connect_timeout=10")
}

async fn is_ready(address: SocketAddr) -> bool {
    psql(&url(address), &["SELECT 1"]).await.is_ok()
}

fn signal(name: &str, processes: &[u32]) {
    let processes = processes.iter().map(u32::to_string);
    let output = Command::new("kill").args(["-s", name]).args(processes).output();
    output.expect("`kill` is there");
}

/// Returns whether a process is stopped, or has ended.
fn is_suspended(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|state| !state.starts_with(['R', 'S', 'D']))
}
