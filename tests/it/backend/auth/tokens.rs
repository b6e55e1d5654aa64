//! Tokens by hand, with the program, while a backend serves the same store.

use std::path::Path;
use std::process::{Command, Output};

use super::super::harness::Backend;
use crate::program::PROGRAM;

fn run(file: &Path, arguments: &[&str]) -> Output {
    let store = format!("--store=sqlite:{}", file.display());
    Command::new(PROGRAM).args(["backend", "token"]).args(arguments).arg(store).env_clear().output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The status of a read with a token.
async fn read(backend: &Backend, path: &str, token: &str) -> u16 {
    backend.send("GET", path, &[("authorization", &format!("Bearer {token}"))]).await.status
}

#[tokio::test]
async fn a_token_is_printed_once_and_opens_what_its_role_says_until_it_is_revoked() {
    let backend = Backend::start().await;
    let create = ["create", "--name=alice@example.org", "--role=admin", "--expires=90d"];
    let made = run(&backend.file(), &create);
    let (token, message) = (text(&made.stdout).trim(), text(&made.stderr));
    assert!(made.status.success() && token.starts_with("ktt_") && token.len() == 77, "{token} {message}");
    assert!(
        message.contains(&token[..12]) && message.contains("not shown again") && !message.contains(token),
        "{message}"
    );
    assert_eq!(read(&backend, "/api/v1/audit-log", token).await, 200, "at once");

    let listed = run(&backend.file(), &["list"]);
    let listed = text(&listed.stdout);
    let line = listed.lines().find(|line| line.contains("alice@example.org")).unwrap();
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!((cells[0], cells[2], cells[5]), (&token[..12], "admin", "valid"));
    assert!(
        cells[3].len() == 10 && cells[6] >= cells[3] && cells[6] != "never",
        "a day on or after its creation: {line}"
    );
    assert!(!listed.contains(&token[13..]), "{listed}");

    let again = run(&backend.file(), &create);
    let error = text(&again.stderr);
    assert!(!again.status.success() && error.contains("alice@example.org") && error.contains("revoke"), "{error}");

    let revoked = run(&backend.file(), &["revoke", "alice@example.org"]);
    assert!(text(&revoked.stdout).starts_with("Revoked ktt_"), "{}", text(&revoked.stderr));
    assert_eq!(read(&backend, "/api/v1/audit-log", token).await, 401, "at once");
    assert!(text(&run(&backend.file(), &["revoke", &token[..12]]).stdout).contains("already"));
    assert!(text(&run(&backend.file(), &["list"]).stdout).contains("revoked"));
}

#[tokio::test]
async fn a_token_reads_only_unless_another_role_is_given() {
    let backend = Backend::start().await;
    let made = run(&backend.file(), &["create", "--name=ci"]);
    let token = text(&made.stdout).trim();
    assert_eq!(read(&backend, "/api/v1/insights/overview", token).await, 200);
    assert_eq!(read(&backend, "/api/v1/audit-log", token).await, 403);
}

#[test]
fn what_is_wrong_is_named_with_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("telemetry.db");
    for (arguments, expected) in [
        (vec!["create", "--name=-a"], vec!["--name", "-a", "letters"]),
        (vec!["create", "--name=ci", "--role=root"], vec!["--role", "root", "viewer", "admin"]),
        (vec!["create", "--name=ci", "--expires=0d"], vec!["--expires", "0d", "1d to 3650d"]),
        (vec!["create", "--name=ci", "--expires=3651d"], vec!["--expires", "3651d", "1d to 3650d"]),
        (vec!["create", "--name=ci"], vec![file.to_str().unwrap(), "no such file"]),
        (vec!["list"], vec![file.to_str().unwrap(), "no such file"]),
        (vec!["revoke", "ci"], vec![file.to_str().unwrap(), "no such file"]),
    ] {
        let output = run(&file, &arguments);
        let error = text(&output.stderr);
        assert!(!output.status.success() && expected.iter().all(|part| error.contains(part)), "{arguments:?}: {error}");
        assert!(!file.exists(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_token_that_is_not_there_is_named() {
    let backend = Backend::start().await;
    let output = run(&backend.file(), &["revoke", "nobody"]);
    let error = text(&output.stderr);
    assert!(!output.status.success() && error.contains("\"nobody\"") && error.contains("token list"), "{error}");
}
