//! Pseudonyms of clusters. Kamaji's built-in telemetry names an installation by the UID of an object in its cluster,
//! which becomes a pseudonym before anything is stored.

use std::fmt;
use std::str::FromStr;

use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::rand::{SecureRandom, SystemRandom};
use uuid::{Builder, Uuid};

/// A random key, created with a store and stored in it. Without the key, a cluster's pseudonym can't be computed from
/// its UID.
#[derive(Debug, Clone)]
pub struct PseudonymKey(Key);

/// The name by which readers know an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallationId(u64);

/// A text that is not an [`InstallationId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no name of an installation: expected the 16 hexadecimal digits that the page shows")]
pub struct InvalidInstallationId;

/// The error of a system that gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random numbers: expected them from getrandom(2) or /dev/urandom")]
pub struct RandomError;

impl PseudonymKey {
    /// The number of bytes of a key, as many as the hash has.
    pub const LENGTH: usize = 32;

    /// Returns the bytes of a new key.
    pub fn random() -> Result<[u8; Self::LENGTH], RandomError> {
        let mut bytes = [0; Self::LENGTH];
        SystemRandom::new().fill(&mut bytes).map_err(|_| RandomError)?;
        Ok(bytes)
    }

    /// Returns the pseudonym of the cluster with this UID: the first 122 bits of its HMAC-SHA-256 as a UUID of version
    /// 8, which equals no random UUID of version 4.
    pub fn pseudonym(&self, cluster: Uuid) -> Uuid {
        self.hashed(cluster.as_bytes())
    }

    /// Returns the uid of an event that another server stored under `row`: a keyed hash as a UUID of version 8, which is the same
    /// whenever the event is imported, and does not tell `row`.
    pub fn imported_event(&self, row: Uuid) -> Uuid {
        // A pseudonym is the hash of a UUID alone.
        self.hashed(&[b"imported event", row.as_bytes().as_slice()].concat())
    }

    /// Returns the first 122 bits of a keyed hash as a UUID of version 8.
    fn hashed(&self, bytes: &[u8]) -> Uuid {
        let tag = sign(&self.0, bytes);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&tag.as_ref()[..16]);
        Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// Returns the name by which readers know an installation: 16 hexadecimal digits of a keyed hash. Its UUID is what it
    /// writes by, and is not shown.
    pub fn installation_id(&self, installation: Uuid) -> InstallationId {
        // A pseudonym is the hash of a UUID alone.
        let tag = sign(&self.0, &[b"installation id", installation.as_bytes().as_slice()].concat());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&tag.as_ref()[..8]);
        InstallationId(u64::from_be_bytes(bytes))
    }
}

impl From<[u8; PseudonymKey::LENGTH]> for PseudonymKey {
    fn from(bytes: [u8; Self::LENGTH]) -> Self {
        Self(Key::new(HMAC_SHA256, &bytes))
    }
}

impl FromStr for InstallationId {
    type Err = InvalidInstallationId;

    fn from_str(text: &str) -> Result<Self, InvalidInstallationId> {
        let id = u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidInstallationId)?;
        if id.to_string() == text { Ok(id) } else { Err(InvalidInstallationId) }
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_is_the_keyed_hash_of_the_cluster() {
        let cluster: Uuid = "6f8bd8e2-6d1f-4c0e-9a53-0d9f2b8f9a11".parse().unwrap();
        // Source: Python's hmac.new(bytes(32), uid.bytes, "sha256"), with the version and the variant of RFC 9562.
        let expected: Uuid = "ddfe243f-d445-8297-a277-1213d075e65f".parse().unwrap();
        assert_eq!(PseudonymKey::from([0; 32]).pseudonym(cluster), expected);
    }

    #[test]
    fn another_key_gives_another_pseudonym() {
        let cluster = Uuid::new_v4();
        let [first, second] = [(); 2].map(|()| PseudonymKey::from(PseudonymKey::random().unwrap()));
        assert_ne!(first.pseudonym(cluster), second.pseudonym(cluster));
        assert_eq!(first.pseudonym(cluster), first.clone().pseudonym(cluster));
    }

    #[test]
    fn an_imported_event_has_one_uid_that_is_neither_its_rows_nor_a_pseudonym() {
        let row = Uuid::new_v4();
        let [key, other] = [(); 2].map(|()| PseudonymKey::from(PseudonymKey::random().unwrap()));
        let uid = key.imported_event(row);
        assert_eq!((uid, uid.get_version_num()), (key.imported_event(row), 8));
        for different in [row, key.pseudonym(row), other.imported_event(row), key.imported_event(Uuid::new_v4())] {
            assert_ne!(uid, different);
        }
    }

    #[test]
    fn readers_know_an_installation_by_a_hash_that_is_no_pseudonym() {
        let [installation, other] = [(); 2].map(|()| Uuid::new_v4());
        let key = PseudonymKey::from(PseudonymKey::random().unwrap());
        let id = key.installation_id(installation);
        assert_eq!(id, key.installation_id(installation));
        assert_ne!(id, key.installation_id(other));
        assert_eq!(id.to_string().len(), 16);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "+123456789abcdef", "0123456789ABCDEF", "0123456789abcde"] {
            assert_eq!(bad.parse::<InstallationId>(), Err(InvalidInstallationId), "{bad}");
        }
        assert!(!key.pseudonym(installation).simple().to_string().starts_with(&id.to_string()[..8]));
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let shown = format!("{:?}", PseudonymKey::from([0x5a; 32]));
        assert!(!shown.contains("90, 90") && !shown.contains("5a"), "{shown}");
    }
}
