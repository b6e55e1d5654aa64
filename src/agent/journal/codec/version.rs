//! The encoding of a version in eight bytes: three numbers and the stage.

use bytes::{Buf, BufMut};

use super::CorruptJournal;
use crate::catalog::{KamajiVersion, KubernetesVersion, Stage, VersionNumbers};

/// The first number of an unknown version. No version has it.
const UNKNOWN: u16 = u16::MAX;
/// The factor of the stage. The stage's own number, of at most three digits, is added to it.
const STAGE: u16 = 1_000;
const FINAL: u16 = 0;
const ALPHA: u16 = 1;
const BETA: u16 = 2;
const RC: u16 = 3;
/// Kamaji's edge versions have no stage, so their two forms take its place.
const EDGE_PREFIX: u16 = 4;
const EDGE_SUFFIX: u16 = 5;
/// `latest` has neither numbers nor a stage.
const LATEST: u16 = 6;

pub(super) fn write_kubernetes(version: KubernetesVersion, to: &mut Vec<u8>) {
    match version {
        KubernetesVersion::Unknown | KubernetesVersion::Other => write_numbers([UNKNOWN, 0, 0, 0], to),
        KubernetesVersion::Release(release) => write_numbers(release_numbers(release), to),
    }
}

pub(super) fn read_kubernetes(from: &mut &[u8]) -> Result<KubernetesVersion, CorruptJournal> {
    let numbers = read_numbers(from);
    if numbers[0] == UNKNOWN {
        return Ok(KubernetesVersion::Unknown);
    }
    read_release(numbers).map(KubernetesVersion::Release)
}

pub(super) fn write_kamaji(version: KamajiVersion, to: &mut Vec<u8>) {
    let numbers = match version {
        KamajiVersion::Unknown | KamajiVersion::Other => [UNKNOWN, 0, 0, 0],
        KamajiVersion::Latest => [0, 0, 0, LATEST * STAGE],
        KamajiVersion::Release(release) => release_numbers(release),
        KamajiVersion::EdgePrefix(x, y, z) => [x, y, z, EDGE_PREFIX * STAGE],
        KamajiVersion::EdgeSuffix(x, y, z) => [x, y, z, EDGE_SUFFIX * STAGE],
    };
    write_numbers(numbers, to);
}

pub(super) fn read_kamaji(from: &mut &[u8]) -> Result<KamajiVersion, CorruptJournal> {
    let numbers @ [x, y, z, stage] = read_numbers(from);
    match (x, stage / STAGE) {
        (UNKNOWN, _) => Ok(KamajiVersion::Unknown),
        _ if numbers == [0, 0, 0, LATEST * STAGE] => Ok(KamajiVersion::Latest),
        (_, EDGE_PREFIX) => Ok(KamajiVersion::EdgePrefix(x, y, z)),
        (_, EDGE_SUFFIX) => Ok(KamajiVersion::EdgeSuffix(x, y, z)),
        _ => read_release(numbers).map(KamajiVersion::Release),
    }
}

fn release_numbers(VersionNumbers { major, minor, patch, stage }: VersionNumbers) -> [u16; 4] {
    let stage = match stage {
        Stage::Final => FINAL,
        Stage::Alpha(number) => ALPHA * STAGE + number,
        Stage::Beta(number) => BETA * STAGE + number,
        Stage::Rc(number) => RC * STAGE + number,
    };
    [major, minor, patch, stage]
}

/// Decodes a release. Accepts only what the encoder can have written: the backend would reject a number of five digits
/// for ever.
fn read_release([major, minor, patch, stage]: [u16; 4]) -> Result<VersionNumbers, CorruptJournal> {
    let number = stage % STAGE;
    let stage = match stage / STAGE {
        FINAL if number == 0 => Stage::Final,
        ALPHA => Stage::Alpha(number),
        BETA => Stage::Beta(number),
        RC => Stage::Rc(number),
        _ => return Err(CorruptJournal(format!("a version's stage is {stage}"))),
    };
    let release = VersionNumbers { major, minor, patch, stage };
    match KubernetesVersion::normalize(&release.to_string()) {
        KubernetesVersion::Release(read) if read == release => Ok(release),
        _ => Err(CorruptJournal(format!("a version is {release}, expected numbers of up to four digits"))),
    }
}

fn write_numbers(numbers: [u16; 4], to: &mut Vec<u8>) {
    for number in numbers {
        to.put_u16(number);
    }
}

fn read_numbers(from: &mut &[u8]) -> [u16; 4] {
    std::array::from_fn(|_| from.get_u16())
}
