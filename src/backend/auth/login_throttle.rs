//! A limit on failed logins.
//!
//! A valid token always signs in: an attacker may share a reader's address. Guessing is prevented by the 256-bit secret,
//! not by this limit.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::backend::rate_limit::ClientKey;
use crate::process::lock::lock;

/// The time after which all failures are forgotten: long enough that few of them are logged, short enough to wait for.
const WINDOW: Duration = Duration::from_mins(5);

/// The maximum number of failures of one client in a window: typing errors of a person, and of colleagues behind the same
/// address.
const MAX_PER_CLIENT: u32 = 10;

/// The maximum number of failures of all clients in a window: two a second, far more than people make. It bounds the
/// memory, too: there are no more clients than failures.
const MAX_TOTAL: u32 = 600;

/// The failed logins of the current window, in memory only.
#[derive(Debug)]
pub(super) struct LoginThrottle(Mutex<AttemptWindow>);

#[derive(Debug)]
struct AttemptWindow {
    start: Instant,
    total: u32,
    by_client: HashMap<ClientKey, u32>,
}

impl LoginThrottle {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(AttemptWindow { start: now, total: 0, by_client: HashMap::new() }))
    }

    /// Counts a failure of `client`, or returns how long to wait before the next attempt if there were too many.
    pub(super) fn failed(&self, client: ClientKey, now: Instant) -> Result<(), Duration> {
        let mut window = lock(&self.0);
        window.renew(now);
        let wait = WINDOW.saturating_sub(now.duration_since(window.start));
        if window.total >= MAX_TOTAL {
            return Err(wait);
        }
        let of_client = window.by_client.entry(client).or_default();
        if *of_client >= MAX_PER_CLIENT {
            return Err(wait);
        }
        *of_client += 1;
        window.total += 1;
        Ok(())
    }

    /// Forgets the clients of a window that is over.
    pub(super) fn evict(&self, now: Instant) {
        lock(&self.0).renew(now);
    }
}

impl AttemptWindow {
    /// Starts the next window if this one is over.
    fn renew(&mut self, now: Instant) {
        if now.duration_since(self.start) >= WINDOW {
            *self = Self { start: now, total: 0, by_client: HashMap::new() };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(address: &str) -> ClientKey {
        ClientKey::of(address.parse().unwrap())
    }

    #[test]
    fn a_client_has_ten_attempts_until_the_window_ends_and_others_have_theirs() {
        let now = Instant::now();
        let throttle = LoginThrottle::new(now);
        for _ in 0..MAX_PER_CLIENT {
            assert_eq!(throttle.failed(client("192.0.2.7"), now), Ok(()));
        }
        let later = now + Duration::from_mins(4);
        for same in ["192.0.2.7", "::ffff:192.0.2.7"] {
            assert_eq!(throttle.failed(client(same), later), Err(Duration::from_mins(1)));
        }
        for other in ["192.0.2.8", "2001:db8::1"] {
            assert_eq!(throttle.failed(client(other), later), Ok(()), "{other}");
        }
        assert_eq!(throttle.failed(client("192.0.2.7"), now + WINDOW), Ok(()));
    }

    #[test]
    fn a_client_is_forgotten_when_the_window_is_over_though_nobody_else_comes() {
        let now = Instant::now();
        let throttle = LoginThrottle::new(now);
        throttle.failed(client("192.0.2.7"), now).unwrap();
        for (after, known) in [(WINDOW / 2, 1), (WINDOW, 0)] {
            throttle.evict(now + after);
            assert_eq!(lock(&throttle.0).by_client.len(), known);
        }
    }

    #[test]
    fn all_clients_together_are_bounded_in_attempts_and_in_memory() {
        let now = Instant::now();
        let throttle = LoginThrottle::new(now);
        let clients = (0..10 * MAX_TOTAL).map(|number| ClientKey::of(Ipv4Addr::from(number).into()));
        assert_eq!(clients.filter(|client| throttle.failed(*client, now).is_ok()).count(), MAX_TOTAL as usize);
        assert_eq!(lock(&throttle.0).by_client.len(), MAX_TOTAL as usize);
    }
}
