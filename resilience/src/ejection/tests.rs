//! What takes a server out and what must not: single rules by hand, then a simulation of an upstream.

mod probation;
mod simulation;

use std::time::Duration;

use proptest::prelude::*;

use super::{
    Change, Decision, Ejector, PROBATION_SHARE, Reason, Record, Settings, Standing, Urgency, View,
};
use crate::Moment;

const MS: Duration = Duration::from_millis(1);

fn settings() -> Settings {
    Settings {
        consecutive_failures: 5,
        error_rate: 0.3,
        minimum: 20,
        slower_than: 5.0,
        stalled: Duration::from_secs(1),
        window: Duration::from_secs(5),
        base: Duration::from_secs(5),
        max: Duration::from_secs(300),
        at_most: 0.5,
    }
}

/// Servers driven by hand.
struct Bench {
    ejector: Ejector,
    records: Vec<Record>,
    in_flight: Vec<u32>,
    is_out: Vec<bool>,
    now: Moment,
}

impl Bench {
    fn new(servers: usize) -> Self {
        Self::with(servers, settings())
    }

    fn with(servers: usize, settings: Settings) -> Self {
        let now = Moment::after(Duration::from_secs(100));
        let records = (0..servers).map(|_| Record::new(now)).collect();
        let (in_flight, is_out) = (vec![0; servers], vec![false; servers]);
        Self { ejector: Ejector::new(settings), records, in_flight, is_out, now }
    }

    fn answered(&self, server: usize, times: u32, took: Duration) {
        (0..times).for_each(|_| self.records[server].answered(self.now, took));
    }

    fn failed(&self, server: usize, times: u32) -> Urgency {
        let fail =
            |_| self.records[server].failed(self.now, Duration::ZERO, self.ejector.settings());
        (0..times).map(fail).last().unwrap_or(Urgency::Later)
    }

    /// All others answer well, in 10 ms.
    fn others_answer(&self, but: usize, times: u32) {
        (0..self.records.len())
            .filter(|server| *server != but)
            .for_each(|server| self.answered(server, times, 10 * MS));
    }

    fn look(&mut self) -> Vec<Decision> {
        let views: Vec<_> = (0..self.records.len())
            .map(|server| View {
                record: &self.records[server],
                in_flight: self.in_flight[server],
                is_out: self.is_out[server],
            })
            .collect();
        self.ejector.evaluate(self.now, &views)
    }

    fn look_after(&mut self, time: Duration) -> Vec<Decision> {
        self.now = self.now + time;
        self.look()
    }

    fn out(&self) -> Vec<usize> {
        let is_out =
            |server: &usize| matches!(self.records[*server].standing().0, Standing::Out { .. });
        (0..self.records.len()).filter(is_out).collect()
    }
}

/// Where the urgency does not matter.
fn fail(bench: &Bench, server: usize, times: u32) {
    let (Urgency::Now | Urgency::Later) = bench.failed(server, times);
}

fn reasons(decisions: &[Decision]) -> Vec<(usize, Reason)> {
    let reason = |decision: &Decision| match decision.change {
        Change::Ejected { reason, .. } => Some((decision.server, reason)),
        Change::Probed | Change::Returned => None,
    };
    decisions.iter().filter_map(reason).collect()
}

#[test]
fn failures_in_a_row_take_it_out_at_once() {
    let mut bench = Bench::new(4);
    bench.others_answer(0, 3);
    assert_eq!(bench.failed(0, 4), Urgency::Later);
    assert!(bench.look().is_empty());
    assert_eq!(bench.failed(0, 1), Urgency::Now);
    assert_eq!(reasons(&bench.look()), [(0, Reason::Failures(5))]);
    assert_eq!(bench.out(), [0]);
}

#[test]
fn an_answer_between_failures_begins_the_row_anew() {
    let mut bench = Bench::new(4);
    for _ in 0..20 {
        bench.others_answer(0, 20);
        assert_eq!(bench.failed(0, 4), Urgency::Later);
        bench.answered(0, 16, 10 * MS);
    }
    assert!(bench.look().is_empty());
}

#[test]
fn nobody_is_out_when_all_fail_alike() {
    let mut bench = Bench::new(4);
    for _ in 0..100 {
        (0..4).for_each(|server| fail(&bench, server, 1));
        assert!(bench.look_after(10 * MS).is_empty());
    }
}

#[test]
fn a_share_of_failures_takes_it_out_only_beside_better_ones() {
    // Failures of the others, out of 40; whether one that fails 20 of 40 goes.
    let cases = [
        ([0, 0, 0], true),
        ([1, 0, 0], true),
        ([20, 0, 0], true),
        ([20, 20, 0], false),
        ([11, 11, 11], false),
        ([20, 20, 20], false),
    ];
    for (others, goes) in cases {
        let mut bench = Bench::new(4);
        for (server, failures) in [20, others[0], others[1], others[2]].into_iter().enumerate() {
            mix(&bench, server, failures);
        }
        let first = reasons(&bench.look_after(MS)).iter().any(|(server, _)| *server == 0);
        assert_eq!(first, goes, "{others:?}");
    }
}

/// Forty calls, the failures among them so evenly that none fails five times in a row.
fn mix(bench: &Bench, server: usize, failures: u32) {
    for turn in 0..40 {
        let fails = (turn + 1) * failures / 40 - turn * failures / 40;
        fail(bench, server, fails);
        bench.answered(server, 1 - fails, 10 * MS);
    }
}

#[test]
fn few_calls_say_nothing() {
    let mut bench = Bench::new(4);
    bench.others_answer(0, 19);
    bench.answered(0, 10, 10 * MS);
    for _ in 0..4 {
        fail(&bench, 0, 2);
        bench.answered(0, 1, 2000 * MS);
    }
    // 22 calls of its own, but none of the others has enough to compare with.
    assert!(bench.look_after(MS).is_empty());
    bench.others_answer(0, 1);
    assert_eq!(reasons(&bench.look_after(MS)).len(), 1);
}

#[test]
fn slow_is_measured_against_the_median_of_the_others() {
    // Latencies in milliseconds; who goes.
    let cases: [(&[u64], &[usize]); 8] = [
        (&[2000, 10, 10, 10], &[0]),
        (&[60, 10, 10, 10], &[0]),
        (&[40, 10, 10, 10], &[]),
        (&[2000, 2000, 10, 10], &[0, 1]),
        (&[2000, 2000, 2000, 10], &[]),
        (&[2000, 2000, 2000, 2000], &[]),
        (&[7, 1, 1, 1], &[0]),
        (&[4, 1, 10, 1], &[2]),
    ];
    for (latencies, goes) in cases {
        let mut bench = Bench::new(latencies.len());
        for (server, latency) in latencies.iter().enumerate() {
            bench.answered(server, 20, MS.saturating_mul(u32::try_from(*latency).unwrap()));
        }
        let out: Vec<_> =
            reasons(&bench.look_after(MS)).iter().map(|(server, _)| *server).collect();
        assert_eq!(out, goes, "{latencies:?}");
    }
}

#[test]
fn near_and_far_zones_differ_by_less_than_counts() {
    let mut bench = Bench::new(2);
    bench.answered(0, 100, MS / 5);
    bench.answered(1, 100, 2 * MS);
    assert!(bench.look_after(MS).is_empty());
}

#[test]
fn one_very_long_call_is_no_slow_server() {
    let mut bench = Bench::new(4);
    bench.others_answer(0, 20);
    bench.answered(0, 19, 10 * MS);
    bench.answered(0, 1, 60_000 * MS);
    assert!(bench.look_after(MS).is_empty());
}

#[test]
fn silence_with_calls_in_flight_is_a_stall_if_the_others_answer() {
    // Calls in flight, answers of the others a tenth of a second, their latency; whether it goes.
    let cases = [
        (3, 10, 10, true),
        (2, 10, 10, false),
        (3, 0, 10, false),
        (3, 10, 150, false),
        (0, 10, 10, false),
    ];
    for (in_flight, answers, latency, goes) in cases {
        let mut bench = Bench::new(4);
        bench.look();
        bench.answered(0, 20, 10 * MS);
        bench.look_after(100 * MS);
        bench.in_flight[0] = in_flight;
        for turn in 0..12 {
            (1..4).for_each(|server| bench.answered(server, answers, latency * MS));
            let decisions = bench.look_after(100 * MS);
            let expected = usize::from(goes && turn == 9);
            let what = (in_flight, answers, latency);
            assert_eq!(reasons(&decisions).len(), expected, "{what:?}, turn {turn}");
        }
    }
}

#[test]
fn silence_says_nothing_where_calls_are_rare() {
    let mut bench = Bench::new(4);
    bench.others_answer(0, 4);
    bench.in_flight[0] = 3;
    for _ in 0..40 {
        assert!(bench.look_after(100 * MS).is_empty());
    }
}

#[test]
fn a_share_of_failures_that_may_be_chance_is_no_reason() {
    let mut bench = Bench::new(4);
    for (server, failures) in [12, 4, 4, 4].into_iter().enumerate() {
        mix(&bench, server, failures);
    }
    assert!(bench.look_after(MS).is_empty(), "3 of 10 beside 1 of 10, in forty calls");
}

#[test]
fn one_of_two_may_be_out_and_half_of_more() {
    for (servers, at_most, allowed) in [
        (1, 0.5, 0),
        (2, 0.1, 1),
        (2, 0.5, 1),
        (3, 0.5, 1),
        (4, 0.5, 2),
        (10, 0.7, 7),
        (100, 0.29, 29),
        (4, 0.0, 0),
    ] {
        let mut bench = Bench::with(servers, Settings { at_most, ..settings() });
        // One after the other fails, so that each stands out in its time.
        for server in 0..servers {
            for other in server..servers {
                bench.answered(other, 30, 10 * MS);
            }
            bench.look_after(MS);
            fail(&bench, server, 5);
            bench.look_after(MS);
        }
        assert_eq!(bench.out().len(), allowed, "{servers} servers, {at_most}");
    }
}

#[test]
fn who_is_out_for_another_reason_counts_as_out_and_is_not_compared_with() {
    let mut bench = Bench::new(4);
    bench.is_out = vec![false, false, true, true];
    bench.others_answer(0, 30);
    fail(&bench, 0, 5);
    assert!(bench.look().is_empty(), "two are out already");
    bench.is_out[3] = false;
    assert_eq!(reasons(&bench.look()).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// Whatever happens: never more out than may be, and a decision for each change of standing.
    #[test]
    fn never_more_are_out_than_may_be(
        servers in 1..7_usize,
        at_most in 0.0..1.0_f64,
        steps in prop::collection::vec((0..7_usize, 0..6_u32, 0..40_u32, 0..3000_u32), 1..200),
    ) {
        let mut bench = Bench::with(servers, Settings { at_most, ..settings() });
        let allowed = match (servers, at_most) {
            (1, _) => 0,
            (_, at_most) if at_most <= 0.0 => 0,
            _ => ((servers as f64 * at_most) as usize).max(1),
        };
        let mut standing = vec![true; servers];
        for (server, failures, answers, pause) in steps {
            let server = server % servers;
            bench.answered(server, answers, MS * (1 + failures * 100));
            fail(&bench, server, failures);
            bench.in_flight[server] = answers;
            for decision in bench.look_after(pause * MS) {
                let was = standing[decision.server];
                standing[decision.server] = !matches!(decision.change, Change::Ejected { .. });
                let is_ejected = !standing[decision.server];
                prop_assert!(was || !is_ejected, "out twice");
            }
            let out: Vec<_> = (0..servers).filter(|server| !standing[*server]).collect();
            prop_assert_eq!(bench.out(), out.clone());
            prop_assert!(out.len() <= allowed, "{} of {}", out.len(), allowed);
        }
    }

    /// The logarithm grows with the time, and its mean is the geometric one within a tenth.
    #[test]
    fn pace_and_duration_are_inverse(nanoseconds in 1_000..10_u64.pow(12)) {
        let took = Duration::from_nanos(nanoseconds);
        let back = super::compare::duration(super::logarithm(took) as f64 / 256.0);
        let ratio = back.as_secs_f64() / took.as_secs_f64();
        prop_assert!((0.99..1.01).contains(&ratio), "{took:?} {back:?}");
        prop_assert!(super::logarithm(took * 2) == super::logarithm(took) + 256);
    }
}
