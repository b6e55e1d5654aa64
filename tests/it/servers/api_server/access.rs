//! What is behind an API server: its etcd, and what a proxy before it needs; and how a pod talks to it.

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
use super::{ApiServer, Place, User, audit};

impl ApiServer {
    /// A client of its etcd, which serves its API as JSON too.
    pub(crate) fn etcd_client(&self) -> kube::Client {
        web::client(&self.etcd.url())
    }

    /// The revision of the last commit.
    pub(crate) async fn revision(&self) -> u64 {
        // The header of every answer has it, whether the key exists or not.
        let answer = self.ask_etcd("/v3/kv/range", &json!({"key": "AA=="})).await;
        let revision = answer.pointer("/header/revision").and_then(Value::as_str);
        revision.and_then(|revision| revision.parse().ok()).expect("etcd tells its revision")
    }

    /// Forgets all states but the last, as the API server does every five minutes: older resourceVersions expire.
    pub(crate) async fn compact(&self) {
        let revision = self.revision().await.to_string();
        self.ask_etcd("/v3/kv/compaction", &json!({"revision": revision, "physical": true})).await;
    }

    async fn ask_etcd(&self, path: &str, question: &Value) -> Value {
        let request = Request::post(path).body(question.to_string().into_bytes()).expect("a path makes a request");
        self.etcd_client().request(request).await.expect("etcd answers")
    }

    /// A client without an identity, which passes on what the requests bring.
    pub(crate) fn anonymous(&self) -> kube::Client {
        self.place.client_with(None)
    }

    /// The serving certificate, for the loopback address, and its key.
    pub(crate) fn certificate(&self) -> (PathBuf, PathBuf) {
        (self.place.files.certificate(), self.place.files.key())
    }

    /// A kubeconfig file with a token of the service account `name` of `namespace`, such as a kubelet asks for.
    pub(crate) async fn service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), namespace);
        let request = TokenRequest::default();
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let token = answer.expect("there is such an account").status.and_then(|status| status.token);
        let token = token.expect("an answer has a token");
        self.place.files.kubeconfig_with(&format!("{namespace}-{name}"), &token, self.place.address)
    }

    /// Puts into `folder` what a pod finds of its service account, with the token of `user`, and gives the address that its
    /// variables name.
    pub(crate) fn mount_account(&self, user: User, folder: &Path) -> SocketAddr {
        let Place { address, files } = &self.place;
        fs::create_dir_all(folder).expect("a folder can be made");
        let put = |name, content: &[u8]| fs::write(folder.join(name), content).expect("it is writable");
        put("token", files.token(user).as_bytes());
        put("ca.crt", &fs::read(files.certificate()).expect("it was written"));
        put("namespace", b"default");
        *address
    }

    /// What the service account `name` of `namespace` asked so far.
    pub(crate) fn requests_of_account(&self, namespace: &str, name: &str) -> Vec<audit::Request> {
        self.requests_by(&format!("system:serviceaccount:{namespace}:{name}"))
    }

    pub(super) fn requests_by(&self, user: &str) -> Vec<audit::Request> {
        audit::requests_of(&self.place.files.audit_log(), user)
    }
}
