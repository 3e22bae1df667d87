//! Looks at the health of all upstreams several times a second, beside the requests.

use std::sync::Arc;
use std::time::Duration;

use resilience::ejection::{Change, Reason};
use tokio::time::{MissedTickBehavior, interval};

use super::reload;
use crate::moment;
use crate::upstream::health::Event;
use crate::worker::Process;

/// How often. A server that fails requests in a row is taken out at once; all else can wait so long.
const TICK: Duration = Duration::from_millis(100);

/// Until the task is dropped.
pub(super) async fn go(process: Arc<Process>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = moment::now();
        for upstream in &process.snapshot().upstreams {
            upstream.judge(now);
            // A slow start goes on.
            upstream.redraw(now);
            for event in upstream.take_events() {
                reload::say(&told(&upstream.config.name, &event));
            }
        }
    }
}

fn told(upstream: &str, event: &Event) -> String {
    let server = &event.server;
    match event.change {
        Change::Ejected { reason, .. } => {
            format!("upstream {upstream}: {server} is taken out: {}", words(reason))
        }
        Change::Probed => format!("upstream {upstream}: {server} is tried with a few requests"),
        Change::Returned => format!("upstream {upstream}: {server} is back"),
    }
}

/// Why a server is out.
pub(crate) fn words(reason: Reason) -> String {
    match reason {
        Reason::Failures(count) => format!("{count} failures in a row"),
        Reason::ErrorRate(own, others) => format!(
            "{:.0} % of its requests fail, of the others' {:.0} %",
            own * 100.0,
            others * 100.0
        ),
        Reason::Slow(own, others) => format!("it takes {own:.0?}, the others {others:.0?}"),
        Reason::Stalled(silent) => format!("it has answered nothing for {silent:.1?}"),
    }
}
