//! A cycle of a relay: a new connection, one snapshot, and the end; or a snapshot on a connection that stays open.

use std::sync::atomic::Ordering::Relaxed;

use futures::future::try_join_all;

use crate::Scale;
use crate::certificate::{Certificate, KeyAlgorithm};
use crate::client::{self, Client};
use crate::server::Server;
use crate::spread::Spread;

/// The number of cycles at the same time, so that the server rarely waits for this process.
const CONCURRENCY: usize = 4;

/// The cycles before the measured ones: the first allocations, and a session for each that is to be resumed at once.
const WARM_UP: usize = 20;

/// The kind of the connections.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A new one for each snapshot.
    New,
    /// A new one with the session of an earlier one.
    Resumed,
    /// One for all.
    Kept,
}

/// Averages of the cycles in a round.
#[derive(Debug, Clone, Copy)]
struct CycleCost {
    /// The CPU time of the server, in microseconds.
    server_cpu: f64,
    sent: f64,
    received: f64,
}

pub(crate) async fn report(scale: Scale) -> anyhow::Result<()> {
    let Scale { rounds, cycles, .. } = scale;
    let body = client::snapshot()?.len();
    println!("a cycle over HTTP/2 with a body of {body} bytes, {rounds} rounds of {cycles}, medians (least to most)\n");
    println!("{:<40}{:>28}{:>14}{:>14}", "", "server's CPU, us", "bytes to it", "bytes from it");
    for kind in [Kind::New, Kind::Kept] {
        print("no TLS", None, kind, scale).await?;
    }
    for algorithm in [KeyAlgorithm::Ecdsa, KeyAlgorithm::Rsa] {
        let certificate = Certificate::issue(algorithm)?;
        let name = format!("{}, chain of {} bytes", algorithm.as_str(), certificate.chain_bytes);
        for kind in [Kind::New, Kind::Resumed, Kind::Kept] {
            print(&name, Some(&certificate), kind, scale).await?;
        }
    }
    println!();
    Ok(())
}

async fn print(name: &str, certificate: Option<&Certificate>, kind: Kind, scale: Scale) -> anyhow::Result<()> {
    let mut server = Server::start(usize::MAX, certificate)?;
    let client = match certificate {
        None => Client::plain(server.address)?,
        Some(certificate) => Client::tls(server.address, certificate, matches!(kind, Kind::Resumed))?,
    };
    let mut costs = Vec::new();
    for _ in 0..scale.rounds {
        costs.push(round(&mut server, &client, kind, scale.cycles).await?);
    }
    server.end()?;
    let spread = |figure: fn(&CycleCost) -> f64| Spread::of(costs.iter().map(figure).collect());
    let (cpu, sent, received) =
        (spread(|cost| cost.server_cpu), spread(|cost| cost.sent), spread(|cost| cost.received));
    let name = format!("{name}, {kind:?}");
    println!("{name:<40}{:>28}{:>14.0}{:>14.0}", cpu.show(1), sent.median, received.median);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
async fn round(server: &mut Server, client: &Client, kind: Kind, cycles: usize) -> anyhow::Result<CycleCost> {
    run(client, kind, WARM_UP, true).await?;
    let traffic = || [&client.traffic.sent, &client.traffic.received].map(|bytes| bytes.load(Relaxed) as f64);
    let (before, [sent, received]) = (server.used()?, traffic());
    run(client, kind, cycles, false).await?;
    let (after, [all_sent, all_received]) = (server.used()?, traffic());
    let average = |total: f64| total / cycles as f64;
    Ok(CycleCost {
        server_cpu: average(after.cpu - before.cpu),
        sent: average(all_sent - sent),
        received: average(all_received - received),
    })
}

async fn run(client: &Client, kind: Kind, cycles: usize, is_first: bool) -> anyhow::Result<()> {
    let sequence = async || {
        let mut session = None;
        for _ in 0..cycles / CONCURRENCY {
            let mut open = match session.take() {
                Some(open) => open,
                None => client.connect(is_first || matches!(kind, Kind::Kept)).await?,
            };
            client.send(&mut open).await?;
            if matches!(kind, Kind::Kept) {
                session = Some(open);
            }
        }
        anyhow::Ok(())
    };
    try_join_all((0..CONCURRENCY).map(|_| sequence())).await.map(drop)
}
