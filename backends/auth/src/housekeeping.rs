//! What has to be done again and again: keys turn, and what has expired is deleted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::keys::Keys;
use crate::store::Store;

/// Does it until it is dropped. What fails is logged and tried again: the keys at hand go on signing meanwhile.
pub(crate) async fn keep_house(
    keys: Arc<Keys>,
    store: Arc<dyn Store>,
    clock: Clock,
    every: Duration,
) -> Infallible {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        log_failure("keys", keys.turn().await);
        log_failure("sweep", store.sweep(clock.now()).await);
    }
}

fn log_failure<Reason: std::fmt::Display>(what: &'static str, done: Result<(), Reason>) {
    if let Err(error) = done {
        tracing::error!(what, %error, "housekeeping failed");
    }
}
