//! How a server that was out comes back, or does not.

use super::*;

/// Ejects the first server, and tells for how long it was out.
fn eject(bench: &mut Bench) -> Duration {
    bench.others_answer(0, 30);
    fail(bench, 0, 5);
    let decisions = bench.look();
    let [Decision { server: 0, change: Change::Ejected { until, .. } }] = decisions[..] else {
        panic!("{decisions:?}")
    };
    let time = until.since(bench.now);
    assert!(bench.look_after(time - MS).is_empty());
    assert_eq!(bench.look_after(MS), [Decision { server: 0, change: Change::Probed }]);
    time
}

#[test]
fn a_probation_ends_with_a_few_good_answers() {
    let mut bench = Bench::new(4);
    eject(&mut bench);
    bench.others_answer(0, 30);
    bench.answered(0, 9, Duration::ZERO);
    assert!(bench.look().is_empty());
    bench.answered(0, 1, Duration::ZERO);
    assert_eq!(bench.look(), [Decision { server: 0, change: Change::Returned }]);
    assert_eq!(bench.records[0].standing(), (Standing::In, 1));
}

#[test]
fn a_probation_ends_with_time_where_calls_are_rare() {
    let mut bench = Bench::new(4);
    eject(&mut bench);
    assert!(bench.look_after(4999 * MS).is_empty());
    assert_eq!(bench.look_after(MS), [Decision { server: 0, change: Change::Returned }]);
    assert!(bench.look().is_empty(), "its failures of before are forgotten");
}

#[test]
fn a_probation_goes_on_after_one_failure_or_two_slow_calls() {
    let mut bench = Bench::new(4);
    eject(&mut bench);
    bench.now = bench.now + 2000 * MS;
    bench.others_answer(0, 30);
    fail(&bench, 0, 1);
    assert!(bench.look().is_empty());
    bench.answered(0, 2, 2000 * MS);
    assert!(bench.look().is_empty());
    bench.answered(0, 1, 2000 * MS);
    assert_eq!(reasons(&bench.look()).len(), 1);
}

#[test]
fn a_probation_ends_badly_after_a_few_bad_calls() {
    let failing: fn(&mut Bench) = |bench| fail(bench, 0, 2);
    let slow: fn(&mut Bench) = |bench| {
        bench.now = bench.now + 2000 * MS;
        bench.others_answer(0, 30);
        bench.answered(0, 3, 2000 * MS);
    };
    let stalled: fn(&mut Bench) = |bench| {
        bench.in_flight[0] = 2;
        bench.look();
        bench.now = bench.now + 1000 * MS;
        bench.others_answer(0, 30);
    };
    for (what, bad) in [("failing", failing), ("slow", slow), ("stalled", stalled)] {
        let mut bench = Bench::new(4);
        eject(&mut bench);
        bench.others_answer(0, 30);
        bad(&mut bench);
        bench.now = bench.now + MS;
        assert_eq!(reasons(&bench.look()).len(), 1, "{what}");
        let (standing, ejections) = bench.records[0].standing();
        let Standing::Out { until, .. } = standing else { panic!("{what}: {standing:?}") };
        assert_eq!((until.since(bench.now), ejections), (Duration::from_secs(10), 2), "{what}");
    }
}

#[test]
fn calls_from_before_its_ejection_do_not_count_after_it() {
    let mut bench = Bench::new(4);
    bench.in_flight[0] = 100;
    eject(&mut bench);
    bench.now = bench.now + 1000 * MS;
    // A hundred calls that hung since then run out of time.
    for _ in 0..100 {
        let urgency = bench.records[0].failed(bench.now, 30_000 * MS, bench.ejector.settings());
        assert_eq!(urgency, Urgency::Later);
    }
    bench.others_answer(0, 30);
    assert!(bench.look().is_empty());
    // What is new and hangs again is seen although the old still hang.
    bench.in_flight[0] = 102;
    bench.look();
    bench.others_answer(0, 30);
    let decisions = bench.look_after(1000 * MS);
    assert_eq!(reasons(&decisions), [(0, Reason::Stalled(1000 * MS))]);
}

#[test]
fn the_time_out_doubles_to_its_end_and_shrinks_in_good_health() {
    let mut bench = Bench::new(4);
    let mut times = Vec::new();
    for _ in 0..9 {
        times.push(eject(&mut bench).as_secs());
        bench.answered(0, 10, Duration::ZERO);
        bench.look();
    }
    assert_eq!(times, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    // 300 + 300 + 300 + 160 + 80 + 40 + 20 + 10 + 5 seconds of good health forget it all.
    for _ in 0..1214 {
        bench.look_after(Duration::from_secs(1));
    }
    assert_eq!(bench.records[0].standing(), (Standing::In, 1));
    bench.look_after(Duration::from_secs(1));
    assert_eq!(bench.records[0].standing(), (Standing::In, 0));
    assert_eq!(eject(&mut bench).as_secs(), 5);
}
