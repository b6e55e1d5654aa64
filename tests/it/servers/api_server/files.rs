//! The files of an API server: certificate, keys, tokens, audit policy and kubeconfigs.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use uuid::Uuid;

use super::User;
use crate::servers::audit;

/// The folder and the secret part of the tokens.
pub(super) struct Files {
    folder: PathBuf,
    secret: Uuid,
}

impl Files {
    /// Writes the files into `folder`.
    pub(super) fn write(folder: &Path) -> Self {
        let files = Self { folder: folder.to_owned(), secret: Uuid::new_v4() };
        files.write_keys().expect("keys can be made");
        write(&files.tokens(), &files.token_file());
        write(&files.audit_policy(), audit::POLICY);
        files
    }

    fn write_keys(&self) -> Result<(), rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?.self_signed(&key)?;
        write(&self.certificate(), &certificate.pem());
        write(&self.key(), &key.serialize_pem());
        let service_accounts = KeyPair::generate()?;
        write(&self.service_account_key(), &service_accounts.serialize_pem());
        write(&self.service_account_public_key(), &service_accounts.public_key_pem());
        Ok(())
    }

    /// Returns a line for each user: token, name, UID, groups.
    fn token_file(&self) -> String {
        let mut lines = String::new();
        for user in User::ALL {
            let (token, name, groups) = (self.token(user), user.name(), user.groups());
            writeln!(lines, "{token},{name},{name},\"{groups}\"").expect("a string can be written to");
        }
        lines
    }

    pub(super) fn token(&self, user: User) -> String {
        format!("{}-{}", user.name(), self.secret)
    }

    /// Writes a kubeconfig for `user` at `address`, named after both.
    pub(super) fn kubeconfig(&self, user: User, address: SocketAddr) -> PathBuf {
        self.kubeconfig_with(user.name(), &self.token(user), address)
    }

    /// Writes a kubeconfig with `token` at `address`.
    pub(super) fn kubeconfig_with(&self, name: &str, token: &str, address: SocketAddr) -> PathBuf {
        let path = self.folder.join(format!("{name}-{}.kubeconfig", address.port()));
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": {
                "server": format!("https://{address}"),
                "certificate-authority": self.certificate(),
            }}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": name}}],
            "current-context": "tests",
        });
        // JSON is YAML.
        write(&path, &kubeconfig.to_string());
        path
    }

    /// Returns the path of the serving certificate, which is self-signed.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    pub(super) fn tokens(&self) -> PathBuf {
        self.folder.join("tokens.csv")
    }

    pub(super) fn service_account_key(&self) -> PathBuf {
        self.folder.join("service-accounts.key")
    }

    pub(super) fn service_account_public_key(&self) -> PathBuf {
        self.folder.join("service-accounts.pub")
    }

    pub(super) fn audit_policy(&self) -> PathBuf {
        self.folder.join("audit-policy.yaml")
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
