//! The files of a node: keys, certificates, tokens, kubeconfigs, and the configuration of each program.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::json;
use uuid::Uuid;

use crate::servers::{Authority, audit};

/// The node's address, which is that of its API server too.
const ADDRESS: &str = "10.244.255.1";

/// Names and addresses of the API server, for clients on the node and in pods.
const API_SERVER: [&str; 7] = [
    "127.0.0.1",
    ADDRESS,
    "10.96.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// The clients of the API server: the name of the kubeconfig, the user, and the user's group.
const CLIENTS: [(&str, &str, &str); 6] = [
    ("admin", "admin", "system:masters"),
    ("node", "system:node:node", "system:nodes"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
    // It watches Services, as its ClusterRole on a real cluster allows.
    ("dns", "dns", "system:masters"),
];

/// The configurations, as they are in this folder of the sources.
const CONFIGURATIONS: [(&str, &str); 5] = [
    ("containerd.toml", include_str!("containerd.toml")),
    ("cni/cni.conflist", include_str!("cni.conflist")),
    ("kubelet.yaml", include_str!("kubelet.yaml")),
    ("proxy.yaml", include_str!("proxy.yaml")),
    ("Corefile", include_str!("Corefile")),
];

/// Writes the files of a node whose cgroups are called `cgroup` into `folder`.
pub(super) fn write(folder: &Path, cgroup: &str) {
    fs::create_dir_all(folder.join("cni")).expect("the folder is writable");
    // Pods pass through its parents to their volumes.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
    write_certificates(folder);
    write_clients(folder);
    let put = |name: &str, content: &str| fs::write(folder.join(name), content).expect("the folder is writable");
    put("audit-policy.yaml", audit::POLICY);
    for (name, content) in CONFIGURATIONS {
        put(name, &content.replace("CGROUP", cgroup));
    }
}

/// Returns the path of the administrator's kubeconfig.
pub(super) fn admin(folder: &Path) -> PathBuf {
    folder.join("admin.kubeconfig")
}

fn write_certificates(folder: &Path) {
    let authority = Authority::new(folder);
    let names = |names: &[&str]| {
        CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).expect("these are names")
    };
    authority.issue("apiserver", |params| *params = names(&API_SERVER));
    authority.issue("kubelet", |params| *params = names(&[ADDRESS]));
    // The API server's own at the kubelet, which asks the API server for the rights of its user.
    authority.issue("admin", |params| {
        params.distinguished_name.push(DnType::CommonName, "admin");
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    });
    let accounts = KeyPair::generate().expect("a key");
    let put = |name, content: String| fs::write(folder.join(name), content).expect("the folder is writable");
    put("accounts.key", accounts.serialize_pem());
    put("accounts.pub", accounts.public_key_pem());
}

/// Writes a kubeconfig for each client, and the tokens of all for the API server.
fn write_clients(folder: &Path) {
    let mut tokens = String::new();
    for (name, user, group) in CLIENTS {
        let token = Uuid::new_v4();
        writeln!(tokens, "{token},{user},{user},\"{group}\"").expect("a string can be written to");
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "node", "cluster": {
                "server": "https://127.0.0.1:6443",
                // Relative to this file, whose folder has another path outside of the node.
                "certificate-authority": "ca.pem",
            }}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "node", "context": {"cluster": "node", "user": name}}],
            "current-context": "node",
        });
        let path = folder.join(format!("{name}.kubeconfig"));
        fs::write(path, kubeconfig.to_string()).expect("the folder is writable");
    }
    fs::write(folder.join("tokens.csv"), tokens).expect("the folder is writable");
}
