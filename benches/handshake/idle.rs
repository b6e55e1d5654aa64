//! The memory of an idle connection.

use crate::Scale;
use crate::certificate::{Certificate, KeyAlgorithm};
use crate::client::Client;
use crate::server::Server;

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(crate) async fn report(Scale { idle, .. }: Scale) -> anyhow::Result<()> {
    println!(
        "resident memory of the server for each of {idle} idle connections over HTTP/2, after one snapshot each\n"
    );
    let ecdsa = Certificate::issue(KeyAlgorithm::Ecdsa)?;
    for (name, certificate) in [("no TLS", None), ("TLS", Some(&ecdsa))] {
        let mut server = Server::start(usize::MAX, certificate)?;
        let client = match certificate {
            None => Client::plain(server.address)?,
            Some(certificate) => Client::tls(server.address, certificate, false)?,
        };
        // The first allocations are not of the connections.
        client.send(&mut client.connect(true).await?).await?;
        let before = server.used()?.memory;
        let mut sessions = Vec::new();
        for _ in 0..idle {
            let mut session = client.connect(true).await?;
            client.send(&mut session).await?;
            sessions.push(session);
        }
        let memory = server.used()?.memory - before;
        println!("{name:<40}{:>12.1} kB", memory / idle as f64);
        drop(sessions);
        server.end()?;
    }
    Ok(())
}
