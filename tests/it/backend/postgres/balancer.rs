//! A TCP proxy in front of several servers, as a Kubernetes Service is.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Passes each connection to the next server that accepts one.
pub(crate) struct Balancer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Balancer {
    pub(crate) async fn start(servers: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, task: tokio::spawn(accept(listener, servers)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, mut servers: Vec<SocketAddr>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        servers.rotate_left(1);
        connections.spawn(join(client, servers.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// Joins a client with the first server that accepts a connection. A client for which there is none is closed.
async fn join(mut client: TcpStream, servers: Vec<SocketAddr>) {
    for server in servers {
        if let Ok(mut server) = TcpStream::connect(server).await {
            // It fails when either side goes, which ends it for both.
            drop(copy_bidirectional(&mut client, &mut server).await);
            return;
        }
    }
}
