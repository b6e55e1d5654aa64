//! What each command does with its flags.

mod backend;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::CommandFactory;
use clap_complete::Shell;
use tokio::runtime;

use crate::agent::Election;
use crate::agent::consent::{DISABLE_TELEMETRY, OptOut, is_set};
use crate::agent::export::connection::{ExporterConfig, parse_headers};
use crate::agent::status::Question;
use crate::agent::{self, forget, preview, status};
use crate::catalog::{KamajiVersion, allow_list, document};
use crate::cli::{
    AgentArgs, CatalogOutput, Cli, Command, Compression, DemoArgs, ForgetArgs, OtlpArgs, PreviewArgs, StatusArgs,
    StatusOutput,
};
use crate::process;
use crate::testkit::demo;

/// Runs a command until its end.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        // One thread: the agent waits nearly always, and every worker costs memory.
        Command::Agent(args) => block_on(runtime::Builder::new_current_thread(), run_agent(args)),
        Command::Preview(args) => block_on(runtime::Builder::new_current_thread(), run_preview(args)),
        Command::Status(args) => block_on(runtime::Builder::new_current_thread(), run_status(args)),
        Command::Forget(args) => block_on(runtime::Builder::new_current_thread(), run_forget(args)),
        Command::Catalog { output } => print(&catalog(output)?),
        Command::Backend { command } => block_on(runtime::Builder::new_multi_thread(), backend::run(command)),
        Command::Demo(args) => block_on(runtime::Builder::new_multi_thread(), run_demo(args)),
        Command::Completion { shell } => print(&completion(shell)?),
    }
}

fn block_on(mut builder: runtime::Builder, task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = builder.enable_all().build().context("the runtime can't start")?;
    let result = runtime.block_on(task);
    // What blocks is the export of a collector that does not answer: nothing is left that would wait for it.
    runtime.shutdown_background();
    result
}

async fn run_agent(args: AgentArgs) -> anyhow::Result<()> {
    let shutdown = process::shutdown::shutdown_on_signals()?;
    agent::run(agent_config(args)?, shutdown).await
}

async fn run_preview(args: PreviewArgs) -> anyhow::Result<()> {
    let PreviewArgs { output, agent } = args;
    print(&preview::read(&agent_config(agent)?).await?.print(output)?)
}

async fn run_status(args: StatusArgs) -> anyhow::Result<()> {
    let StatusArgs { output, namespace, owner_deployment: deployment, kamaji_namespace, follow_kamaji_opt_out } = args;
    let status = status::read(Question {
        namespace,
        deployment,
        kamaji_namespace,
        kamaji_opt_out: follow_kamaji_opt_out.into(),
    })
    .await?;
    print(&match output {
        StatusOutput::Table => status.to_string(),
        StatusOutput::Json => format!("{}\n", serde_json::to_string(&status)?),
    })
}

async fn run_forget(args: ForgetArgs) -> anyhow::Result<()> {
    let ForgetArgs { namespace } = args;
    print(&forget::run(namespace).await?)
}

async fn run_demo(args: DemoArgs) -> anyhow::Result<()> {
    let shutdown = process::shutdown::shutdown_on_signals()?;
    let DemoArgs { data, collector, http } = args;
    demo::run(demo::Config { data, collector, http }, shutdown).await
}

fn catalog(output: CatalogOutput) -> anyhow::Result<String> {
    Ok(match output {
        CatalogOutput::Markdown => document::markdown(),
        CatalogOutput::Json => document::json()?,
        CatalogOutput::Collector => allow_list::processors(),
    })
}

fn completion(shell: Shell) -> anyhow::Result<String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), env!("CARGO_PKG_NAME"), &mut script);
    Ok(String::from_utf8(script)?)
}

/// A reader that has gone, such as `head`, is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn agent_config(args: AgentArgs) -> anyhow::Result<agent::Config> {
    refuse_what_is_not_supported(|name| std::env::var(name).ok())?;
    let AgentArgs {
        endpoint,
        interval,
        namespace,
        kamaji_namespace,
        follow_kamaji_opt_out,
        kamaji_version,
        owner_deployment,
        extended,
        leader_elect,
        identity,
        lease_duration,
        health_addr,
        disable_telemetry,
        operator_poll_interval,
        erase_interval,
        acknowledge_interval,
        retry_max_interval,
        otlp,
    } = args;
    let election = leader_elect.then(|| election(identity, lease_duration)).transpose()?;
    Ok(agent::Config {
        exporter: exporter_config(endpoint, otlp)?,
        export_interval: interval,
        operator_poll_interval,
        erase_interval,
        acknowledge_interval,
        retry_max_interval,
        kamaji_namespace,
        kamaji_opt_out: follow_kamaji_opt_out.into(),
        kamaji_version: kamaji_version.map(|version| known_version(&version)).transpose()?,
        namespace,
        owner_deployment,
        extended,
        election,
        health_addr,
        opt_out: OptOut {
            disable_telemetry,
            disabled_by_variable: variable_is_set(DISABLE_TELEMETRY),
            do_not_track: variable_is_set("DO_NOT_TRACK"),
            otel_sdk_disabled: variable_is_set("OTEL_SDK_DISABLED"),
        },
        cluster: None,
    })
}

fn exporter_config(endpoint: String, otlp: OtlpArgs) -> anyhow::Result<ExporterConfig> {
    let OtlpArgs { ca, client_certificate, client_key, headers, compression, timeout_ms } = otlp;
    Ok(ExporterConfig {
        endpoint,
        timeout: Duration::from_millis(timeout_ms),
        gzip: compression == Compression::Gzip,
        headers: parse_headers(&headers).context("--headers (OTEL_EXPORTER_OTLP_HEADERS)")?,
        ca,
        identity: client_certificate.zip(client_key),
    })
}

/// A pod's host name is the pod's, and stays when its container is restarted.
fn election(identity: Option<String>, lease_duration: Duration) -> anyhow::Result<Election> {
    let identity = match identity.filter(|identity| !identity.is_empty()) {
        Some(identity) => identity,
        None => std::fs::read_to_string("/proc/sys/kernel/hostname")
            .context("--leader-elect needs to know who this replica is: set --leader-elect-identity (POD_NAME)")?
            .trim()
            .to_owned(),
    };
    Ok(Election { identity, lease_duration })
}

fn known_version(text: &str) -> anyhow::Result<KamajiVersion> {
    let version = KamajiVersion::normalise(text);
    let expected = "vX.Y.Z, edge-X.Y.Z or X.Y.Z-edge";
    ensure!(version != KamajiVersion::Unknown, "--kamaji-version {text:?} is no version: expected {expected}");
    Ok(version)
}

fn variable_is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| is_set(&value.to_string_lossy()))
}

/// One connection serves both signals over gRPC; a variable that asks for another is not ignored in silence.
fn refuse_what_is_not_supported(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    for signal in ["METRICS", "LOGS"] {
        let name = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
        if let Some(value) = variable(&name) {
            anyhow::bail!(
                "{name} is set to {value:?}, yet one connection serves both signals: set OTEL_EXPORTER_OTLP_ENDPOINT"
            );
        }
    }
    let protocol = variable("OTEL_EXPORTER_OTLP_PROTOCOL").filter(|protocol| protocol != "grpc");
    if let Some(protocol) = protocol {
        anyhow::bail!("OTEL_EXPORTER_OTLP_PROTOCOL is set to {protocol:?}, yet the agent speaks grpc alone");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_would_be_ignored_is_refused() {
        let only = |name: &'static str, value: &'static str| {
            refuse_what_is_not_supported(move |asked| (asked == name).then(|| value.to_owned()))
        };
        for name in ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] {
            let error = only(name, "http://other:4317").unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("http://other:4317"), "{error}");
        }
        assert!(only("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").is_err());
        assert!(only("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").is_ok());
    }
}
