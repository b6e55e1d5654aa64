//! The object of a control plane, with the fields that Kamaji's operator sets.

use serde_json::{Value, json};

use super::managed_fields::entry;
use super::{FINALIZER, NAMESPACE, SimulatedControlPlane};
use crate::catalog::{NetworkProfile, Status};

/// Returns the whole object.
pub(super) fn object(tenant: &SimulatedControlPlane) -> Value {
    let (spec, status) = (spec(tenant), status(tenant));
    let annotations = json!({ "kubectl.kubernetes.io/last-applied-configuration": applied(tenant).to_string() });
    let applied_parts = json!({ "metadata": { "annotations": annotations, "labels": labels(tenant) }, "spec": spec });
    let time = tenant.created;
    let mut object = json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "TenantControlPlane",
        "metadata": {
            "annotations": annotations,
            "finalizers": [FINALIZER],
            "labels": labels(tenant),
            "managedFields": [
                entry("kubectl-client-side-apply", None, time, &applied_parts),
                entry("kamaji", None, time, &json!({ "metadata": { "finalizers": { FINALIZER: null } } })),
                entry("kamaji", Some("status"), time, &json!({ "status": status })),
            ],
            "name": tenant.name,
            "namespace": NAMESPACE,
        },
        "spec": spec,
        "status": status,
    });
    if tenant.cluster_api {
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha1",
            "kind": "KamajiControlPlane",
            "name": tenant.name,
            "uid": format!("{}-0000-4000-8000-{}", &tenant.checksum("owner")[..8], &tenant.checksum("owner")[..12]),
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
    }
    object
}

fn labels(tenant: &SimulatedControlPlane) -> Value {
    json!({ "tenant.clastix.io": tenant.name, "team": format!("team-{}", tenant.team) })
}

/// Returns the object as a person applied it, which `kubectl apply` stores in an annotation.
fn applied(tenant: &SimulatedControlPlane) -> Value {
    json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "TenantControlPlane",
        "metadata": { "annotations": {}, "labels": labels(tenant), "name": tenant.name, "namespace": NAMESPACE },
        "spec": {
            "addons": { "coreDNS": {}, "kubeProxy": {}, "konnectivity": { "server": { "port": 8132 } } },
            "controlPlane": {
                "deployment": { "replicas": replicas(tenant) },
                "service": { "serviceType": service_type(tenant) },
            },
            "dataStore": data_store(tenant),
            "kubernetes": { "kubelet": { "cgroupfs": "systemd" }, "version": tenant.version },
            "networkProfile": { "port": 6443 },
        },
    })
}

fn spec(tenant: &SimulatedControlPlane) -> Value {
    let mut control_plane = json!({
        "deployment": {
            "additionalMetadata": {},
            "podAdditionalMetadata": {},
            "registrySettings": {
                "registry": "registry.k8s.io",
                "apiServerImage": "kube-apiserver",
                "controllerManagerImage": "kube-controller-manager",
                "schedulerImage": "kube-scheduler",
            },
            "replicas": replicas(tenant),
            "serviceAccountName": "default",
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "100%", "maxUnavailable": 0 } },
        },
        "service": { "additionalMetadata": {}, "serviceType": service_type(tenant) },
    });
    if tenant.network_profile == NetworkProfile::Ingress {
        control_plane["ingress"] = json!({ "hostname": format!("{}.example.org", tenant.name) });
    }
    json!({
        "addons": addons(),
        "controlPlane": control_plane,
        "dataStore": data_store(tenant),
        "dataStoreSchema": schema(tenant),
        "dataStoreUsername": schema(tenant),
        "kubernetes": {
            "admissionControllers": ADMISSION_CONTROLLERS,
            "kubelet": { "cgroupfs": "systemd", "preferredAddressTypes": ["InternalIP", "ExternalIP", "Hostname"] },
            "version": tenant.version,
        },
        "networkProfile": {
            "address": "192.0.2.10",
            "clusterDomain": "cluster.local",
            "podCidr": "10.244.0.0/16",
            "port": 6443,
            "serviceCidr": "10.96.0.0/16",
        },
        "writePermissions": {},
    })
}

fn addons() -> Value {
    json!({
        "coreDNS": {},
        "konnectivity": {
            "agent": {
                "hostNetwork": false,
                "image": "registry.k8s.io/kas-network-proxy/proxy-agent",
                "mode": "DaemonSet",
                "tolerations": [{ "key": "CriticalAddonsOnly", "operator": "Exists" }],
            },
            "server": { "image": "registry.k8s.io/kas-network-proxy/proxy-server", "port": 8132 },
        },
        "kubeProxy": {},
    })
}

const ADMISSION_CONTROLLERS: [&str; 17] = [
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DefaultStorageClass",
    "DefaultTolerationSeconds",
    "LimitRanger",
    "MutatingAdmissionWebhook",
    "NamespaceLifecycle",
    "PersistentVolumeClaimResize",
    "Priority",
    "ResourceQuota",
    "RuntimeClass",
    "ServiceAccount",
    "StorageObjectInUseProtection",
    "TaintNodesByCondition",
    "ValidatingAdmissionWebhook",
];

fn status(tenant: &SimulatedControlPlane) -> Value {
    json!({
        "addons": {
            "coreDNS": { "enabled": true },
            "konnectivity": konnectivity(tenant),
            "kubeProxy": { "enabled": true },
        },
        "certificates": {
            "apiServer": secret(tenant, "api-server-certificate"),
            "apiServerKubeletClient": secret(tenant, "api-server-kubelet-client-certificate"),
            "ca": secret(tenant, "ca"),
            "frontProxyCA": secret(tenant, "front-proxy-ca-certificate"),
            "frontProxyClient": secret(tenant, "front-proxy-client-certificate"),
            "sa": secret(tenant, "sa-certificate"),
        },
        "controlPlaneEndpoint": "192.0.2.10:6443",
        "kubeadmPhase": { "bootstrapToken": {} },
        "kubeadmconfig": {
            "checksum": tenant.checksum("kubeadmconfig"),
            "configmapName": format!("{}-kubeadmconfig", tenant.name),
            "lastUpdate": updated(tenant),
        },
        "kubeconfig": {
            "admin": secret(tenant, "admin-kubeconfig"),
            "controllerManager": secret(tenant, "controller-manager-kubeconfig"),
            "scheduler": secret(tenant, "scheduler-kubeconfig"),
        },
        "kubernetesResources": resources(tenant),
        "storage": storage(tenant),
    })
}

fn konnectivity(tenant: &SimulatedControlPlane) -> Value {
    json!({
        "agent": {},
        "certificate": secret(tenant, "konnectivity-certificate"),
        "clusterrolebinding": {},
        "configMap": {
            "checksum": tenant.checksum("egress"),
            "name": format!("{}-konnectivity-egress-selector-configuration", tenant.name),
        },
        "enabled": true,
        "kubeconfig": secret(tenant, "konnectivity-kubeconfig"),
        "sa": {},
        "service": service(tenant, 8132),
    })
}

fn resources(tenant: &SimulatedControlPlane) -> Value {
    let mut version = json!({ "status": tenant.status.as_str() });
    if let Some(installed) = &tenant.installed {
        version["version"] = installed.as_str().into();
    }
    json!({
        "deployment": {
            "lastUpdate": updated(tenant),
            "name": tenant.name,
            "namespace": NAMESPACE,
            "selector": format!("kamaji.clastix.io/name={}", tenant.name),
        },
        "service": service(tenant, 6443),
        "version": version,
    })
}

fn storage(tenant: &SimulatedControlPlane) -> Value {
    json!({
        "certificate": secret(tenant, "datastore-certificate"),
        "config": { "checksum": tenant.checksum("config"), "secretName": format!("{}-datastore-config", tenant.name) },
        "dataStoreName": data_store(tenant),
        "driver": tenant.driver,
        "setup": {
            "checksum": tenant.checksum("setup"),
            "lastUpdate": updated(tenant),
            "schema": schema(tenant),
            "user": schema(tenant),
        },
    })
}

fn secret(tenant: &SimulatedControlPlane, part: &str) -> Value {
    json!({
        "checksum": tenant.checksum(part),
        "lastUpdate": updated(tenant),
        "secretName": format!("{}-{part}", tenant.name),
    })
}

fn service(tenant: &SimulatedControlPlane, port: u16) -> Value {
    json!({ "loadBalancer": {}, "name": tenant.name, "namespace": NAMESPACE, "port": port })
}

fn replicas(tenant: &SimulatedControlPlane) -> u8 {
    if tenant.status == Status::Sleeping { 0 } else { 2 }
}

fn service_type(tenant: &SimulatedControlPlane) -> &'static str {
    match tenant.network_profile {
        NetworkProfile::LoadBalancer => "LoadBalancer",
        NetworkProfile::NodePort => "NodePort",
        NetworkProfile::Ingress | NetworkProfile::Gateway | NetworkProfile::ClusterIp => "ClusterIP",
    }
}

/// Returns the name of the datastore.
fn data_store(tenant: &SimulatedControlPlane) -> String {
    tenant.driver.to_lowercase()
}

fn schema(tenant: &SimulatedControlPlane) -> String {
    format!("{NAMESPACE}_{}", tenant.name.replace('-', "_"))
}

fn updated(tenant: &SimulatedControlPlane) -> String {
    format!("{:.0}", tenant.created)
}
