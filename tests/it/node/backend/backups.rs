//! Backup by the Job of a `CronJob`, restore by values, and reinstallation with kept claims.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::fleet::{Fleet, event};
use crate::faults::stored;
use crate::node::scene::{Scene, Workload, backend_values, merge};
use crate::servers::checkout;

/// The claim of the backups.
const CLAIM: &str = "kamaji-telemetry-backend-backup";

/// Returns the values with backups, and with `more`.
fn with_backups(more: &Value) -> Value {
    let mut values = json!({"backup": {"enabled": true}});
    merge(&mut values, more);
    values
}

/// Creates the volume of the backups.
async fn volume(scene: &Scene) -> PathBuf {
    let name = format!("{}-backup", scene.namespace);
    scene.volume(&name, CLAIM).await;
    scene.disk(&format!("volumes/{name}"))
}

/// Backs up the store by a Job of the `CronJob`, and returns the name of the file.
async fn back_up(scene: &Scene, folder: &Path) -> String {
    let create = ["create", "job", "by-hand", "--from=cronjob/kamaji-telemetry-backend-backup"];
    scene.in_namespace(&create).await.unwrap();
    complete(scene, "by-hand").await;
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: Vec<_> = files.filter(|file| file != "telemetry.lock").collect();
    let [file] = &files[..] else { panic!("one file: {files:?}") };
    file.clone()
}

/// Waits until a Job is complete.
async fn complete(scene: &Scene, name: &str) {
    scene
        .until(&format!("the Job {name}"), async || {
            let job = scene.object(&["job", name]).await?;
            assert_eq!(job["status"]["failed"], Value::Null, "{}", scene.describe().await);
            (job["status"]["succeeded"] == 1).then_some(())
        })
        .await;
}

/// Returns the names of the Jobs of restores.
async fn restores(scene: &Scene) -> Vec<String> {
    let jobs = scene.object(&["jobs"]).await.unwrap();
    let names =
        jobs["items"].as_array().unwrap().iter().map(|job| job["metadata"]["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.contains("-restore-")).collect()
}

/// Returns the volumes of the claims that are bound.
async fn bound(scene: &Scene) -> Vec<(String, String)> {
    let claims = scene.object(&["persistentvolumeclaims"]).await.unwrap();
    let bound = claims["items"].as_array().unwrap().iter().filter(|claim| claim["status"]["phase"] == "Bound");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    bound.map(|claim| (text(&claim["metadata"]["name"]), text(&claim["spec"]["volumeName"]))).collect()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_backup_is_restored_by_values_and_a_new_release_takes_the_kept_claims() {
    let scene = Scene::new().await;
    let folder = volume(&scene).await;
    let fleet = Fleet::with(&scene, &with_backups(&json!({})), &json!({})).await;
    let file = back_up(&scene, &folder).await;
    let backed_up = stored::read(&folder.join(&file));
    assert_eq!(backed_up.iter().map(ToString::to_string).collect::<Vec<_>>(), fleet.events());
    fleet.create().await;
    fleet.stored().await;
    let claims = bound(&scene).await;
    assert_eq!(claims.len(), 2, "{claims:?}");

    scene.install_backend(&with_backups(&json!({"maintenance": true}))).await;
    scene.until("no pod", async || scene.pods(Workload::Backend).await.is_empty().then_some(())).await;
    let restore = json!({"maintenance": true, "restore": {"backup": file}});
    scene.install_backend(&with_backups(&restore)).await;
    let [job] = &restores(&scene).await[..] else { panic!("one Job") };
    complete(&scene, job).await;
    scene.install_backend(&with_backups(&json!({}))).await;
    scene.stored(&[&event(1)]).await;
    fleet.create().await;
    scene.stored(&[&event(1), &event(3)]).await;
    assert_eq!(bound(&scene).await, claims, "the claims stay");

    let namespace = format!("--namespace={}", scene.namespace);
    scene.helm(&["uninstall", "backend", &namespace, "--wait"]).await.unwrap();
    fleet.create().await;
    assert_eq!(bound(&scene).await, claims, "the claims stay");
    scene.install_backend(&with_backups(&json!({}))).await;
    scene.stored(&[&event(1), &event(3), &event(4)]).await;
    assert_eq!(bound(&scene).await, claims, "the claims stay");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn a_claim_of_backups_that_stays_pending_does_not_hold_up_ingest() {
    let scene = Scene::new().await;
    scene.volume(&format!("{}-store", scene.namespace), Workload::Backend.name()).await;
    let values = scene.values("backend", &backend_values(&with_backups(&json!({}))));
    let namespace = format!("--namespace={}", scene.namespace);
    let chart = checkout("charts/kamaji-telemetry-backend").display().to_string();
    // Helm itself would wait for the claim.
    scene.helm(&["install", "backend", &chart, &namespace, "--values", &values]).await.unwrap();
    scene.ready(Workload::Backend).await;
    let fleet = Fleet::new(&scene);
    fleet.install_agent(&json!({})).await;
    let claims = bound(&scene).await;
    assert_eq!(claims.len(), 1, "that of the store alone: {claims:?}");
}
