//! The lines in `docs/security.md` that a SIEM takes from the backend's log.

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::backend::harness::request;
use crate::program::Backend;
use crate::servers::checkout;

type Line = Map<String, Value>;

/// Returns the lines with the field by which a SIEM selects them.
fn audit_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Line> {
    let lines = lines.map(|line| serde_json::from_str::<Line>(line).unwrap());
    lines.filter(|line| line.get("log_type").is_some_and(|kind| kind == "audit")).collect()
}

/// Removes what differs from run to run, once it is of the expected format.
fn without_what_varies(mut line: Line) -> Line {
    for time in ["timestamp", "time"] {
        let value = line.remove(time).unwrap_or_else(|| panic!("{line:?} has no {time}"));
        assert!(value.as_str().unwrap().parse::<Timestamp>().is_ok(), "{time}: {value}");
    }
    if let Some(token) = line.remove("token") {
        let prefix = token.as_str().unwrap().strip_prefix("ktt_").expect("a prefix of a token");
        assert!(prefix.len() == 8 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    }
    line
}

#[tokio::test]
async fn the_audit_lines_in_the_documents_are_those_that_the_backend_logs() {
    let backend = Backend::start_with(&["--log-format=json"]).await;
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let (alice, bob) = (bearer(&backend.token("alice")), bearer(&backend.admin_token("bob")));
    backend.logged("\"name\":\"bob\"").await;
    let http = backend.http();
    let send = async |method: &str, path: &str, (name, value): &(&str, String)| {
        request(http, method, path, &[(name, value)], b"").await.status
    };
    assert_eq!(send("GET", "/api/v1/insights/overview", &alice).await, 200);
    assert_eq!(send("GET", "/api/v1/audit-log", &alice).await, 403);
    assert_eq!(send("DELETE", &format!("/api/v1/installations/{}", Uuid::new_v4()), &bob).await, 200);
    let origin = format!("http://{http}");
    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", &*origin)];
    assert_eq!(request(http, "POST", "/sign-in", &form, b"token=wrong").await.status, 401);

    backend.logged("POST /sign-in").await;
    let log = backend.log();
    let logged = audit_lines(log.lines()).into_iter().map(without_what_varies);
    let is_second_token = |line: &Line| line["action"] == "token create" && line["name"] == "bob";
    let logged: Vec<_> = logged.filter(|line| !is_second_token(line)).collect();
    let text = std::fs::read_to_string(checkout("docs/security.md")).unwrap();
    let documented: Vec<_> = audit_lines(text.lines().filter(|line| line.starts_with("{\"timestamp\"")))
        .into_iter()
        .map(without_what_varies)
        .collect();
    assert_eq!(documented, logged, "{log}");
    for secret in [&alice.1[alice.1.len() - 32..], "token=wrong", "127.0.0.1"] {
        assert!(!log.lines().any(|line| line.contains("audit log entry") && line.contains(secret)), "{secret}: {log}");
    }
}
