//! Tests of maintenance, which keeps everything but the running backend, and of the Job that restores a backup.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Value, json};

use super::{offline, snapshots};
use crate::chart::{merge, read};
use crate::servers::documents;

/// Returns the rendered objects by kind and name.
async fn rendered(values: &Value) -> BTreeMap<String, Value> {
    let objects = documents(&offline().template(values).await.unwrap());
    let name = |object: &Value| format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"]);
    objects.into_iter().map(|object| (name(&object).replace('"', ""), object)).collect()
}

/// Sets the value at `pointer`, which exists, and returns it as it was.
fn replace(object: &mut Value, pointer: &str, value: Value) -> Value {
    std::mem::replace(object.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")), value)
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn maintenance_scales_the_backend_down_suspends_backups_and_changes_nothing_else() {
    let mut values = snapshots::everything();
    let mut running = rendered(&values).await;
    merge(&mut values, json!({"maintenance": true}));
    let mut maintained = rendered(&values).await;

    // Pods that need a running backend.
    running.retain(|name, _| !name.starts_with("Job/") && !name.starts_with("Pod/"));
    assert_eq!(running.keys().collect::<Vec<_>>(), maintained.keys().collect::<Vec<_>>());
    for (name, pointer, before, meanwhile) in [
        ("StatefulSet/kamaji-telemetry-backend", "/spec/replicas", json!(1), json!(0)),
        ("CronJob/kamaji-telemetry-backend-backup", "/spec/suspend", json!(false), json!(true)),
        // That the backend is absent is expected, but not for ever.
        ("PrometheusRule/kamaji-telemetry-backend", "/spec/groups/0/rules/0/for", json!("5m"), json!("1d")),
        (
            "PrometheusRule/kamaji-telemetry-backend",
            "/spec/groups/0/rules/0/labels/severity",
            json!("critical"),
            json!("warning"),
        ),
    ] {
        let object = maintained.get_mut(name).unwrap();
        assert_eq!(replace(object, pointer, before.clone()), meanwhile, "{name}");
        assert_eq!(running[name].pointer(pointer), Some(&before), "{name}");
    }
    assert_eq!(running, maintained);
    let rule = &running["PrometheusRule/kamaji-telemetry-backend"];
    assert_eq!(rule["spec"]["groups"][0]["rules"][0]["alert"], "KamajiTelemetryBackendDown");
}

/// Returns the Jobs that restore this backup.
async fn restore_of(backup: &str) -> Vec<String> {
    let values = json!({"maintenance": true, "backup": {"enabled": true}, "restore": {"backup": backup}});
    let objects = rendered(&values).await;
    objects.into_keys().filter_map(|name| Some(name.strip_prefix("Job/")?.to_owned())).collect()
}

/// A Job that is complete does not run again while it exists, which its name makes sure of.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn each_backup_has_a_restore_job_of_its_own_name() {
    // A pod's name is that of the Job and 6 characters, and its host name has 63 at most.
    let valid = Regex::new("^[a-z0-9]([-a-z0-9]{0,55}[a-z0-9])?$").unwrap();
    let mut names = Vec::new();
    for backup in [
        "telemetry-20261124T031700Z.db",
        "telemetry-20261125T031700Z.db",
        "20261124T031700Z.db",
        "before_the_upgrade.db",
        "before-the-upgrade.db",
        "before.the.upgrade.db",
        "Before.the.upgrade.db",
        "a-backup-with-a-name-that-is-longer-than-a-label-of-dns-may-be-1.db",
        "a-backup-with-a-name-that-is-longer-than-a-label-of-dns-may-be-2.db",
    ] {
        let [name] = &restore_of(backup).await[..] else { panic!("one Job for {backup}") };
        assert!(valid.is_match(name), "{name}");
        assert_eq!(restore_of(backup).await, *std::slice::from_ref(name), "the same name each time");
        names.push(name.clone());
    }
    assert!(names[0].starts_with("kamaji-telemetry-backend-restore-20261124t031700z-"), "{names:?}");
    let documented = format!("job/{} --for=condition=complete", names[0]);
    assert!(read("docs/backend.md").contains(&documented), "docs/backend.md: {documented}");
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{names:?}");
    assert!(restore_of("").await.is_empty());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_restore_job_is_kept_and_restores_the_named_file_of_the_backups_claim() {
    let objects = rendered(&snapshots::restore()).await;
    let (_, job) = objects.iter().find(|(name, _)| name.starts_with("Job/")).unwrap();
    assert_eq!(job["spec"].get("ttlSecondsAfterFinished"), None, "GitOps would create a deleted Job again");
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["args"], json!(["backend", "restore", "/backups/telemetry-20261124T031700Z.db"]));
    let store = json!({"name": "KAMAJI_TELEMETRY_STORE", "value": "sqlite:/var/lib/kamaji-telemetry/telemetry.db"});
    assert_eq!(container["env"][0], store);
    for (volume, path, claim) in [
        ("store", "/var/lib/kamaji-telemetry", "kamaji-telemetry-backend"),
        ("backups", "/backups", "kamaji-telemetry-backend-backup"),
    ] {
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.contains(&json!({"name": volume, "mountPath": path})), "{mounts:?}");
        let volumes = pod["volumes"].as_array().unwrap();
        let source = json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}});
        assert!(volumes.contains(&source), "{volumes:?}");
    }
}
