//! A TCP proxy that simulates faults of a network.

mod connection;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::servers::eventually;

/// The mode of the proxy, which applies to open and to new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::faults) enum Mode {
    /// Forwards everything.
    Pass,
    /// Closes connections.
    Refuse,
    /// Resets connections.
    Reset,
    /// Accepts connections, but forwards nothing.
    Blackhole,
    /// Forwards everything with this delay.
    Slow(Duration),
    /// Forwards requests, but withholds the responses.
    HoldResponses,
}

/// The protocol of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::faults) enum Protocol {
    /// HTTP/2 without TLS, whose requests and responses are counted.
    Http2,
    /// Any other protocol.
    Opaque,
}

/// The requests and responses of all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::faults) struct Traffic {
    /// Requests forwarded to the server so far.
    pub(in crate::faults) requests: usize,
    /// Responses forwarded to the client so far.
    pub(in crate::faults) responses: usize,
    /// Requests without a forwarded response.
    pub(in crate::faults) in_flight: usize,
    /// Frames of responses that are withheld, at most one per connection.
    pub(in crate::faults) withheld: usize,
}

/// A TCP proxy of a server.
pub(in crate::faults) struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    protocol: Protocol,
    mode: watch::Sender<Mode>,
    /// The number of times that all connections were cut.
    cuts: watch::Sender<usize>,
    connections: AtomicUsize,
    traffic: watch::Sender<Traffic>,
}

impl TcpProxy {
    /// Listens on a free port and forwards to `server`.
    pub(in crate::faults) async fn start(server: SocketAddr, protocol: Protocol) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            server,
            protocol,
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            traffic: watch::Sender::new(Traffic::default()),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// Returns the address of the listener.
    pub(in crate::faults) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the mode.
    pub(in crate::faults) fn set_mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
        if matches!(mode, Mode::Refuse | Mode::Reset) {
            self.cut();
        }
    }

    /// Closes the open connections.
    pub(in crate::faults) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Returns the number of accepted connections.
    pub(in crate::faults) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Returns the counts so far.
    pub(in crate::faults) fn traffic(&self) -> Traffic {
        *self.shared.traffic.borrow()
    }

    /// Waits until a response is withheld, so that the server has completed the request.
    pub(in crate::faults) async fn wait_for_withheld_response(&self) {
        eventually("a response to be withheld", async || (self.traffic().withheld > 0).then_some(())).await;
    }

    /// Waits for `times` more responses.
    pub(in crate::faults) async fn wait_for_responses(&self, times: usize) {
        let before = self.traffic().responses;
        eventually("responses", async || (self.traffic().responses >= before + times).then_some(())).await;
    }

    /// Waits for `times` more connections.
    pub(in crate::faults) async fn wait_for_connections(&self, times: usize) {
        let before = self.connections();
        eventually("connections to be tried", async || (self.connections() >= before + times).then_some(())).await;
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts connections and owns their tasks, which end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(connection::serve(client, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}
