//! HTTP/2 frames, as far as telling a request from its answer needs.

use bytes::{Buf, Bytes, BytesMut};

/// What a client sends before its first frame. Source: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags and stream. Source: RFC 9113, section 4.1.
const HEADER: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const END_STREAM: u8 = 0x1;

/// Cuts one direction of a connection into frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
    /// What comes before the first frame.
    preface: usize,
}

/// A frame with its header, or what comes before the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame(pub(super) Bytes);

impl Frames {
    /// What a client sends.
    pub(super) fn of_client() -> Self {
        Self { preface: PREFACE.len(), ..Self::default() }
    }

    /// What a server sends.
    pub(super) fn of_server() -> Self {
        Self::default()
    }

    /// More has arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, once all of it has arrived.
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
    /// Begins a request, where a client sends it.
    pub(super) fn begins_request(&self) -> bool {
        self.kind() == Some(HEADERS)
    }

    /// Is part of an answer, where a server sends it, rather than of the connection.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.kind(), Some(HEADERS | DATA))
    }

    /// Ends an answer, where a server sends it: gRPC's status comes in the last headers.
    pub(super) fn ends_answer(&self) -> bool {
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
    fn an_answer_ends_with_headers() {
        let frame = |kind, flags| Frame(frame(kind, flags, b"").into());
        assert!(frame(HEADERS, END_STREAM).ends_answer() && frame(HEADERS, 0).begins_request());
        assert!(!frame(HEADERS, 0).ends_answer() && frame(HEADERS, 0).is_answer());
        assert!(frame(DATA, END_STREAM).is_answer() && !frame(DATA, END_STREAM).ends_answer());
        assert!(!frame(4, 0).is_answer() && !Frame(PREFACE.into()).begins_request());
    }
}
