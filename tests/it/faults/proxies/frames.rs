//! HTTP/2 frames, as far as needed to distinguish requests from responses.

use bytes::{Buf, Bytes, BytesMut};

/// The connection preface of a client. Source: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The length of a header: length, type, flags and stream. Source: RFC 9113, section 4.1.
const HEADER: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const END_STREAM: u8 = 0x1;

/// A decoder of one direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
    /// The length of the preface that is still expected.
    preface: usize,
}

/// A frame with its header, or the preface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame(pub(super) Bytes);

impl Frames {
    /// Returns a decoder of the frames from a client.
    pub(super) fn of_client() -> Self {
        Self { preface: PREFACE.len(), ..Self::default() }
    }

    /// Returns a decoder of the frames from a server.
    pub(super) fn of_server() -> Self {
        Self::default()
    }

    /// Adds received bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next frame if it is complete.
    pub(super) fn next(&mut self) -> Option<Frame> {
        let length = match self.preface {
            0 => HEADER + usize::try_from(self.buffer.get(..HEADER)?.get_uint(3)).ok()?,
            preface => preface,
        };
        if self.buffer.len() < length {
            return None;
        }
        let is_preface = std::mem::take(&mut self.preface) > 0;
        let frame = self.buffer.split_to(length).freeze();
        assert!(!is_preface || frame == PREFACE, "the client speaks HTTP/2");
        Some(Frame(frame))
    }
}

impl Frame {
    /// Returns whether a frame from a client begins a request.
    pub(super) fn begins_request(&self) -> bool {
        self.kind() == Some(HEADERS)
    }

    /// Returns whether a frame from a server is part of a response, rather than of the connection.
    pub(super) fn is_response(&self) -> bool {
        matches!(self.kind(), Some(HEADERS | DATA))
    }

    /// Returns whether a frame from a server ends a response: gRPC's status is in the last headers.
    pub(super) fn ends_response(&self) -> bool {
        self.kind() == Some(HEADERS) && self.0[4] & END_STREAM != 0
    }

    fn kind(&self) -> Option<u8> {
        (self.0 != PREFACE).then(|| self.0[3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_are_cut_however_they_arrive() {
        let (first, second) = (frame(HEADERS, END_STREAM, b"abc"), frame(DATA, 0, b""));
        let wire = [PREFACE, &first, &second].concat();
        for size in 1..=wire.len() {
            let mut frames = Frames::of_client();
            let mut cut = Vec::new();
            for chunk in wire.chunks(size) {
                frames.push(chunk);
                cut.extend(std::iter::from_fn(|| frames.next()));
            }
            let cut: Vec<_> = cut.iter().map(|Frame(bytes)| &bytes[..]).collect();
            assert_eq!(cut, [PREFACE, &first, &second], "in pieces of {size}");
        }
    }

    #[test]
    fn a_response_ends_with_headers() {
        let frame = |kind, flags| Frame(frame(kind, flags, b"").into());
        assert!(frame(HEADERS, END_STREAM).ends_response() && frame(HEADERS, 0).begins_request());
        assert!(!frame(HEADERS, 0).ends_response() && frame(HEADERS, 0).is_response());
        assert!(frame(DATA, END_STREAM).is_response() && !frame(DATA, END_STREAM).ends_response());
        assert!(!frame(4, 0).is_response() && !Frame(PREFACE.into()).begins_request());
    }
}
