//! A real kube-apiserver with the tests' fixtures, for manual tests. It uses Kamaji's own definition of a control plane
//! if that is beside the checkout, and runs until Ctrl-C. `make cluster` starts it.

#[path = "../it/servers/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod servers;

use servers::{ApiServer, User, upstream};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("Starting etcd and kube-apiserver.");
    let cluster = match upstream("crds/kamaji.clastix.io_tenantcontrolplanes.yaml") {
        Some(definition) => ApiServer::start_with_definition(&definition).await,
        None => ApiServer::start_with_kamaji().await,
    };
    println!(
        "Ready, with TenantControlPlane, DataStore, Kamaji's operator and the agent's rights. For an administrator:\n"
    );
    println!("    export KUBECONFIG={}\n", cluster.kubeconfig(User::Admin).display());
    println!("For the agent, with the rights of tests/fixtures/agent.yaml:\n");
    println!("    export KUBECONFIG={}\n", cluster.kubeconfig(User::Agent).display());
    println!("Ctrl-C ends it, and removes everything.");
    tokio::signal::ctrl_c().await?;
    Ok(())
}
