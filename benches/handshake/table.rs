//! The cost of a new connection while others are idle, with slots left and with none.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::ensure;
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::Scale;
use crate::server::Server;
use crate::spread::Spread;

/// The number of new connections in a round.
const NEWCOMERS: usize = 500;

/// The connections that are opened at the same time, far below the backlog of the listener.
const CONCURRENCY: usize = 16;

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";

pub(crate) async fn report(Scale { rounds, tables, .. }: Scale) -> anyhow::Result<()> {
    println!("a new connection over plain HTTP/1.1, {rounds} rounds of {NEWCOMERS}, each connection of another client");
    println!("medians (least to most)\n\n{:<40}{:>28}{:>28}", "", "server's CPU, us", "connections a second");
    for idle in tables {
        for (name, max_connections) in [("slots left", usize::MAX), ("all slots taken", *idle)] {
            let mut figures = Vec::new();
            for _ in 0..rounds {
                figures.push(round(*idle, max_connections).await?);
            }
            let spread = |position: usize| Spread::of(figures.iter().map(|figures| figures[position]).collect());
            let name = format!("{idle} idle, {name}");
            println!("{name:<40}{:>28}{:>28}", spread(0).show(1), spread(1).show(0));
        }
    }
    println!();
    Ok(())
}

/// Returns the server's CPU time of a new connection in microseconds, and the number of new connections a second.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
async fn round(idle: usize, max_connections: usize) -> anyhow::Result<[f64; 2]> {
    let mut server = Server::start(max_connections, None)?;
    let idle_connections = open(server.address, 0..idle).await?;
    let (before, began) = (server.used()?.cpu, Instant::now());
    let newcomers = open(server.address, idle..idle + NEWCOMERS).await?;
    let (elapsed, after) = (began.elapsed(), server.used()?.cpu);
    drop((idle_connections, newcomers));
    server.end()?;
    let count = NEWCOMERS as f64;
    Ok([(after - before) / count, count / elapsed.as_secs_f64()])
}

/// Opens connections, each with one request and its response.
async fn open(server: SocketAddr, numbers: std::ops::Range<usize>) -> anyhow::Result<Vec<TcpStream>> {
    let sequence = async |offset| {
        let mut streams = Vec::new();
        for number in numbers.clone().skip(offset).step_by(CONCURRENCY) {
            streams.push(connect(server, number).await?);
        }
        anyhow::Ok(streams)
    };
    Ok(try_join_all((0..CONCURRENCY).map(sequence)).await?.into_iter().flatten().collect())
}

async fn connect(server: SocketAddr, number: usize) -> anyhow::Result<TcpStream> {
    // Clients are addresses, of which the loopback network has enough.
    let client = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + u32::try_from(number)?);
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((client, 0)))?;
    let mut stream = socket.connect(server).await?;
    stream.write_all(REQUEST).await?;
    let mut response = [0; 1_024];
    let length = stream.read(&mut response).await?;
    ensure!(response[..length].starts_with(b"HTTP/1.1 200"), "expected OK on a new connection");
    Ok(stream)
}
