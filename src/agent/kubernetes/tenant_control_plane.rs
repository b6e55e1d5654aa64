//! The few fields of a TenantControlPlane that the agent reads. The others are skipped while the response is decoded.
//!
//! The fields under `metadata` that the API server guarantees are decoded strictly. Everything under `spec` and `status`
//! is decoded leniently: a custom resource may hold any value there, and one object that fails to decode would fail the
//! whole list.

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::lenient::{Lenient, Readable, readable_objects};
use crate::agent::observe::ControlPlane;
use crate::catalog::{ExtendedAttributes, KubernetesVersion, NetworkProfile, Status};

/// The decoded part of a TenantControlPlane.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TenantControlPlane {
    metadata: Metadata,
    #[serde(default)]
    spec: Lenient<TenantControlPlaneSpec>,
    #[serde(default)]
    status: Lenient<StatusBlock>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: Uuid,
    resource_version: String,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

#[derive(Debug, Clone, Deserialize)]
struct OwnerReference {
    kind: Lenient<OwnerKind>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TenantControlPlaneSpec {
    kubernetes: Lenient<SpecKubernetes>,
    control_plane: Lenient<SpecControlPlane>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct SpecKubernetes {
    version: Lenient<KubernetesVersion>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct SpecControlPlane {
    ingress: Lenient<AnyObject>,
    gateway: Lenient<AnyObject>,
    service: Lenient<SpecService>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpecService {
    service_type: Lenient<ServiceType>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StatusBlock {
    kubernetes_resources: Lenient<StatusResources>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct StatusResources {
    version: Lenient<StatusVersion>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct StatusVersion {
    status: Lenient<Status>,
}

/// An object with any fields.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct AnyObject {}

/// The kind of an owner, as far as it matters.
#[derive(Debug, Clone, Copy)]
struct OwnerKind {
    is_cluster_api: bool,
}

/// The value of `spec.controlPlane.service.serviceType`, or `None` for a type that is not reported.
#[derive(Debug, Clone, Copy)]
struct ServiceType(Option<NetworkProfile>);

impl TenantControlPlane {
    /// Splits the object into its resourceVersion, from which a watch can be resumed, and the fields of the index.
    pub(super) fn into_parts(self) -> (String, ControlPlane) {
        let Self { metadata, spec, status } = self;
        let spec = spec.map(|spec| (spec.kubernetes.map(|kubernetes| kubernetes.version), spec.control_plane));
        let (tcp_version, network) = spec.split();
        let control_plane = ControlPlane {
            uid: metadata.uid,
            created: metadata.creation_timestamp,
            deleted: metadata.deletion_timestamp,
            tcp_version: tcp_version.flatten().flatten().or_absent(KubernetesVersion::Unknown),
            status: status
                .map(|status| status.kubernetes_resources.map(|resources| resources.version.map(|at| at.status)))
                .flatten()
                .flatten()
                .flatten()
                .or_absent(Status::Unknown),
            extended: ExtendedAttributes {
                cluster_api: metadata.owner_references.iter().any(OwnerReference::is_cluster_api),
                network_profile: network.flatten().ok().and_then(SpecControlPlane::network_profile),
            },
        };
        (metadata.resource_version, control_plane)
    }
}

impl OwnerReference {
    fn is_cluster_api(&self) -> bool {
        self.kind.ok().is_some_and(|kind| kind.is_cluster_api)
    }
}

impl SpecControlPlane {
    /// Returns the way in which the API server is exposed. An Ingress or a Gateway routes to the Service, so it takes
    /// precedence over the type of the Service.
    fn network_profile(self) -> Option<NetworkProfile> {
        let Self { ingress, gateway, service } = self;
        let by_ingress = ingress.ok().map(|_| NetworkProfile::Ingress);
        let by_gateway = gateway.ok().map(|_| NetworkProfile::Gateway);
        by_ingress.or(by_gateway).or_else(|| service.ok()?.service_type.ok()?.0)
    }
}

impl Readable<'_> for KubernetesVersion {
    fn from_text(text: &str) -> Lenient<Self> {
        Lenient::Read(Self::normalize(text))
    }
}

impl Readable<'_> for Status {
    fn from_text(text: &str) -> Lenient<Self> {
        Lenient::Read(Self::normalize(Some(text)))
    }
}

impl Readable<'_> for OwnerKind {
    fn from_text(text: &str) -> Lenient<Self> {
        Lenient::Read(Self { is_cluster_api: text == "KamajiControlPlane" })
    }
}

impl Readable<'_> for ServiceType {
    fn from_text(text: &str) -> Lenient<Self> {
        Lenient::Read(Self(match text {
            "LoadBalancer" => Some(NetworkProfile::LoadBalancer),
            "NodePort" => Some(NetworkProfile::NodePort),
            "ClusterIP" => Some(NetworkProfile::ClusterIp),
            _ => None,
        }))
    }
}

readable_objects!(
    TenantControlPlaneSpec,
    SpecKubernetes,
    SpecControlPlane,
    SpecService,
    StatusBlock,
    StatusResources,
    StatusVersion,
    AnyObject
);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(spec: &serde_json::Value, status: &serde_json::Value) -> ControlPlane {
        let object = json!({
            "apiVersion": "kamaji.clastix.io/v1alpha1",
            "kind": "TenantControlPlane",
            "metadata": {
                "name": "a", "namespace": "b", "resourceVersion": "7",
                "uid": "12fa5b60-03fe-4e7e-8a6c-8b8a8b65ff79",
                "creationTimestamp": "2026-11-22T22:16:03Z",
                "ownerReferences": [{"kind": "KamajiControlPlane", "name": "x"}],
                "managedFields": [{"fieldsV1": {"f:spec": {}}}],
            },
            "spec": spec,
            "status": status,
        });
        serde_json::from_str::<TenantControlPlane>(&object.to_string()).unwrap().into_parts().1
    }

    #[test]
    fn the_fields_that_are_sent_are_decoded() {
        let spec = json!({"kubernetes": {"version": "v1.35.1", "kubelet": {}}, "controlPlane": {"service": {"serviceType": "NodePort"}}});
        let status = json!({"kubernetesResources": {"version": {"status": "Sleeping"}}});
        let read = read(&spec, &status);
        assert_eq!(read.tcp_version, Some(KubernetesVersion::normalize("v1.35.1")));
        assert_eq!(read.status, Some(Status::Sleeping));
        assert_eq!(read.created, Some("2026-11-22T22:16:03Z".parse().unwrap()));
        assert_eq!(read.deleted, None);
        assert_eq!(
            read.extended,
            ExtendedAttributes { cluster_api: true, network_profile: Some(NetworkProfile::NodePort) }
        );
    }

    #[test]
    fn an_absent_field_is_unknown_and_an_unreadable_one_is_none() {
        let absent = read(&json!({}), &json!(null));
        assert_eq!(absent.tcp_version, Some(KubernetesVersion::Unknown));
        assert_eq!(absent.status, Some(Status::Unknown));
        for unreadable in [json!(1), json!(1.5), json!(true), json!([1, {"a": []}]), json!({"a": {"b": [1]}})] {
            let read = read(
                &json!({"kubernetes": {"version": unreadable}, "controlPlane": unreadable}),
                &json!({"kubernetesResources": {"version": {"status": unreadable}}, "more": unreadable}),
            );
            assert_eq!((read.tcp_version, read.status), (None, None), "{unreadable}");
        }
        assert_eq!(read(&json!([]), &json!("text")).tcp_version, None);
    }

    #[test]
    fn an_ingress_or_a_gateway_takes_precedence_over_the_service() {
        let profile =
            |control_plane| read(&json!({"controlPlane": control_plane}), &json!({})).extended.network_profile;
        let service = json!({"serviceType": "ClusterIP"});
        assert_eq!(profile(json!({"ingress": {"host": "x"}, "service": service})), Some(NetworkProfile::Ingress));
        assert_eq!(profile(json!({"gateway": {}, "service": service})), Some(NetworkProfile::Gateway));
        assert_eq!(profile(json!({"service": service})), Some(NetworkProfile::ClusterIp));
        assert_eq!(profile(json!({"service": {"serviceType": "ExternalName"}})), None);
    }
}
