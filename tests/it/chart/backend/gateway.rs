//! Tests of routes of different kinds that share a listener and a host name, of which a gateway accepts only one.

use serde_json::{Value, json};

use super::offline;
use crate::chart::schema::rejection;

/// Returns values with both routes, with these host names and parents.
fn routes(names: [&str; 2], parents: &[Value; 2]) -> Value {
    let route = |name: &str, parent: &Value| json!({"enabled": true, "parentRefs": [parent], "hostnames": [name]});
    let gateway = json!({"http": route(names[0], &parents[0]), "grpc": route(names[1], &parents[1])});
    json!({"publicUrl": "https://a.b.test", "trustedProxies": ["10.0.0.1"], "gateway": gateway})
}

fn public() -> Value {
    json!({"name": "public"})
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn routes_that_share_a_listener_and_a_host_name_are_rejected() {
    let helm = offline();
    let release = json!({"name": "public", "namespace": "kamaji-system"});
    let section = json!({"name": "public", "sectionName": "https"});
    for (names, parents) in [
        (["a.b.test", "a.b.test"], [public(), public()]),
        (["*.b.test", "c.b.test"], [public(), public()]),
        (["a.b.test", "*.b.test"], [public(), public()]),
        (["a.b.test", "*.test"], [public(), public()]),
        (["*.b.test", "*.c.b.test"], [public(), public()]),
        (["*.b.test", "*.test"], [public(), public()]),
        // The default is the release's namespace.
        (["a.b.test", "a.b.test"], [public(), release]),
        // Without a section, a parent is every listener of the gateway.
        (["a.b.test", "a.b.test"], [public(), section.clone()]),
        (["a.b.test", "a.b.test"], [section.clone(), section]),
    ] {
        let error = rejection(&helm, routes(names, &parents)).await;
        let [http, grpc] = names;
        let both = format!("gateway.http.hostnames has {http:?} and gateway.grpc.hostnames {grpc:?}");
        assert!(error.contains(&both), "{names:?} {parents:?}: {error}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn routes_that_share_no_listener_or_no_host_name_are_accepted() {
    let helm = offline();
    let at = |section: &str| json!({"name": "public", "sectionName": section});
    for (names, parents) in [
        (["a.b.test", "b.b.test"], [public(), public()]),
        (["a.b.test", "*.c.test"], [public(), public()]),
        // A wildcard does not cover its own domain.
        (["*.b.test", "b.test"], [public(), public()]),
        (["a.b.test", "*.a.b.test"], [public(), public()]),
        (["*.b.test", "*.bb.test"], [public(), public()]),
        (["a.b.test", "a.b.test"], [public(), json!({"name": "other"})]),
        (["a.b.test", "a.b.test"], [public(), json!({"name": "public", "namespace": "gateways"})]),
        (["a.b.test", "a.b.test"], [at("https"), at("grpc")]),
        (["a.b.test", "a.b.test"], [json!({"name": "public", "port": 443}), json!({"name": "public", "port": 8443})]),
    ] {
        let values = routes(names, &parents);
        helm.template(&values).await.unwrap_or_else(|error| panic!("{values}: {error}"));
    }
}
