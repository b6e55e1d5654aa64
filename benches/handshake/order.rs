//! The order of eviction alone: its cost for a new connection and for a request, by the number of connections.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::eviction_order::{ConnectionId, EvictionOrder};

/// The numbers of idle connections, each of another client.
const SIZES: [u32; 3] = [900, 9_000, 90_000];

/// The number of repetitions.
const STEPS: u32 = 200_000;

pub(crate) fn report() {
    println!("the order of eviction, each connection of another client, averages of {STEPS}\n");
    println!("{:<40}{:>28}{:>28}", "", "evict one, insert one, ns", "a request's two marks, ns");
    for size in SIZES {
        let mut order = EvictionOrder::default();
        let mut ids: Vec<_> = (0..size).map(|client| order.insert(client)).collect();
        let marks = marks(&mut order, &mut ids);
        let evictions = evictions(&mut order, size);
        let [evictions, marks] = [evictions, marks].map(|elapsed| elapsed.as_nanos() / u128::from(STEPS));
        println!("{:<40}{evictions:>28}{marks:>28}", format!("{size} idle"));
    }
    println!();
}

fn evictions(order: &mut EvictionOrder<u32>, size: u32) -> Duration {
    let began = Instant::now();
    for client in size..size + STEPS {
        black_box(order.evict(None));
        black_box(order.insert(client));
    }
    began.elapsed()
}

fn marks(order: &mut EvictionOrder<u32>, ids: &mut [ConnectionId]) -> Duration {
    let mut random = fastrand::Rng::with_seed(1);
    random.shuffle(ids);
    let began = Instant::now();
    for id in ids.iter().cycle().take(STEPS as usize) {
        order.mark_busy(*id);
        order.mark_idle(*id);
    }
    began.elapsed()
}
