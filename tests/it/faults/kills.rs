//! The agent is killed, again and again, wherever an event can be on its way.

use std::collections::BTreeMap;

use super::injuries::{Fell, kill};
use super::short::{scene, under_a_stream};

/// As many kills as issue and documentation speak of: a quarter at each point, and a quarter by chance.
const KILLS: usize = 20;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_agent_that_is_killed_loses_and_repeats_nothing() {
    let mut scene = scene().await;
    let mut falls = BTreeMap::<Fell, usize>::new();
    let fault = async |scene: &mut _, agent: &mut _| {
        for number in 0..KILLS {
            let fell = kill(scene, agent, Fell::ALL.get(number % 4).copied()).await;
            *falls.entry(fell).or_default() += 1;
        }
    };
    under_a_stream(&mut scene, ("kills", "agent killed, 20 times"), fault).await;
    println!("faults: kills by where they fell: {falls:?}");
    for fell in Fell::ALL {
        assert!(falls.get(&fell).is_some_and(|kills| *kills >= KILLS / 10), "{fell:?} of {falls:?}");
    }
}
