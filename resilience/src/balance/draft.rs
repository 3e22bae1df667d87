//! A picture in the making: from members to segments and verdicts.

use super::member::{Cause, Member, STEPS, State};
use super::picture::Settings;
use super::segment::{Candidate, Segment};
use super::shares::{self, Share, Strength};
use super::verdict::{Ground, Reason, Spare, Verdict};

/// A picture in the making.
pub(super) struct Draft<'a> {
    members: &'a [Member],
    settings: &'a Settings,
    pub(super) verdicts: Vec<Verdict>,
    /// Each with its share of all traffic.
    pub(super) segments: Vec<(f64, Segment)>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        members: &'a [Member],
        settings: &'a Settings,
        belongs: impl Fn(&Member) -> bool,
    ) -> Self {
        let verdicts = members.iter().map(|member| first_verdict(member, &belongs)).collect();
        Self { members, settings, verdicts, segments: Vec::new() }
    }

    pub(super) fn strength(&self, priority: u32) -> Strength {
        let mut strength = Strength::default();
        for server in self.group(priority, |_| true) {
            let member = &self.members[server];
            strength.whole += u64::from(member.weight);
            strength.up += if member.is_up() { u64::from(member.weight) } else { 0 };
        }
        strength
    }

    /// Those of the group that count: not of another subset, without weight, or taken out on purpose.
    fn group(&self, priority: u32, also: impl Fn(&Member) -> bool) -> Vec<usize> {
        let counts = |verdict: &Verdict| match verdict {
            Verdict::In { .. } | Verdict::Spare(_) => true,
            Verdict::Out(Reason::State(cause)) => match cause {
                Cause::Unhealthy | Cause::Ejected => true,
                Cause::Draining | Cause::Disabled => false,
            },
            Verdict::Out(Reason::NoWeight | Reason::OtherSubset) => false,
        };
        let all = self.members.iter().zip(&self.verdicts).enumerate();
        let of_group = all.filter(|(_, (member, verdict))| {
            member.priority == priority && counts(verdict) && also(member)
        });
        of_group.map(|(server, _)| server).collect()
    }

    /// Adds a group's segments, and says which share of its traffic stays near.
    pub(super) fn add(&mut self, priority: u32, share: Share) -> Option<f64> {
        if share.panic {
            let all = self.group(priority, |_| true);
            self.add_segment(&all, share, Spare::LaterPriority);
            return None;
        }
        let up = self.group(priority, Member::is_up);
        let Some(zone) = &self.settings.zone else {
            self.add_segment(&up, share, Spare::LaterPriority);
            return None;
        };
        let is_near = |server: &usize| self.members[*server].zone.as_ref() == Some(zone);
        let (near, far): (Vec<usize>, Vec<usize>) = up.iter().copied().partition(is_near);
        let stays = self.stays_near(priority, &near, &up);
        let part = |part: f64| Share { traffic: share.traffic * part, panic: false };
        let (near_part, far_part) = (part(stays), part(1.0 - stays));
        let far_spare = if share.traffic > 0.0 { Spare::FarZone } else { Spare::LaterPriority };
        self.add_segment(&near, near_part, Spare::LaterPriority);
        self.add_segment(&far, far_part, far_spare);
        Some(stays)
    }

    fn stays_near(&self, priority: u32, near: &[usize], up: &[usize]) -> f64 {
        let weight = |servers: &[usize]| -> u64 {
            servers.iter().map(|&server| u64::from(self.members[server].weight)).sum()
        };
        // All with servers, up or not: the gateways there send wherever they can.
        let all = self.group(priority, |_| true);
        let mut zones: Vec<_> = all.iter().map(|&server| &self.members[server].zone).collect();
        zones.sort_unstable();
        zones.dedup();
        shares::of_near(weight(near), weight(up), zones.len(), self.settings.failover_below)
    }

    fn add_segment(&mut self, servers: &[usize], share: Share, spare: Spare) {
        if servers.is_empty() {
            return;
        }
        let weight = |server: usize| {
            let member = &self.members[server];
            let sixteenths = if share.panic { STEPS } else { member.sixteenths() };
            member.weight.min(u32::MAX / STEPS) * sixteenths
        };
        let total: u64 = servers.iter().map(|&server| u64::from(weight(server))).sum();
        let candidates = servers.iter().map(|&server| Candidate {
            identity: self.members[server].identity,
            part: share.traffic * f64::from(weight(server)) / total as f64,
            weight: weight(server),
            // A list of members is not as long as 2^32.
            server: server as u32,
        });
        let candidates: Vec<Candidate> = candidates.collect();
        for candidate in &candidates {
            let server = candidate.server as usize;
            self.verdicts[server] = if share.traffic > 0.0 {
                Verdict::In { share: candidate.part, ground: self.ground(server, share) }
            } else {
                Verdict::Spare(spare)
            };
        }
        self.segments.push((share.traffic, Segment::new(candidates)));
    }

    fn ground(&self, server: usize, share: Share) -> Ground {
        let member = &self.members[server];
        match member.state {
            _ if share.panic => Ground::Panic,
            State::Starting { .. } if member.sixteenths() < STEPS => {
                Ground::Starting { sixteenths: member.sixteenths() }
            }
            State::Up | State::Starting { .. } | State::Out(_) => Ground::Up,
        }
    }
}

/// What can be said of a member before the others are known: spare, if it may be used at all.
fn first_verdict(member: &Member, belongs: impl Fn(&Member) -> bool) -> Verdict {
    match member.state {
        _ if !belongs(member) => Verdict::Out(Reason::OtherSubset),
        _ if member.weight == 0 => Verdict::Out(Reason::NoWeight),
        State::Out(cause) => Verdict::Out(Reason::State(cause)),
        State::Up | State::Starting { .. } => Verdict::Spare(Spare::LaterPriority),
    }
}
