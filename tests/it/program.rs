//! The tested program, as a separate process.

mod backend;
pub(crate) mod command;

use std::net::SocketAddr;
use std::path::Path;

pub(crate) use backend::{Backend, UNLIMITED};

use crate::servers::{ApiServer, Launch, Process, User, eventually, free_address, web};

/// The path of the binary that cargo built for these tests.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_kamaji-telemetry");

/// The agent's own namespace, in `tests/fixtures/agent.yaml`.
pub(crate) const NAMESPACE: &str = "kamaji-telemetry";

/// A running agent, which watches a real API server.
pub(crate) struct Agent {
    process: Process,
    health: SocketAddr,
}

/// The options of an agent, which inherits no environment variables.
pub(crate) struct AgentOptions<'a> {
    kubeconfig: String,
    endpoint: String,
    arguments: Vec<&'a str>,
    environment: Vec<(&'a str, &'a str)>,
}

impl<'a> AgentOptions<'a> {
    /// Returns the options of an agent with the rights of [`User::Agent`] that exports to `endpoint`.
    pub(crate) fn new(cluster: &ApiServer, endpoint: &str) -> Self {
        Self::with_kubeconfig(&cluster.kubeconfig(User::Agent), endpoint)
    }

    /// Returns the options of an agent with the rights of `kubeconfig`.
    pub(crate) fn with_kubeconfig(kubeconfig: &Path, endpoint: &str) -> Self {
        Self {
            kubeconfig: kubeconfig.display().to_string(),
            endpoint: endpoint.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Adds an argument.
    pub(crate) fn argument(mut self, argument: &'a str) -> Self {
        self.arguments.push(argument);
        self
    }

    /// Adds an environment variable.
    pub(crate) fn variable(mut self, name: &'a str, value: &'a str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Starts the agent and waits until it is alive.
    pub(crate) async fn start(self) -> Agent {
        let launch = |_: &Path| {
            let health = free_address();
            let mut arguments = vec!["agent".to_owned(), format!("--health-addr={health}")];
            arguments.extend(self.arguments.iter().map(|argument| (*argument).to_owned()));
            let variables = [
                ("KUBECONFIG", &*self.kubeconfig),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &*self.endpoint),
                ("POD_NAMESPACE", NAMESPACE),
            ];
            let variables = variables.into_iter().chain(self.environment.iter().copied());
            let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            (Launch { program: PROGRAM.into(), arguments, environment }, health)
        };
        let (process, health) = Process::start(launch, async |health: &SocketAddr| is_alive(*health).await).await;
        Agent { process, health }
    }
}

async fn is_alive(health: SocketAddr) -> bool {
    web::answers_ok(&format!("http://{health}"), "/livez").await
}

impl Agent {
    /// Returns whether `/readyz` responds with OK.
    pub(crate) async fn is_ready(&self) -> bool {
        web::answers_ok(&format!("http://{}", self.health), "/readyz").await
    }

    /// Returns whether a path of the probes' address responds with OK.
    pub(crate) async fn answers_ok(&self, path: &str) -> bool {
        web::answers_ok(&format!("http://{}", self.health), path).await
    }

    /// Waits until the agent is ready.
    pub(crate) async fn ready(&self) {
        eventually("the agent to be ready", async || self.is_ready().await.then_some(())).await;
    }

    /// Waits until the agent has logged `text`, and returns the log.
    pub(crate) async fn logged(&self, text: &str) -> String {
        eventually(&format!("the agent to log {text:?}"), async || {
            Some(self.process.output()).filter(|log| log.contains(text))
        })
        .await
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Kills the agent, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.stop();
    }

    /// Starts the agent again with the same options, and waits until it is alive.
    pub(crate) async fn restart(&mut self) {
        let health = self.health;
        self.process.resume(async || is_alive(health).await).await;
    }

    /// Returns the metrics in the format of Prometheus.
    pub(crate) async fn metrics(&self) -> String {
        web::get(&format!("http://{}", self.health), "/metrics").await
    }

    /// Sends SIGTERM, waits for the end, and returns the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.process.signal("TERM");
        eventually("the agent to end", async || self.process.exited()).await.code()
    }
}
