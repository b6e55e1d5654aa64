//! The kubeconfig: the files of `KUBECONFIG`, what is wrong in them, and the certificate of the API server.

use std::path::Path;

use serde_json::{Value, json};

use crate::program::NAMESPACE;
use crate::program::command::{run, text, write_kubeconfig};
use crate::servers::{ApiServer, Authority, RefusedCertificate, TlsServer, User};

/// Runs a command that fails, and returns its error without the part that all errors have.
async fn error(kubeconfig: &str) -> String {
    let output = run(&["status"], &[("KUBECONFIG", kubeconfig), ("HOME", "/nowhere")]).await;
    assert!(!output.status.success(), "{}", text(&output));
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.lines().last().unwrap();
    last.strip_prefix("error: ").unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[tokio::test]
async fn no_kubeconfig_at_all_is_one_sentence() {
    let output = run(&["status"], &[("HOME", "/nowhere")]).await;
    let expected = "error: no cluster is configured: KUBECONFIG is not set, there is no /nowhere/.kube/config, and this is no \
                    pod: set KUBECONFIG\n";
    assert_eq!(text(&output), expected);
    let missing = "no cluster is configured: KUBECONFIG names no kubeconfig (/nowhere/a, /nowhere/b), and this is no pod: set \
                   KUBECONFIG";
    assert_eq!(error("/nowhere/a:/nowhere/b").await, missing);
    assert!(error("/dev/null").await.starts_with("no cluster is configured"));
    let in_pod = [("HOME", "/nowhere"), ("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "443")];
    let output = text(&run(&["status"], &in_pod).await);
    assert!(output.starts_with("error: the service account of this pod can't be used: "), "{output}");
    assert_eq!(output.lines().count(), 1, "{output}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_files_of_kubeconfig_are_merged_and_those_that_are_missing_are_skipped() {
    let cluster = ApiServer::start_with_kamaji().await;
    let whole: Value =
        serde_json::from_str(&std::fs::read_to_string(cluster.kubeconfig(User::Agent)).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, keys: &[&str]| {
        let part: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), whole[*key].clone())).collect();
        let path = folder.path().join(name);
        std::fs::write(&path, Value::Object(part).to_string()).unwrap();
        path.display().to_string()
    };
    let (users, clusters) = (write("a", &["users", "current-context"]), write("b", &["clusters", "contexts"]));
    let paths = format!("/nowhere/config::{users}:/nowhere/other:{clusters}");
    let output = run(&["status"], &[("KUBECONFIG", &paths), ("POD_NAMESPACE", NAMESPACE)]).await;
    assert!(output.status.success(), "{}", text(&output));
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(log.matches("skipped a file of KUBECONFIG").count(), 2, "{log}");

    // kubectl reports a file that is malformed, even if another one would do.
    let malformed = folder.path().join("c");
    std::fs::write(&malformed, "clusters: []\nusers: [\n").unwrap();
    let malformed = malformed.display();
    let error = error(&format!("{users}:{clusters}:{malformed}")).await;
    assert!(error.starts_with(&format!("the kubeconfig {malformed} is malformed at line ")), "{error}");
}

#[tokio::test]
async fn what_is_wrong_in_a_kubeconfig_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let complete = json!({
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    });
    let user = "/users/0/user";
    let cluster = "/clusters/0/cluster";
    for (pointer, value, expected) in [
        (
            "/current-context",
            json!(""),
            "it has no current-context: kubectl config use-context sets it to one of [\"a\"]",
        ),
        ("/current-context", json!("b"), "its current-context \"b\" is missing: kubectl config use-context"),
        ("/contexts/0/context/cluster", json!("b"), "the cluster \"b\" of the context \"a\" is missing"),
        ("/clusters/0/cluster/server", json!(""), "the cluster \"a\" has no server"),
        ("/clusters/0/cluster/server", json!("127.0.0.1:6443"), "expected https://HOST:PORT"),
        ("/clusters/0/cluster/server", json!("https://a:b@127.0.0.1"), "holds credentials"),
        (cluster, json!({"server": "https://a", "proxy-url": "ftp://a"}), "its proxy-url: the scheme"),
        (cluster, json!({"server": "https://a", "proxy-url": "socks5://a:b@c"}), "SOCKS5 proxies"),
        (
            cluster,
            json!({"server": "https://a", "certificate-authority": "/nowhere"}),
            "/nowhere can't be read: No such file",
        ),
        (cluster, json!({"server": "https://a", "certificate-authority-data": "a"}), "-data is no base64"),
        (
            cluster,
            json!({"server": "https://a", "certificate-authority-data": "YQ=="}),
            "has no certificate: expected PEM",
        ),
        (user, json!({"exec": {"command": "/nowhere/plugin"}}), "can't be started: No such file"),
        (user, json!({"exec": {"command": "false"}}), "the exec plugin of the kubeconfig failed with exit status: 1"),
        (user, json!({"exec": {"command": "true"}}), "printed no usable ExecCredential"),
        (user, json!({"tokenFile": "/nowhere"}), "the token file /nowhere can't be read: No such file"),
        (user, json!({"client-certificate": "/nowhere"}), "/nowhere of the kubeconfig can't be read: No such file"),
        (user, json!({"client-certificate-data": "YQ==", "client-key-data": "YQ=="}), "are no pair: expected PEM"),
    ] {
        let mut kubeconfig = complete.clone();
        *kubeconfig.pointer_mut(pointer).unwrap() = value;
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        let error = error(path.to_str().unwrap()).await;
        assert!(error.contains(expected), "{kubeconfig}: {error}");
        assert!(error.matches(": ").count() <= 4, "an error is nested: {error}");
    }
    assert!(error("/root:").await.contains("the kubeconfig /root can't be read"));
}

/// Returns the error of a command whose API server presents a certificate while `trusted` is its certificate-authority.
async fn certificate_error(folder: &Path, (certificate, key): (&Path, &Path), trusted: &Path) -> String {
    let server = TlsServer::start(certificate, key).await;
    let cluster = json!({"server": format!("https://{}", server.address()), "certificate-authority": trusted});
    let kubeconfig = json!({
        "clusters": [{"name": "a", "cluster": cluster}],
        "contexts": [{"name": "a", "context": {"cluster": "a"}}],
        "current-context": "a",
    });
    error(write_kubeconfig(folder, &kubeconfig).to_str().unwrap()).await
}

#[tokio::test]
async fn a_certificate_that_is_refused_is_told_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    for RefusedCertificate { certificate, key, trusted, expected } in authority.refused_certificates() {
        let error = certificate_error(folder.path(), (&certificate, &key), &trusted).await;
        let expected = expected.replace("TRUSTED", "the kubeconfig's certificate-authority");
        assert!(error.contains(&expected), "{error}");
    }
}
