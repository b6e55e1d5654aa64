//! The way to a backend that serves: its addresses are bound at once, so that one on which another process listens is
//! told, and listened on once its store is open, which can take minutes where that is brought up to date. Until then
//! senders are refused a connection, and try again. One that another process has bound too, and listens on first, is told
//! only then.

use std::net::SocketAddr;

use anyhow::bail;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be taken: the system cuts it down to its own bound (net.core.somaxconn).
const BACKLOG: u32 = 65_535;

/// What whoever asks is told meanwhile.
pub(in crate::backend) const OPENING: &str =
    "not ready yet: the store is being opened, and brought up to date if it is of an earlier version\n";

/// An address that is bound, on which nobody listens yet.
pub(in crate::backend) struct BoundSocket {
    socket: TcpSocket,
    address: SocketAddr,
    flag: &'static str,
}

/// Fails where two of these are the same address. The system would tell only when the second is listened on: once the
/// store is open.
pub(in crate::backend) fn check_distinct(addresses: &[(&str, Option<SocketAddr>)]) -> anyhow::Result<()> {
    for (index, (flag, address)) in addresses.iter().enumerate() {
        // Port 0 takes another one each time.
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        if let Some((first, _)) = addresses[..index].iter().find(|(_, other)| *other == Some(address)) {
            bail!("{first} and {flag} are both {address}: expected an address of its own for each");
        }
    }
    Ok(())
}

impl BoundSocket {
    /// Binds an address; port 0 takes a free one.
    pub(in crate::backend) fn bind(address: SocketAddr, flag: &'static str) -> anyhow::Result<Self> {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // What is left of connections of an earlier process does not hold it.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = bound().map_err(|error| cannot(error, address, flag))?;
        Ok(Self { socket, address, flag })
    }

    /// Listens from here on.
    pub(in crate::backend) fn listen(self) -> anyhow::Result<TcpListener> {
        let Self { socket, address, flag } = self;
        socket.listen(BACKLOG).map_err(|error| cannot(error, address, flag))
    }
}

fn cannot(error: std::io::Error, address: SocketAddr, flag: &str) -> anyhow::Error {
    let context = format!("cannot listen on {address}: free it, or choose another address with {flag}");
    anyhow::Error::new(error).context(context)
}
