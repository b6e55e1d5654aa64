//! The reading of a row of the v1 server: records, or the reason for which it is left out. No I/O.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::backend::ingest::kamaji::{PayloadKind, ReceiveContext};
use crate::backend::store::postgres::history::HistoryRow;
use crate::backend::store::{Batch, Cutoffs, Hour, PseudonymKey};

/// The greatest difference of clocks: that of a sender whose events are accepted.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// 2020-01-01T00:00:00Z, in seconds since 1970: Kamaji is younger.
const EARLIEST: i64 = 1_577_836_800;

/// The context of the rows.
pub(super) struct ReadContext<'a> {
    pub(super) now: Timestamp,
    pub(super) cutoffs: Cutoffs,
    pub(super) key: &'a PseudonymKey,
}

/// The reason for which a row is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    UnknownType,
    Null,
    NotAUuid,
    TooEarly,
    TooLate,
    Expired,
    TooLarge,
    Malformed,
    NoChange,
}

impl LeftOut {
    pub(super) const ALL: [Self; 9] = [
        Self::UnknownType,
        Self::Null,
        Self::NotAUuid,
        Self::TooEarly,
        Self::TooLate,
        Self::Expired,
        Self::TooLarge,
        Self::Malformed,
        Self::NoChange,
    ];

    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::UnknownType => "event_type is none of stats, create, update and delete",
            Self::Null => "a column is null, or created_at is infinite",
            Self::NotAUuid => "uuid is no UUID",
            Self::TooEarly => "created_at is before 2020",
            Self::TooLate => "created_at is in the future",
            Self::Expired => "older than --retention-events or --retention-installations",
            Self::TooLarge => "payload is larger than 4096 bytes",
            Self::Malformed => "payload is none that Kamaji sends as this event_type",
            Self::NoChange => "update without a change of version, which the backend does not store either",
        }
    }
}

impl ReadContext<'_> {
    /// Reads a row; an error has the kind of the row if that is known.
    pub(super) fn read(&self, row: &HistoryRow) -> Result<(PayloadKind, Batch), (Option<PayloadKind>, LeftOut)> {
        let Some(event_type) = &row.event_type else { return Err((None, LeftOut::Null)) };
        let kind = PayloadKind::ALL.into_iter().find(|kind| kind.name().as_bytes() == event_type);
        let kind = kind.ok_or((None, LeftOut::UnknownType))?;
        let records = self.records(kind, row).map_err(|reason| (Some(kind), reason))?;
        Ok((kind, records))
    }

    fn records(&self, kind: PayloadKind, row: &HistoryRow) -> Result<Batch, LeftOut> {
        let created = self.created(kind, row.created_at.ok_or(LeftOut::Null)?)?;
        let uuid = row.uuid.as_ref().ok_or(LeftOut::Null)?;
        let uuid = Uuid::try_parse_ascii(uuid).map_err(|_| LeftOut::NotAUuid)?;
        if row.is_too_large {
            return Err(LeftOut::TooLarge);
        }
        let payload = row.payload.as_ref().ok_or(LeftOut::Null)?;
        let context = ReceiveContext { now: created, uid: self.key.imported_event(uuid), key: self.key };
        let records = kind.records(payload, &context).ok_or(LeftOut::Malformed)?;
        if records.is_empty() { Err(LeftOut::NoChange) } else { Ok(records) }
    }

    /// Returns the time of receipt, if it is one of which the store keeps rows.
    fn created(&self, kind: PayloadKind, seconds: i64) -> Result<Timestamp, LeftOut> {
        if seconds < EARLIEST {
            return Err(LeftOut::TooEarly);
        }
        // A time that is no timestamp is later than the year 9999.
        let created = Timestamp::from_second(seconds).map_err(|_| LeftOut::TooLate)?;
        let hour = Hour::of(created);
        let is_expired = match kind {
            PayloadKind::Stats => hour.day() < self.cutoffs.installations,
            PayloadKind::Create | PayloadKind::Update | PayloadKind::Delete => hour < self.cutoffs.events,
        };
        if created.duration_since(self.now) > MAX_CLOCK_SKEW {
            Err(LeftOut::TooLate)
        } else if is_expired {
            Err(LeftOut::Expired)
        } else {
            Ok(created)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const CLUSTER: &str = "6f8bd8e2-6d1f-4c0e-9a53-0d9f2b8f9a11";

    fn now() -> Timestamp {
        "2026-11-23T20:34:56Z".parse().unwrap()
    }

    fn seconds(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_second()
    }

    fn read(row: &HistoryRow) -> Result<(PayloadKind, Batch), (Option<PayloadKind>, LeftOut)> {
        let hour = Hour::of(now()).minus(400 * 24);
        let cutoffs = Cutoffs { events: hour, uids: hour, installations: hour.day() };
        ReadContext { now: now(), cutoffs, key: &PseudonymKey::from([7; PseudonymKey::LENGTH]) }.read(row)
    }

    fn row(event_type: &str, own: &Value) -> HistoryRow {
        let mut payload = json!({"kamaji_version": "v1.0.0", "kubernetes_version": "v1.35.1"});
        payload.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        HistoryRow {
            uuid: Some(CLUSTER.into()),
            event_type: Some(event_type.into()),
            payload: Some(payload.to_string().into()),
            is_too_large: false,
            created_at: Some(seconds("2026-03-04T05:06:07Z")),
        }
    }

    fn stats() -> HistoryRow {
        row("stats", &json!({"uuid": CLUSTER, "running": 1, "sleeping": 2, "not_ready": 3, "upgrading": 4}))
    }

    fn update(old: &str, new: &str) -> HistoryRow {
        row("update", &json!({"old_tcp_version": old, "new_tcp_version": new}))
    }

    #[test]
    fn a_row_becomes_what_its_receiver_would_have_stored_then() {
        let key = PseudonymKey::from([7; PseudonymKey::LENGTH]);
        let (kind, batch) = read(&stats()).unwrap();
        assert_eq!((kind, batch.events.len()), (PayloadKind::Stats, 0));
        let created = Hour::of("2026-03-04T05:06:07Z".parse().unwrap());
        let cluster = CLUSTER.parse().unwrap();
        assert_eq!((batch.snapshots[0].installation, batch.snapshots[0].received), (key.pseudonym(cluster), created));
        let (kind, batch) = read(&update("v1.34.0", "v1.35.0")).unwrap();
        assert_eq!((kind, batch.snapshots.len()), (PayloadKind::Update, 0));
        let record = &batch.events[0].record;
        assert_eq!((record.uid, record.time), (key.imported_event(cluster), created.start()));
        for (event_type, own) in [
            ("create", json!({"tcp_version": "v1.35.1", "cluster_api": true, "network_profile": "ingress"})),
            ("delete", json!({"tcp_version": "v1.35.1", "status": "Ready"})),
        ] {
            assert_eq!(read(&row(event_type, &own)).unwrap().1.events.len(), 1, "{event_type}");
        }
    }

    #[test]
    fn a_row_that_cannot_be_used_is_left_out_with_the_reason() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let at = |time| HistoryRow { created_at: Some(seconds(time)), ..stats() };
        let event_at = |time| HistoryRow { created_at: Some(seconds(time)), ..update("v1.34.0", "v1.35.0") };
        let of_type = |event_type| HistoryRow { event_type, ..stats() };
        let with = |payload: &str| HistoryRow { payload: text(payload), ..stats() };
        for (row, expected) in [
            (of_type(text("Stats")), LeftOut::UnknownType),
            (of_type(Some(b"\xff\0".to_vec())), LeftOut::UnknownType),
            (of_type(None), LeftOut::Null),
            (HistoryRow { uuid: None, ..stats() }, LeftOut::Null),
            (HistoryRow { payload: None, ..stats() }, LeftOut::Null),
            (HistoryRow { created_at: None, ..stats() }, LeftOut::Null),
            (HistoryRow { uuid: text("acme"), ..stats() }, LeftOut::NotAUuid),
            (HistoryRow { uuid: Some(b"\xff\0".to_vec()), ..stats() }, LeftOut::NotAUuid),
            (HistoryRow { payload: None, is_too_large: true, ..stats() }, LeftOut::TooLarge),
            (at("2019-12-31T23:59:59Z"), LeftOut::TooEarly),
            (HistoryRow { created_at: Some(i64::MIN), ..stats() }, LeftOut::TooEarly),
            (at("2025-10-18T23:59:59Z"), LeftOut::Expired),
            (event_at("2025-10-19T19:59:59Z"), LeftOut::Expired),
            (at("2026-11-23T20:44:57Z"), LeftOut::TooLate),
            (HistoryRow { created_at: Some(i64::MAX), ..stats() }, LeftOut::TooLate),
            (with("null"), LeftOut::Malformed),
            (with("{}"), LeftOut::Malformed),
            (with("\"\\u0000\""), LeftOut::Malformed),
            (HistoryRow { payload: Some(vec![0, 0xff]), ..stats() }, LeftOut::Malformed),
            (HistoryRow { event_type: text("create"), ..stats() }, LeftOut::Malformed),
            (update("v1.35.0", "v1.35.0"), LeftOut::NoChange),
            (update("", "v1.35.0"), LeftOut::NoChange),
        ] {
            assert_eq!(read(&row).unwrap_err().1, expected, "{row:?}");
        }
        for row in [
            at("2025-10-19T00:00:00Z"),
            event_at("2025-10-19T20:00:00Z"),
            at("2026-11-23T20:44:56Z"),
            HistoryRow { uuid: text("6F8BD8E2-6D1F-4C0E-9A53-0D9F2B8F9A11"), ..stats() },
        ] {
            assert!(read(&row).is_ok(), "{row:?}");
        }
    }

    proptest! {
        #[test]
        fn any_row_is_read_or_left_out(
            uuid in any::<Option<Vec<u8>>>(),
            kind in 0..5_usize,
            payload in any::<Option<Vec<u8>>>(),
            is_too_large: bool,
            created_at in any::<Option<i64>>(),
        ) {
            let names = ["stats", "create", "update", "delete", "acme"];
            let event_type = Some(names[kind].as_bytes().to_vec());
            let row = HistoryRow { uuid, event_type, payload, is_too_large, created_at };
            prop_assert!(read(&row).is_err());
        }
    }
}
