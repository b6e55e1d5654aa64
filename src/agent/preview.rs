//! A preview of the next gauges and of sample events, which sends nothing.

pub(crate) mod capture;
mod payload;

use anyhow::anyhow;
use jiff::Timestamp;
use kube::Client;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use uuid::Uuid;

use super::config::Config;
use super::consent::DisabledReason;
use super::export::events::RecordEncoder;
use super::export::instruments::{ExtendedValues, GaugeInstruments, GaugeValues};
use super::kubernetes::operator::OperatorReport;
use super::kubernetes::{self, ComponentVersions, datastores, watch};
use super::observe::{Index, IndexOptions};
use crate::catalog::{Event, EventRecord, KubernetesVersion, Status, VersionNumbers};
use capture::Capture;

/// The format of the printed preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PreviewOutput {
    /// A table for people.
    Table,
    /// The documented payloads as JSON, one per line: the gauges, then a sample of each event.
    Json,
    /// The OTLP requests as JSON, one per line: the gauges, then a sample of each event.
    Otlp,
}

/// The gauges that would be sent now, and a sample of each event.
#[derive(Debug)]
pub struct Preview {
    /// The reason why nothing is sent, if telemetry is off.
    disabled_reason: Option<DisabledReason>,
    /// The collector, or the reason why an agent that is off would refuse it if it were on.
    endpoint: Result<String, String>,
    /// Kamaji's operator and the source of its version.
    operator: OperatorReport,
    /// The identity of the installation, or the reason why it is shown as all zero.
    installation: Result<Uuid, String>,
    gauges: GaugeValues,
    /// A creation, an upgrade and a deletion that could happen in this cluster.
    samples: [EventRecord; 3],
}

/// Reads the cluster as the agent does, whether telemetry is on or off. Nothing is written, and no connection to the
/// collector is opened.
///
/// # Errors
///
/// Fails if the cluster can't be read, and in the agent's words if the agent would not start.
pub async fn read(config: &Config) -> anyhow::Result<Preview> {
    let disabled_reason = config.opt_out.disabled_reason();
    let endpoint = match config.exporter.check() {
        Ok(()) => Ok(config.exporter.endpoint.clone()),
        // An agent that is off needs no collector.
        Err(error) if disabled_reason.is_some() => Err(format!("{error:#}")),
        Err(error) => return Err(error),
    };
    let client = kubernetes::connect(config.cluster.clone()).await?;
    // The versions are shown even if Kamaji's operator turns telemetry off.
    let cluster_info = kubernetes::read_cluster_info(&client, &config.operator_location, |_| true).await;
    let mut index = Index::new(IndexOptions { extended: config.extended, limit: usize::MAX });
    watch::list(&client, &mut index).await.map_err(|error| anyhow!("{error}"))?;
    let gauges = GaugeValues {
        versions: cluster_info.versions(config.kamaji_version),
        counts: index.counts().unwrap_or_default(),
        extended: if config.extended { Some(extended(&client).await?) } else { None },
    };
    Ok(Preview {
        disabled_reason: disabled_reason.or_else(|| config.kamaji_opt_out.disabled_reason(&cluster_info.operator)),
        endpoint,
        operator: OperatorReport::new(&cluster_info.operator, &config.operator_location, config.kamaji_version),
        installation: installation(config, &client).await,
        samples: samples(&index, gauges.versions),
        gauges,
    })
}

/// Reads the identity of the installation. The user may lack the permission to read it, and gets the rest of the preview.
async fn installation(config: &Config, client: &Client) -> Result<Uuid, String> {
    match config.journal_store(client, None).read().await {
        Ok(Some(view)) if view.is_copy => {
            Err("the journal is a copy, in place of which the agent begins a new installation".to_owned())
        }
        Ok(Some(view)) => Ok(view.state.installation),
        Ok(None) => Err("created when the agent starts".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

async fn extended(client: &Client) -> anyhow::Result<ExtendedValues> {
    let datastores = datastores::count(client).await.map_err(|error| anyhow!("{error}"))?;
    Ok(ExtendedValues { datastores })
}

/// Returns the events of one of the control planes, as if it were created now, upgraded by a patch, and deleted.
fn samples(index: &Index, versions: ComponentVersions) -> [EventRecord; 3] {
    let (tcp_version, status, extended) = index.sample().unwrap_or((KubernetesVersion::Unknown, Status::Unknown, None));
    let new_tcp_version = match tcp_version {
        KubernetesVersion::Release(release) => {
            KubernetesVersion::Release(VersionNumbers { patch: release.patch + 1, ..release })
        }
        unknown => unknown,
    };
    let events = [
        Event::Created { tcp_version, extended },
        Event::Updated { old_tcp_version: tcp_version, new_tcp_version },
        Event::Deleted { status, tcp_version },
    ];
    events.map(|event| EventRecord {
        uid: Uuid::nil(),
        time: Timestamp::now(),
        kamaji_version: versions.kamaji,
        kubernetes_version: versions.kubernetes,
        event,
    })
}

impl Preview {
    /// Returns the printed text, which ends with a newline.
    pub fn print(self, output: PreviewOutput) -> anyhow::Result<String> {
        match output {
            PreviewOutput::Table => Ok(self.table()),
            PreviewOutput::Json => Ok(payload::lines(self.installation_or_zero(), &self.gauges, &self.samples)?),
            PreviewOutput::Otlp => {
                let events = RecordEncoder::new().request(&self.samples);
                let metrics = self.request()?;
                Ok(format!("{}\n{}\n", serde_json::to_string(&metrics)?, serde_json::to_string(&events)?))
            }
        }
    }

    fn installation_or_zero(&self) -> Uuid {
        self.installation.clone().unwrap_or_default()
    }

    /// Returns the request that the SDK makes of the gauges.
    fn request(self) -> anyhow::Result<ExportMetricsServiceRequest> {
        let capture = Capture::default();
        GaugeInstruments::new(capture.clone(), self.installation_or_zero()).export(self.gauges)?;
        Ok(capture.take())
    }

    fn table(&self) -> String {
        let Self { disabled_reason, endpoint, operator, installation, gauges, samples } = self;
        let state = match (disabled_reason, endpoint) {
            (None, Ok(endpoint) | Err(endpoint)) => format!("on. The next export goes to {endpoint}"),
            (Some(reason), Ok(endpoint)) => format!("off: {reason}. If it were on, this would go to {endpoint}"),
            (Some(reason), Err(error)) => format!("off: {reason}. If it were on, the agent would not start: {error}"),
        };
        let counts = &gauges.counts;
        let note = installation.as_ref().err().map(|reason| format!("  (all zero: {reason})")).unwrap_or_default();
        let installation = self.installation_or_zero();
        let mut text = format!(
            "Telemetry is {state}\n\n\
             installation        {installation}{note}\n\
             operator            {}\n\
             kamaji_version      {}\n\
             kubernetes_version  {}\n\n\
             kamaji.tcp.running    {:>6}\n\
             kamaji.tcp.sleeping   {:>6}\n\
             kamaji.tcp.not_ready  {:>6}\n\
             kamaji.tcp.upgrading  {:>6}\n",
            operator.operator(),
            operator.sourced_version(),
            gauges.versions.kubernetes,
            counts.running,
            counts.sleeping,
            counts.not_ready,
            counts.upgrading,
        );
        text.push_str(&self.extended_table());
        text.push_str(
            "\nIf a control plane were created, upgraded and deleted, this would be sent, without the installation:\n",
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
        let Some(ExtendedValues { datastores }) = &self.gauges.extended else { return String::new() };
        let by_version = self.gauges.counts.by_version.iter();
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
