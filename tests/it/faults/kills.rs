//! The agent is killed, again and again, wherever an event can be on its way.

use std::collections::BTreeMap;

use super::figures;
use super::injuries::{Fell, kill};
use super::short::{PACE, scene};
use super::stream::Stream;

/// As many kills as issue and documentation speak of: a quarter at each point, and a quarter by chance.
const KILLS: usize = 20;

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_agent_that_is_killed_loses_and_repeats_nothing() {
    let (mut scene, mut agent) = scene().await;
    let mut falls = BTreeMap::<Fell, usize>::new();
    let stream = Stream::start(&scene, PACE);
    for number in 0..KILLS {
        let fell = kill(&mut scene, &mut agent, Fell::ALL.get(number % 4).copied()).await;
        *falls.entry(fell).or_default() += 1;
    }
    stream.stop().await;
    let outcome = scene.settles().await;
    let [before, between, after] = Fell::ALL.map(|fell| falls.get(&fell).copied().unwrap_or_default());
    let title = format!(
        "agent killed {KILLS} times: {before} before the write, {between} between write and send, {after} between send \
         and acknowledgement"
    );
    figures::row("kills", &title, &outcome);
    assert!([before, between, after].iter().all(|kills| *kills >= KILLS / 10), "{falls:?}");
}
