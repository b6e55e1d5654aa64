//! A command of the program, and kubeconfigs for it.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::{NAMESPACE, PROGRAM};
use crate::servers::{ApiServer, DEADLINE, User};

/// Runs the program to its end, with these variables and no others.
pub(crate) async fn run(words: &[&str], variables: &[(&str, &str)]) -> Output {
    run_in(Path::new("/"), words, variables).await
}

/// Runs the program to its end in the working directory `folder`.
pub(crate) async fn run_in(folder: &Path, words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(words).env_clear().envs(variables.iter().copied()).current_dir(folder).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    output.unwrap_or_else(|_| panic!("{words:?} does not end")).unwrap()
}

/// Runs the program to its end, or until it has logged as many lines as it does at the start: two if it is off by its own
/// switch. Returns all that it prints.
pub(crate) async fn output_of(words: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(words).env_clear().envs(variables.iter().copied()).kill_on_drop(true);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let run = async {
        let mut child = command.spawn().unwrap();
        let (mut stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let mut stderr = BufReader::new(stderr);
        let mut printed = String::new();
        let mut is_open = stderr.read_line(&mut printed).await.unwrap() > 0;
        while is_open && printed.lines().count() == 1 && printed.contains("telemetry is off; nothing is watched") {
            is_open = stderr.read_line(&mut printed).await.unwrap() > 0;
        }
        if let Some(id) = child.id() {
            std::process::Command::new("kill").args(["-s", "TERM", &id.to_string()]).status().unwrap();
        }
        let mut rest = String::new();
        let _ = tokio::join!(stderr.read_to_string(&mut printed), stdout.read_to_string(&mut rest), child.wait());
        printed + &rest
    };
    tokio::time::timeout(DEADLINE, run).await.unwrap_or_else(|_| panic!("{words:?} does not end"))
}

/// Returns both outputs as text.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Writes a kubeconfig of the agent into `folder`, changed by `change`.
pub(crate) fn kubeconfig(cluster: &ApiServer, folder: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let text = std::fs::read_to_string(cluster.kubeconfig(User::Agent)).unwrap();
    let mut kubeconfig = serde_json::from_str(&text).unwrap();
    change(&mut kubeconfig);
    write_kubeconfig(folder, &kubeconfig)
}

/// Writes a kubeconfig into `folder`.
pub(crate) fn write_kubeconfig(folder: &Path, kubeconfig: &Value) -> PathBuf {
    let path = folder.join("changed.kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

/// Returns the variables of a command that reads the agent's state in the cluster of a kubeconfig.
pub(crate) fn variables(kubeconfig: &Path) -> [(&str, &str); 2] {
    [("KUBECONFIG", kubeconfig.to_str().unwrap()), ("POD_NAMESPACE", NAMESPACE)]
}
