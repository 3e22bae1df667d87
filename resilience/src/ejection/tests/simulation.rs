//! An upstream of servers behind round robin, in virtual time: who is taken out, how soon, and who never.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// What a server does to its requests.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Well,
    Refuses,
    Hangs,
    Slow,
    Breaks,
    HalfErrors,
}

/// An upstream of servers behind round robin; everything from one seed.
struct Simulation {
    bench: Bench,
    faults: Vec<Fault>,
    errors: f64,
    random: u64,
    /// When a call ends, where, when it began, and whether well.
    ends: BinaryHeap<Reverse<(u64, usize, u64, bool)>>,
    /// Shares of requests that are due to each server.
    due: Vec<f64>,
    /// Each ejection: when, and who.
    ejected: Vec<(f64, usize)>,
    /// Calls sent to the first server, by second.
    sent: Vec<u32>,
}

const LIMIT_OF_A_CALL: Duration = Duration::from_secs(30);

impl Simulation {
    fn new(faults: &[Fault], errors: f64, seed: u64) -> Self {
        let bench = Bench::new(faults.len());
        let (faults, due) = (faults.to_vec(), vec![0.0; faults.len()]);
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (ends, ejected, sent) = (BinaryHeap::new(), Vec::new(), Vec::new());
        Self { bench, faults, errors, random, ends, due, ejected, sent }
    }

    fn share(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        let share = self.share();
        mean.mul_f64(-(1.0 - share).ln())
    }

    /// Smooth shares: the one to whom most is due.
    fn pick(&mut self) -> usize {
        let weight = |record: &Record| match record.standing().0 {
            Standing::In => 1.0,
            Standing::Probation { .. } => PROBATION_SHARE,
            Standing::Out { .. } => 0.0,
        };
        let weights: Vec<f64> = self.bench.records.iter().map(weight).collect();
        let all: f64 = weights.iter().sum();
        for (due, weight) in self.due.iter_mut().zip(&weights) {
            *due = if *weight == 0.0 { 0.0 } else { *due + weight / all };
        }
        let most = (0..weights.len()).max_by(|a, b| self.due[*a].total_cmp(&self.due[*b]));
        let chosen = most.unwrap();
        self.due[chosen] -= 1.0;
        chosen
    }

    fn send(&mut self) {
        let server = self.pick();
        let fails = self.share() < self.errors;
        let usual = self.exponential(10 * MS);
        let (took, well) = match self.faults[server] {
            Fault::Well => (usual, !fails),
            Fault::Refuses => (MS, false),
            Fault::Hangs => (LIMIT_OF_A_CALL, false),
            Fault::Slow => (2000 * MS, true),
            Fault::Breaks => (usual, false),
            Fault::HalfErrors => (usual, self.share() < 0.5),
        };
        let now = self.bench.now;
        self.bench.in_flight[server] += 1;
        let end = (now + took).nanoseconds();
        self.ends.push(Reverse((end, server, now.nanoseconds(), well)));
        if server == 0 {
            let second = now.since(Moment::ZERO).as_secs() as usize;
            self.sent.resize(self.sent.len().max(second + 1), 0);
            self.sent[second] += 1;
        }
    }

    fn end_calls(&mut self) {
        while let Some(Reverse((end, server, began, well))) = self.ends.peek().copied() {
            if end > self.bench.now.nanoseconds() {
                return;
            }
            self.ends.pop();
            self.bench.in_flight[server] -= 1;
            let (now, took) = (Moment::from_nanoseconds(end), Duration::from_nanos(end - began));
            let record = &self.bench.records[server];
            if well {
                record.answered(now, took);
            } else if record.failed(now, took, self.bench.ejector.settings()) == Urgency::Now {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        let now = self.bench.now.since(Moment::ZERO).as_secs_f64();
        let decisions = self.bench.look();
        self.ejected.extend(reasons(&decisions).iter().map(|(server, _)| (now, *server)));
    }

    /// Requests come by chance, at this rate; looks every tenth of a second.
    fn run(&mut self, rate: f64, time: Duration) {
        let end = self.bench.now + time;
        let pause = Duration::from_secs_f64(1.0 / rate);
        let mut next_look = self.bench.now;
        let mut next_call = self.bench.now;
        while self.bench.now < end {
            self.bench.now = next_look.min(next_call);
            self.end_calls();
            if self.bench.now == next_look {
                self.look();
                next_look = next_look + 100 * MS;
            }
            if self.bench.now == next_call {
                self.send();
                next_call = next_call + self.exponential(pause);
            }
        }
    }
}

const FAULTS: [(Fault, f64); 5] = [
    (Fault::Refuses, 0.1),
    (Fault::Hangs, 1.3),
    (Fault::Slow, 1.3),
    (Fault::Breaks, 0.2),
    (Fault::HalfErrors, 1.0),
];

#[test]
fn one_bad_server_of_four_is_out_within_seconds() {
    for seed in 1..6 {
        for (fault, within) in FAULTS {
            let mut simulation = Simulation::new(&[Fault::Well; 4], 0.001, seed);
            simulation.run(2000.0, Duration::from_secs(10));
            assert_eq!(simulation.ejected, [], "{fault:?}");
            let began = simulation.bench.now.since(Moment::ZERO).as_secs_f64();
            simulation.faults[0] = fault;
            simulation.run(2000.0, Duration::from_secs(60));
            let (first, server) = simulation.ejected[0];
            assert_eq!(server, 0);
            assert!(first - began < within, "{fault:?} seed {seed}: {} s", first - began);
            assert!(simulation.ejected.iter().all(|(_, server)| *server == 0), "{fault:?}");
            // What it gets after that, out of 2000 a second: probes.
            let second = began as usize + 3;
            let sent: u32 = simulation.sent.iter().skip(second).sum();
            let share = f64::from(sent) / (2000.0 * 57.0);
            assert!(share < 0.002, "{fault:?} seed {seed}: {share}");
            // It returns when it is well again.
            simulation.faults[0] = Fault::Well;
            simulation.run(2000.0, Duration::from_secs(90));
            assert_eq!(simulation.bench.records[0].standing().0, Standing::In, "{fault:?}");
        }
    }
}

#[test]
fn chance_takes_nobody_out_in_an_hour() {
    for (seed, rate, errors) in
        [(1, 4.0, 0.001), (2, 40.0, 0.001), (3, 400.0, 0.001), (4, 60.0, 0.05)]
    {
        let mut simulation = Simulation::new(&[Fault::Well; 4], errors, seed);
        simulation.run(rate, Duration::from_secs(3600));
        assert_eq!(simulation.ejected, [], "{rate} a second, {errors} of them fail");
    }
}

#[test]
fn nobody_is_out_when_all_are_equally_bad() {
    for (fault, _) in FAULTS {
        let mut simulation = Simulation::new(&[Fault::Well; 4], 0.001, 7);
        simulation.run(400.0, Duration::from_secs(10));
        simulation.faults = vec![fault; 4];
        simulation.run(400.0, Duration::from_secs(60));
        assert_eq!(simulation.ejected, [], "{fault:?}");
    }
}
