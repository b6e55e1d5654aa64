//! Values: each has its place in the schema, and what would be ignored, or would be wrong, is refused.

use serde_json::{Value, json};

use super::{offline, snapshots};
use crate::chart::helm::BACKEND;
use crate::chart::merge;
use crate::chart::schema::{every_value_has_its_place, refusal};
use crate::servers::documents;

#[test]
fn every_value_of_the_backend_has_its_place_in_the_schema_and_no_other_key_has() {
    every_value_has_its_place(&BACKEND);
}

/// Each pair is refused with its text.
async fn are_refused(cases: impl IntoIterator<Item = (Value, &str)>) {
    let helm = offline();
    for (values, said) in cases {
        let refusal = refusal(&helm, values.clone()).await;
        assert!(refusal.contains(said), "{values}: {refusal}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn what_the_schema_does_not_know_is_refused_with_what_is_allowed() {
    are_refused([
        (json!({"replicas": 2}), "keys among global, enabled, image,"),
        (json!({"store": {"clickhouse": {}}}), "at '/store': value must be 'a map with keys among sqlite'"),
        (json!({"store": {"sqlite": null}}), "missing property 'sqlite'"),
        (json!({"store": {"sqlite": {"persistence": {"accessModes": ["ReadWriteMany"]}}}}), "accessModes/0'"),
        (json!({"store": {"sqlite": {"persistence": {"size": "10 GB"}}}}), "persistence/size'"),
        (json!({"store": {"sqlite": {"persistence": {"keep": "no"}}}}), "value must be one of true, false"),
        (json!({"retention": {"keepEvent": "30d"}}), "keys among keepEvents, keepDays,"),
        (json!({"retention": {"keepEvents": "0d"}}), "at '/retention/keepEvents'"),
        (json!({"retention": {"keepEvents": "3651d"}}), "at '/retention/keepEvents'"),
        (json!({"retention": {"keepDays": 400}}), "got number, want string"),
        (json!({"limits": {"rows": -1}}), "at '/limits/rows'"),
        (json!({"limits": {"rows": "1000"}}), "got string, want integer"),
        (json!({"ingest": {"token": "a"}}), "keys among tokensSecret"),
        (json!({"access": {"tokensSecret": {"key": ""}}}), "at '/access/tokensSecret/key'"),
        (json!({"publicUrl": "telemetry.example.org"}), "at '/publicUrl'"),
        (json!({"publicUrl": "https://telemetry.example.org/page"}), "at '/publicUrl'"),
        (json!({"trustedProxies": ["ingress.example.org"]}), "at '/trustedProxies/0'"),
        // All the world.
        (json!({"trustedProxies": ["0.0.0.0/0"]}), "at '/trustedProxies/0'"),
        (json!({"trustedProxies": ["10.0.0.0/8", "::/0"]}), "at '/trustedProxies/1'"),
        (json!({"trustedProxies": ["0.0.0.0/00"]}), "at '/trustedProxies/0'"),
        (json!({"trustedProxies": ["10.0.0"]}), "at '/trustedProxies/0'"),
        (json!({"trustedProxies": ["10.0.0.0/33"]}), "at '/trustedProxies/0'"),
        (json!({"trustedProxies": ["2001:db8::/129"]}), "at '/trustedProxies/0'"),
        (json!({"trustedProxies": ["cafe"]}), "at '/trustedProxies/0'"),
        (json!({"tls": {"secretName": "a"}}), "keys among existingSecret, certManager"),
        (json!({"service": {"type": "ExternalName"}}), "one of 'ClusterIP', 'NodePort', 'LoadBalancer'"),
        (json!({"ingress": {"http": {"host": "https://a.test"}}}), "at '/ingress/http/host'"),
        (json!({"ingress": {"http": {"tls": [{"secret": "a"}]}}}), "keys among secretName, hosts"),
        (json!({"gateway": {"http": {"parentRefs": [{"namespace": "a"}]}}}), "missing property 'name'"),
        (json!({"backup": {"keep": 0}}), "at '/backup/keep'"),
        (json!({"backup": {"schedule": "daily"}}), "at '/backup/schedule'"),
        (json!({"backup": {"schedule": "TZ=UTC 3 * * *"}}), "at '/backup/schedule'"),
        (json!({"backup": {"activeDeadlineSeconds": 86_401}}), "at '/backup/activeDeadlineSeconds'"),
        (
            json!({"backup": {"persistence": {"accessModes": ["ReadWriteOncePod"]}}}),
            "value must be one of 'ReadWriteOnce', 'ReadWriteMany'",
        ),
        // It takes up to 10 s to end, and only then may the next one start.
        (json!({"terminationGracePeriodSeconds": 10}), "at '/terminationGracePeriodSeconds'"),
        (
            json!({"extraEnv": [{"name": "A", "vaule": "1"}]}),
            "at '/extraEnv/0': value must be 'a map with keys among name, value, valueFrom'",
        ),
        (json!({"extraEnv": [{"name": "A"}]}), "'a map with name, and either value or valueFrom'"),
        (json!({"podMonitor": {"enabled": true}}), "keys among global, enabled, image,"),
        (json!({"networkPolicy": {"from": ["10.0.0.0/8"]}}), "at '/networkPolicy/from/0'"),
        (json!({"networkPolicy": {"from": [{}]}}), "at '/networkPolicy/from/0'"),
        (json!({"listenAddress": "::"}), "at '/listenAddress'"),
    ])
    .await;
}

/// Reached from outside, as it should be.
fn outside() -> Value {
    json!({
        "publicUrl": "https://a.test",
        "trustedProxies": ["10.0.0.0/8"],
        "ingress": {"http": {"enabled": true, "host": "a.test"}, "grpc": {"enabled": true, "host": "a.test"}},
    })
}

fn with(mut values: Value, more: Value) -> Value {
    merge(&mut values, more);
    values
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn what_would_be_wrong_from_outside_is_refused_with_what_to_set() {
    let routes = |http: &str, grpc: &str| {
        let route = |name: &str| json!({"enabled": true, "parentRefs": [{"name": "a"}], "hostnames": [name]});
        let gateway = json!({"http": route(http), "grpc": route(grpc)});
        json!({"publicUrl": "https://a.test", "trustedProxies": ["10.0.0.0/8"], "gateway": gateway})
    };
    are_refused([
        (with(outside(), json!({"trustedProxies": []})), "set trustedProxies to the addresses of the proxy's pods"),
        (with(routes("a.test", "b.test"), json!({"trustedProxies": []})), "trustedProxies is empty, so that all"),
        (
            with(outside(), json!({"publicUrl": ""})),
            "set publicUrl to what browsers know the page by, such as https://a.test",
        ),
        (
            with(outside(), json!({"publicUrl": "https://b.test"})),
            "ingress.http.host is a.test: readers under another name",
        ),
        (
            with(
                outside(),
                json!({"publicUrl": "http://a.test", "ingress": {"http": {"tls": [{"hosts": ["a.test"]}]}}}),
            ),
            "publicUrl is \"http://a.test\", yet ingress.http.tls is set",
        ),
        (with(outside(), json!({"ingress": {"http": {"host": ""}}})), "ingress.http.host is empty"),
        (with(outside(), json!({"ingress": {"grpc": {"host": ""}}})), "ingress.grpc.host is empty"),
        (routes("b.test", "c.test"), "gateway.http.hostnames is b.test: readers under another name"),
        (routes("a.test", "a.test"), "gateway.grpc.hostnames \"a.test\""),
        (
            with(routes("a.test", "b.test"), json!({"gateway": {"grpc": {"parentRefs": []}}})),
            "gateway.grpc.parentRefs is empty",
        ),
        (
            with(routes("a.test", "b.test"), json!({"gateway": {"grpc": {"hostnames": []}}})),
            "gateway.grpc.hostnames is empty",
        ),
    ])
    .await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn what_contradicts_itself_is_refused_with_what_to_do() {
    let pod = json!({"store": {"sqlite": {"persistence": {"accessModes": ["ReadWriteOncePod"]}}}});
    let manager = |more: Value| json!({"tls": {"certManager": with(json!({"enabled": true}), more)}});
    are_refused([
        (
            with(pod, json!({"backup": {"enabled": true}})),
            "leave backup.enabled=false and take snapshots of the volume",
        ),
        (
            json!({"backup": {"enabled": true, "persistence": {"existingClaim": "kamaji-telemetry-backend"}}}),
            "which is the store's",
        ),
        (manager(json!({})), "tls.certManager.issuerRef.name is empty"),
        (
            json!({"tls": {"certManager": {"issuerRef": {"name": "a"}}}}),
            "tls.certManager.issuerRef.name is set, yet tls.certManager.enabled is false",
        ),
        (
            json!({"tls": {"certManager": {"dnsNames": ["a.test"]}}}),
            "tls.certManager.dnsNames is set, yet tls.certManager.enabled is false",
        ),
        (manager(json!({"issuerRef": {"name": "a"}})), "such as kamaji-telemetry-backend.kamaji-system.svc"),
        (with(manager(json!({})), json!({"tls": {"existingSecret": "a"}})), "set one of the two"),
        (
            json!({"extraEnv": [{"name": "KAMAJI_TELEMETRY_STORE", "value": "sqlite:a.db"}]}),
            "extraEnv has KAMAJI_TELEMETRY_STORE, which is set already",
        ),
        (json!({"service": {"externalTrafficPolicy": "Local"}}), "service.type is ClusterIP, which has none"),
    ])
    .await;
}

/// What the README gives as an example of a way in.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_documented_way_in_is_taken_and_trusts_proxies_that_alone_are_let_in() {
    let readme = BACKEND.file("README.md");
    let (_, section) = readme.split_once("\n## From outside\n").unwrap();
    let example = section.split("```yaml\n").nth(1).unwrap().split_once("```").unwrap().0;
    let values: Value = serde_yaml_ng::from_str(example).unwrap();
    let objects = documents(&offline().template(&values).await.unwrap());
    let policy = objects.iter().find(|object| object["kind"] == "NetworkPolicy").unwrap();
    assert_eq!(policy["spec"]["ingress"][0]["from"], values["networkPolicy"]["from"]);
    assert!(values["networkPolicy"]["from"][0].is_object() && values["trustedProxies"][0].is_string(), "{values}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn good_values_of_the_backend_are_taken() {
    let helm = offline();
    let open_shift = json!({"runAsUser": null, "runAsGroup": null, "fsGroup": null});
    for values in snapshots::all().map(|(_, values)| values).into_iter().chain([
        json!({"global": {"imageRegistry": "registry.test"}, "enabled": true}),
        outside(),
        // The name of a wildcard, and a port.
        with(outside(), json!({"publicUrl": "https://a.b.test:8443", "ingress": {"http": {"host": "*.b.test"}}})),
        json!({"trustedProxies": ["10.0.0.1", "::1", "192.0.2.0/31", "2001:db8:0:7::/64", "::ffff:192.0.2.1/128"]}),
        with(outside(), json!({"ingress": {"http": {"tls": [{"hosts": ["a.test"]}]}}})),
        json!({"terminationGracePeriodSeconds": 11, "backup": {"activeDeadlineSeconds": 86_400}}),
        json!({"trustedProxies": ["10.0.0.1"], "ingress": {"grpc": {"enabled": true, "host": "a.test"}}}),
        json!({"store": {"sqlite": {"persistence": {"accessModes": ["ReadWriteOncePod"], "keep": false}}}}),
        json!({"store": {"sqlite": {"persistence": {"existingClaim": "a"}}}, "tls": {"existingSecret": "a"}}),
        json!({"backup": {"enabled": true, "schedule": "@daily", "persistence": {"existingClaim": "b"}}}),
        json!({"limits": {"rowsPerDay": 0, "connections": 0}, "listenAddress": "[::]"}),
        json!({"podSecurityContext": open_shift}),
    ]) {
        helm.template(&values).await.unwrap_or_else(|said| panic!("{values}: {said}"));
    }
}
