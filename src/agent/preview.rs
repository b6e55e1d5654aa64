//! What the next cycle would send, without sending it.

mod capture;
mod payload;

use jiff::Timestamp;
use kube::Client;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use uuid::Uuid;

use super::Config;
use super::export::events::RecordEncoder;
use super::export::instruments::{ExtendedValues, GaugeInstruments, GaugeValues};
use super::kubernetes::{self, datastores, watch};
use super::observe::{Index, IndexOptions};
use crate::catalog::{Event, EventRecord, KubernetesVersion, Status, VersionNumbers};
use capture::Capture;

/// How the preview is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// The documented payloads, one a line: the gauges, then a sample of each event.
    Json,
    /// The OTLP requests as JSON, one a line: the gauges, then a sample of each event.
    Otlp,
}

/// What would be sent.
#[derive(Debug)]
pub struct Preview {
    /// Why nothing is sent at all, where telemetry is off.
    off: Option<String>,
    endpoint: String,
    /// The installation's identity, or why it is shown as all zero.
    installation: Result<Uuid, String>,
    cycle: GaugeValues,
    /// A sample of each event, of a change that could happen in this cluster.
    samples: [EventRecord; 3],
}

/// Reads the cluster as the agent does. It writes nothing and connects to no collector, on or off.
pub async fn read(config: &Config) -> anyhow::Result<Preview> {
    let client = kubernetes::connect(config.cluster.clone()).await?;
    // The versions are shown even if Kamaji's operator turns telemetry off.
    let cluster_info = kubernetes::read_cluster_info(&client, &config.kamaji_namespace, |_| true).await;
    let mut index = Index::new(IndexOptions { extended: config.extended, limit: usize::MAX });
    watch::list(&client, &mut index).await.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let off = config.opt_out.disabled_reason();
    let off = off.or_else(|| config.kamaji_opt_out.disabled_reason(&cluster_info.operator));
    let cycle = GaugeValues {
        versions: cluster_info.versions(config.kamaji_version),
        counts: index.counts().unwrap_or_default(),
        extended: if config.extended { Some(extended(&client).await?) } else { None },
    };
    Ok(Preview {
        off: off.map(|off| off.to_string()),
        endpoint: config.exporter.endpoint.clone(),
        installation: installation(config, &client).await,
        samples: samples(&index, &cycle),
        cycle,
    })
}

/// The installation's identity. Whoever looks may not be allowed to read it, and is shown the rest.
async fn installation(config: &Config, client: &Client) -> Result<Uuid, String> {
    match config.journal_store(client, None).read().await {
        Ok(Some(account)) => Ok(account.state.installation),
        Ok(None) => Err("made when the agent starts".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

async fn extended(client: &Client) -> anyhow::Result<ExtendedValues> {
    let datastores = datastores::count(client).await.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    Ok(ExtendedValues { datastores })
}

/// What would be sent if the first control plane that was listed were made now, upgraded by a patch, and deleted.
fn samples(index: &Index, cycle: &GaugeValues) -> [EventRecord; 3] {
    let (tcp_version, status, with) = index.sample().unwrap_or((KubernetesVersion::Unknown, Status::Unknown, None));
    let new_tcp_version = match tcp_version {
        KubernetesVersion::Release(release) => {
            KubernetesVersion::Release(VersionNumbers { patch: release.patch + 1, ..release })
        }
        KubernetesVersion::Unknown => KubernetesVersion::Unknown,
    };
    let events = [
        Event::Created { tcp_version, with },
        Event::Updated { old_tcp_version: tcp_version, new_tcp_version },
        Event::Deleted { status, tcp_version },
    ];
    events.map(|event| EventRecord {
        uid: Uuid::nil(),
        time: Timestamp::now(),
        kamaji_version: cycle.versions.kamaji,
        kubernetes_version: cycle.versions.kubernetes,
        event,
    })
}

impl Preview {
    /// The text of it, with a newline at its end.
    pub fn print(self, output: Output) -> anyhow::Result<String> {
        match output {
            Output::Table => Ok(self.table()),
            Output::Json => payload::lines(&self),
            Output::Otlp => {
                let events = RecordEncoder::new().request(&self.samples);
                let metrics = self.request()?;
                Ok(format!("{}\n{}\n", serde_json::to_string(&metrics)?, serde_json::to_string(&events)?))
            }
        }
    }

    fn installation(&self) -> Uuid {
        self.installation.clone().unwrap_or_default()
    }

    /// The request that the SDK makes of the cycle.
    fn request(self) -> anyhow::Result<ExportMetricsServiceRequest> {
        let capture = Capture::default();
        GaugeInstruments::new(capture.clone(), self.installation()).export(self.cycle)?;
        Ok(capture.take())
    }

    fn table(&self) -> String {
        let Self { off, endpoint, installation, cycle, samples } = self;
        let state = match off {
            Some(off) => format!("off: {off}. If it were on, this would go"),
            None => "on. The next cycle goes".to_owned(),
        };
        let counts = &cycle.counts;
        let why = installation.as_ref().err().map(|why| format!("  (all zero: {why})")).unwrap_or_default();
        let installation = self.installation();
        let mut text = format!(
            "Telemetry is {state} to {endpoint}\n\n\
             installation        {installation}{why}\n\
             kamaji_version      {}\n\
             kubernetes_version  {}\n\n\
             kamaji.tcp.running    {:>6}\n\
             kamaji.tcp.sleeping   {:>6}\n\
             kamaji.tcp.not_ready  {:>6}\n\
             kamaji.tcp.upgrading  {:>6}\n",
            cycle.versions.kamaji,
            cycle.versions.kubernetes,
            counts.running,
            counts.sleeping,
            counts.not_ready,
            counts.upgrading,
        );
        text.push_str(&self.extended_table());
        text.push_str(
            "\nIf a control plane were created, upgraded and deleted, this would go, without the installation:\n",
        );
        for sample in samples {
            text.extend([format!("{:<20}", sample.event.kind().name)]);
            for (attribute, value) in sample.attributes() {
                text.extend([format!(" {}={value}", attribute.key)]);
            }
            text.push('\n');
        }
        text
    }

    fn extended_table(&self) -> String {
        let Some(ExtendedValues { datastores }) = &self.cycle.extended else { return String::new() };
        let by_version = self.cycle.counts.by_version.iter();
        let by_version = by_version.map(|(minor, count)| format!("kamaji.tcp.by_version {minor:<8} {count:>6}\n"));
        let datastores = datastores.iter().map(|(driver, usage)| {
            let (count, used_by) = (usage.count, usage.used_by);
            format!(
                "kamaji.datastore.count {driver:<10} {count:>6}\nkamaji.datastore.used_by {driver:<10} {used_by:>4}\n"
            )
        });
        std::iter::once("\n".to_owned()).chain(by_version).chain(datastores).collect()
    }
}
