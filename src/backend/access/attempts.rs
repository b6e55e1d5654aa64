//! How often a sign-in may be tried.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this time all is forgiven: long enough to make guessing pointless, short enough to wait for.
const WINDOW: Duration = Duration::from_mins(5);

/// Attempts of one source in a window: a person's typing errors, and those of colleagues behind the same address.
const OF_ONE: u32 = 10;

/// Attempts of all sources in a window: two a second, far above what people do. It also bounds the memory: no more
/// sources are remembered than there were attempts.
const OF_ALL: u32 = 600;

/// Counts the attempts that failed or are under way, in memory only and no longer than a window.
#[derive(Debug)]
pub(super) struct Attempts(Mutex<Window>);

#[derive(Debug)]
struct Window {
    began: Instant,
    all: u32,
    of: HashMap<Source, u32>,
}

/// What addresses have in common that one household or office has: an IPv4 /24 or an IPv6 /48. Unknown addresses are one.
type Source = Option<[u8; 6]>;

impl Attempts {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Window { began: now, all: 0, of: HashMap::new() }))
    }

    /// Counts an attempt from `address`, or says how long to wait before the next.
    pub(super) fn begin(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let mut window = self.lock();
        if now.duration_since(window.began) >= WINDOW {
            *window = Window { began: now, all: 0, of: HashMap::new() };
        }
        let wait = WINDOW.saturating_sub(now.duration_since(window.began));
        if window.all >= OF_ALL {
            return Err(wait);
        }
        let of_one = window.of.entry(address.map(prefix)).or_default();
        if *of_one >= OF_ONE {
            return Err(wait);
        }
        *of_one += 1;
        window.all += 1;
        Ok(())
    }

    /// Takes back the count of an attempt that succeeded.
    pub(super) fn succeeded(&self, address: Option<IpAddr>) {
        let mut window = self.lock();
        // None where the window ended meanwhile.
        if let Some(of_one) = window.of.get_mut(&address.map(prefix)).filter(|of_one| **of_one > 0) {
            *of_one -= 1;
            window.all -= 1;
        }
    }

    /// Counts are whole whatever happened to another holder.
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn prefix(address: IpAddr) -> [u8; 6] {
    let mut prefix = [0; 6];
    match address.to_canonical() {
        // After a byte with which no address begins that IPv6 gives out, so that no network of either shares it.
        IpAddr::V4(v4) => {
            prefix[0] = 0xff;
            prefix[1..4].copy_from_slice(&v4.octets()[..3]);
        }
        IpAddr::V6(v6) => prefix.copy_from_slice(&v6.octets()[..6]),
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_ten_attempts_until_the_window_ends_and_others_have_theirs() {
        let now = Instant::now();
        let attempts = Attempts::new(now);
        for host in 0..OF_ONE {
            assert_eq!(attempts.begin(Some(address(&format!("192.0.2.{host}"))), now), Ok(()));
        }
        let later = now + Duration::from_mins(4);
        assert_eq!(attempts.begin(Some(address("192.0.2.200")), later), Err(Duration::from_mins(1)));
        assert_eq!(attempts.begin(Some(address("::ffff:192.0.2.7")), later), Err(Duration::from_mins(1)));
        for other in [Some(address("192.0.3.1")), Some(address("2001:db8::1")), None] {
            assert_eq!(attempts.begin(other, later), Ok(()), "{other:?}");
        }
        assert_eq!(attempts.begin(Some(address("192.0.2.200")), now + WINDOW), Ok(()));
    }

    #[test]
    fn an_ipv6_network_of_48_bits_is_one_source() {
        let now = Instant::now();
        let attempts = Attempts::new(now);
        for subnet in 0..OF_ONE {
            assert_eq!(attempts.begin(Some(address(&format!("2001:db8:1:{subnet}::1"))), now), Ok(()));
        }
        assert!(attempts.begin(Some(address("2001:db8:1:ffff::1")), now).is_err());
        assert!(attempts.begin(Some(address("2001:db8:2::1")), now).is_ok());
    }

    #[test]
    fn what_succeeds_does_not_count() {
        let now = Instant::now();
        let attempts = Attempts::new(now);
        for _ in 0..OF_ALL {
            assert_eq!(attempts.begin(None, now), Ok(()));
            attempts.succeeded(None);
        }
        assert_eq!(attempts.begin(None, now), Ok(()));
    }

    #[test]
    fn all_sources_together_are_bounded_in_attempts_and_in_memory() {
        let now = Instant::now();
        let attempts = Attempts::new(now);
        let allowed = (0..10 * OF_ALL).filter(|&source| {
            let [_, a, b, c] = source.to_be_bytes();
            attempts.begin(Some([a, b, c, 0].into()), now).is_ok()
        });
        assert_eq!(allowed.count(), OF_ALL as usize);
        assert_eq!(attempts.lock().of.len(), OF_ALL as usize);
    }
}
