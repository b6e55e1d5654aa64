//! A real Kubernetes node in namespaces of its own: etcd, the control plane, a kubelet, and containerd.

mod files;
mod images;

use std::any::Any;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::servers::{checkout, tool_path, tools_folder, within};

pub(super) use images::{NEXT, PREVIOUS};

/// The timeout of a condition on the node: pods are started, ended and started again with a backoff of up to 20 s meanwhile, on
/// two cores that other tests share.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// The one node of all tests, which each of them has for itself meanwhile: the agent's chart can be installed once in a cluster.
/// A node that did not start is not tried again: the message of its first start is that of every later test.
static NODE: Mutex<Option<Result<Node, String>>> = Mutex::const_new(None);

/// A running node. Its processes end with the test process, however that ends.
pub(crate) struct Node {
    script: Child,
    folder: TempDir,
    cgroup: String,
    /// The process ID, on this machine, of the first process in the namespaces.
    first: u32,
    /// The time from its start until it took pods and had its images.
    start_time: Duration,
}

/// Access to the node for one test.
pub(crate) struct NodeGuard(MutexGuard<'static, Option<Result<Node, String>>>);

impl std::ops::Deref for NodeGuard {
    type Target = Node;

    fn deref(&self) -> &Node {
        match self.0.as_ref().expect("it was started") {
            Ok(node) => node,
            Err(error) => panic!("there is no node: {error}"),
        }
    }
}

impl std::ops::DerefMut for NodeGuard {
    fn deref_mut(&mut self) -> &mut Node {
        match self.0.as_mut().expect("it was started") {
            Ok(node) => node,
            Err(error) => panic!("there is no node: {error}"),
        }
    }
}

/// Waits until no other test uses the node, starts it if it does not run, and moves this thread into its network.
pub(crate) async fn node() -> NodeGuard {
    let mut guard = NODE.lock().await;
    if guard.is_none() {
        let start = AssertUnwindSafe(Node::start()).catch_unwind().await;
        *guard = Some(start.map_err(|panic| message(panic.as_ref())));
    }
    let mut guard = NodeGuard(guard);
    guard.enter();
    guard.allow_all_traffic().await;
    guard
}

/// Returns the message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

impl NodeGuard {
    /// Kills every process of the node, as a power failure would, and starts it again with the same disk.
    pub(crate) async fn crash(&mut self) {
        let crashed = Err("it did not start again after a crash, which another test reports".to_owned());
        let Some(Ok(mut node)) = self.0.replace(crashed) else { panic!("there is no node") };
        node.restart().await;
        *self.0 = Some(Ok(node));
    }
}

impl Node {
    async fn start() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "a node's namespaces, mounts and cgroups need root: run `make test` as root, in a container with \
             `--privileged --cgroupns=host`"
        );
        let start = Instant::now();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let cgroup = format!("kamaji-telemetry-{}", std::process::id());
        files::write(&Self::files(&folder), &cgroup);
        let script = Self::spawn(folder.path(), &cgroup);
        let mut node = Self { script, folder, cgroup, first: 0, start_time: Duration::ZERO };
        node.ready().await;
        images::load(&node).await;
        node.start_time = start.elapsed();
        node
    }

    /// Returns the time from the node's first start until it took pods and had its images.
    pub(crate) fn start_time(&self) -> Duration {
        self.start_time
    }

    fn files(folder: &TempDir) -> PathBuf {
        folder.path().join("var-lib/node")
    }

    fn spawn(folder: &Path, cgroup: &str) -> Child {
        let output = File::options().create(true).append(true).open(folder.join("output.log")).expect("it is writable");
        Command::new(checkout("tests/it/node/machine/run"))
            .args([folder, &tools_folder(), Path::new(cgroup)])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a file handle can be duplicated"))
            .stderr(output)
            .spawn()
            .expect("bash is there")
    }

    /// Waits until the node takes pods.
    async fn ready(&mut self) {
        self.first = within(PATIENCE, "the first process of the node", async || self.find_first()).await;
        self.enter();
        within(PATIENCE, "the node to be ready", async || {
            self.assert_runs();
            let account = self.kubectl(&["get", "serviceaccount", "default", "--namespace=default"]).await.is_ok();
            let ready = ["wait", "node/node", "--for=condition=Ready", "--timeout=1s"];
            (account && self.kubectl(&ready).await.is_ok()).then_some(())
        })
        .await;
    }

    fn assert_runs(&mut self) {
        if let Some(status) = self.script.try_wait().expect("a child can be waited for") {
            panic!("the node's script ended ({status}): {}", self.output());
        }
    }

    /// Returns the grandchild of the script, whose child is `unshare`, once it has its namespaces.
    fn find_first(&mut self) -> Option<u32> {
        self.assert_runs();
        let first = child_of(child_of(self.script.id())?)?;
        let command = fs::read_to_string(format!("/proc/{first}/cmdline")).ok()?;
        // Its last argument, before it replaces itself by nothing else.
        (command.ends_with("inside\0") && network_of(first)? != network_of(std::process::id())?).then_some(first)
    }

    /// Moves this thread into the node's network, and with it every connection that it opens and every process that it starts.
    pub(crate) fn enter(&self) {
        enter_network(self.first);
    }

    async fn restart(&mut self) {
        kill(&[self.first], Signal::KILL);
        self.script.wait().expect("a child can be waited for");
        self.script = Self::spawn(self.folder.path(), &self.cgroup);
        self.ready().await;
    }

    /// Runs kubectl as administrator, and returns its standard output, or its standard error if it fails.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.run(&tool_path("kubernetes/kubectl"), arguments).await
    }

    /// Runs helm as administrator, and returns its standard output, or its standard error if it fails.
    pub(crate) async fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        self.run(&tool_path("helm"), arguments).await
    }

    async fn run(&self, program: &Path, arguments: &[&str]) -> Result<String, String> {
        let mut command = tokio::process::Command::new(program);
        let kubeconfig = files::admin(&Self::files(&self.folder));
        command.args(arguments).env_clear().env("HOME", self.folder.path()).env("KUBECONFIG", kubeconfig);
        let output = command.kill_on_drop(true).output().await.expect("it was built");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Writes `content` into a new file of the node's folder, and returns its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("the folder is writable");
        path.display().to_string()
    }

    /// Enforces network policies, until the next test has the node.
    pub(crate) fn enforce_network_policies(&mut self) {
        fs::write(self.policies(), "").expect("the folder is writable");
        self.command("enforce-network-policies");
    }

    /// Ends the enforcement of network policies, if an earlier test began it.
    async fn allow_all_traffic(&mut self) {
        let policies = self.policies();
        if policies.exists() {
            self.command("allow-all-traffic");
            let ended = async || (!policies.exists()).then_some(());
            within(PATIENCE, "the network policies to be enforced no longer", ended).await;
        }
    }

    /// Returns the path of a file that is there while network policies are enforced.
    fn policies(&self) -> PathBuf {
        Self::files(&self.folder).join("network-policies")
    }

    /// Sends a line to the script.
    fn command(&mut self, line: &str) {
        let input = self.script.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("the node runs");
    }

    /// Returns the path, on this machine, of a folder on the node's disk, which it creates. It is `/var/lib/NAME` on the node.
    pub(crate) fn disk(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join("var-lib").join(name);
        fs::create_dir_all(&path).expect("the folder is writable");
        path
    }

    /// Returns the path, on this machine, of a path on the node, with what is mounted there.
    pub(crate) fn root(&self, path: &str) -> PathBuf {
        root_of(self.first).join(path.trim_start_matches('/'))
    }

    /// Runs a program of the node's own in all of its namespaces, and returns its standard output.
    pub(crate) async fn inside(&self, arguments: &[&str]) -> Result<String, String> {
        let target = format!("--target={}", self.first);
        let enter = ["--net", "--mount", "--uts", "--ipc", "--pid", &target, "--"];
        self.run(Path::new("/usr/bin/nsenter"), &[&enter, arguments].concat()).await
    }

    /// Returns the process IDs, on this machine, in the cgroup of a container, given by the ID of its status.
    pub(crate) fn processes(&self, container: &str) -> Vec<u32> {
        let id = container.trim_start_matches("containerd://");
        let folder = find_folder(&self.memory_cgroup(), id).unwrap_or_else(|| panic!("{container} has no cgroup"));
        let listed = fs::read_to_string(folder.join("cgroup.procs")).expect("a cgroup lists its processes");
        listed.lines().map(|line| line.parse().expect("it is a number")).collect()
    }

    /// Returns the process IDs, on this machine, of a pod, given by its UID: of its sandbox and of every container.
    pub(crate) fn pod_processes(&self, uid: &str) -> Vec<u32> {
        let folder =
            find_folder(&self.memory_cgroup(), &format!("pod{uid}")).unwrap_or_else(|| panic!("{uid} has no cgroup"));
        let containers = fs::read_dir(folder).expect("it is there").filter_map(|entry| Some(entry.ok()?.path()));
        let lists = containers.filter_map(|container| fs::read_to_string(container.join("cgroup.procs")).ok());
        lists
            .flat_map(|list| list.lines().map(|line| line.parse().expect("it is a number")).collect::<Vec<_>>())
            .collect()
    }

    fn memory_cgroup(&self) -> PathBuf {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchy = if root.join("cgroup.controllers").exists() { root.to_owned() } else { root.join("memory") };
        hierarchy.join(&self.cgroup)
    }

    fn output(&self) -> String {
        let mut text = String::new();
        let read =
            File::open(self.folder.path().join("output.log")).and_then(|mut file| file.read_to_string(&mut text));
        read.map(|_| text).unwrap_or_default()
    }

    /// Returns an object as JSON, if there is one.
    pub(crate) async fn get(&self, arguments: &[&str]) -> Option<Value> {
        let found = self.kubectl(&[&["get", "--output=json"], arguments].concat()).await.ok()?;
        Some(serde_json::from_str(&found).expect("kubectl writes JSON"))
    }
}

/// Returns the root directory, on this machine, of a process, with what is mounted there.
pub(crate) fn root_of(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root"))
}

/// Returns the path of a file of the previous version, below `charts`: of the directory that the variable
/// `KAMAJI_TELEMETRY_TEST_PREVIOUS` names, in which `tests/tools/previous` puts the charts and binaries of the last release. By
/// default it is this checkout.
pub(crate) fn previous(path: &str) -> PathBuf {
    previous_release().map_or_else(|| checkout(path), |directory| directory.join(path))
}

fn previous_release() -> Option<PathBuf> {
    std::env::var_os("KAMAJI_TELEMETRY_TEST_PREVIOUS").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Sends a signal to processes of this machine at once, so that none has time to act on the end of another. One that has ended
/// meanwhile is passed over.
pub(crate) fn kill(processes: &[u32], signal: Signal) {
    for &process in processes {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("it is a process ID");
        match kill_process(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => (),
            Err(error) => panic!("{signal:?} can't be sent to {process}: {error}"),
        }
    }
}

/// Moves this thread into the network of a process of this machine.
pub(crate) fn enter_network(process: u32) {
    let network = File::open(format!("/proc/{process}/ns/net")).expect("the process runs");
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
}

fn child_of(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn network_of(process: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/net")).ok()
}

/// Returns the folder whose name ends with `name`, at any depth.
fn find_folder(root: &Path, name: &str) -> Option<PathBuf> {
    let folders = fs::read_dir(root).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    folders.into_iter().find_map(|path| {
        let is_it = path.file_name().is_some_and(|file| file.to_string_lossy().ends_with(name));
        if is_it { Some(path) } else { find_folder(&path, name) }
    })
}
