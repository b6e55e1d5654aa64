//! The API server takes no journal.

use http::StatusCode;

use super::inject::journal_is_refused;
use super::short::{scene, under_a_stream};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_journal_that_is_refused_is_written_later() {
    let mut scene = scene().await;
    for (file, title, status) in [
        ("journal-conflict", "journal write: conflict (409)", StatusCode::CONFLICT),
        ("journal-forbidden", "journal write: forbidden (403)", StatusCode::FORBIDDEN),
        ("journal-too-large", "journal write: too large (413)", StatusCode::PAYLOAD_TOO_LARGE),
        ("journal-error", "journal write: internal error (500)", StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let fault = async |scene: &mut _, _: &mut _| journal_is_refused(scene, status).await;
        under_a_stream(&mut scene, (file, title), fault).await;
    }
}
