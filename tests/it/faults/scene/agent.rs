//! The agent as a process that is killed, frozen, and started again.

use std::net::SocketAddr;
use std::path::Path;

use crate::program::PROGRAM;
use crate::servers::{Launch, Process, eventually, free_address, web};

/// A running agent.
pub(in crate::faults) struct Agent {
    process: Process,
    health: SocketAddr,
}

/// How an agent is started.
pub(in crate::faults) struct Options {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Options {
    /// With every wait as short as it can be, so that a test waits for what happens.
    pub(super) fn new(kubeconfig: &Path, relay: SocketAddr, identity: &str) -> Self {
        let mut arguments = vec!["agent".to_owned(), format!("--endpoint=http://{relay}")];
        arguments.push(format!("--identity={identity}"));
        let settings = ["--namespace=kamaji-telemetry", "--owner-deployment=kamaji-telemetry"];
        let waits = ["--timeout=2000", "--retry-max=1s", "--acknowledge-interval=1s"];
        arguments.extend(settings.into_iter().chain(waits).map(str::to_owned));
        let environment = vec![("KUBECONFIG".to_owned(), kubeconfig.display().to_string())];
        Self { arguments, environment }
    }

    /// One more argument.
    pub(in crate::faults) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it and waits until it is alive.
    pub(in crate::faults) async fn start(self) -> Agent {
        let launch = |_: &Path| {
            let health = free_address();
            let mut arguments = self.arguments.clone();
            arguments.push(format!("--health-addr={health}"));
            (Launch { program: PROGRAM.into(), arguments, environment: self.environment.clone() }, health)
        };
        let (process, health) = Process::start(launch, async |health: &SocketAddr| is_alive(*health).await).await;
        Agent { process, health }
    }
}

async fn is_alive(health: SocketAddr) -> bool {
    web::answers_ok(&format!("http://{health}"), "/livez").await
}

impl Agent {
    /// Waits until it has seen everything once.
    pub(in crate::faults) async fn ready(&self) {
        let url = format!("http://{}", self.health);
        eventually("the agent to be ready", async || web::answers_ok(&url, "/readyz").await.then_some(())).await;
    }

    /// Ends it as a crash does.
    pub(in crate::faults) fn kill(&mut self) {
        self.process.stop();
    }

    /// Starts it again as it was.
    pub(in crate::faults) async fn restart(&mut self) {
        let health = self.health;
        self.process.resume(async || is_alive(health).await).await;
    }

    /// Stops its processor time.
    pub(in crate::faults) fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// Gives it back.
    pub(in crate::faults) fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// Says whether it is the one that watches and sends.
    pub(in crate::faults) async fn is_leader(&self) -> bool {
        self.account("leader").await > 0.0
    }

    /// Waits until it is.
    pub(in crate::faults) async fn leads(&self) {
        eventually("the agent to lead", async || self.is_leader().await.then_some(())).await;
    }

    /// Ends it in order.
    pub(in crate::faults) async fn terminate(&mut self) {
        self.process.signal("TERM");
        let status = eventually("the agent to end", async || self.process.exited()).await;
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Waits until it has given up on a request with events.
    pub(in crate::faults) async fn gives_up(&self) {
        let before = self.failed_exports().await;
        eventually("the agent to give up on a request", async || (self.failed_exports().await > before).then_some(()))
            .await;
    }

    async fn failed_exports(&self) -> f64 {
        let of_logs = |series: &str| series.contains("signal=\"logs\"") && !series.contains("result=\"OK\"");
        self.sum("exports_total", of_logs).await
    }

    /// What it has logged so far.
    pub(in crate::faults) fn log(&self) -> String {
        self.process.output()
    }

    /// One of its own accounts, by the name behind `kamaji_telemetry_agent_`.
    pub(in crate::faults) async fn account(&self, name: &str) -> f64 {
        self.sum(name, |_| true).await
    }

    /// The sum of the series of an account that `counts`.
    async fn sum(&self, name: &str, counts: impl Fn(&str) -> bool) -> f64 {
        let page = web::get(&format!("http://{}", self.health), "/metrics").await;
        let lines = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let is_it = |series: &str| {
            let family = series.split('{').next().and_then(|family| family.strip_prefix("kamaji_telemetry_agent_"));
            family == Some(name) && counts(series)
        };
        let values = lines.filter(|(series, _)| is_it(series)).map(|(_, value)| value.parse::<f64>());
        values.sum::<Result<f64, _>>().expect("an account is a number")
    }
}
