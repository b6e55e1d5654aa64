//! The API server rejects the journal.

use http::StatusCode;

use super::inject::reject_journal_writes;
use super::short::{run_under_load, start_scene};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_rejected_journal_is_written_later() {
    let mut scene = start_scene().await;
    for (file, title, status) in [
        ("journal-conflict", "journal write: conflict (409)", StatusCode::CONFLICT),
        ("journal-forbidden", "journal write: forbidden (403)", StatusCode::FORBIDDEN),
        ("journal-too-large", "journal write: too large (413)", StatusCode::PAYLOAD_TOO_LARGE),
        ("journal-error", "journal write: internal error (500)", StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let fault = async |scene: &mut _, _: &mut _| reject_journal_writes(scene, status).await;
        run_under_load(&mut scene, (file, title), fault).await;
    }
}
