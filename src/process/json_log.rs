//! The JSON log format: one flat object a line.
//!
//! The JSON format of `tracing-subscriber` nests the fields of spans, which log stores would have to be taught to
//! flatten. Here the fields of an event and of its spans are at the top level, beside `timestamp`, `level` and
//! `message`.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// An event format for a subscriber whose fields are formatted by [`JsonFields`].
///
/// An event's own field wins over one of the same name in a span, and an inner span over an outer one.
///
/// [`JsonFields`]: tracing_subscriber::fmt::format::JsonFields
#[derive(Debug, Clone, Copy, Default)]
pub struct FlatJson;

#[derive(Serialize)]
struct LogLine {
    timestamp: String,
    level: &'static str,
    message: Value,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

/// The fields of an event.
struct Fields<'a>(&'a mut Map<String, Value>);

impl<S, N> FormatEvent<S, N> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let formatted = extensions.get::<FormattedFields<N>>().map_or("", |formatted| formatted.as_str());
            if let Ok(Value::Object(span_fields)) = serde_json::from_str(formatted) {
                fields.extend(span_fields);
            }
        }
        event.record(&mut Fields(&mut fields));
        // A library's field must not repeat a key of ours.
        for reserved in ["timestamp", "level"] {
            fields.remove(reserved);
        }
        let line = LogLine {
            timestamp: Timestamp::now().to_string(),
            level: event.metadata().level().as_str(),
            message: fields.remove("message").unwrap_or_default(),
            fields,
        };
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::fmt::format::JsonFields;

    use super::*;
    use crate::process::lock::lock;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that `log` logs, without their timestamps.
    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let output = Output::default();
        let writer = output.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let subscriber = subscriber.fmt_fields(JsonFields::new()).event_format(FlatJson).finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(lock(&output.0).clone()).unwrap();
        let line = |line: &str| {
            let mut line: Map<String, Value> = serde_json::from_str(line).unwrap();
            let timestamp = line.remove("timestamp").unwrap();
            assert!(timestamp.as_str().unwrap().parse::<Timestamp>().is_ok(), "{timestamp}");
            Value::Object(line)
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn the_fields_of_an_event_and_its_spans_are_at_the_top_level() {
        let lines = lines(|| {
            let _term = tracing::info_span!("term", epoch = 7_u64, namespace = "a").entered();
            let _export = tracing::info_span!("export", namespace = "b").entered();
            let error = "it \"broke\"\n";
            tracing::warn!(%error, count = -1, ratio = 0.5, done = false, kind = ?Some(1), "can't send");
        });
        let expected = json!({
            "level": "WARN", "message": "can't send", "epoch": 7, "namespace": "b", "error": "it \"broke\"\n",
            "count": -1, "ratio": 0.5, "done": false, "kind": "Some(1)",
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn no_field_replaces_a_key_of_the_format() {
        let lines = lines(|| tracing::info!(level = 3, timestamp = "then"));
        assert_eq!(lines, [json!({"level": "INFO", "message": null})]);
    }
}
