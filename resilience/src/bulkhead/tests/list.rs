//! A bulkhead against a model that is a list.

use std::task::Poll;

use proptest::prelude::*;

use super::*;

/// What may happen to a bulkhead; numbers choose among those who are there.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter(Criticality),
    Leave(usize),
    Abandon(usize),
    Look(usize),
    Limit(u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    let criticality = prop_oneof![Just(Critical), Just(Normal), Just(Sheddable)];
    prop_oneof![
        6 => criticality.prop_map(Step::Enter),
        4 => any::<usize>().prop_map(Step::Leave),
        2 => any::<usize>().prop_map(Step::Abandon),
        3 => any::<usize>().prop_map(Step::Look),
        1 => (1..5_u32).prop_map(Step::Limit),
    ]
}

/// The same in the simplest words: a list of who waits, sorted whenever one is chosen.
struct Model {
    limit: u32,
    reserve: Reserve,
    queue: usize,
    in_flight: u32,
    line: Vec<(Criticality, u32)>,
}

impl Model {
    fn room(&self, criticality: Criticality) -> u32 {
        super::super::rooms(self.limit, self.reserve)[criticality.index()]
    }

    /// Those that get a place now.
    fn settle(&mut self) -> Vec<u32> {
        let mut given = Vec::new();
        while let Some(&(criticality, number)) = self.line.iter().min() {
            if self.in_flight >= self.room(criticality) {
                break;
            }
            self.line.retain(|other| other.1 != number);
            self.in_flight += 1;
            given.push(number);
        }
        given
    }

    /// Whether it enters, waits (perhaps in the stead of another) or finds it full.
    fn enter(&mut self, criticality: Criticality, number: u32) -> (&'static str, Option<u32>) {
        let first = !self.line.iter().any(|other| other.0 <= criticality);
        if first && self.in_flight < self.room(criticality) {
            self.in_flight += 1;
            return ("entered", None);
        }
        let mut displaced = None;
        if self.line.len() >= self.queue {
            match self.line.iter().max().copied() {
                Some(last) if last.0 > criticality => {
                    self.line.retain(|other| *other != last);
                    displaced = Some(last.1);
                }
                Some(_) | None => return ("full", None),
            }
        }
        self.line.push((criticality, number));
        ("waits", displaced)
    }
}

struct Run {
    bulkhead: Shared,
    model: Model,
    places: Vec<Place<Shared>>,
    waiting: Vec<(u32, Waiting<Shared>)>,
    /// Who has been given a place, or sent away, but has not looked yet.
    told: Vec<(u32, bool)>,
}

impl Run {
    fn new(limit: u32, queue: u32, reserve: Reserve) -> Self {
        let model = Model { limit, reserve, queue: queue as usize, in_flight: 0, line: Vec::new() };
        let bulkhead = bulkhead(limit, queue, reserve);
        Self { bulkhead, model, places: Vec::new(), waiting: Vec::new(), told: Vec::new() }
    }

    fn step(&mut self, number: u32, step: Step) {
        match step {
            Step::Enter(criticality) => self.enter(number, criticality),
            Step::Leave(_) if self.places.is_empty() => {}
            Step::Leave(which) => {
                drop(self.places.swap_remove(which % self.places.len()));
                self.model.in_flight -= 1;
                self.settle();
            }
            Step::Abandon(_) | Step::Look(_) if self.waiting.is_empty() => {}
            Step::Abandon(which) => self.abandon(which % self.waiting.len()),
            Step::Look(which) => self.look(which % self.waiting.len()),
            Step::Limit(limit) => {
                self.bulkhead.set_limit(limit);
                self.model.limit = limit;
                self.settle();
            }
        }
        let expected = (self.model.in_flight, self.model.line.len() as u32);
        assert_eq!(counts(&self.bulkhead), expected, "after {step:?}");
    }

    fn settle(&mut self) {
        let given = self.model.settle();
        self.told.extend(given.into_iter().map(|number| (number, true)));
    }

    fn enter(&mut self, number: u32, criticality: Criticality) {
        let (expected, displaced) = self.model.enter(criticality, number);
        let got = match enter(&self.bulkhead, criticality) {
            Entry::Entered(place) => {
                assert!(self.model.in_flight <= self.model.limit);
                self.places.push(place);
                "entered"
            }
            Entry::MustWait(waiting) => {
                self.waiting.push((number, waiting));
                "waits"
            }
            Entry::Full => "full",
        };
        assert_eq!(got, expected, "{criticality:?}");
        self.told.extend(displaced.map(|number| (number, false)));
    }

    fn abandon(&mut self, which: usize) {
        let (number, waiting) = self.waiting.swap_remove(which);
        drop(waiting);
        self.model.line.retain(|other| other.1 != number);
        if self.take_told(number) == Some(true) {
            self.model.in_flight -= 1;
            self.settle();
        }
    }

    fn look(&mut self, which: usize) {
        let number = self.waiting[which].0;
        let got = look(&mut self.waiting[which].1);
        match (got, self.take_told(number)) {
            (Poll::Ready(Ok(place)), Some(true)) => self.places.push(place),
            (Poll::Ready(Err(Refused::Displaced)), Some(false)) => {}
            (Poll::Pending, None) => return,
            (got, told) => panic!("number {number} got {got:?}, expected {told:?}"),
        }
        drop(self.waiting.swap_remove(which));
    }

    fn take_told(&mut self, number: u32) -> Option<bool> {
        let place = self.told.iter().position(|told| told.0 == number)?;
        Some(self.told.swap_remove(place).1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn it_does_as_a_list_does(
        limit in 1..5_u32,
        queue in 0..5_u32,
        kept in prop_oneof![Just(0.0), Just(0.25)],
        steps in prop::collection::vec(any_step(), 1..80),
    ) {
        let mut run = Run::new(limit, queue, Reserve { critical: kept, normal: kept });
        for (number, step) in steps.into_iter().enumerate() {
            run.step(number as u32, step);
        }
        let Run { bulkhead, model: _, places, waiting, told: _ } = run;
        // In any order: here those who wait go last, and are handed places while they go.
        drop(places);
        drop(waiting);
        prop_assert_eq!(counts(&bulkhead), (0, 0));
    }
}
