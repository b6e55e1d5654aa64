//! The body of a request over HTTP/1.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{Request, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// The time for which an unread body is discarded: ten round trips of 100 ms.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The bytes of an unread body that are discarded: the largest message, as often as the buffers of both ends hold it.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// A body that is discarded, rather than left unread, if it is dropped before its end: a connection that is closed with
/// unread data is reset, and many clients then lose the response ("lingering close").
#[derive(Debug)]
struct LingeringBody(Option<Incoming>);

/// Returns a request whose body may be left unread, so that what its head decides can be answered at once.
///
/// Over HTTP/2 the rest of a body is refused without an error. A client that expects `100 Continue` waits with it.
pub(super) fn lingering(request: Request<Incoming>) -> Request<Body> {
    let (head, body) = request.into_parts();
    let body = if lingers(&head) { Body::new(LingeringBody(Some(body))) } else { Body::new(body) };
    Request::from_parts(head, body)
}

fn lingers(head: &Parts) -> bool {
    head.version < Version::HTTP_2 && !head.headers.contains_key(EXPECT)
}

impl http_body::Body for LingeringBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for LingeringBody {
    fn drop(&mut self) {
        if let Some(body) = self.0.take().filter(|body| !http_body::Body::is_end_stream(body)) {
            // The connection's end ends the body, and the task with it.
            tokio::spawn(tokio::time::timeout(LINGER_TIMEOUT, discard(body)));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, Bytes::len);
        if discarded > MAX_LINGER_BYTES {
            return;
        }
    }
}
