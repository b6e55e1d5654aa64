//! A minimal HTTP/2 client. It supports only unary gRPC calls and the check that their status is OK, so that it uses
//! little CPU.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::requests::Prepared;

/// The length of a frame's header.
const HEAD: usize = 9;

/// The largest frame that every server accepts.
const MAX_FRAME: usize = 16_384;

/// Types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// Flags of frames: ACK has the place of `END_STREAM`.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// `grpc-status: 0` without a dynamic table. The name is Huffman-coded, the value is either literal or Huffman-coded.
const OK: [&[u8]; 2] = [b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x010", b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x81\x07"];

/// A call without a response so far.
struct Pending<T> {
    stream: u32,
    sent: Instant,
    call: T,
}

/// A connection and its calls in flight. Each carries a value of the caller.
pub(crate) struct Connection<T> {
    socket: TcpStream,
    /// The headers of every call.
    headers: Vec<u8>,
    out: Vec<u8>,
    read: Vec<u8>,
    /// Bytes that may still be sent in DATA frames.
    window: usize,
    next: u32,
    pending: Vec<Pending<T>>,
}

impl<T> Connection<T> {
    /// Connects, without a dynamic header table and without flow control of the responses.
    pub(crate) async fn open(server: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(server).await?;
        socket.set_nodelay(true)?;
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let no_table = [0, 1, 0, 0, 0, 0];
        frame(&mut out, SETTINGS, 0, 0, &no_table);
        frame(&mut out, WINDOW_UPDATE, 0, 0, &0x3fff_ffff_u32.to_be_bytes());
        let headers = headers(path, &server.to_string())?;
        Ok(Self { socket, headers, out, read: Vec::new(), window: 65_535, next: 1, pending: Vec::new() })
    }

    /// Returns the number of calls in flight.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns whether the flow-control window has room for another call.
    pub(crate) fn has_room(&self, prepared: &Prepared) -> bool {
        length(prepared) <= self.window
    }

    /// Queues a call, for which there is room, for the next [`Connection::exchange`].
    pub(crate) fn send(&mut self, prepared: &Prepared, call: T) {
        self.window -= length(prepared);
        let body = &prepared.body;
        let stream = self.next;
        self.next += 2;
        frame(&mut self.out, HEADERS, END_HEADERS, stream, &self.headers);
        let mut prefix = [0; 5];
        prefix[1..].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame(&mut self.out, DATA, 0, stream, &prefix);
        let mut parts = body.chunks(MAX_FRAME).peekable();
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { END_STREAM } else { 0 };
            frame(&mut self.out, DATA, flags, stream, part);
        }
        self.pending.push(Pending { stream, sent: Instant::now(), call });
    }

    /// Sends the queued calls, reads once, and passes each call with status OK to `answered`, with the time of its
    /// sending. Fails for any other status.
    pub(crate) async fn exchange(&mut self, mut answered: impl FnMut(T, Instant)) -> anyhow::Result<()> {
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        ensure!(self.socket.read_buf(&mut self.read).await? > 0, "the server closed a connection");
        let mut read = std::mem::take(&mut self.read);
        let mut rest = &read[..];
        while let Some((head, payload)) = next_frame(rest) {
            rest = &rest[HEAD + payload.len()..];
            self.handle_frame(head, payload, &mut answered)?;
        }
        let consumed = read.len() - rest.len();
        read.drain(..consumed);
        self.read = read;
        Ok(())
    }

    fn handle_frame(
        &mut self,
        head: &[u8],
        payload: &[u8],
        answered: &mut impl FnMut(T, Instant),
    ) -> anyhow::Result<()> {
        let (kind, flags, stream) = (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        match kind {
            HEADERS if flags & END_STREAM != 0 => {
                ensure!(OK.iter().any(|ok| payload.ends_with(ok)), "a call has another status than OK: {payload:x?}");
                let index = self.pending.iter().position(|pending| pending.stream == stream);
                let Pending { sent, call, .. } = self.pending.swap_remove(index.context("a response without a call")?);
                answered(call, sent);
            }
            SETTINGS | PING if flags & ACK == 0 => {
                let answer = if kind == PING { payload } else { &[] };
                frame(&mut self.out, kind, ACK, 0, answer);
            }
            WINDOW_UPDATE if stream == 0 => {
                self.window += u32::from_be_bytes(payload.try_into()?) as usize;
            }
            DATA | HEADERS | SETTINGS | PING | WINDOW_UPDATE => {}
            _ => bail!("an unexpected frame of type {kind} with {payload:x?}"),
        }
        Ok(())
    }
}

/// Returns the number of bytes in the DATA frames of a call.
fn length(Prepared { body, .. }: &Prepared) -> usize {
    body.len() + 5
}

/// Splits the first frame, if it is complete, into header and payload.
fn next_frame(read: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = read.split_at_checked(HEAD)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    Some((head, rest.get(..length)?))
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend([length[1], length[2], length[3], kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// Encodes the headers of a call without a dynamic table (RFC 7541): POST and http by index, and four literals, of
/// which three have a name of the static table.
fn headers(path: &str, authority: &str) -> anyhow::Result<Vec<u8>> {
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend(name);
        // A longer value would need more than one byte for its length.
        block.push(u8::try_from(value.len()).ok().filter(|length| *length < 127).context("a long header")?);
        block.extend(value.as_bytes());
        anyhow::Ok(())
    };
    literal(&[0x04], path)?;
    literal(&[0x01], authority)?;
    literal(&[0x0f, 0x10], "application/grpc")?;
    literal(b"\x00\x02te", "trailers")?;
    Ok(block)
}
