//! The agent's own metrics.

use crate::program::Agent;
use crate::servers::eventually;

/// The prefix of the names of the agent's metrics.
const PREFIX: &str = "kamaji_telemetry_agent_";

impl Agent {
    /// Returns the value of a metric, summed over its series, by its name without the prefix.
    pub(in crate::faults) async fn metric(&self, name: &str) -> f64 {
        sum(&self.metrics().await, name, |_| true)
    }

    /// Returns whether the agent is the leader.
    pub(in crate::faults) async fn is_leader(&self) -> bool {
        self.metric("leader").await > 0.0
    }

    /// Waits until the agent is the leader.
    pub(in crate::faults) async fn wait_until_leader(&self) {
        eventually("the agent to lead", async || self.is_leader().await.then_some(())).await;
    }

    /// Waits until an export of events has failed.
    pub(in crate::faults) async fn wait_until_export_fails(&self) {
        let before = self.exports("logs", false).await;
        eventually("the agent to fail an export", async || (self.exports("logs", false).await > before).then_some(()))
            .await;
    }

    /// Waits until the first gauges are acknowledged. For minutes, the agent exports only events then.
    pub(in crate::faults) async fn wait_for_gauges(&self) {
        eventually("gauges to be sent", async || (self.exports("metrics", true).await > 0.0).then_some(())).await;
    }

    /// Returns the number of exports of this signal that succeeded or failed.
    async fn exports(&self, signal: &str, ok: bool) -> f64 {
        let signal = format!("signal=\"{signal}\"");
        let counts = |series: &str| series.contains(&signal) && series.contains("result=\"success\"") == ok;
        sum(&self.metrics().await, "exports_total", counts)
    }
}

/// Returns the sum of the series of a metric that `counts` selects.
fn sum(page: &str, name: &str, counts: impl Fn(&str) -> bool) -> f64 {
    let lines = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let is_it = |series: &str| {
        let family = series.split('{').next().and_then(|family| family.strip_prefix(PREFIX));
        family == Some(name) && counts(series)
    };
    let values = lines.filter(|(series, _)| is_it(series)).map(|(_, value)| value.parse::<f64>());
    values.sum::<Result<f64, _>>().expect("a metric is a number")
}

#[test]
fn metrics_are_told_apart() {
    let page = "# TYPE kamaji_telemetry_agent_exports_total counter\n\
        kamaji_telemetry_agent_exports_total{signal=\"logs\",result=\"success\"} 3\n\
        kamaji_telemetry_agent_exports_total{signal=\"logs\",result=\"unavailable\"} 4\n\
        kamaji_telemetry_agent_leader 1\n";
    let values = [("exports_total", 7.0), ("leader", 1.0), ("exports", 0.0)];
    for (name, value) in values {
        assert!((sum(page, name, |_| true) - value).abs() < f64::EPSILON, "{name}");
    }
}
