//! How often a sign-in may fail. It keeps nobody out who has a token, since whoever shares an address with an attacker
//! has the attempts in common with it: what has to be out of reach of guessing is the secret, of 256 random bits.

use crate::process::lock::lock;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::backend::rate_limit::ClientKey;

/// After this time all is forgiven: long enough that what fails is written down a few times only, short enough to wait
/// for.
const WINDOW: Duration = Duration::from_mins(5);

/// LoginThrottle of one source in a window: a person's typing errors, and those of colleagues behind the same address.
const OF_ONE: u32 = 10;

/// LoginThrottle of all sources in a window: two a second, far above what people do. It also bounds the memory: no more
/// sources are remembered than there were attempts.
const OF_ALL: u32 = 600;

/// Counts the attempts that failed, in memory only and no longer than a window.
#[derive(Debug)]
pub(super) struct LoginThrottle(Mutex<Window>);

#[derive(Debug)]
struct Window {
    began: Instant,
    all: u32,
    of: HashMap<ClientKey, u32>,
}

impl LoginThrottle {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Window { began: now, all: 0, of: HashMap::new() }))
    }

    /// Counts an attempt from `source` that failed, or says how long to wait before the next where there were too many.
    pub(super) fn failed(&self, source: ClientKey, now: Instant) -> Result<(), Duration> {
        let mut window = self.lock();
        window.end(now);
        let wait = WINDOW.saturating_sub(now.duration_since(window.began));
        if window.all >= OF_ALL {
            return Err(wait);
        }
        let of_one = window.of.entry(source).or_default();
        if *of_one >= OF_ONE {
            return Err(wait);
        }
        *of_one += 1;
        window.all += 1;
        Ok(())
    }

    /// Forgets the sources of a window that is over.
    pub(super) fn forget(&self, now: Instant) {
        self.lock().end(now);
    }

    /// Counts are whole whatever happened to another holder.
    fn lock(&self) -> MutexGuard<'_, Window> {
        lock(&self.0)
    }
}

impl Window {
    /// Begins the next one, if this one is over.
    fn end(&mut self, now: Instant) {
        if now.duration_since(self.began) >= WINDOW {
            *self = Self { began: now, all: 0, of: HashMap::new() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(address: &str) -> ClientKey {
        ClientKey::of(address.parse().unwrap())
    }

    #[test]
    fn a_source_has_ten_attempts_until_the_window_ends_and_others_have_theirs() {
        let now = Instant::now();
        let attempts = LoginThrottle::new(now);
        for _ in 0..OF_ONE {
            assert_eq!(attempts.failed(source("192.0.2.7"), now), Ok(()));
        }
        let later = now + Duration::from_mins(4);
        for same in ["192.0.2.7", "::ffff:192.0.2.7"] {
            assert_eq!(attempts.failed(source(same), later), Err(Duration::from_mins(1)));
        }
        for other in ["192.0.2.8", "2001:db8::1"] {
            assert_eq!(attempts.failed(source(other), later), Ok(()), "{other}");
        }
        assert_eq!(attempts.failed(source("192.0.2.7"), now + WINDOW), Ok(()));
    }

    #[test]
    fn a_source_is_forgotten_when_the_window_is_over_though_nobody_else_comes() {
        let now = Instant::now();
        let attempts = LoginThrottle::new(now);
        attempts.failed(source("192.0.2.7"), now).unwrap();
        for (after, known) in [(WINDOW / 2, 1), (WINDOW, 0)] {
            attempts.forget(now + after);
            assert_eq!(attempts.lock().of.len(), known);
        }
    }

    #[test]
    fn all_sources_together_are_bounded_in_attempts_and_in_memory() {
        let now = Instant::now();
        let attempts = LoginThrottle::new(now);
        let sources = (0..10 * OF_ALL).map(|number| ClientKey::of(Ipv4Addr::from(number).into()));
        assert_eq!(sources.filter(|source| attempts.failed(*source, now).is_ok()).count(), OF_ALL as usize);
        assert_eq!(attempts.lock().of.len(), OF_ALL as usize);
    }
}
