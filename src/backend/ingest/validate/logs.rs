//! Validation of log records, which are events.

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};

use super::envelope::{
    Attributes, check_not_dropped, check_scope, excess_attributes, excess_resource_attributes, read_resource,
};
use super::time::{Timestamped, classify};
use super::{RejectReason, Validated};
use crate::backend::store::{AgentVersion, EventRow, Source, truncate_to_hour};
use crate::catalog::{
    CLUSTER_API, CREATED, DELETED, EVENT_KINDS, Event, EventKind, EventRecord, ExtendedAttributes, KAMAJI_VERSION,
    KUBERNETES_VERSION, LOG_RECORD_UID, LOG_RESOURCE, NETWORK_PROFILE, NEW_TCP_VERSION, NetworkProfile,
    OLD_TCP_VERSION, SERVICE_VERSION_ATTRIBUTE, STATUS, TCP_VERSION, UPDATED,
};

/// Validates log records that are received at `now`.
pub fn validate_logs(request: &ExportLogsServiceRequest, now: Timestamp) -> Validated {
    let mut validated = Validated::default();
    for ResourceLogs { resource, scope_logs, schema_url } in &request.resource_logs {
        let agent_version = read_resource(resource.as_ref(), schema_url, LOG_RESOURCE)
            .and_then(|attributes| attributes.parse::<AgentVersion>(&SERVICE_VERSION_ATTRIBUTE));
        for ScopeLogs { scope, log_records, schema_url } in scope_logs {
            let scope = check_scope(scope.as_ref(), schema_url);
            for record in log_records {
                let event = scope
                    .and_then(|()| agent_version.clone())
                    .and_then(|agent_version| read_record(record, agent_version, now));
                validated.add_event(event);
            }
        }
    }
    validated
}

/// Returns the number of log records.
pub fn records_in(request: &ExportLogsServiceRequest) -> usize {
    request.resource_logs.iter().flat_map(|resource| &resource.scope_logs).map(|scope| scope.log_records.len()).sum()
}

/// Returns the number of items to charge for: records, empty resources and scopes, and attributes beyond those that any
/// record has.
pub fn items_in_logs(request: &ExportLogsServiceRequest) -> usize {
    let of_scope = |ScopeLogs { scope, log_records, schema_url: _ }: &ScopeLogs| {
        let records = log_records.iter().map(|record| 1 + excess_attributes(&record.attributes)).sum::<usize>();
        records.max(1) + scope.as_ref().map_or(0, |scope| excess_attributes(&scope.attributes))
    };
    let of_resource = |ResourceLogs { resource, scope_logs, schema_url: _ }: &ResourceLogs| {
        scope_logs.iter().map(of_scope).sum::<usize>().max(1) + excess_resource_attributes(resource.as_ref())
    };
    request.resource_logs.iter().map(of_resource).sum()
}

impl Validated {
    fn add_event(&mut self, event: Result<Option<EventRow>, RejectReason>) {
        match event {
            Ok(Some(event)) => self.records.events.push(event),
            Ok(None) => self.expired += 1,
            Err(reason) => self.rejections.add(reason, 1),
        }
    }
}

/// Validates a record; returns `None` if it is too old.
fn read_record(
    record: &LogRecord,
    agent_version: AgentVersion,
    now: Timestamp,
) -> Result<Option<EventRow>, RejectReason> {
    // The time of observation is the collector's, and is not stored.
    let LogRecord {
        time_unix_nano,
        observed_time_unix_nano: _,
        severity_number,
        severity_text,
        body,
        attributes,
        dropped_attributes_count,
        flags,
        trace_id,
        span_id,
        event_name,
    } = record;
    let kind = EVENT_KINDS.iter().find(|kind| kind.name == event_name).ok_or(RejectReason::UnknownSignal)?;
    check_severity(*severity_number, severity_text)?;
    check_body(body.as_ref())?;
    check_trace(trace_id, span_id, *flags)?;
    check_not_dropped(*dropped_attributes_count)?;
    let attributes = Attributes::read(attributes, kind.attributes)?;
    let time = classify(*time_unix_nano, now)?;
    let event = read_event(kind, &attributes)?;
    let Timestamped::At(time) = time else { return Ok(None) };
    let record = EventRecord {
        uid: attributes.parse(&LOG_RECORD_UID)?,
        time: truncate_to_hour(time),
        kamaji_version: attributes.parse(&KAMAJI_VERSION)?,
        kubernetes_version: attributes.parse(&KUBERNETES_VERSION)?,
        event,
    };
    Ok(Some(EventRow { record, source: Source::Agent(agent_version), bulk: false }))
}

fn check_severity(number: i32, text: &str) -> Result<(), RejectReason> {
    let info = number == i32::from(SeverityNumber::Info) && matches!(text, "" | "INFO");
    if info { Ok(()) } else { Err(RejectReason::Severity) }
}

/// Checks that there is no body, or the empty string that the relay leaves.
fn check_body(body: Option<&AnyValue>) -> Result<(), RejectReason> {
    match body.and_then(|body| body.value.as_ref()) {
        None => Ok(()),
        Some(Value::StringValue(text)) if text.is_empty() => Ok(()),
        Some(_) => Err(RejectReason::Body),
    }
}

/// Checks that there is no trace, or the zeros that the relay leaves.
fn check_trace(trace_id: &[u8], span_id: &[u8], flags: u32) -> Result<(), RejectReason> {
    let is_blank = |id: &[u8], length| id.is_empty() || (id.len() == length && id.iter().all(|byte| *byte == 0));
    if !is_blank(trace_id, 16) || !is_blank(span_id, 8) {
        Err(RejectReason::Trace)
    } else if flags != 0 {
        Err(RejectReason::Flags)
    } else {
        Ok(())
    }
}

fn read_event(kind: &EventKind, attributes: &Attributes<'_>) -> Result<Event, RejectReason> {
    match kind.name {
        name if name == CREATED.name => {
            Ok(Event::Created { tcp_version: attributes.parse(&TCP_VERSION)?, extended: read_extended(attributes)? })
        }
        name if name == UPDATED.name => Ok(Event::Updated {
            old_tcp_version: attributes.parse(&OLD_TCP_VERSION)?,
            new_tcp_version: attributes.parse(&NEW_TCP_VERSION)?,
        }),
        name if name == DELETED.name => {
            Ok(Event::Deleted { status: attributes.parse(&STATUS)?, tcp_version: attributes.parse(&TCP_VERSION)? })
        }
        _ => Err(RejectReason::UnknownSignal),
    }
}

/// Reads the extended attributes of `kamaji.tcp.created`; the first of them is there whenever they are on.
fn read_extended(attributes: &Attributes<'_>) -> Result<Option<ExtendedAttributes>, RejectReason> {
    let network_profile: Option<NetworkProfile> =
        if attributes.has(&NETWORK_PROFILE) { Some(attributes.parse(&NETWORK_PROFILE)?) } else { None };
    match (attributes.bool(&CLUSTER_API), network_profile) {
        (Some(cluster_api), network_profile) => Ok(Some(ExtendedAttributes { cluster_api, network_profile })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(RejectReason::MissingAttribute),
    }
}
