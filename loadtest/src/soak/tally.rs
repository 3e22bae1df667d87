//! The client's ledger: what became of each nonce, and whether the origin's ledger agrees.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::failure::Failure;
use crate::latency::Latencies;
use crate::nonces::Nonces;
use crate::report::Report;

/// Failures quoted in the report.
const QUOTED_MAX: usize = 20;

/// What became of one request or message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Sent, nothing known yet.
    Open,
    Answered,
    Failed,
    /// A WebSocket message was under way when its connection was closed properly: nobody promises that it arrived.
    Unknown,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    KeepAlive,
    NewConnection,
    WebSocket,
}

impl Kind {
    const ALL: [Self; 3] = [Self::KeepAlive, Self::NewConnection, Self::WebSocket];

    const fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::NewConnection => "new-connection",
            Self::WebSocket => "websocket",
        }
    }
}

/// Things that may happen to connections without being failures.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// The last answer said `Connection: close`.
    pub(super) ended_announced: u64,
    /// Closed while idle and unannounced, seen before the next request was sent.
    pub(super) ended_unannounced: u64,
    pub(super) websockets_opened: u64,
    /// With a close frame.
    pub(super) websockets_closed: u64,
}

/// Everything the clients count.
#[derive(Debug, Default)]
pub(super) struct Tally {
    outcomes: Vec<Outcome>,
    sent: BTreeMap<Kind, u64>,
    failed: BTreeMap<Kind, u64>,
    quoted: Vec<String>,
    pub(super) connections: Connections,
    latencies: Latencies,
}

impl Tally {
    /// The next number; what becomes of it has to be told.
    pub(super) fn send(&mut self, kind: Kind) -> u64 {
        self.outcomes.push(Outcome::Open);
        *self.sent.entry(kind).or_default() += 1;
        self.outcomes.len() as u64 - 1
    }

    pub(super) fn answered(&mut self, nonce: u64, latency: Duration) {
        self.set(nonce, Outcome::Answered);
        self.latencies.add(latency);
    }

    pub(super) fn unknown(&mut self, nonce: u64) {
        self.set(nonce, Outcome::Unknown);
    }

    pub(super) fn failed(&mut self, nonce: u64, kind: Kind, failure: &Failure) {
        self.set(nonce, Outcome::Failed);
        self.fault(kind, &format!("request {nonce}: {failure}"));
    }

    /// A failure that belongs to no request: a connection that could not be opened, or was cut.
    pub(super) fn fault(&mut self, kind: Kind, text: &str) {
        *self.failed.entry(kind).or_default() += 1;
        if self.quoted.len() < QUOTED_MAX {
            self.quoted.push(format!("{}: {text}", kind.name()));
        }
    }

    fn set(&mut self, nonce: u64, outcome: Outcome) {
        if let Some(place) = usize::try_from(nonce).ok().and_then(|at| self.outcomes.get_mut(at)) {
            *place = outcome;
        }
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.iter().filter(|one| **one == outcome).count()
    }

    /// Answered numbers that the origin never saw, and numbers it saw more than once.
    fn disagreements(&self, arrived: &Nonces) -> (usize, usize) {
        let numbered = || self.outcomes.iter().zip(0..);
        let lost = numbered()
            .filter(|&(outcome, nonce)| *outcome == Outcome::Answered && arrived.times(nonce) == 0);
        let repeated = numbered().filter(|&(_, nonce)| arrived.times(nonce) > 1);
        (lost.count(), repeated.count())
    }

    pub(super) fn report(&self, arrived: &Nonces, elapsed: Duration, report: &mut Report) {
        let failures: u64 = self.failed.values().sum();
        let (lost, repeated) = self.disagreements(arrived);
        let open = self.count(Outcome::Open);
        report.figure("requests and messages", self.outcomes.len());
        report.figure("per second", (self.outcomes.len() as f64 / elapsed.as_secs_f64()).round());
        for kind in Kind::ALL {
            let sent = self.sent.get(&kind).copied().unwrap_or(0);
            report.figure(&format!("{} sent", kind.name()), sent);
            let failed = self.failed.get(&kind).copied().unwrap_or(0);
            report.figure(&format!("{} failed", kind.name()), failed);
        }
        for percentile in [50.0, 99.0, 99.9, 100.0] {
            report.figure(&format!("p{percentile} ms"), self.latencies.percentile_ms(percentile));
        }
        let Connections {
            ended_announced,
            ended_unannounced,
            websockets_opened,
            websockets_closed,
        } = self.connections;
        report.figure("connections ended as announced", ended_announced);
        report.figure("idle connections ended unannounced", ended_unannounced);
        report.figure("websockets opened", websockets_opened);
        report.figure("websockets closed properly", websockets_closed);
        report.figure("messages under way at a proper close", self.count(Outcome::Unknown));
        report.figure("answered but never at the origin", lost);
        report.figure("more than once at the origin", repeated);
        report.figure("failures", self.quoted.clone());
        report.promise("no request and no message failed", failures == 0);
        report.promise("every request came to an end", open == 0);
        report.promise("both ends agree on what was answered", lost == 0 && repeated == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Kept;

    fn kept(tally: &Tally, arrived: &[u64]) -> Kept {
        let mut nonces = Nonces::default();
        arrived.iter().for_each(|&nonce| nonces.add(nonce));
        let mut report = Report::default();
        tally.report(&nonces, Duration::from_secs(1), &mut report);
        report.kept()
    }

    fn answered(count: usize) -> Tally {
        let mut tally = Tally::default();
        for _ in 0..count {
            let nonce = tally.send(Kind::KeepAlive);
            tally.answered(nonce, Duration::from_millis(1));
        }
        tally
    }

    #[test]
    fn both_ends_have_to_agree() {
        assert_eq!(kept(&answered(3), &[0, 1, 2]), Kept::Yes);
        assert_eq!(kept(&answered(3), &[0, 2]), Kept::No, "answered by nobody");
        assert_eq!(kept(&answered(3), &[0, 1, 1, 2]), Kept::No, "sent twice");
    }

    #[test]
    fn a_failure_or_an_open_request_breaks_the_promise() {
        let mut failed = answered(1);
        let nonce = failed.send(Kind::NewConnection);
        failed.failed(nonce, Kind::NewConnection, &Failure::Status(502));
        assert_eq!(kept(&failed, &[0, 1]), Kept::No);
        let mut open = answered(1);
        open.send(Kind::KeepAlive);
        assert_eq!(kept(&open, &[0, 1]), Kept::No);
    }

    #[test]
    fn a_message_under_way_at_a_proper_close_may_have_arrived_or_not() {
        let mut tally = answered(1);
        let nonce = tally.send(Kind::WebSocket);
        tally.unknown(nonce);
        assert_eq!(kept(&tally, &[0, 1]), Kept::Yes);
        assert_eq!(kept(&tally, &[0]), Kept::Yes);
    }
}
