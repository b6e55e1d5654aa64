//! The proxy of the connection to the API server.

use std::net::SocketAddr;

use serde_json::Value;

use crate::program::command::{kubeconfig, run, text, variables};
use crate::program::{Agent, AgentOptions};
use crate::servers::{ApiServer, ForwardProxy, User};

/// An address at which nothing listens.
const NOWHERE: &str = "http://user:password@127.0.0.1:1";

const COMMANDS: [&str; 3] = ["preview", "status", "forget"];

/// Makes the kubeconfig's API server one that only a proxy can resolve. Its certificate is for localhost.
fn behind_proxy(kubeconfig: &mut Value) {
    let cluster = &mut kubeconfig["clusters"][0]["cluster"];
    cluster["server"] = "https://api.test:6443".into();
    cluster["tls-server-name"] = "localhost".into();
}

fn address(cluster: &ApiServer) -> SocketAddr {
    let kubeconfig: Value =
        serde_json::from_str(&std::fs::read_to_string(cluster.kubeconfig(User::Agent)).unwrap()).unwrap();
    kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap().strip_prefix("https://").unwrap().parse().unwrap()
}

/// Asserts that every command works with this kubeconfig and these variables.
async fn assert_works(kubeconfig: &std::path::Path, environment: &[(&str, &str)]) {
    let options = AgentOptions::with_kubeconfig(kubeconfig, "http://127.0.0.1:1").argument("--retry-max-interval=1s");
    let options = environment.iter().fold(options, |options, (name, value)| options.variable(name, value));
    let agent: Agent = options.start().await;
    agent.ready().await;
    drop(agent);
    for command in COMMANDS {
        let environment: Vec<_> = variables(kubeconfig).into_iter().chain(environment.iter().copied()).collect();
        let output = run(&[command], &environment).await;
        assert!(output.status.success(), "{command}: {}", text(&output));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_proxy_of_the_environment_is_used_and_bypassed_as_go_does() {
    let cluster = ApiServer::start_with_kamaji().await;
    let folder = tempfile::tempdir().unwrap();
    let direct = cluster.kubeconfig(User::Agent);
    assert_works(&direct, &[("HTTPS_PROXY", NOWHERE), ("NO_PROXY", "127.0.0.1")]).await;
    assert_works(&direct, &[("https_proxy", NOWHERE), ("HTTP_PROXY", NOWHERE)]).await;

    let proxy = ForwardProxy::start(address(&cluster)).await;
    let behind = kubeconfig(&cluster, folder.path(), behind_proxy);
    let url = format!("http://user:pass%40word@{}", proxy.address());
    for environment in [&[("HTTPS_PROXY", &*url)][..], &[("HTTPS_PROXY", ""), ("https_proxy", &url), ("NO_PROXY", "")]]
    {
        assert_works(&behind, environment).await;
        let requests = proxy.take();
        // Base64 of user:pass@word.
        let head = "CONNECT api.test:6443 HTTP/1.1\r\nHost: api.test:6443\r\n\
                    Proxy-Authorization: Basic dXNlcjpwYXNzQHdvcmQ=\r\n\r\n";
        assert!(!requests.is_empty() && requests.iter().all(|request| request == head), "{requests:?}");
    }
    let bypassed = [variables(&behind)[0], ("HTTPS_PROXY", &url), ("NO_PROXY", "10.0.0.0/8, .test:6443")];
    let output = run(&["status"], &bypassed).await;
    assert!(!output.status.success() && proxy.take().is_empty(), "{}", text(&output));

    let output = run(&["status"], &[variables(&behind)[0], ("HTTPS_PROXY", NOWHERE)]).await;
    let error = text(&output);
    assert!(error.contains("tunnel error") && error.contains("set by HTTPS_PROXY"), "{error}");
    assert!(!error.contains("password"), "{error}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_proxy_of_the_kubeconfig_wins_over_the_environment() {
    let cluster = ApiServer::start_with_kamaji().await;
    let folder = tempfile::tempdir().unwrap();
    let server = address(&cluster);
    let (certificate, key) = cluster.certificate();
    let http = ForwardProxy::start(server).await;
    let https = ForwardProxy::start_with_tls(server, (&certificate, &key)).await;
    let socks = ForwardProxy::start_socks(server).await;
    for (proxy, scheme) in [(&http, "http"), (&https, "https"), (&socks, "socks5")] {
        let kubeconfig = kubeconfig(&cluster, folder.path(), |kubeconfig| {
            behind_proxy(kubeconfig);
            kubeconfig["clusters"][0]["cluster"]["proxy-url"] = format!("{scheme}://{}", proxy.address()).into();
        });
        assert_works(&kubeconfig, &[("HTTPS_PROXY", NOWHERE), ("NO_PROXY", "*")]).await;
        let requests = proxy.take();
        let is_for_server = |request: &String| request.contains("api.test:6443");
        assert!(!requests.is_empty() && requests.iter().all(is_for_server), "{requests:?}");
    }
    let loopback = kubeconfig(&cluster, folder.path(), |kubeconfig| {
        kubeconfig["clusters"][0]["cluster"]["proxy-url"] = format!("http://{}", http.address()).into();
    });
    assert_works(&loopback, &[]).await;
    assert!(!http.take().is_empty(), "it is used for loopback too");
}
