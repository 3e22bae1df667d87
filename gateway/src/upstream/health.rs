//! What answers say of servers: who stands out is taken out for a while, and comes back.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use resilience::Moment;
use resilience::ejection::{Change, Reason, Urgency, View};
use tokio::time::Instant;

use super::Upstream;
use super::server::Server;
use crate::moment::moment;

/// Events kept for the control side; it comes by several times a second.
const EVENTS_MAX: usize = 256;

/// Something that happened to a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// Its address.
    pub(crate) server: Box<str>,
    /// What.
    pub(crate) change: Change,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The server answered, and its answer came whole.
    Well,
    /// It did not answer, broke off, or said that it failed.
    Badly,
}

impl Upstream {
    /// A call to a server has ended. `took`: until the head of its response, or until it failed.
    pub(crate) fn has_ended(&self, server: &Server, ended: Ended, now: Moment, took: Duration) {
        if self.method == resilience::balance::Method::LeastTime {
            match ended {
                Ended::Well => server.condition.time.record(now, took),
                Ended::Badly => server.condition.time.record_failed(now, took),
            }
        }
        if let (Some(times), Ended::Well) = (&self.times, ended) {
            times.record(now, took);
        }
        let Some(ejector) = &self.ejector else { return };
        let record = &server.condition.record;
        match ended {
            Ended::Well => record.answered(now, took),
            Ended::Badly => {
                if record.failed(now, took, ejector.settings()) == Urgency::Now {
                    self.judge(now);
                }
            }
        }
    }

    /// A try has failed that the client does not see.
    pub(super) fn has_failed(&self, server: &Server, since: Instant, now: Instant) {
        let took = now.saturating_duration_since(since);
        self.has_ended(server, Ended::Badly, moment(now), took);
    }

    /// Looks at the answers of all servers, and takes out or brings back who deserves it.
    #[cold]
    pub(crate) fn judge(&self, now: Moment) {
        let Some(ejector) = &self.ejector else { return };
        let lineup = self.lineup.load();
        let views: Vec<View<'_>> = lineup
            .servers
            .iter()
            .map(|server| View {
                record: &server.condition.record,
                in_flight: server.condition.unanswered(),
                is_out: server.condition.is_out(),
            })
            .collect();
        let decisions = ejector.evaluate(now, &views);
        drop(views);
        if decisions.is_empty() {
            return;
        }
        let mut events = self.events();
        for decision in decisions {
            let Some(server) = lineup.servers.get(decision.server) else { continue };
            match decision.change {
                Change::Ejected { reason, .. } => self.metrics.ejected(reason_word(reason)),
                Change::Returned => server.condition.is_back(now),
                Change::Probed => {}
            }
            if events.len() < EVENTS_MAX {
                events.push(Event { server: server.text.clone(), change: decision.change });
            }
        }
        drop(events);
        self.redraw(now);
    }

    /// What has happened since this was asked last.
    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events())
    }

    fn events(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The word for metrics.
pub(crate) fn reason_word(reason: Reason) -> &'static str {
    match reason {
        Reason::Failures(_) => "failures",
        Reason::ErrorRate(..) => "error-rate",
        Reason::Slow(..) => "slow",
        Reason::Stalled(_) => "stalled",
    }
}

/// Whether an answer says that the server failed: 5xx, but for those that say what the client should not have asked
/// (501, 505, 511); gRPC's UNKNOWN, INTERNAL, UNAVAILABLE and DATA_LOSS, where they stand in the head.
pub(crate) fn is_failure(status: StatusCode, headers: &HeaderMap) -> bool {
    match status.as_u16() {
        501 | 505 | 511 => false,
        500..=599 => true,
        200 => headers
            .get("grpc-status")
            .is_some_and(|code| matches!(code.as_bytes(), b"2" | b"13" | b"14" | b"15")),
        _ => false,
    }
}
