//! The packets of the pods, counted and refused where they arrive at the node.

use super::scene::{Pod, Scene};

/// Runs the node's `nft` with its libraries, which the machine need not have.
const NFT: &str = "
    containers=/var/lib/node/tools/containers
    export LD_LIBRARY_PATH=$(echo $containers/lib/*-linux-gnu $containers/usr/lib/*-linux-gnu | tr ' ' :)
    exec $containers/usr/sbin/nft \"$@\"";

/// Counts before the address of a Service is replaced. What leaves a pod is neither for the API server nor an answer of a port
/// that the pod listens on.
const RULES: &str = "
    table inet traffic
    delete table inet traffic
    table inet traffic {
        counter left { }
        counter probed { }
        chain arrived {
            type filter hook prerouting priority raw
            iifname veth* ip daddr != 10.96.0.1 meta l4proto { tcp, udp } th sport != { 4317, 4318, 8080, 13133 } \
                counter name left
        }
        chain forwarded { type filter hook forward priority filter; }
    }";

/// Counters of the packets of all pods.
pub(super) struct Traffic<'a>(&'a Scene);

impl<'a> Traffic<'a> {
    /// Begins to count.
    pub(super) async fn watch(scene: &'a Scene) -> Self {
        let traffic = Self(scene);
        traffic.nft(&[RULES]).await;
        traffic
    }

    async fn nft(&self, arguments: &[&str]) -> String {
        let output = self.0.inside(&[&["/bin/sh", "-c", NFT, "nft"], arguments].concat()).await;
        output.unwrap_or_else(|error| panic!("nft {arguments:?}: {error}"))
    }

    /// Returns the number of packets that a pod has sent to anything but the API server, since the beginning.
    pub(super) async fn left(&self) -> u64 {
        self.packets("left").await
    }

    /// Begins to count the probes of a pod of the agent: each answer of its port to a new connection is one to a probe.
    pub(super) async fn count_probes(&self, agent: &Pod) {
        let answer = "tcp sport 8080 tcp flags & (syn | ack) == syn | ack counter name probed";
        let rule = format!("add rule inet traffic arrived iifname veth* ip saddr {} {answer}", agent.address());
        self.nft(&[&rule]).await;
    }

    /// Returns the number of probes that were answered since [`Self::count_probes`].
    pub(super) async fn probed(&self) -> u64 {
        self.packets("probed").await
    }

    async fn packets(&self, counter: &str) -> u64 {
        let listed = self.nft(&["list", "counter", "inet", "traffic", counter]).await;
        let (_, rest) = listed.split_once("packets ").expect("a counter has packets");
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Refuses every connection from a pod to the backend until [`Self::restore`], as a firewall in between does.
    pub(super) async fn refuse(&self) {
        let rule = "add rule inet traffic forwarded tcp dport { 4317, 4318 } reject with tcp reset";
        self.nft(&[rule]).await;
    }

    /// Lets connections pass again.
    pub(super) async fn restore(&self) {
        self.nft(&["flush chain inet traffic forwarded"]).await;
    }
}
