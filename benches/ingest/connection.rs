//! A client of HTTP/2 that costs next to nothing: it knows just enough to send unary calls of gRPC and to read whether
//! they were answered with OK.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::requests::Prepared;

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// The largest frame that every server takes.
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

/// `grpc-status: 0` without a table, in the two forms of a value: as it is, and in Huffman's code. The name always is in
/// that.
const OK: [&[u8]; 2] = [b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x010", b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f\x81\x07"];

/// A call that was not answered yet.
struct Pending<T> {
    stream: u32,
    sent: Instant,
    call: T,
}

/// A connection, and the calls under way on it. Each carries something of its sender's.
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
    /// Connects, and asks for answers without a table of headers and without a bound on their bytes.
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

    /// Calls under way.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Sends one more call with the next [`Connection::answers`], and says whether there was room for it.
    pub(crate) fn send(&mut self, Prepared { body, .. }: &Prepared, call: T) -> bool {
        let length = body.len() + 5;
        if length > self.window {
            return false;
        }
        self.window -= length;
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
        true
    }

    /// Sends what is to be sent, reads once, and tells of each call that was answered with OK since when. Fails on any
    /// other answer.
    pub(crate) async fn answers(&mut self, mut answered: impl FnMut(T, Instant)) -> anyhow::Result<()> {
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        ensure!(self.socket.read_buf(&mut self.read).await? > 0, "the server closed a connection");
        let mut read = std::mem::take(&mut self.read);
        let mut rest = &read[..];
        while let Some((head, payload)) = next_frame(rest) {
            rest = &rest[HEAD + payload.len()..];
            self.take(head, payload, &mut answered)?;
        }
        let taken = read.len() - rest.len();
        read.drain(..taken);
        self.read = read;
        Ok(())
    }

    fn take(&mut self, head: &[u8], payload: &[u8], answered: &mut impl FnMut(T, Instant)) -> anyhow::Result<()> {
        let (kind, flags, stream) = (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
        match kind {
            HEADERS if flags & END_STREAM != 0 => {
                ensure!(OK.iter().any(|ok| payload.ends_with(ok)), "a call was not answered with OK: {payload:x?}");
                let place = self.pending.iter().position(|pending| pending.stream == stream);
                let Pending { sent, call, .. } = self.pending.swap_remove(place.context("an answer to no call")?);
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

/// The first frame, if it is whole: its head and its payload.
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

/// The headers of a call without a table (RFC 7541): POST, http, and four that are spelt out, of which three have a name
/// of the static table.
fn headers(path: &str, authority: &str) -> anyhow::Result<Vec<u8>> {
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend(name);
        // A longer one takes more than a byte for its length.
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
