//! The format, and the bytes that were written in it.

use proptest::prelude::*;

use super::*;
use crate::agent::journal::rows::PackedUids;
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

fn rows() -> impl Strategy<Value = PackedRows> {
    prop::collection::vec(row(), 0..20).prop_map(pack_rows)
}

fn removed() -> impl Strategy<Value = PackedUids> {
    prop::collection::btree_set(uid(), 0..20).prop_map(uids)
}

fn uids(uids: impl IntoIterator<Item = Uuid>) -> PackedUids {
    PackedUids::from_bytes(uids.into_iter().flat_map(Uuid::into_bytes).collect()).unwrap()
}

fn head() -> impl Strategy<Value = JournalHead> {
    let delta = (rows(), removed()).prop_map(|(changed, removed)| Delta { changed, removed });
    let outbox = prop::collection::vec(record(), 0..20);
    (uid(), any::<u64>(), any::<bool>(), prop::option::of(time()), outbox, any::<u64>(), delta).prop_map(
        |(installation, epoch, baseline, acknowledged, outbox, generation, delta)| JournalHead {
            installation,
            epoch,
            baseline,
            acknowledged,
            outbox,
            generation,
            delta,
        },
    )
}

/// Rows with every kind of value.
fn example_rows() -> Vec<PersistedRow> {
    let row = |number: u128, reported: &str, status, deleted_reported| PersistedRow {
        uid: Uuid::from_u128(0x0bad_cafe_0000_4000_8000_0000_0000_0000 + number),
        reported: KubernetesVersion::normalize(reported),
        status,
        deleted_reported,
    };
    vec![
        row(1, "v1.35.1", Status::Ready, false),
        row(2, "v1.36.0-rc.1", Status::Undefined, true),
        row(3, "unknown", Status::Unknown, false),
    ]
}

/// A head with every kind of value.
fn example() -> JournalHead {
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
    JournalHead {
        installation: uid(0),
        epoch: 7,
        baseline: true,
        acknowledged: Some("2026-11-24T05:29:00Z".parse().unwrap()),
        generation: 3,
        delta: Delta { changed: pack_rows(example_rows()), removed: uids([uid(8)]) },
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

fn hex(text: &str) -> Cow<'static, [u8]> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn encoded<const D: usize, const B: usize>(
    data: [(&str, &str); D],
    binary_data: [(&str, &str); B],
) -> EncodedConfigMap<'static> {
    EncodedConfigMap {
        data: data.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        binary_data: binary_data.into_iter().map(|(key, value)| (key.to_owned(), hex(value))).collect(),
    }
}

// Bytes of a released version are in clusters: where these change, FORMAT does.
#[test]
fn what_the_first_version_wrote_is_read_for_ever() {
    let rows = include_str!("first_version_rows.hex");
    let identity = [("format", "1"), ("generation", "3"), ("installation", "0badcafe-0000-4000-8000-000000000000")];
    let [format, generation, installation] = identity;
    let epoch = [("epoch", "7"), ("baseline", "true"), ("acknowledged", "2026-11-24T05:29:00Z")];
    let [epoch, baseline, acknowledged] = epoch;
    let head = encoded(
        [format, generation, installation, epoch, baseline, acknowledged],
        [
            ("changed", rows),
            ("removed", "0badcafe 0000 4000 8000 000000000008"),
            ("outbox", include_str!("first_version_outbox.hex")),
        ],
    );
    assert_eq!(decode_head(head), Ok(example()));
    let base = decode_base(encoded(identity, [("rows", rows)])).unwrap();
    assert_eq!((base.installation, base.generation), (example().installation, 3));
    assert_eq!(unpack_rows(KEY_ROWS, &base.rows), Ok(example_rows()));
}

#[test]
fn a_later_format_is_refused() {
    let example = example();
    let mut encoded = encode_head(&example);
    encoded.data.insert(KEY_FORMAT.to_owned(), "2".to_owned());
    let expected = "data.format is invalid: expected 1";
    assert_eq!(decode_base(encoded.clone()).unwrap_err().to_string(), expected);
    assert_eq!(decode_head(encoded).unwrap_err().to_string(), expected);
    assert_eq!(decode_head(EncodedConfigMap::default()).unwrap_err().to_string(), "data.format is missing");
}

#[test]
fn no_value_is_part_of_an_error() {
    let expectations = [
        (KEY_FORMAT, "1"),
        (KEY_INSTALLATION, "a UUID"),
        (KEY_EPOCH, "a number"),
        (KEY_GENERATION, "a number"),
        (KEY_BASELINE, "true or false"),
        (KEY_ACKNOWLEDGED, "an RFC 3339 time"),
    ];
    for (key, expected) in expectations {
        let example = example();
        let mut encoded = encode_head(&example);
        encoded.data.insert(key.to_owned(), "hunter2".to_owned());
        let error = decode_head(encoded).unwrap_err().to_string();
        assert_eq!(error, format!("data.{key} is invalid: expected {expected}"));
    }
}

#[test]
fn what_is_damaged_is_named() {
    let damaged = |damage: fn(&mut EncodedConfigMap<'_>)| {
        let example = example();
        let mut encoded = encode_head(&example);
        damage(&mut encoded);
        decode_head(encoded).unwrap_err().to_string()
    };
    assert_eq!(
        damaged(|encoded| encoded.binary_data.get_mut("changed").unwrap().to_mut().truncate(77)),
        "binaryData.changed has 77 bytes, expected a multiple of 26"
    );
    assert_eq!(
        damaged(|encoded| encoded.binary_data.get_mut("changed").unwrap().to_mut()[24] = 10),
        "binaryData.changed, record 0: status is 10, expected 0 to 9"
    );
    assert_eq!(
        damaged(|encoded| encoded.binary_data.get_mut("outbox").unwrap().to_mut()[40] = 0),
        "binaryData.outbox, record 0: kind is 0, expected 1 to 3"
    );
    assert_eq!(damaged(|encoded| drop(encoded.data.remove("epoch"))), "data.epoch is missing");
}

fn size(encoded: &EncodedConfigMap<'_>) -> usize {
    let EncodedConfigMap { data, binary_data } = encoded;
    data.values().map(String::len).chain(binary_data.values().map(|bytes| bytes.len())).sum()
}

fn numbered(count: usize) -> impl Iterator<Item = Uuid> {
    (0..count as u128).map(Uuid::from_u128)
}

fn many_rows(count: usize) -> PackedRows {
    pack_rows(numbered(count).map(|uid| PersistedRow { uid, ..example_rows()[1] }).collect())
}

/// A base of all rows, and then a write in which each differs: as many as the outbox holds are gone and as many new, and
/// the others have another status.
#[test]
fn a_full_journal_fits_into_its_config_maps() {
    let base = many_rows(ROW_LIMIT);
    assert!(size(&encode_base(example().installation, 1, &base)) < CONFIG_MAP_LIMIT / 10 * 7);
    // What was in the delta before, when it was not worth a base, may be gone as well.
    let records_before = 225;
    let removed = uids(numbered(OUTBOX_LIMIT + records_before));
    let delta = Delta { changed: many_rows(ROW_LIMIT), removed };
    let full = JournalHead { outbox: vec![example().outbox[2]; OUTBOX_LIMIT], delta, ..example() };
    assert!(size(&encode_head(&full)) < CONFIG_MAP_LIMIT / 100 * 98);
    let beyond = many_rows(ROW_LIMIT * 9 / 5);
    assert!(beyond.as_bytes().len() > CONFIG_MAP_LIMIT, "the limit is not far from what is needed");
    let delta = |records| Delta { changed: many_rows(records), removed: PackedUids::default() };
    assert!(!delta(records_before - 1).is_worth_a_base(&base) && delta(records_before).is_worth_a_base(&base));
}

#[test]
fn records_out_of_order_are_refused() {
    let [one, other] = [0, 1].map(|at| pack_rows(vec![example_rows()[at]]).as_bytes().to_vec());
    for rows in [[other.clone(), one.clone()].concat(), [one.clone(), one].concat()] {
        let example = example();
        let mut encoded = encode_base(example.installation, 1, &example.delta.changed);
        encoded.binary_data.insert(KEY_ROWS.to_owned(), Cow::Owned(rows));
        let error = decode_base(encoded).unwrap_err();
        assert_eq!(error.to_string(), "binaryData.rows is not in the order of the UIDs");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(head in head(), rows in rows()) {
        prop_assert_eq!(decode_head(encode_head(&head)), Ok(head.clone()));
        let DecodedBase { installation, generation, rows: read } =
            decode_base(encode_base(head.installation, head.generation, &rows)).unwrap();
        prop_assert_eq!((installation, generation, read), (head.installation, head.generation, rows));
    }

    #[test]
    fn a_changed_byte_is_refused_or_read_as_what_it_says(
        head in head(),
        key in prop::sample::select(vec![KEY_CHANGED, KEY_REMOVED, KEY_OUTBOX]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut encoded = encode_head(&head);
        let bytes = encoded.binary_data.get_mut(key).unwrap().to_mut();
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(read_back) = decode_head(encoded) {
            prop_assert_eq!(decode_head(encode_head(&read_back)), Ok(read_back));
        }
    }

    #[test]
    fn anything_in_a_config_map_is_decoded_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        texts in prop::collection::vec(any::<String>(), 6),
        is_valid in any::<bool>(),
    ) {
        let example = example();
        let mut head = encode_head(&example);
        let mut base = encode_base(example.installation, example.generation, &example.delta.changed);
        for encoded in [&mut head, &mut base] {
            encoded.binary_data.values_mut().for_each(|value| *value = Cow::Borrowed(&bytes));
            for (value, text) in encoded.data.values_mut().zip(&texts).filter(|_| !is_valid) {
                value.clone_from(text);
            }
        }
        if let Ok(head) = decode_head(head) {
            unpack_rows(KEY_ROWS, &head.delta.apply(&head.delta.changed)).unwrap();
        }
        if let Ok(DecodedBase { rows, .. }) = decode_base(base) {
            // Its records are in order, and each is read or named.
            drop(unpack_rows(KEY_ROWS, &rows));
        }
    }
}
