//! A DNS server for one name.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The name, which resolves to this machine's loopback address.
pub(super) const NAME: &str = "backend.test";

/// The name as a message contains it: the length of each label, and the label.
const LABELS: &[u8] = b"\x07backend\x04test\0";

/// The length of a message's header, which a query's question follows.
const HEADER: usize = 12;

/// A running server, which stops when it is dropped.
pub(super) struct Names {
    address: IpAddr,
    answered: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Names {
    /// Listens on port 53, where resolvers send their queries, of the first loopback address that has it free.
    pub(super) async fn start() -> Self {
        let (socket, address) = bind().await;
        let answered = Arc::<AtomicUsize>::default();
        let task = tokio::spawn(answer(socket, Arc::clone(&answered)));
        Self { address, answered, task }
    }

    /// Returns the pod's /etc/resolv.conf that names this server.
    pub(super) fn resolv_conf(&self) -> String {
        format!("nameserver {}\n", self.address)
    }

    /// Returns the number of queries that were answered with the address.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn bind() -> (UdpSocket, IpAddr) {
    let mut last = None;
    for host in 1..=u8::MAX {
        let address = Ipv4Addr::new(127, 53, 0, host);
        match UdpSocket::bind((address, 53)).await {
            Ok(socket) => return (socket, address.into()),
            Err(error) => last = Some(error),
        }
    }
    panic!("port 53 can't be bound ({last:?}): run as root, or `sysctl net.ipv4.ip_unprivileged_port_start=53`");
}

async fn answer(socket: UdpSocket, answered: Arc<AtomicUsize>) {
    // The maximum length of a query without extensions.
    let mut packet = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        let Some((reply, has_address)) = reply(&packet[..length]) else { continue };
        answered.fetch_add(usize::from(has_address), Ordering::SeqCst);
        // A client that has gone needs no answer.
        drop(socket.send_to(&reply, from).await);
    }
}

/// Returns the answer and whether it contains the address, or `None` for a malformed query. Source: RFC 1035, section 4.
fn reply(query: &[u8]) -> Option<(Vec<u8>, bool)> {
    let labels = query.get(HEADER..)?.iter().position(|&byte| byte == 0)? + 1;
    let question = query.get(HEADER..HEADER + labels + 4)?;
    let is_known = &question[..labels] == LABELS;
    // Type A, class IN.
    let has_address = is_known && question.ends_with(&[0, 1, 0, 1]);
    // A response with recursion available; the code is no error, or no such name.
    let flags = [0x81, if is_known { 0x80 } else { 0x83 }];
    let counts = [0, 1, 0, u8::from(has_address), 0, 0, 0, 0];
    let mut reply = [&query[..2], &flags, &counts, question].concat();
    if has_address {
        // A pointer to the question's name; type A, class IN, a TTL of 60 s, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some((reply, has_address))
}
