//! The format, and the bytes that were written in it.

use proptest::prelude::*;

use super::*;
use crate::agent::journal::{OUTBOX_LIMIT, ROW_LIMIT};
use crate::catalog::{KamajiVersion, Stage, VersionNumbers};

/// The API server's limit in bytes on the sum of a ConfigMap's values, keys not counted.
const CONFIG_MAP_LIMIT: usize = 1 << 20;

fn kubernetes() -> impl Strategy<Value = KubernetesVersion> {
    prop_oneof![Just(KubernetesVersion::Unknown), release().prop_map(KubernetesVersion::Release)]
}

fn release() -> impl Strategy<Value = VersionNumbers> {
    let stage = prop_oneof![
        Just(Stage::Final),
        (0..=999u16).prop_map(Stage::Alpha),
        (0..=999u16).prop_map(Stage::Beta),
        (0..=999u16).prop_map(Stage::Rc),
    ];
    (0..=9_999u16, 0..=9_999u16, 0..=9_999u16, stage).prop_map(|(major, minor, patch, stage)| VersionNumbers {
        major,
        minor,
        patch,
        stage,
    })
}

fn kamaji() -> impl Strategy<Value = KamajiVersion> {
    let part = || 0..=9_999u16;
    prop_oneof![
        Just(KamajiVersion::Unknown),
        Just(KamajiVersion::Latest),
        release().prop_map(KamajiVersion::Release),
        (part(), part(), part()).prop_map(|(x, y, z)| KamajiVersion::EdgePrefix(x, y, z)),
        (part(), part(), part()).prop_map(|(x, y, z)| KamajiVersion::EdgeSuffix(x, y, z)),
    ]
}

fn status() -> impl Strategy<Value = Status> {
    prop::sample::select(&STATUSES[..])
}

fn event() -> impl Strategy<Value = Event> {
    let extended = (any::<bool>(), prop::sample::select(&PROFILES[..]))
        .prop_map(|(cluster_api, network_profile)| ExtendedAttributes { cluster_api, network_profile });
    prop_oneof![
        (kubernetes(), prop::option::of(extended))
            .prop_map(|(tcp_version, extended)| Event::Created { tcp_version, extended }),
        (kubernetes(), kubernetes())
            .prop_map(|(old_tcp_version, new_tcp_version)| Event::Updated { old_tcp_version, new_tcp_version }),
        (status(), kubernetes()).prop_map(|(status, tcp_version)| Event::Deleted { status, tcp_version }),
    ]
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_102_444_800_000i64).prop_map(|milliseconds| Timestamp::from_millisecond(milliseconds).unwrap())
}

fn uid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn record() -> impl Strategy<Value = EventRecord> {
    (uid(), time(), kamaji(), kubernetes(), event()).prop_map(
        |(uid, time, kamaji_version, kubernetes_version, event)| EventRecord {
            uid,
            time,
            kamaji_version,
            kubernetes_version,
            event,
        },
    )
}

fn row() -> impl Strategy<Value = PersistedRow> {
    (uid(), kubernetes(), status(), any::<bool>()).prop_map(|(uid, reported, status, deleted_reported)| PersistedRow {
        uid,
        reported,
        status,
        deleted_reported,
    })
}

fn state() -> impl Strategy<Value = JournalState> {
    let (rows, outbox) = (prop::collection::vec(row(), 0..20), prop::collection::vec(record(), 0..20));
    (uid(), any::<u64>(), any::<bool>(), prop::option::of(time()), rows, outbox).prop_map(
        |(installation, epoch, baseline, acknowledged, rows, outbox)| JournalState {
            installation,
            epoch,
            baseline,
            acknowledged,
            rows,
            outbox,
        },
    )
}

/// A state with every kind of value.
fn example() -> JournalState {
    let version = KubernetesVersion::normalize;
    let uid = |number: u128| Uuid::from_u128(0x0bad_cafe_0000_4000_8000_0000_0000_0000 + number);
    let event = |number, kamaji: &str, event| EventRecord {
        uid: uid(number),
        time: "2026-11-24T05:30:00.123Z".parse().unwrap(),
        kamaji_version: KamajiVersion::normalize(kamaji),
        kubernetes_version: version("v1.36.3"),
        event,
    };
    let extended = ExtendedAttributes { cluster_api: true, network_profile: Some(NetworkProfile::Gateway) };
    let row = |number, reported: &str, status, deleted_reported| PersistedRow {
        uid: uid(number),
        reported: version(reported),
        status,
        deleted_reported,
    };
    JournalState {
        installation: uid(0),
        epoch: 7,
        baseline: true,
        acknowledged: Some("2026-11-24T05:29:00Z".parse().unwrap()),
        rows: vec![
            row(1, "v1.35.1", Status::Ready, false),
            row(2, "v1.36.0-rc.1", Status::Undefined, true),
            row(3, "unknown", Status::Unknown, false),
        ],
        outbox: vec![
            event(4, "v1.0.0", Event::Created { tcp_version: version("v1.35.1"), extended: None }),
            event(5, "26.7.4-edge", Event::Created { tcp_version: version("v1.35.1"), extended: Some(extended) }),
            event(
                6,
                "edge-24.12.1",
                Event::Updated {
                    old_tcp_version: version("v1.35.1-alpha.2"),
                    new_tcp_version: version("v1.36.0-beta.3"),
                },
            ),
            event(7, "unknown", Event::Deleted { status: Status::Sleeping, tcp_version: version("v9999.0.1") }),
        ],
    }
}

/// The example in version 1 of the format. These bytes are in clusters, so they never change.
fn first_version() -> EncodedJournal {
    let hex = |text: &str| -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    };
    let data = [
        ("acknowledged", "2026-11-24T05:29:00Z"),
        ("baseline", "true"),
        ("epoch", "7"),
        ("format", "1"),
        ("installation", "0badcafe-0000-4000-8000-000000000000"),
    ];
    EncodedJournal {
        data: data.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        binary_data: BTreeMap::from([
            ("rows".to_owned(), hex(include_str!("first_version_rows.hex"))),
            ("outbox".to_owned(), hex(include_str!("first_version_outbox.hex"))),
        ]),
    }
}

#[test]
fn what_the_first_version_wrote_is_read_for_ever() {
    assert_eq!(decode(&first_version()), Ok(example()));
}

#[test]
fn a_later_format_is_refused() {
    let mut encoded = encode(&example());
    encoded.data.insert(KEY_FORMAT.to_owned(), "2".to_owned());
    assert_eq!(decode(&encoded).unwrap_err().to_string(), "data.format is invalid: expected 1");
    assert_eq!(decode(&EncodedJournal::default()).unwrap_err().to_string(), "data.format is missing");
}

#[test]
fn no_value_is_part_of_an_error() {
    let expectations = [
        (KEY_FORMAT, "1"),
        (KEY_INSTALLATION, "a UUID"),
        (KEY_EPOCH, "a number"),
        (KEY_BASELINE, "true or false"),
        (KEY_ACKNOWLEDGED, "an RFC 3339 time"),
    ];
    for (key, expected) in expectations {
        let mut encoded = encode(&example());
        encoded.data.insert(key.to_owned(), "hunter2".to_owned());
        let error = decode(&encoded).unwrap_err().to_string();
        assert_eq!(error, format!("data.{key} is invalid: expected {expected}"));
    }
}

#[test]
fn what_is_damaged_is_named() {
    let damaged = |damage: fn(&mut EncodedJournal)| {
        let mut encoded = encode(&example());
        damage(&mut encoded);
        decode(&encoded).unwrap_err().to_string()
    };
    assert_eq!(
        damaged(|encoded| encoded.binary_data.get_mut("rows").unwrap().truncate(77)),
        "binaryData.rows has 77 bytes, expected a multiple of 26"
    );
    assert_eq!(
        damaged(|encoded| encoded.binary_data.get_mut("rows").unwrap()[24] = 10),
        "binaryData.rows, record 0: status is 10, expected 0 to 9"
    );
    assert_eq!(
        damaged(|encoded| encoded.binary_data.get_mut("outbox").unwrap()[40] = 0),
        "binaryData.outbox, record 0: kind is 0, expected 1 to 3"
    );
    assert_eq!(damaged(|encoded| drop(encoded.data.remove("epoch"))), "data.epoch is missing");
}

#[test]
fn a_full_journal_fits_into_a_config_map() {
    let JournalState { rows, outbox, .. } = example();
    let full = JournalState { rows: vec![rows[1]; ROW_LIMIT], outbox: vec![outbox[2]; OUTBOX_LIMIT], ..example() };
    let EncodedJournal { data, binary_data } = encode(&full);
    let size = data.values().map(String::len).chain(binary_data.values().map(Vec::len)).sum::<usize>();
    assert!(size < CONFIG_MAP_LIMIT / 10 * 9, "{size}");
    let beyond = JournalState { rows: vec![rows[1]; ROW_LIMIT * 9 / 5], ..full };
    assert!(encode(&beyond).binary_data[KEY_ROWS].len() > CONFIG_MAP_LIMIT, "the limit is not far from what is needed");
}

proptest! {
    #[test]
    fn what_is_written_is_read(state in state()) {
        prop_assert_eq!(decode(&encode(&state)), Ok(state));
    }

    #[test]
    fn a_changed_byte_is_refused_or_read_as_what_it_says(
        state in state(),
        key in prop::sample::select(vec![KEY_ROWS, KEY_OUTBOX]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut encoded = encode(&state);
        let bytes = encoded.binary_data.get_mut(key).unwrap();
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read_back) = decode(&encoded) {
            prop_assert_eq!(decode(&encode(&read_back)), Ok(read_back));
        }
    }
}
