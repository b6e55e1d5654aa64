//! TLS errors of a connection to a server, in words that say what to do.

use std::error::Error;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage, OtherError};

use super::error_chain::causes;

/// The settings of a connection, as its operator names them.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsSettings {
    /// The setting with the CAs that are trusted.
    pub(super) trusted: &'static str,
    /// The setting with the client's certificate.
    pub(super) identity: &'static str,
}

/// Returns what is wrong if `error` or one of its causes is a TLS error, and `None` otherwise.
pub(super) fn describe(error: &(dyn Error + 'static), settings: TlsSettings) -> Option<String> {
    let error = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())?;
    let TlsSettings { trusted, identity } = settings;
    Some(match error {
        rustls::Error::InvalidCertificate(error) => certificate(error, trusted),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not answer in TLS: is it an http:// URL, or another port?".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            format!("the server requires a client certificate: set {identity}")
        }
        rustls::Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
            format!("the server does not accept the client certificate of {identity}")
        }
        error => format!("TLS failed: {error}"),
    })
}

/// Returns what is wrong with a server's certificate.
fn certificate(error: &CertificateError, trusted: &str) -> String {
    match error {
        // A CA that was made anew under its old name gives a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
            "the server's certificate is not signed by a CA that is trusted here: set {trusted} to the certificate of the CA \
             that signed it; the server's own certificate is not enough"
        ),
        CertificateError::Other(OtherError(error)) if is_ca_as_end_entity(&**error) => format!(
            "the server's certificate is itself one of a CA (CA:TRUE), which no server may present: give the server a \
             certificate that a CA signed, and set {trusted} to the CA's"
        ),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the server's certificate expired on {}: renew it", time(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the server's certificate is not valid before {}: compare the clocks", time(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
            "the server's certificate has no subject alternative name: give it one with {}; its common name (CN) does not \
             count",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is not for {}, only for {}: use one of these names, or give the certificate this one",
            expected.to_str(),
            presented.iter().map(|name| presented_name(name)).collect::<Vec<_>>().join(", ")
        ),
        error => format!("the server's certificate can't be used: {error}"),
    }
}

/// Returns a name without its kind: webpki writes `DnsName("a.example")`.
fn presented_name(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

fn is_ca_as_end_entity(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Returns a time of a certificate as RFC 3339 writes it.
fn time(time: UnixTime) -> Timestamp {
    let since_1970 = SignedDuration::try_from(Duration::from_secs(time.as_secs())).unwrap_or(SignedDuration::MAX);
    Timestamp::UNIX_EPOCH.saturating_add(since_1970).unwrap_or(Timestamp::MAX)
}
