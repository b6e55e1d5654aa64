//! The weeks of the public page as a store keeps them: the counts that they are made from, their key, and what was
//! published.

use std::collections::BTreeMap;
use std::fmt;

use futures::future::BoxFuture;
use ring::hmac::{HMAC_SHA256, Key, sign};

use super::fold::SizeClass;
use super::hour::Day;
use super::pseudonym::{PseudonymKey, RandomError};
use super::{ReadError, WriteError};
use crate::catalog::{KamajiMinor, KubernetesMinor};

/// A store of the weeks of the public page.
///
/// Every implementation keeps these promises:
/// - A published week never changes, whatever is received or erased later.
/// - A week is published once. After a restore of a backup, too, no week is published that is not later than all that
///   were published before. A crash may lose a week for ever; it never makes a second edition possible.
pub trait PublicWeekStore: Send + Sync + 'static {
    /// Counts the established installations of the week that begins on `monday`, as they were at its end.
    fn week_counts(&self, monday: Day) -> BoxFuture<'_, Result<WeekCounts, ReadError>>;

    /// Returns the key of the offsets. It is made with the store, and never changes.
    fn public_key(&self) -> BoxFuture<'_, Result<PublicKey, ReadError>>;

    /// Returns the Monday of the last week that was published or lost; `None` before the first.
    fn last_public_week(&self) -> BoxFuture<'_, Result<Option<Day>, ReadError>>;

    /// Stores a week, if it is later than [`PublicWeekStore::last_public_week`]. Returns whether it did.
    ///
    /// A week whose publication fails with [`WriteError`] may be lost, and then is never stored.
    fn publish_week(&self, week: StoredWeek) -> BoxFuture<'_, Result<bool, WriteError>>;

    /// Returns the published weeks, newest first.
    fn public_weeks(&self) -> BoxFuture<'_, Result<Vec<StoredWeek>, ReadError>>;
}

/// A published week, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWeek {
    /// The Monday with which it begins.
    pub monday: Day,
    /// The tables, as JSON.
    pub content: String,
}

/// The established installations of a week: of this project's agents, received in the week, confirmed by their last
/// receipt in it, and first received [`ESTABLISHED_DAYS`](super::fold::ESTABLISHED_DAYS) before its Monday or earlier.
/// Each counts once in each list, by its last report of the week.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeekCounts {
    /// The number of installations.
    pub installations: u64,
    /// Installations by the minor version of Kamaji, newest first.
    pub kamaji: Vec<CategoryCount>,
    /// Installations by the minor version of Kubernetes, newest first.
    pub kubernetes: Vec<CategoryCount>,
    /// Installations by size, smallest first.
    pub sizes: Vec<CategoryCount>,
}

impl WeekCounts {
    /// Adds up installations by pair of versions, and the same installations by size.
    pub fn new(
        pairs: impl IntoIterator<Item = (KamajiMinor, KubernetesMinor, u64)>,
        sizes: impl IntoIterator<Item = (SizeClass, u64)>,
    ) -> Self {
        let (mut kamaji, mut kubernetes, mut by_size) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (kamaji_minor, kubernetes_minor, installations) in pairs {
            *kamaji.entry(kamaji_minor).or_default() += installations;
            *kubernetes.entry(kubernetes_minor).or_default() += installations;
        }
        for (size, installations) in sizes {
            *by_size.entry(PublicSize::of(size)).or_default() += installations;
        }
        let of_kamaji = |(minor, installations): (KamajiMinor, u64)| CategoryCount {
            category: minor.to_string(),
            is_named: !matches!(minor, KamajiMinor::Unknown | KamajiMinor::Other),
            installations,
        };
        let of_kubernetes = |(minor, installations): (KubernetesMinor, u64)| CategoryCount {
            category: minor.to_string(),
            is_named: matches!(minor, KubernetesMinor::Minor { .. }),
            installations,
        };
        let of_size = |(size, installations): (PublicSize, u64)| CategoryCount {
            category: size.label().to_owned(),
            is_named: true,
            installations,
        };
        Self {
            installations: kamaji.values().sum(),
            kamaji: kamaji.into_iter().rev().map(of_kamaji).collect(),
            kubernetes: kubernetes.into_iter().rev().map(of_kubernetes).collect(),
            sizes: by_size.into_iter().map(of_size).collect(),
        }
    }
}

/// A size on the public page, which has fewer of them than [`SizeClass`]: each shows the more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PublicSize {
    UpTo5,
    UpTo20,
    UpTo100,
    Larger,
}

impl PublicSize {
    const fn of(size: SizeClass) -> Self {
        match size {
            SizeClass::None | SizeClass::One | SizeClass::UpTo5 => Self::UpTo5,
            SizeClass::UpTo20 => Self::UpTo20,
            SizeClass::UpTo100 => Self::UpTo100,
            SizeClass::UpTo1000 | SizeClass::Larger => Self::Larger,
        }
    }

    /// Returns its name. It never changes: the offset of the public page depends on it.
    const fn label(self) -> &'static str {
        match self {
            Self::UpTo5 => "0–5",
            Self::UpTo20 => "6–20",
            Self::UpTo100 => "21–100",
            Self::Larger => "more than 100",
        }
    }
}

/// A category, and its number of installations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryCount {
    /// The name of the category.
    pub category: String,
    /// False for what is no category of its own, such as an unknown version.
    pub is_named: bool,
    /// The number of installations.
    pub installations: u64,
}

/// The key of the public page's offsets. Who knows it can take the offsets out of what was published.
#[derive(Clone)]
pub struct PublicKey(Key);

impl PublicKey {
    /// The number of bytes of a key.
    pub const LENGTH: usize = PseudonymKey::LENGTH;

    /// Returns the bytes of a new key.
    pub fn random() -> Result<[u8; Self::LENGTH], RandomError> {
        PseudonymKey::random()
    }

    /// Returns a number below `bound` that depends on the key and the texts alone.
    ///
    /// The first 64 bits of an HMAC-SHA-256 are reduced by the bound: each of five numbers is as likely as another to
    /// within 2^-61.
    pub fn number_below(&self, bound: u64, table: &str, category: &str) -> u64 {
        // No name of a table has a zero byte, so no two pairs are the same text.
        let tag = sign(&self.0, &[table.as_bytes(), &[0], category.as_bytes()].concat());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&tag.as_ref()[..8]);
        u64::from_be_bytes(bytes) % bound
    }
}

impl From<[u8; PublicKey::LENGTH]> for PublicKey {
    fn from(bytes: [u8; Self::LENGTH]) -> Self {
        Self(Key::new(HMAC_SHA256, &bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installations_are_counted_by_each_dimension_newest_first_and_smallest_first() {
        let kubernetes = |minor| KubernetesMinor::Minor { major: 1, minor };
        let stable = |minor| KamajiMinor::Stable { major: 1, minor };
        let pairs = [
            (stable(9), kubernetes(35), 1),
            (stable(10), kubernetes(34), 2),
            (KamajiMinor::Latest, kubernetes(34), 4),
            (KamajiMinor::Unknown, kubernetes(34), 8),
            (KamajiMinor::Other, kubernetes(34), 16),
        ];
        let sizes = SizeClass::ALL.into_iter().zip([1, 2, 4, 8, 16, 32, 64]);
        let counts = WeekCounts::new(pairs, sizes);
        let named = |list: &[CategoryCount]| -> Vec<_> {
            list.iter().map(|count| (count.category.clone(), count.is_named, count.installations)).collect()
        };
        let row = |name: &str, is_named, installations| (name.to_owned(), is_named, installations);
        assert_eq!(counts.installations, 31);
        assert_eq!(
            named(&counts.kamaji),
            [
                row("v1.10", true, 2),
                row("v1.9", true, 1),
                row("latest", true, 4),
                row("other", false, 16),
                row("unknown", false, 8)
            ]
        );
        assert_eq!(named(&counts.kubernetes), [row("v1.35", true, 1), row("v1.34", true, 30)]);
        assert_eq!(
            named(&counts.sizes),
            [row("0–5", true, 7), row("6–20", true, 8), row("21–100", true, 16), row("more than 100", true, 96)]
        );
    }

    #[test]
    fn a_number_is_the_keyed_hash_of_table_and_category() {
        let key = PublicKey::from([7; PublicKey::LENGTH]);
        // Source: Python's hmac.new(bytes([7]) * 32, b"size\x006-20", "sha256"), its first 8 bytes modulo 5.
        assert_eq!(key.number_below(5, "size", "6-20"), 4);
        assert_ne!(key.number_below(1 << 60, "size", "6-20"), key.number_below(1 << 60, "siz", "e6-20"));
        let other = PublicKey::from([8; PublicKey::LENGTH]);
        assert_ne!(key.number_below(1 << 60, "size", "6-20"), other.number_below(1 << 60, "size", "6-20"));
        assert!(!format!("{key:?}").contains('7'));
    }

    #[test]
    fn each_number_is_about_as_likely_as_another() {
        let key = PublicKey::from([7; PublicKey::LENGTH]);
        let mut seen = [0; 5];
        for version in 0..5_000 {
            seen[usize::try_from(key.number_below(5, "kamaji", &format!("v1.{version}"))).unwrap()] += 1;
        }
        // Five standard deviations of 28.
        assert!(seen.iter().all(|count| (860..=1_140).contains(count)), "{seen:?}");
    }
}
