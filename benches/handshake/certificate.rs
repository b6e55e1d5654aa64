//! Certificates of the server, with an intermediate, as a public authority issues them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_RSA_SHA256};
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// The name of the server.
pub(crate) const HOST: &str = "telemetry.example.org";

/// The algorithm of all keys of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyAlgorithm {
    Ecdsa,
    Rsa,
}

/// A certificate in files, as the flags of the backend name them.
pub(crate) struct Certificate {
    pub(crate) root: CertificateDer<'static>,
    /// The size of the certificate and its intermediate in DER, as a handshake carries them.
    pub(crate) chain_bytes: usize,
    folder: TempDir,
}

impl KeyAlgorithm {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ecdsa => "ECDSA P-256",
            Self::Rsa => "RSA 2048",
        }
    }

    fn generate(self) -> anyhow::Result<KeyPair> {
        match self {
            Self::Ecdsa => Ok(KeyPair::generate()?),
            Self::Rsa => generate_rsa(),
        }
    }
}

impl Certificate {
    pub(crate) fn issue(algorithm: KeyAlgorithm) -> anyhow::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(authority.clone(), algorithm.generate()?)?;
        let intermediate = CertifiedIssuer::signed_by(authority, algorithm.generate()?, &root)?;
        let key = algorithm.generate()?;
        let own = CertificateParams::new([HOST.to_owned()])?.signed_by(&key, &intermediate)?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("tls.crt"), own.pem() + &intermediate.pem())?;
        fs::write(folder.path().join("tls.key"), key.serialize_pem())?;
        let chain_bytes = own.der().len() + intermediate.der().len();
        Ok(Self { root: root.der().clone(), chain_bytes, folder })
    }

    /// Returns the paths of the chain and of the key.
    pub(crate) fn paths(&self) -> [PathBuf; 2] {
        ["tls.crt", "tls.key"].map(|name| self.folder.path().join(name))
    }
}

/// Generates an RSA key with openssl: ring only reads them.
fn generate_rsa() -> anyhow::Result<KeyPair> {
    let arguments = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let output = Command::new("openssl").args(arguments).output().context("openssl: expected it in PATH")?;
    ensure!(output.status.success(), "openssl genpkey failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(KeyPair::from_pkcs8_pem_and_sign_algo(&String::from_utf8(output.stdout)?, &PKCS_RSA_SHA256)?)
}
