//! What an agent says of itself.

use crate::program::Agent;
use crate::servers::eventually;

/// What the names of all accounts begin with.
const PREFIX: &str = "kamaji_telemetry_agent_";

impl Agent {
    /// One of its own accounts, by the rest of its name.
    pub(in crate::faults) async fn account(&self, name: &str) -> f64 {
        sum(&self.accounts().await, name, |_| true)
    }

    /// Says whether it is the one that watches and sends.
    pub(in crate::faults) async fn is_leader(&self) -> bool {
        self.account("leader").await > 0.0
    }

    /// Waits until it is.
    pub(in crate::faults) async fn leads(&self) {
        eventually("the agent to lead", async || self.is_leader().await.then_some(())).await;
    }

    /// Waits until it has given up on a request with events.
    pub(in crate::faults) async fn gives_up(&self) {
        let before = self.exports("logs", false).await;
        eventually("the agent to give up on a request", async || {
            (self.exports("logs", false).await > before).then_some(())
        })
        .await;
    }

    /// Waits until its first gauges are acknowledged: for minutes, it sends events alone.
    pub(in crate::faults) async fn has_sent_gauges(&self) {
        eventually("gauges to be sent", async || (self.exports("metrics", true).await > 0.0).then_some(())).await;
    }

    /// How many requests with this signal were answered with OK, or were not.
    async fn exports(&self, signal: &str, ok: bool) -> f64 {
        let signal = format!("signal=\"{signal}\"");
        let counts = |series: &str| series.contains(&signal) && series.contains("result=\"success\"") == ok;
        sum(&self.accounts().await, "exports_total", counts)
    }
}

/// The sum of the series of an account that `counts`.
fn sum(page: &str, name: &str, counts: impl Fn(&str) -> bool) -> f64 {
    let lines = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let is_it = |series: &str| {
        let family = series.split('{').next().and_then(|family| family.strip_prefix(PREFIX));
        family == Some(name) && counts(series)
    };
    let values = lines.filter(|(series, _)| is_it(series)).map(|(_, value)| value.parse::<f64>());
    values.sum::<Result<f64, _>>().expect("an account is a number")
}

#[test]
fn accounts_are_told_apart() {
    let page = "# TYPE kamaji_telemetry_agent_exports_total counter\n\
        kamaji_telemetry_agent_exports_total{signal=\"logs\",result=\"success\"} 3\n\
        kamaji_telemetry_agent_exports_total{signal=\"logs\",result=\"unavailable\"} 4\n\
        kamaji_telemetry_agent_leader 1\n";
    let values = [("exports_total", 7.0), ("leader", 1.0), ("exports", 0.0)];
    for (name, value) in values {
        assert!((sum(page, name, |_| true) - value).abs() < f64::EPSILON, "{name}");
    }
}
