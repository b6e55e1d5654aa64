//! The agent's program, with the configuration of a pod, measured from outside.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::access::{AGENT_NAMESPACE, Access};
use crate::report::Figures;
use crate::usage;

/// Mounts the files of a service account, which a pod has at this path, in a file system that only this process sees.
/// Then it becomes the program, when it is told to: what came before is not measured.
const IN_A_POD: &str = "mount -t tmpfs none /run
    mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
    cp \"$1\"/* /var/run/secrets/kubernetes.io/serviceaccount
    echo ready
    read -r go
    shift
    exec \"$@\"";

/// A running program.
pub(crate) struct Program {
    child: Child,
    started: Instant,
    /// The CPU time before it became the program.
    cpu_before: Duration,
}

impl Program {
    /// Starts the agent of the file `program`, which exports to `sink`.
    pub(crate) fn start(program: &str, access: &Access, sink: &str) -> anyhow::Result<Self> {
        let server: http::Uri = access.server.parse()?;
        let folder = tempfile::tempdir()?;
        write_service_account(access, folder.path())?;
        let mut child = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-euc", IN_A_POD, "sh"])
            .arg(folder.path())
            .args([program, "agent", "--follow-kamaji-opt-out=false", "--health-addr=127.0.0.1:0"])
            .args([format!("--endpoint={sink}"), format!("--namespace={AGENT_NAMESPACE}")])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("KUBERNETES_SERVICE_HOST", server.host().context("a server without a host")?)
            .env("KUBERNETES_SERVICE_PORT", server.port_u16().unwrap_or(443).to_string())
            .envs(std::env::vars().filter(|(name, _)| name.starts_with("MALLOC_") || name == "RUST_LOG"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let mut ready = String::new();
        BufReader::new(child.stdout.take().context("no standard output")?).read_line(&mut ready)?;
        ensure!(ready == "ready\n", "the file system of a pod can't be mounted: expected the rights of root");
        let (started, cpu_before) = (Instant::now(), usage::cpu_of(&child.id().to_string())?);
        child.stdin.take().context("no standard input")?.write_all(b"go\n")?;
        Ok(Self { child, started, cpu_before })
    }

    /// Returns the figures so far.
    pub(crate) fn figures(&self) -> anyhow::Result<Figures> {
        let (time, id) = (self.started.elapsed(), self.child.id().to_string());
        let cpu = usage::cpu_of(&id)?.saturating_sub(self.cpu_before);
        #[expect(clippy::cast_precision_loss, reason = "it is far below 2^53")]
        let memory = usage::peak_memory_of(&id)? as f64;
        Ok(Figures { time: time.as_secs_f64() * 1e6, cpu: cpu.as_secs_f64() * 1e6, memory })
    }

    /// Ends it, and waits for the end.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let id = self.child.id().to_string();
        ensure!(Command::new("kill").arg(&id).status()?.success(), "the agent ended early");
        ensure!(self.child.wait()?.success(), "the agent failed");
        Ok(())
    }
}

fn write_service_account(Access { authorities, token, .. }: &Access, folder: &std::path::Path) -> anyhow::Result<()> {
    let pem = |der| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    fs::write(folder.join("ca.crt"), authorities.iter().map(pem).collect::<String>())?;
    fs::write(folder.join("token"), token)?;
    fs::write(folder.join("namespace"), AGENT_NAMESPACE)?;
    Ok(())
}
