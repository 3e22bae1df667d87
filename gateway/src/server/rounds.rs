//! Looks at the health of all upstreams several times a second, beside the requests.

use std::sync::Arc;
use std::time::Duration;

use resilience::ejection::{Change, Reason};
use resilience::{breaker, overload};
use tokio::time::{MissedTickBehavior, interval};

use super::reload;
use crate::moment;
use crate::upstream::checks::Checker;
use crate::upstream::health::Event;
use crate::worker::Process;

/// How often. A server that fails requests in a row is taken out at once; all else can wait so long.
const TICK: Duration = Duration::from_millis(100);

/// The process itself is looked at in one of so many rounds.
const LOOKS: u64 = 5;

/// Until the task is dropped.
pub(super) async fn go(process: Arc<Process>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let checker = Checker::new(TICK, reload::say);
    for round in 0_u64.. {
        tick.tick().await;
        let now = moment::now();
        let snapshot = process.snapshot();
        for upstream in &snapshot.upstreams {
            checker.visit(upstream, now);
            upstream.judge(now);
            // A slow start goes on.
            upstream.redraw(now);
            for event in upstream.take_events() {
                reload::say(&told(&upstream.config.name, &event));
            }
        }
        for (kind, name, admission) in snapshot.admissions() {
            for change in admission.take_changes() {
                reload::say(&format!("{kind} {name}: {}", became(change)));
            }
        }
        if round.is_multiple_of(LOOKS) {
            let open = process.connections.open();
            let change = process.overload.look(&snapshot.config, open, now);
            change.into_iter().for_each(|change| reload::say(&pressed(change)));
        }
    }
}

fn became(change: breaker::Change) -> String {
    use breaker::{Cause, Change};
    match change {
        Change::Opened(Cause::Errors(totals), _) => {
            format!("the circuit breaker opens: {} of {} calls failed", totals.failed, totals.calls)
        }
        Change::Opened(Cause::Slowness(totals), _) => {
            format!(
                "the circuit breaker opens: {} of {} calls were slow",
                totals.slow, totals.calls
            )
        }
        Change::Opened(Cause::Probe, _) => "the circuit breaker stays open: a probe failed".into(),
        Change::HalfOpened => "the circuit breaker lets a probe pass".into(),
        Change::Closed => "the circuit breaker closes".into(),
    }
}

fn pressed(change: overload::Change) -> String {
    let overload::Change { from, to, cause, pressure } = change;
    let cause = match cause {
        overload::Cause::LoopDelay => "the workers are late",
        overload::Cause::Memory => "memory",
        overload::Cause::Connections => "connections",
        overload::Cause::Descriptors => "file descriptors",
    };
    format!("overload: {} to {} ({cause}, pressure {pressure:.2})", from.name(), to.name())
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
