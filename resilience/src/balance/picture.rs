//! Who takes part in balancing at present, with how much, and why the others do not.

use super::draft::Draft;
use super::member::Member;
use super::segment::Segment;
use super::shares;
use super::verdict::Verdict;
use super::{Call, Loads, Method, rendezvous};
use crate::random;

/// How a picture is made of its members.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Below this share of healthy weight in a group all its servers are used, if no other group can stand in (Envoy:
    /// 0.5). 0: never.
    pub panic_below: f64,
    /// Below this share of healthy weight the next group gets a part (Envoy: 0.71), and far zones do: see
    /// [`Group::near`].
    pub failover_below: f64,
    /// Where this gateway is; None: zones do not count.
    pub zone: Option<Box<str>>,
    /// The label by whose values there are subsets; None: there are none.
    pub subset_label: Option<Box<str>>,
}

/// Who takes part, ready for picking. Made anew whenever a member changes; a pick changes only its counter.
#[derive(Debug)]
pub struct Picture {
    /// Those with traffic first; those without are for requests that have tried all before.
    segments: Box<[Portion]>,
    verdicts: Box<[Verdict]>,
    groups: Box<[Group]>,
    /// In the order of the values.
    subsets: Box<[(Box<str>, Self)]>,
}

/// A segment and where its part of the traffic ends, of 2^32.
#[derive(Debug)]
struct Portion {
    segment: Segment,
    end: u32,
}

/// A priority group, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// The number of its members.
    pub priority: u32,
    /// The share of its weight that is up, between 0 and 1; without servers that were taken out on purpose.
    pub healthy: f64,
    /// Its share of all traffic.
    pub share: f64,
    /// The share of its traffic that stays in the gateway's zone; None if zones do not count.
    pub near: Option<f64>,
    /// Whether so few are up that all are used.
    pub panic: bool,
}

impl Picture {
    /// The picture of these members; a pick answers with places in this list. With a subset label also one for each value.
    pub fn new(members: &[Member], settings: &Settings) -> Self {
        let mut picture = Self::of(members, settings, |_| true);
        let Some(label) = &settings.subset_label else { return picture };
        let mut values: Vec<&str> =
            members.iter().filter_map(|member| member.label(label)).collect();
        values.sort_unstable();
        values.dedup();
        let subsets = values.into_iter().map(|value| {
            let subset = Self::of(members, settings, |member| member.label(label) == Some(value));
            (value.into(), subset)
        });
        picture.subsets = subsets.collect();
        picture
    }

    /// A server for this call, by its place in the list of members; None if none may be used. A server for which `tried`
    /// holds is taken only if there is no other.
    pub fn pick(
        &self,
        method: Method,
        loads: &impl Loads,
        call: Call,
        tried: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let chosen = self.portion(method, call)?;
        let first = &self.segments[chosen].segment;
        if let Some(server) = first.pick(method, loads, call, &tried) {
            return Some(server);
        }
        let mut others = self.segments.iter().enumerate().filter(|(place, _)| *place != chosen);
        others
            .find_map(|(_, other)| other.segment.pick(method, loads, call, &tried))
            .or_else(|| first.pick(method, loads, call, &|_| false))
    }

    /// Which segment: by chance, and for a hash by the key, so that a key stays where it is.
    fn portion(&self, method: Method, call: Call) -> Option<usize> {
        if self.segments.first()?.end == u32::MAX {
            return Some(0);
        }
        let drawn = match (method, call.key) {
            // Mixed once more: within the segment the key must be even still.
            (Method::Hash { .. }, Some(key)) => (rendezvous::mix(!key) >> 32) as u32,
            _ => random::random(),
        };
        self.segments.iter().position(|portion| drawn <= portion.end)
    }

    /// The picture of the servers with this value of the subset label; None if there is no such server at all.
    pub fn subset(&self, value: &str) -> Option<&Self> {
        let place = self.subsets.binary_search_by(|(one, _)| (**one).cmp(value)).ok()?;
        self.subsets.get(place).map(|(_, picture)| picture)
    }

    /// The values of the subset label, with their pictures.
    pub fn subsets(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.subsets.iter().map(|(value, picture)| (&**value, picture))
    }

    /// What became of each member, in their order.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// The priority groups, the first first.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Whether in some group so few are up that all its servers are used.
    pub fn panics(&self) -> bool {
        self.groups.iter().any(|group| group.panic)
    }

    fn of(members: &[Member], settings: &Settings, belongs: impl Fn(&Member) -> bool) -> Self {
        let mut draft = Draft::new(members, settings, belongs);
        let mut priorities: Vec<u32> = members.iter().map(|member| member.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let strengths: Vec<_> =
            priorities.iter().map(|&priority| draft.strength(priority)).collect();
        let shares = shares::of_groups(&strengths, settings.failover_below, settings.panic_below);
        let groups = priorities.iter().zip(&strengths).zip(&shares).map(
            |((&priority, strength), &share)| Group {
                priority,
                healthy: strength.healthy(),
                share: share.traffic,
                near: draft.add(priority, share),
                panic: share.panic,
            },
        );
        let groups = groups.collect();
        let Draft { verdicts, segments, .. } = draft;
        let segments = portions(segments);
        Self { segments, verdicts: verdicts.into(), groups, subsets: Box::default() }
    }
}

/// Puts those with traffic first and says where the part of each ends. Without any traffic nothing is picked at all.
fn portions(segments: Vec<(f64, Segment)>) -> Box<[Portion]> {
    let (used, spare): (Vec<_>, Vec<_>) =
        segments.into_iter().partition(|(traffic, _)| *traffic > 0.0);
    let last = used.len().saturating_sub(1);
    if used.is_empty() {
        return Box::default();
    }
    let mut sum = 0.0;
    let used = used.into_iter().enumerate().map(|(place, (traffic, segment))| {
        sum += traffic;
        // Rounding must not leave a gap at the end.
        let end = if place == last { u32::MAX } else { (sum * f64::from(u32::MAX)) as u32 };
        Portion { segment, end }
    });
    let spare = spare.into_iter().map(|(_, segment)| Portion { segment, end: u32::MAX });
    used.chain(spare).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::time::Duration;

    use super::super::member::{Cause, State};
    use super::super::verdict::{Ground, Reason, Spare};
    use super::*;
    use crate::Moment;

    /// All servers are idle and equally quick.
    struct Idle;

    impl Loads for Idle {
        fn in_flight(&self, _: usize) -> u32 {
            0
        }

        fn time(&self, _: usize, _: Moment) -> u64 {
            0
        }

        fn all_in_flight(&self) -> u32 {
            0
        }
    }

    const METHODS: [Method; 5] = [
        Method::RoundRobin,
        Method::LeastRequests,
        Method::TwoChoices,
        Method::LeastTime,
        Method::Hash { bounded_load: Some(1.25) },
    ];
    const EJECTED: State = State::Out(Cause::Ejected);
    const DRAINING: State = State::Out(Cause::Draining);

    fn member(priority: u32, zone: &str, state: State) -> Member {
        Member {
            identity: rendezvous::hash(&random::random().to_le_bytes()),
            weight: 1,
            zone: (!zone.is_empty()).then(|| zone.into()),
            priority,
            labels: Vec::new(),
            state,
        }
    }

    fn settings(zone: &str) -> Settings {
        Settings {
            panic_below: 0.5,
            failover_below: 0.7,
            zone: (!zone.is_empty()).then(|| zone.into()),
            subset_label: None,
        }
    }

    fn of(members: &[(u32, &str, State)], zone: &str) -> Picture {
        let members: Vec<_> =
            members.iter().map(|&(priority, zone, state)| member(priority, zone, state)).collect();
        Picture::new(&members, &settings(zone))
    }

    /// The verdicts in words.
    fn words(picture: &Picture) -> Vec<String> {
        picture.verdicts().iter().map(ToString::to_string).collect()
    }

    fn pick(picture: &Picture, method: Method, tried: impl Fn(usize) -> bool) -> Option<usize> {
        let key = rendezvous::hash(&random::random().to_le_bytes());
        picture.pick(method, &Idle, Call { now: Moment::ZERO, key: Some(key) }, tried)
    }

    #[test]
    fn every_server_has_a_verdict_with_its_reason() {
        let mut members = vec![
            member(0, "", State::Up),
            member(0, "", EJECTED),
            member(0, "", DRAINING),
            member(0, "", State::Starting { share: 0.5 }),
            member(0, "", State::Up),
            member(1, "", State::Up),
            member(0, "", State::Up),
        ];
        members[6].weight = 0;
        let picture = Picture::new(&members, &settings(""));
        assert_eq!(
            words(&picture),
            [
                "in: 40.0 % of the traffic, up",
                "out: ejected for bad answers",
                "out: draining",
                "in: 20.0 % of the traffic, slow start at 8/16",
                "in: 40.0 % of the traffic, up",
                "spare: servers of an earlier priority carry all traffic",
                "out: its weight is 0",
            ]
        );
        assert!(!picture.panics());
    }

    #[test]
    fn draining_servers_neither_cause_panic_nor_are_used_in_one() {
        let picture = of(&[(0, "", State::Up), (0, "", DRAINING), (0, "", DRAINING)], "");
        assert!(!picture.panics());
        let panicking = of(&[(0, "", EJECTED), (0, "", DRAINING), (0, "", EJECTED)], "");
        assert!(panicking.panics());
        let used = Verdict::In { share: 0.5, ground: Ground::Panic };
        let drained = Verdict::Out(Reason::State(Cause::Draining));
        assert_eq!(panicking.verdicts(), [used, drained, used]);
    }

    #[test]
    fn nothing_is_picked_when_nothing_may_be() {
        for picture in [of(&[], ""), of(&[(0, "", DRAINING)], "")] {
            assert_eq!(METHODS.map(|method| pick(&picture, method, |_| false)), [None; 5]);
        }
        let calm = Settings { panic_below: 0.0, ..settings("") };
        let picture = Picture::new(&[member(0, "", EJECTED)], &calm);
        assert_eq!(pick(&picture, Method::RoundRobin, |_| false), None);
        assert_eq!(picture.verdicts(), [Verdict::Out(Reason::State(Cause::Ejected))]);
    }

    #[test]
    fn a_spare_server_is_used_before_one_is_tried_twice() {
        let far = of(&[(0, "a", State::Up), (0, "b", State::Up), (1, "a", State::Up)], "a");
        assert_eq!(far.verdicts()[1], Verdict::Spare(Spare::FarZone));
        assert_eq!(far.verdicts()[2], Verdict::Spare(Spare::LaterPriority));
        for method in METHODS {
            assert_eq!(pick(&far, method, |_| false), Some(0));
            assert_eq!(pick(&far, method, |server| server == 0), Some(1));
            assert_eq!(pick(&far, method, |server| server < 2), Some(2));
            assert_eq!(pick(&far, method, |_| true), Some(0));
        }
    }

    #[test]
    fn a_slow_start_rises_in_sixteen_steps() {
        let length = Duration::from_secs(16);
        let at = |seconds| State::since(Duration::from_secs_f64(seconds), length);
        assert_eq!(at(0.0), State::Starting { share: 1.0 / 16.0 });
        assert_eq!(at(0.9), at(0.0));
        assert_eq!(at(8.0), State::Starting { share: 9.0 / 16.0 });
        assert_eq!(at(16.0), State::Up);
        assert_eq!(State::since(Duration::ZERO, Duration::ZERO), State::Up);
    }

    #[test]
    fn a_subset_is_a_picture_of_its_own() {
        let mut members = vec![member(0, "", State::Up); 4];
        for (member, value) in members.iter_mut().zip(["eu", "us", "eu"]) {
            member.labels = vec![("region".into(), value.into())];
        }
        members[0].state = EJECTED;
        let settings = Settings { subset_label: Some("region".into()), ..settings("") };
        let picture = Picture::new(&members, &settings);
        let eu = picture.subset("eu").unwrap();
        let words = words(eu);
        assert_eq!(words[0], "out: ejected for bad answers");
        assert_eq!(words[1], "out: it belongs to another subset");
        assert_eq!(words[2], "in: 100.0 % of the traffic, up");
        assert_eq!(words[3], "out: it belongs to another subset");
        assert_eq!(pick(picture.subset("us").unwrap(), Method::LeastTime, |_| false), Some(1));
        assert!(picture.subset("asia").is_none());
        let values: Vec<_> = picture.subsets().map(|(value, _)| value).collect();
        assert_eq!(values, ["eu", "us"]);
    }

    fn state() -> impl Strategy<Value = State> {
        prop_oneof![
            4 => Just(State::Up),
            2 => Just(EJECTED),
            1 => Just(DRAINING),
            1 => Just(State::Out(Cause::Unhealthy)),
            1 => (0.0..1.0_f64).prop_map(|share| State::Starting { share }),
        ]
    }

    fn any_members() -> impl Strategy<Value = Vec<Member>> {
        let one = (0..4_u32, 0..3_u32, 0..3_usize, state());
        proptest::collection::vec(one, 1..10).prop_map(|members| {
            let built =
                members.into_iter().enumerate().map(|(place, (weight, priority, zone, state))| {
                    let identity = rendezvous::hash(&place.to_le_bytes());
                    Member { identity, weight, ..member(priority, ["a", "b", ""][zone], state) }
                });
            built.collect()
        })
    }

    fn share(verdict: &Verdict) -> f64 {
        match verdict {
            Verdict::In { share, .. } => *share,
            Verdict::Spare(_) | Verdict::Out(_) => 0.0,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn verdicts_tell_the_traffic(members in any_members(), zoned: bool) {
            let picture = Picture::new(&members, &settings(if zoned { "a" } else { "" }));
            let sum: f64 = picture.verdicts().iter().map(share).sum();
            let can = members.iter().any(|member| {
                member.weight > 0 && member.state != DRAINING
            });
            prop_assert!((sum - if can { 1.0 } else { 0.0 }).abs() < 1e-9, "{sum}");
            let groups: f64 = picture.groups().iter().map(|group| group.share).sum();
            prop_assert!((groups - sum).abs() < 1e-9);
            if !can {
                return Ok(());
            }
            for method in METHODS {
                let mut picked = vec![0_u32; members.len()];
                for _ in 0..20_000 {
                    picked[pick(&picture, method, |_| false).unwrap()] += 1;
                }
                for (verdict, &picked) in picture.verdicts().iter().zip(&picked) {
                    let (got, due) = (f64::from(picked) / 20_000.0, share(verdict));
                    // Five standard deviations and more.
                    prop_assert!((got - due).abs() < 0.02, "{method:?}: {got} for {due}");
                    prop_assert!(due > 0.0 || picked == 0, "{method:?}: {verdict}");
                }
            }
        }

        #[test]
        fn only_the_keys_of_a_server_that_goes_out_move(weights in proptest::collection::vec(1..4_u32, 3..10)) {
            let named = weights.iter().enumerate().map(|(place, &weight)| Member {
                identity: rendezvous::hash(&place.to_le_bytes()), weight, ..member(0, "", State::Up)
            });
            let mut members: Vec<Member> = named.collect();
            let calm = Settings { panic_below: 0.0, ..settings("") };
            let before = Picture::new(&members, &calm);
            members[1].state = EJECTED;
            let without = Picture::new(&members, &calm);
            members[1].state = State::Starting { share: 0.25 };
            let starting = Picture::new(&members, &calm);
            for key in 0..2_000_u64 {
                let call = Call { now: Moment::ZERO, key: Some(rendezvous::hash(&key.to_le_bytes())) };
                let server = |picture: &Picture| {
                    picture.pick(Method::Hash { bounded_load: None }, &Idle, call, |_| false)
                };
                prop_assert!(server(&before) == Some(1) || server(&before) == server(&without));
                prop_assert!(server(&starting) == Some(1) || server(&starting) == server(&without));
                prop_assert!(server(&starting) != Some(1) || server(&before) == Some(1));
            }
        }
    }
}
