//! A connection of a client, and its connection to the server.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::super::frames::{Frame, Frames};
use super::{Mode, Protocol, Shared, Traffic};

/// The size of a read: the default maximum of an HTTP/2 frame.
const CHUNK: usize = 16 * 1024;

struct Connection<'a> {
    shared: &'a Shared,
    own: Mutex<Traffic>,
}

/// Serves a client until one side or the proxy ends.
pub(super) async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let connection = Connection { shared: &shared, own: Mutex::default() };
    let mode = *shared.mode.borrow();
    if !matches!(mode, Mode::Refuse | Mode::Reset) {
        tokio::select! {
            // It fails when either side goes, which ends it for both.
            _ = connection.join(&mut client) => {}
            _ = cuts.changed() => {}
        }
    }
    connection.end();
    if *shared.mode.borrow() == Mode::Reset {
        client.set_zero_linger().expect("a socket can be set to reset");
    }
}

impl Connection<'_> {
    async fn join(&self, client: &mut TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        // Who swallows what comes connects nowhere.
        self.pass_when(|mode| mode != Mode::Blackhole).await;
        let mut server = TcpStream::connect(self.shared.server).await?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            result = self.requests(from_client, to_server) => result,
            result = self.forward_responses(from_server, to_client) => result,
        }
    }

    /// Forwards the bytes of the client.
    async fn requests(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> std::io::Result<()> {
        let mut frames = Frames::of_client();
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            self.delay().await;
            self.pass_when(|mode| mode != Mode::Blackhole).await;
            if self.shared.protocol == Protocol::Http2 {
                frames.push(&buffer[..count]);
                let begun = std::iter::from_fn(|| frames.next()).filter(Frame::begins_request).count();
                self.count(|traffic| {
                    traffic.requests += begun;
                    traffic.in_flight += begun;
                });
            }
            to.write_all(&buffer[..count]).await?;
        }
    }

    /// Forwards the bytes of the server.
    async fn forward_responses(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> std::io::Result<()> {
        let mut frames = Frames::of_server();
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            self.delay().await;
            if self.shared.protocol == Protocol::Opaque {
                self.pass_when(|mode| !matches!(mode, Mode::Blackhole | Mode::HoldResponses)).await;
                to.write_all(&buffer[..count]).await?;
                continue;
            }
            frames.push(&buffer[..count]);
            while let Some(frame) = frames.next() {
                self.forward_response_frame(&frame, &mut to).await?;
            }
        }
    }

    async fn forward_response_frame(&self, frame: &Frame, to: &mut WriteHalf<'_>) -> std::io::Result<()> {
        let (is_part, ends) = (usize::from(frame.is_response()), usize::from(frame.ends_response()));
        self.count(|traffic| traffic.withheld += is_part);
        let is_held = |mode| mode == Mode::Blackhole || (mode == Mode::HoldResponses && frame.is_response());
        self.pass_when(|mode| !is_held(mode)).await;
        to.write_all(&frame.0).await?;
        self.count(|traffic| {
            traffic.withheld -= is_part;
            traffic.in_flight -= ends;
            traffic.responses += ends;
        });
        Ok(())
    }

    /// Waits for a mode that satisfies `passes`.
    async fn pass_when(&self, passes: impl Fn(Mode) -> bool) {
        let mut mode = self.shared.mode.subscribe();
        mode.wait_for(|mode| passes(*mode)).await.expect("the proxy outlives its connections");
    }

    /// Delays the bytes of one read in slow mode.
    async fn delay(&self) {
        let mode = *self.shared.mode.borrow();
        if let Mode::Slow(delay) = mode {
            tokio::time::sleep(delay).await;
        }
    }

    /// Updates the counts of this connection and of all.
    fn count(&self, count: impl Fn(&mut Traffic)) {
        count(&mut self.own.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.traffic.send_modify(&count);
    }

    /// Removes the pending requests and responses of this connection from the counts.
    fn end(&self) {
        let own = *self.own.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.traffic.send_modify(|traffic| {
            traffic.in_flight -= own.in_flight;
            traffic.withheld -= own.withheld;
        });
    }
}
