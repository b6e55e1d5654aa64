//! `kamaji-telemetry backend ready`, beside a backend that serves.

use std::path::Path;

use super::tls::Authority;
use crate::program::{Backend, command};

/// Runs the command with a short timeout, and returns what it prints, or its error.
async fn ready(words: &[&str]) -> Result<String, String> {
    let output = command::run(&[&["backend", "ready", "--timeout=1s"], words].concat(), &[]).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test]
async fn a_backend_that_serves_is_ready_under_any_name() {
    let backend = Backend::start_with(&["--public-url=https://telemetry.test"]).await;
    backend.ready().await;
    let url = format!("http://{}", backend.http());
    assert_eq!(ready(&[&url]).await, Ok(format!("{url} is ready.\n")));
}

#[tokio::test]
async fn a_backend_that_is_not_reached_is_not_ready() {
    let mut backend = Backend::start().await;
    let url = format!("http://{}", backend.http());
    backend.kill();
    let error = ready(&[&url]).await.unwrap_err();
    assert!(error.contains(&format!("{url} was not ready within 1s: failed to connect: ")), "{error}");
}

#[tokio::test]
async fn a_backend_without_its_store_is_not_ready_and_says_why() {
    let backend = Backend::start().await;
    backend.ready().await;
    let file: &Path = backend.file();
    std::fs::rename(file, file.with_extension("moved")).unwrap();
    let url = format!("http://{}", backend.http());
    let error = crate::servers::eventually("not ready", async || ready(&[&url]).await.err()).await;
    assert!(error.contains("the response is 503 Service Unavailable: not ready"), "{error}");
}

#[tokio::test]
async fn over_tls_the_backend_must_present_the_certificate_of_the_file() {
    let authority = Authority::new();
    let [issued, other] = [authority.issue(2100), authority.issue(2100)];
    authority.put((&issued.0, &issued.1));
    let backend = authority.start().await;
    let url = format!("https://{}", backend.http());
    let folder = tempfile::tempdir().unwrap();
    let flag = |name: &str, content: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        format!("--certificate={}", file.display())
    };
    assert_eq!(ready(&[&url, &flag("issued", &issued.0)]).await, Ok(format!("{url} is ready.\n")));
    for (flag, expected) in [
        (flag("other", &other.0), "the backend presents another certificate than that of --certificate"),
        (flag("empty", ""), "expected a certificate in PEM"),
    ] {
        let error = ready(&[&url, &flag]).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = ready(&[&url]).await.unwrap_err();
    assert!(error.contains("expected --certificate with the certificate that the backend presents"), "{error}");
    let plain = format!("http://{}", backend.http());
    let error = ready(&[&plain, &flag("issued", &issued.0)]).await.unwrap_err();
    assert!(error.contains("is not over TLS: expected https://, or no --certificate"), "{error}");
}
