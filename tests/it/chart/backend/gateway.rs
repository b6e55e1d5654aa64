//! Two routes of different kinds that would meet at a listener: the gateway would take one of them alone.

use serde_json::{Value, json};

use super::offline;
use crate::chart::schema::refusal;

/// Both routes, with these hostnames and parents.
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
async fn routes_that_would_meet_are_refused() {
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
        // The release's namespace is the default.
        (["a.b.test", "a.b.test"], [public(), release]),
        // Without a section it is each of the gateway's.
        (["a.b.test", "a.b.test"], [public(), section.clone()]),
        (["a.b.test", "a.b.test"], [section.clone(), section]),
    ] {
        let said = refusal(&helm, routes(names, &parents)).await;
        let [http, grpc] = names;
        let both = format!("gateway.http.hostnames has {http:?} and gateway.grpc.hostnames {grpc:?}");
        assert!(said.contains(&both), "{names:?} {parents:?}: {said}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn routes_that_never_meet_are_taken() {
    let helm = offline();
    let at = |section: &str| json!({"name": "public", "sectionName": section});
    for (names, parents) in [
        (["a.b.test", "b.b.test"], [public(), public()]),
        (["a.b.test", "*.c.test"], [public(), public()]),
        // A wildcard is not the name itself.
        (["*.b.test", "b.test"], [public(), public()]),
        (["a.b.test", "*.a.b.test"], [public(), public()]),
        (["*.b.test", "*.bb.test"], [public(), public()]),
        (["a.b.test", "a.b.test"], [public(), json!({"name": "other"})]),
        (["a.b.test", "a.b.test"], [public(), json!({"name": "public", "namespace": "gateways"})]),
        (["a.b.test", "a.b.test"], [at("https"), at("grpc")]),
        (["a.b.test", "a.b.test"], [json!({"name": "public", "port": 443}), json!({"name": "public", "port": 8443})]),
    ] {
        let values = routes(names, &parents);
        helm.template(&values).await.unwrap_or_else(|said| panic!("{values}: {said}"));
    }
}
