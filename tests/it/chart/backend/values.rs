//! Tests of the backend's values: the schema covers each, and values that would be ignored or unsafe are rejected.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{offline, snapshots};
use crate::chart::artifact_hub::images;
use crate::chart::helm::BACKEND;
use crate::chart::schema::{assert_schema_matches_values, rejection};
use crate::chart::{code_blocks, merge};
use crate::servers::documents;

#[test]
fn the_backends_schema_matches_values_yaml() {
    assert_schema_matches_values(&BACKEND);
}

/// Asserts that each of the values is rejected with an error that contains the text.
async fn assert_rejected(cases: impl IntoIterator<Item = (Value, &str)>) {
    let helm = offline();
    for (values, expected) in cases {
        let error = rejection(&helm, values.clone()).await;
        assert!(error.contains(expected), "{values}: {error}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn values_outside_the_schema_are_rejected_with_the_accepted_ones() {
    assert_rejected([
        (json!({"replicas": "two"}), "at '/replicas'"),
        (json!({"replicas": 0}), "at '/replicas'"),
        (json!({"store": {"clickhouse": {}}}), "at '/store': value must be 'a map with keys among sqlite, postgres'"),
        (json!({"store": {"postgres": {"address": "postgres://a:secret@db.test/a"}}}), "at '/store/postgres/address'"),
        (
            json!({"store": {"postgres": {"address": "postgres://a@db.test/a?password=b"}}}),
            "at '/store/postgres/address'",
        ),
        (
            json!({"store": {"postgres": {"address": "postgres://a@db.test/a?port=6432"}}}),
            "at '/store/postgres/address'",
        ),
        (json!({"store": {"postgres": {"address": "mysql://a@db.test/a"}}}), "at '/store/postgres/address'"),
        (json!({"store": {"postgres": {"address": "postgres://a@db.test"}}}), "at '/store/postgres/address'"),
        (json!({"store": {"postgres": {"secret": "a"}}}), "keys among address, existingSecret, passwordKey,"),
        (json!({"global": {"imageRegistry": "https://registry.test"}}), "at '/global/imageRegistry'"),
        (json!({"image": {"registry": "registry.test/a:v1"}}), "at '/image/registry'"),
        (json!({"image": {"repository": "clastix/a:v1"}}), "at '/image/repository'"),
        (json!({"maintenance": "yes"}), "value must be one of true, false"),
        (json!({"restore": {"backup": "/backups/telemetry-20261124T031700Z.db"}}), "at '/restore/backup'"),
        (json!({"restore": {"file": "a.db"}}), "keys among backup, activeDeadlineSeconds, resources"),
        (json!({"store": {"sqlite": {"persistence": {"accessModes": ["ReadWriteMany"]}}}}), "accessModes/0'"),
        (json!({"store": {"sqlite": {"persistence": {"size": "10 GB"}}}}), "persistence/size'"),
        (json!({"store": {"sqlite": {"persistence": {"keepOnUninstall": "no"}}}}), "value must be one of true, false"),
        (json!({"retention": {"event": "30d"}}), "keys among events, installations,"),
        (json!({"retention": {"events": "0d"}}), "at '/retention/events'"),
        (json!({"retention": {"events": "3651d"}}), "at '/retention/events'"),
        (json!({"retention": {"installations": 400}}), "got number, want null or string"),
        (json!({"rateLimit": {"items": -1}}), "at '/rateLimit/items'"),
        (json!({"rateLimit": {"items": "1000"}}), "got string, want null or integer"),
        (json!({"maxConnections": -1}), "at '/maxConnections'"),
        (json!({"auth": {"token": "a"}}), "keys among ingestTokensSecret, readerTokensSecret"),
        (json!({"auth": {"readerTokensSecret": {"key": "a b"}}}), "at '/auth/readerTokensSecret/key'"),
    ])
    .await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn values_of_pods_routes_and_backups_outside_the_schema_are_rejected_with_the_accepted_ones() {
    assert_rejected([
        (json!({"nodeSelector": "linux"}), "at '/nodeSelector': got string, want null or object"),
        (json!({"tolerations": "all"}), "at '/tolerations': got string, want null or array"),
        (json!({"publicPage": true}), "at '/publicPage'"),
        (json!({"publicPage": {"enabled": "no"}}), "value must be one of true, false"),
        (json!({"publicUrl": "telemetry.example.org"}), "at '/publicUrl'"),
        (json!({"publicUrl": "https://telemetry.example.org/page"}), "at '/publicUrl'"),
        (json!({"trustedProxies": ["ingress.example.org"]}), "at '/trustedProxies/0'"),
        // A network of every address.
        (json!({"trustedHeader": "X Real IP"}), "at '/trustedHeader'"),
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
        (json!({"backup": {"retain": 0}}), "at '/backup/retain'"),
        (json!({"backup": {"schedule": "daily"}}), "at '/backup/schedule'"),
        (json!({"backup": {"schedule": "TZ=UTC 3 * * *"}}), "at '/backup/schedule'"),
        (json!({"backup": {"activeDeadlineSeconds": 86_401}}), "at '/backup/activeDeadlineSeconds'"),
        (
            json!({"backup": {"persistence": {"accessModes": ["ReadOnlyMany"]}}}),
            "value must be one of 'ReadWriteOnce', 'ReadWriteOncePod', 'ReadWriteMany'",
        ),
        // A shutdown takes up to 10 s, and the next pod may start only after it.
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
        (json!({"revisionHistoryLimit": -1}), "at '/revisionHistoryLimit'"),
        (json!({"extraVolumes": [{}]}), "at '/extraVolumes/0'"),
        (json!({"extraObjects": [1]}), "at '/extraObjects/0'"),
    ])
    .await;
}

/// Returns valid values for an exposed backend.
fn exposed() -> Value {
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
async fn unsafe_exposure_is_rejected_with_the_remedy() {
    let routes = |http: &str, grpc: &str| {
        let route = |name: &str| json!({"enabled": true, "parentRefs": [{"name": "a"}], "hostnames": [name]});
        let gateway = json!({"http": route(http), "grpc": route(grpc)});
        json!({"publicUrl": "https://a.test", "trustedProxies": ["10.0.0.0/8"], "gateway": gateway})
    };
    assert_rejected([
        (with(exposed(), json!({"trustedProxies": []})), "set trustedProxies to the addresses of the proxy's pods"),
        (with(routes("a.test", "b.test"), json!({"trustedProxies": []})), "trustedProxies is empty, so that all"),
        (
            with(exposed(), json!({"publicUrl": ""})),
            "set publicUrl to the URL of the page in browsers, such as https://a.test",
        ),
        (
            with(exposed(), json!({"publicUrl": "https://b.test"})),
            "ingress.http.host is a.test: readers under another host name",
        ),
        (
            with(
                exposed(),
                json!({"publicUrl": "http://a.test", "ingress": {"http": {"tls": [{"hosts": ["a.test"]}]}}}),
            ),
            "publicUrl is \"http://a.test\", yet ingress.http.tls is set",
        ),
        (with(exposed(), json!({"ingress": {"http": {"host": ""}}})), "ingress.http.host is empty"),
        (with(exposed(), json!({"ingress": {"grpc": {"host": ""}}})), "ingress.grpc.host is empty"),
        (routes("b.test", "c.test"), "gateway.http.hostnames is b.test: readers under another host name"),
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
async fn contradictions_are_rejected_with_the_remedy() {
    let pod = json!({"store": {"sqlite": {"persistence": {"accessModes": ["ReadWriteOncePod"]}}}});
    let manager = |more: Value| json!({"tls": {"certManager": with(json!({"enabled": true}), more)}});
    assert_rejected([
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
        (
            json!({"restore": {"backup": "a.db"}, "backup": {"enabled": true}}),
            "restore.backup is \"a.db\", yet maintenance is false and the backend uses the store: set maintenance=true",
        ),
        (
            json!({"restore": {"backup": "a.db"}, "maintenance": true}),
            "backup.enabled is false and there is no claim of backups: set backup.enabled=true",
        ),
    ])
    .await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_documented_exposure_is_accepted_and_admits_only_the_trusted_proxies() {
    let readme = BACKEND.file("README.md");
    let (_, section) = readme.split_once("\n## Exposure outside the cluster\n").unwrap();
    let values: Value = serde_yaml_ng::from_str(code_blocks(section, "yaml")[0]).unwrap();
    let objects = documents(&offline().template(&values).await.unwrap());
    let policy = objects.iter().find(|object| object["kind"] == "NetworkPolicy").unwrap();
    let [proxy, test] = &policy["spec"]["ingress"][0]["from"].as_array().unwrap()[..] else { panic!("{policy}") };
    assert_eq!(*proxy, values["networkPolicy"]["from"][0]);
    assert_eq!(test["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "test", "the pod of `helm test`");
    assert!(values["networkPolicy"]["from"][0].is_object() && values["trustedProxies"][0].is_string(), "{values}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_pod_has_the_same_image_from_the_registry_of_the_values() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let version = env!("CARGO_PKG_VERSION");
    for (image, global, expected) in [
        (json!({}), "", format!("ghcr.io/clastix/kamaji-telemetry-backend:{version}")),
        (json!({"registry": "a.test"}), "", format!("a.test/clastix/kamaji-telemetry-backend:{version}")),
        (
            json!({"registry": "a.test", "digest": digest}),
            "b.test:5000/mirror/",
            format!("b.test:5000/mirror/clastix/kamaji-telemetry-backend@{digest}"),
        ),
        (json!({"registry": "", "repository": "c.test/d", "tag": "v1"}), "", "c.test/d:v1".to_owned()),
    ] {
        for mut values in snapshots::all().map(|(_, values)| values) {
            values["image"] = image.clone();
            values["global"] = json!({"imageRegistry": global});
            let objects = documents(&offline().template(&values).await.unwrap());
            assert_eq!(BTreeSet::from_iter(images(&objects)), BTreeSet::from([expected.clone()]));
        }
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn valid_values_of_the_backend_are_accepted() {
    let helm = offline();
    let open_shift = json!({"runAsUser": null, "runAsGroup": null, "fsGroup": null});
    for values in snapshots::all().map(|(_, values)| values).into_iter().chain([
        json!({"global": {"imageRegistry": "registry.test:5000/mirror/", "other": {"a": 1}}, "enabled": true}),
        json!({"image": {"registry": "", "repository": "registry.test:5000/a/b", "tag": "v1"}}),
        json!({"maintenance": true, "backup": {"persistence": {"accessModes": ["ReadWriteOncePod"]}}}),
        exposed(),
        // A name that a wildcard covers, and a port.
        with(exposed(), json!({"publicUrl": "https://a.b.test:8443", "ingress": {"http": {"host": "*.b.test"}}})),
        json!({"trustedProxies": ["10.0.0.1", "::1", "192.0.2.0/31", "2001:db8:0:7::/64", "::ffff:192.0.2.1/128"]}),
        with(exposed(), json!({"ingress": {"http": {"tls": [{"hosts": ["a.test"]}]}}})),
        json!({"terminationGracePeriodSeconds": 11, "backup": {"activeDeadlineSeconds": 86_400}}),
        json!({"trustedProxies": ["10.0.0.1"], "ingress": {"grpc": {"enabled": true, "host": "a.test"}}}),
        json!({"store": {"sqlite": {"persistence": {"accessModes": ["ReadWriteOncePod"], "keepOnUninstall": false}}}}),
        json!({"store": {"sqlite": {"persistence": {"existingClaim": "a"}}}, "tls": {"existingSecret": "a"}}),
        json!({"backup": {"enabled": true, "schedule": "@daily", "persistence": {"existingClaim": "b"}}}),
        json!({"rateLimit": {"bytesPerDay": 0}, "maxConnections": 0, "maxStoreSize": 8_000_000_000_u64, "listenAddress": "[::]"}),
        json!({"podSecurityContext": open_shift}),
    ]) {
        helm.template(&values).await.unwrap_or_else(|error| panic!("{values}: {error}"));
    }
}
