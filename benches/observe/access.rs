//! The credentials of the readers, in a file that is cheap to read. Parsing a kubeconfig, which an agent in a pod does
//! not do, would add to the figures.

use std::fs;
use std::path::Path;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::{Deserialize, Serialize};

/// The namespace of the agent's journal.
pub(crate) const AGENT_NAMESPACE: &str = "default";

/// The address and credentials of an API server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Access {
    /// `https://HOST:PORT`
    pub(crate) server: String,
    /// Certificates in DER.
    pub(crate) authorities: Vec<Vec<u8>>,
    pub(crate) token: String,
}

impl Access {
    /// Reads a kubeconfig.
    pub(crate) async fn of_kubeconfig(file: &str) -> anyhow::Result<Self> {
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?;
        // The token is a secret, which its type reveals only to a serializer.
        let token = serde_json::to_value(&config.auth_info)?["token"].as_str().map(str::to_owned);
        Ok(Self {
            server: config.cluster_url.to_string(),
            authorities: config.root_cert.context("expected a kubeconfig with a certificate authority")?,
            token: token.context("expected a kubeconfig with a token, such as `make cluster` writes")?,
        })
    }

    /// Writes a file into the temporary folder of the benchmark and returns its path.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<String> {
        let path = folder.join("access.json");
        fs::write(&path, serde_json::to_vec(self)?)?;
        Ok(path.display().to_string())
    }

    pub(crate) fn read(file: &str) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// Returns the configuration of a client.
    pub(crate) fn config(self) -> anyhow::Result<kube::Config> {
        let Self { server, authorities, token } = self;
        let mut config = kube::Config::new(server.parse()?);
        config.root_cert = Some(authorities);
        config.auth_info.token = Some(token.into());
        Ok(config)
    }
}
