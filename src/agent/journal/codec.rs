//! The encoding of head and base in a ConfigMap each: text for people in `data`, packed rows and events in `binaryData`.
//!
//! Numbers are big-endian and records have a fixed length, so that the size of a state is known beforehand. The format
//! has a version. A test decodes the bytes of each version that was ever written.

mod version;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use bytes::{Buf, BufMut};
use jiff::Timestamp;
use uuid::Uuid;

use super::rows::{Delta, PackedRows, ROW_BYTES, SortedRecords};
use super::state::JournalHead;
use crate::agent::observe::PersistedRow;
use crate::catalog::{Event, EventRecord, ExtendedAttributes, KubernetesVersion, NetworkProfile, Status};
use version::{read_kamaji, read_kubernetes, write_kamaji, write_kubernetes};

/// The version of the format.
const FORMAT: &str = "1";

const KEY_FORMAT: &str = "format";
const KEY_INSTALLATION: &str = "installation";
const KEY_EPOCH: &str = "epoch";
const KEY_BASELINE: &str = "baseline";
const KEY_ACKNOWLEDGED: &str = "acknowledged";
const KEY_GENERATION: &str = "generation";
pub(super) const KEY_ROWS: &str = "rows";
const KEY_CHANGED: &str = "changed";
const KEY_REMOVED: &str = "removed";
const KEY_OUTBOX: &str = "outbox";

/// The bytes of an event: uid, time, versions of Kamaji and Kubernetes, kind, detail, two versions of the control plane.
pub(super) const EVENT_BYTES: usize = 16 + 8 + 8 + 8 + 1 + 1 + 8 + 8;

const CREATED: u8 = 1;
const UPDATED: u8 = 2;
const DELETED: u8 = 3;

const DELETED_REPORTED: u8 = 1;

/// Statuses by their code. A code is never reused.
const STATUSES: [Status; 10] = [
    Status::Unknown,
    Status::Provisioning,
    Status::CertificateAuthorityRotating,
    Status::Upgrading,
    Status::Migrating,
    Status::Ready,
    Status::NotReady,
    Status::Sleeping,
    Status::WriteLimited,
    Status::Undefined,
];

/// Network profiles by their code, none first. A code is never reused.
const PROFILES: [Option<NetworkProfile>; 6] = [
    None,
    Some(NetworkProfile::Ingress),
    Some(NetworkProfile::Gateway),
    Some(NetworkProfile::LoadBalancer),
    Some(NetworkProfile::NodePort),
    Some(NetworkProfile::ClusterIp),
];
/// The bit of `detail` that is set if the extended signals were on.
const HAS_EXTENDED: u8 = 0b1000_0000;
const CLUSTER_API: u8 = 0b0100_0000;

/// The two maps of a ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EncodedConfigMap<'a> {
    pub(super) data: BTreeMap<String, String>,
    pub(super) binary_data: BTreeMap<String, Cow<'a, [u8]>>,
}

/// The content of the base's ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DecodedBase {
    pub(super) installation: Uuid,
    pub(super) generation: u64,
    pub(super) rows: PackedRows,
}

/// An error of decoding a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CorruptJournal(String);

/// Encodes a head.
pub(super) fn encode_head(head: &JournalHead) -> EncodedConfigMap<'_> {
    let JournalHead { installation, epoch, baseline, acknowledged, outbox, generation, delta } = head;
    let mut data = identity(*installation, *generation);
    data.insert(KEY_EPOCH.to_owned(), epoch.to_string());
    data.insert(KEY_BASELINE.to_owned(), baseline.to_string());
    data.extend(acknowledged.map(|time| (KEY_ACKNOWLEDGED.to_owned(), time.to_string())));
    let binary_data = BTreeMap::from([
        (KEY_CHANGED.to_owned(), Cow::Borrowed(delta.changed.as_bytes())),
        (KEY_REMOVED.to_owned(), Cow::Borrowed(delta.removed.as_bytes())),
        (KEY_OUTBOX.to_owned(), Cow::Owned(pack(outbox, EVENT_BYTES, write_event))),
    ]);
    EncodedConfigMap { data, binary_data }
}

/// Encodes a base.
pub(super) fn encode_base(installation: Uuid, generation: u64, rows: &PackedRows) -> EncodedConfigMap<'_> {
    let binary_data = BTreeMap::from([(KEY_ROWS.to_owned(), Cow::Borrowed(rows.as_bytes()))]);
    EncodedConfigMap { data: identity(installation, generation), binary_data }
}

/// Returns the text by which head and base name each other.
fn identity(installation: Uuid, generation: u64) -> BTreeMap<String, String> {
    BTreeMap::from([
        (KEY_FORMAT.to_owned(), FORMAT.to_owned()),
        (KEY_INSTALLATION.to_owned(), installation.hyphenated().to_string()),
        (KEY_GENERATION.to_owned(), generation.to_string()),
    ])
}

/// Decodes a head.
pub(super) fn decode_head(mut encoded: EncodedConfigMap<'_>) -> Result<JournalHead, CorruptJournal> {
    let (installation, generation) = decode_identity(&encoded)?;
    let delta = Delta { changed: records(&mut encoded, KEY_CHANGED)?, removed: records(&mut encoded, KEY_REMOVED)? };
    unpack_rows(KEY_CHANGED, &delta.changed)?;
    let data = &encoded.data;
    let outbox = encoded.binary_data.get(KEY_OUTBOX).map_or(&[][..], |bytes| bytes);
    Ok(JournalHead {
        installation,
        epoch: parse(data, KEY_EPOCH, "a number")?,
        baseline: parse(data, KEY_BASELINE, "true or false")?,
        acknowledged: data
            .contains_key(KEY_ACKNOWLEDGED)
            .then(|| parse(data, KEY_ACKNOWLEDGED, "an RFC 3339 time"))
            .transpose()?,
        outbox: unpack(KEY_OUTBOX, outbox, EVENT_BYTES, read_event)?,
        generation,
        delta,
    })
}

/// Decodes a base. Its rows are not unpacked: [`unpack_rows`] finds what is wrong with one.
pub(super) fn decode_base(mut encoded: EncodedConfigMap<'_>) -> Result<DecodedBase, CorruptJournal> {
    let (installation, generation) = decode_identity(&encoded)?;
    Ok(DecodedBase { installation, generation, rows: records(&mut encoded, KEY_ROWS)? })
}

fn decode_identity(EncodedConfigMap { data, .. }: &EncodedConfigMap<'_>) -> Result<(Uuid, u64), CorruptJournal> {
    if text(data, KEY_FORMAT)? != FORMAT {
        return Err(invalid(KEY_FORMAT, FORMAT));
    }
    Ok((parse(data, KEY_INSTALLATION, "a UUID")?, parse(data, KEY_GENERATION, "a number")?))
}

/// Takes the records of a key, of which there are none without the key.
fn records<const SIZE: usize>(
    encoded: &mut EncodedConfigMap<'_>,
    key: &str,
) -> Result<SortedRecords<SIZE>, CorruptJournal> {
    let bytes = encoded.binary_data.remove(key).unwrap_or_default().into_owned();
    if !bytes.len().is_multiple_of(SIZE) {
        return Err(wrong_length(key, bytes.len(), SIZE));
    }
    let unsorted = || CorruptJournal(format!("binaryData.{key} is not in the order of the UIDs"));
    SortedRecords::from_bytes(bytes).ok_or_else(unsorted)
}

/// Packs rows, of which no two have the same UID.
pub(super) fn pack_rows(mut rows: Vec<PersistedRow>) -> PackedRows {
    rows.sort_unstable_by_key(|row| row.uid);
    PackedRows::from_bytes(pack(&rows, ROW_BYTES, write_row)).expect("they are sorted, and an index has a UID once")
}

/// Unpacks the rows of a key, which an error names.
pub(super) fn unpack_rows(key: &str, rows: &PackedRows) -> Result<Vec<PersistedRow>, CorruptJournal> {
    unpack(key, rows.as_bytes(), ROW_BYTES, read_row)
}

fn text<'a>(data: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str, CorruptJournal> {
    data.get(key).map(String::as_str).ok_or_else(|| CorruptJournal(format!("data.{key} is missing")))
}

fn parse<T: FromStr>(data: &BTreeMap<String, String>, key: &str, expected: &str) -> Result<T, CorruptJournal> {
    text(data, key)?.parse().map_err(|_| invalid(key, expected))
}

/// Returns the error for a value. It does not contain the value: in somebody else's ConfigMap that may be a secret.
fn invalid(key: &str, expected: &str) -> CorruptJournal {
    CorruptJournal(format!("data.{key} is invalid: expected {expected}"))
}

fn wrong_length(key: &str, bytes: usize, size: usize) -> CorruptJournal {
    CorruptJournal(format!("binaryData.{key} has {bytes} bytes, expected a multiple of {size}"))
}

fn pack<T>(records: &[T], size: usize, write: impl Fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(records.len() * size);
    for record in records {
        write(record, &mut bytes);
    }
    bytes
}

fn unpack<T>(
    key: &str,
    bytes: &[u8],
    size: usize,
    read: impl Fn(&mut &[u8]) -> Result<T, CorruptJournal>,
) -> Result<Vec<T>, CorruptJournal> {
    if !bytes.len().is_multiple_of(size) {
        return Err(wrong_length(key, bytes.len(), size));
    }
    let record = |(number, mut bytes): (usize, &[u8])| {
        read(&mut bytes)
            .map_err(|CorruptJournal(why)| CorruptJournal(format!("binaryData.{key}, record {number}: {why}")))
    };
    bytes.chunks_exact(size).enumerate().map(record).collect()
}

fn write_row(row: &PersistedRow, to: &mut Vec<u8>) {
    let PersistedRow { uid, reported, status, deleted_reported } = *row;
    to.put_slice(uid.as_bytes());
    write_kubernetes(reported, to);
    to.put_u8(code(&STATUSES, status));
    to.put_u8(if deleted_reported { DELETED_REPORTED } else { 0 });
}

fn read_row(from: &mut &[u8]) -> Result<PersistedRow, CorruptJournal> {
    Ok(PersistedRow {
        uid: Uuid::from_u128(from.get_u128()),
        reported: read_kubernetes(from)?,
        status: from_code(&STATUSES, from.get_u8(), "status")?,
        deleted_reported: match from.get_u8() {
            0 => false,
            DELETED_REPORTED => true,
            flags => return Err(CorruptJournal(format!("flags are {flags}, expected 0 or 1"))),
        },
    })
}

fn write_event(record: &EventRecord, to: &mut Vec<u8>) {
    let EventRecord { uid, time, kamaji_version, kubernetes_version, event } = *record;
    let (kind, detail, first, second) = match event {
        Event::Created { tcp_version, extended } => {
            (CREATED, write_extended(extended), tcp_version, KubernetesVersion::Unknown)
        }
        Event::Updated { old_tcp_version, new_tcp_version } => (UPDATED, 0, old_tcp_version, new_tcp_version),
        Event::Deleted { status, tcp_version } => {
            (DELETED, code(&STATUSES, status), tcp_version, KubernetesVersion::Unknown)
        }
    };
    to.put_slice(uid.as_bytes());
    to.put_i64(time.as_millisecond());
    write_kamaji(kamaji_version, to);
    write_kubernetes(kubernetes_version, to);
    to.put_u8(kind);
    to.put_u8(detail);
    write_kubernetes(first, to);
    write_kubernetes(second, to);
}

fn read_event(from: &mut &[u8]) -> Result<EventRecord, CorruptJournal> {
    let uid = Uuid::from_u128(from.get_u128());
    let time = Timestamp::from_millisecond(from.get_i64()).map_err(|error| CorruptJournal(format!("time: {error}")))?;
    let kamaji_version = read_kamaji(from)?;
    let kubernetes_version = read_kubernetes(from)?;
    let (kind, detail) = (from.get_u8(), from.get_u8());
    let (first, second) = (read_kubernetes(from)?, read_kubernetes(from)?);
    let event = match kind {
        CREATED => Event::Created { tcp_version: first, extended: read_extended(detail)? },
        UPDATED => Event::Updated { old_tcp_version: first, new_tcp_version: second },
        DELETED => Event::Deleted { status: from_code(&STATUSES, detail, "status")?, tcp_version: first },
        kind => return Err(CorruptJournal(format!("kind is {kind}, expected {CREATED} to {DELETED}"))),
    };
    Ok(EventRecord { uid, time, kamaji_version, kubernetes_version, event })
}

fn write_extended(extended: Option<ExtendedAttributes>) -> u8 {
    let Some(ExtendedAttributes { cluster_api, network_profile }) = extended else { return 0 };
    HAS_EXTENDED | if cluster_api { CLUSTER_API } else { 0 } | code(&PROFILES, network_profile)
}

fn read_extended(detail: u8) -> Result<Option<ExtendedAttributes>, CorruptJournal> {
    if detail & HAS_EXTENDED == 0 {
        return Ok(None);
    }
    let network_profile = from_code(&PROFILES, detail & !(HAS_EXTENDED | CLUSTER_API), "network profile")?;
    Ok(Some(ExtendedAttributes { cluster_api: detail & CLUSTER_API != 0, network_profile }))
}

fn code<T: PartialEq + Copy>(table: &[T], value: T) -> u8 {
    let index = table.iter().position(|known| *known == value).and_then(|index| u8::try_from(index).ok());
    index.expect("the tables of this file name every value, which a test checks")
}

fn from_code<T: Copy>(table: &[T], code: u8, name: &str) -> Result<T, CorruptJournal> {
    let last = table.len() - 1;
    table
        .get(usize::from(code))
        .copied()
        .ok_or_else(|| CorruptJournal(format!("{name} is {code}, expected 0 to {last}")))
}

#[cfg(test)]
mod tests;
