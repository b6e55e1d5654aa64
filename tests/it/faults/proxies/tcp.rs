//! A TCP proxy that fails in the ways of networks.

mod connection;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::servers::eventually;

/// How the proxy treats connections. Each mode holds for those that are open and for those that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::faults) enum Mode {
    /// Passes everything on.
    Pass,
    /// Closes them.
    Refuse,
    /// Resets them.
    Reset,
    /// Accepts them, and neither passes anything on nor answers.
    Blackhole,
    /// Passes everything on this much later.
    Slow(Duration),
    /// Passes requests on, and withholds the answers.
    HoldResponses,
}

/// What is spoken over the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::faults) enum Protocol {
    /// HTTP/2 without TLS, in which requests and answers can be told.
    Http2,
    /// Anything.
    Opaque,
}

/// Requests and answers that have passed by, over all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::faults) struct Traffic {
    /// Requests passed on to the server so far.
    pub(in crate::faults) requests: usize,
    /// Answers passed on to the client so far.
    pub(in crate::faults) answers: usize,
    /// Requests whose client waits for the answer.
    pub(in crate::faults) in_flight: usize,
    /// Parts of answers that have come from the server, and are not passed on: one a connection at the most.
    pub(in crate::faults) withheld: usize,
}

/// Passes connections on to a server, or not.
pub(in crate::faults) struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    server: SocketAddr,
    protocol: Protocol,
    mode: watch::Sender<Mode>,
    /// Counts how often all connections were cut.
    cuts: watch::Sender<usize>,
    connections: AtomicUsize,
    traffic: watch::Sender<Traffic>,
}

impl TcpProxy {
    /// Listens on a free port and passes on to `server`.
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

    /// Where it listens.
    pub(in crate::faults) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how it treats connections.
    pub(in crate::faults) fn set_mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
        if matches!(mode, Mode::Refuse | Mode::Reset) {
            self.cut();
        }
    }

    /// Ends the connections that are open.
    pub(in crate::faults) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many connections it has accepted so far.
    pub(in crate::faults) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// What has passed by so far.
    pub(in crate::faults) fn traffic(&self) -> Traffic {
        *self.shared.traffic.borrow()
    }

    /// Waits until an answer is withheld: a request has passed, and the server has done it.
    pub(in crate::faults) async fn wait_for_withheld_response(&self) {
        eventually("an answer to be withheld", async || (self.traffic().withheld > 0).then_some(())).await;
    }

    /// Waits until `times` more requests are answered.
    pub(in crate::faults) async fn wait_for_responses(&self, times: usize) {
        let before = self.traffic().answers;
        eventually("answers", async || (self.traffic().answers >= before + times).then_some(())).await;
    }

    /// Waits until somebody has tried to connect `times` more.
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

/// Owns the connections, so that they end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(connection::serve(client, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}
