//! The servers of an upstream as they are now, and which of them is next.

use std::sync::Arc;

use resilience::Moment;
use resilience::balance::verdict::Verdict;
use resilience::balance::{self, Call, Loads, Method, Picture, picture};

use super::server::Server;
use crate::config::Balance;

/// The servers of an upstream, and who of them takes part. Made anew when that changes.
#[derive(Debug)]
pub(crate) struct Lineup {
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) picture: Picture,
    members: Vec<balance::Member>,
}

impl Lineup {
    /// Nobody yet.
    pub(super) fn empty(settings: &picture::Settings) -> Self {
        Self::of(Vec::new(), Vec::new(), settings)
    }

    pub(super) fn of(
        servers: Vec<Arc<Server>>,
        members: Vec<balance::Member>,
        settings: &picture::Settings,
    ) -> Self {
        Self { picture: Picture::new(&members, settings), servers, members }
    }

    /// Whether it would come out the same.
    pub(super) fn shows(&self, members: &[balance::Member]) -> bool {
        self.members == members
    }

    /// A server of `picture` (all, or a subset), if possible one that was not tried.
    pub(super) fn pick(
        &self,
        picture: &Picture,
        method: Method,
        call: Call,
        tried: &[u64],
    ) -> Option<&Arc<Server>> {
        let is_tried = |place: usize| {
            !tried.is_empty() && self.servers.get(place).is_some_and(|it| tried.contains(&it.id))
        };
        self.servers.get(picture.pick(method, self, call, is_tried)?)
    }

    /// The server of this identity, if it takes part.
    pub(super) fn find_in(&self, picture: &Picture, identity: u64) -> Option<&Arc<Server>> {
        let place = self.members.iter().position(|member| member.identity == identity)?;
        let takes_part = matches!(picture.verdicts().get(place), Some(Verdict::In { .. }));
        self.servers.get(place).filter(|_| takes_part)
    }
}

impl Loads for Lineup {
    fn in_flight(&self, server: usize) -> u32 {
        self.servers.get(server).map_or(0, |server| server.condition.in_flight())
    }

    fn time(&self, server: usize, now: Moment) -> u64 {
        self.servers.get(server).map_or(0, |server| server.condition.time.read(now))
    }

    fn all_in_flight(&self) -> u32 {
        self.servers.iter().map(|server| server.condition.in_flight()).sum()
    }
}

/// The method in the balance's words.
pub(super) fn method(balance: &Balance) -> Method {
    match balance {
        Balance::RoundRobin => Method::RoundRobin,
        Balance::LeastRequests => Method::LeastRequests,
        Balance::TwoChoices => Method::TwoChoices,
        Balance::LeastTime => Method::LeastTime,
        Balance::ConsistentHash { bounded_load, by: _ } => {
            Method::Hash { bounded_load: *bounded_load }
        }
    }
}
