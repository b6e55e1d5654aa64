//! Access to an API server: to its etcd, for a proxy, and with the service account of a pod.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::Request;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::super::web;
use super::{ApiServer, Launched, User, audit};

impl ApiServer {
    /// Returns a client of the JSON gateway of etcd.
    pub(crate) fn etcd_client(&self) -> kube::Client {
        web::client(&self.etcd.url())
    }

    /// Returns the revision of the last commit.
    pub(crate) async fn revision(&self) -> u64 {
        // The header of every answer has it, whether the key exists or not.
        let answer = self.query_etcd("/v3/kv/range", &json!({"key": "AA=="})).await;
        let revision = answer.pointer("/header/revision").and_then(Value::as_str);
        revision.and_then(|revision| revision.parse().ok()).expect("etcd tells its revision")
    }

    /// Compacts etcd to the last revision, as the API server does every five minutes, so that older resourceVersions
    /// expire.
    pub(crate) async fn compact(&self) {
        let revision = self.revision().await.to_string();
        self.query_etcd("/v3/kv/compaction", &json!({"revision": revision, "physical": true})).await;
    }

    pub(super) async fn query_etcd(&self, path: &str, query: &Value) -> Value {
        let request = Request::post(path).body(query.to_string().into_bytes()).expect("a path makes a request");
        self.etcd_client().request(request).await.expect("etcd answers")
    }

    /// Returns a client without credentials, which forwards those of the requests.
    pub(crate) fn anonymous(&self) -> kube::Client {
        self.launched.client_with(None)
    }

    /// Returns the paths of the serving certificate, for the loopback address, and its key.
    pub(crate) fn certificate(&self) -> (PathBuf, PathBuf) {
        (self.launched.files.certificate(), self.launched.files.key())
    }

    /// Writes a kubeconfig file with a token of the service account `name` of `namespace`, as a kubelet requests it.
    pub(crate) async fn service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), namespace);
        let request = TokenRequest::default();
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let token = answer.expect("there is such an account").status.and_then(|status| status.token);
        let token = token.expect("an answer has a token");
        self.launched.files.kubeconfig_with(&format!("{namespace}-{name}"), &token, self.launched.address)
    }

    /// Writes the files of a pod's service account into `folder`, with the token of `user`, and returns the address for
    /// its environment variables.
    pub(crate) fn mount_account(&self, user: User, folder: &Path) -> SocketAddr {
        let Launched { address, files } = &self.launched;
        fs::create_dir_all(folder).expect("a folder can be made");
        let put = |name, content: &[u8]| fs::write(folder.join(name), content).expect("it is writable");
        put("token", files.token(user).as_bytes());
        put("ca.crt", &fs::read(files.certificate()).expect("it was written"));
        put("namespace", b"default");
        *address
    }

    /// Returns the requests of the service account `name` of `namespace` so far.
    pub(crate) fn requests_of_account(&self, namespace: &str, name: &str) -> Vec<audit::Request> {
        self.requests_by(&format!("system:serviceaccount:{namespace}:{name}"))
    }

    pub(super) fn requests_by(&self, user: &str) -> Vec<audit::Request> {
        audit::requests_of(&self.launched.files.audit_log(), user)
    }
}
