//! Binding of addresses, in two steps.
//!
//! Addresses are bound at the start, so that one on which another process listens is reported at once. They are listened on
//! once the store is open, which can take minutes if it is migrated; until then connections are refused, and senders
//! try again. An address that another process has bound as well, and listens on first, is reported only then.

use std::net::SocketAddr;

use anyhow::bail;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted; the system reduces it to its own bound (net.core.somaxconn).
const BACKLOG: u32 = 65_535;

/// The response of `/readyz` until the store is open.
pub(in crate::backend) const OPENING: &str =
    "not ready yet: the store is being opened, and brought up to date if it is of an earlier version\n";

/// A bound address that is not listened on yet.
pub(in crate::backend) struct BoundSocket {
    socket: TcpSocket,
    address: SocketAddr,
    flag: &'static str,
}

/// Checks that no two addresses are the same. The system would report it only once the store is open, when the second is
/// listened on.
pub(in crate::backend) fn check_distinct(addresses: &[(&str, Option<SocketAddr>)]) -> anyhow::Result<()> {
    for (index, (flag, address)) in addresses.iter().enumerate() {
        // Port 0 is a different port each time.
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
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // Connections of an earlier process in TIME_WAIT do not block the address.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = bind().map_err(|error| cannot_listen(error, address, flag))?;
        Ok(Self { socket, address, flag })
    }

    /// Starts to listen.
    pub(in crate::backend) fn listen(self) -> anyhow::Result<TcpListener> {
        let Self { socket, address, flag } = self;
        socket.listen(BACKLOG).map_err(|error| cannot_listen(error, address, flag))
    }
}

fn cannot_listen(error: std::io::Error, address: SocketAddr, flag: &str) -> anyhow::Error {
    let context = format!("cannot listen on {address}: free it, or choose another address with {flag}");
    anyhow::Error::new(error).context(context)
}
