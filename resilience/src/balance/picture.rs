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
