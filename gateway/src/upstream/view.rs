//! What the admin sees of an upstream: its servers as they are, who takes part, and who would get a request.

pub(crate) mod prospect;

use std::collections::BTreeMap;
use std::time::Duration;

use resilience::Moment;
use resilience::balance::member::Cause;
use resilience::balance::verdict::{Ground, Reason as OutFor, Verdict};
use resilience::balance::{Method, Picture, picture};
use resilience::ejection::{Reason, Standing};
use serde::Serialize;

use super::Upstream;
use super::lineup::Lineup;
use super::server::{Server, Switch};
use crate::config::ServerAddress;
use crate::observe::reading::{LimitReading, ServerReading, UpstreamReading};

/// Says in words why a server was taken out.
pub(crate) type Words = fn(Reason) -> String;

/// An upstream as it is at this moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct UpstreamNow {
    /// Whether in some group so few servers are up that all of it are used.
    pub panic: bool,
    /// Its priority groups, the first first.
    pub groups: Vec<GroupNow>,
    /// The values of its subset label, if it has one.
    pub subsets: Vec<SubsetNow>,
    /// Retries and hedges it may send now.
    pub retry_budget_left: f64,
    /// Its circuit breaker: `closed`, `open` or `half-open`; `None`: it has none.
    pub circuit: Option<&'static str>,
    /// How often the breaker has opened.
    pub circuit_opened: u64,
    /// Its limit of requests in flight, if it has one.
    pub limit: Option<LimitReading>,
    /// How often servers were taken out for bad answers, by reason.
    pub ejections: Vec<EjectionsNow>,
    /// Its servers: every address a name stands for is one.
    pub servers: Vec<ServerNow>,
    /// Names that were not resolved yet.
    pub unresolved: Vec<String>,
}

/// A priority group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupNow {
    /// Its number; 0 is used first.
    pub priority: u32,
    /// The share of its weight that is up.
    pub healthy: f64,
    /// Its share of the traffic.
    pub share: f64,
    /// The share of its traffic that stays in the gateway's zone; `None`: zones do not count.
    pub near: Option<f64>,
    /// Whether so few of it are up that all are used.
    pub panic: bool,
}

/// The servers with one value of the subset label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SubsetNow {
    /// The value.
    pub value: String,
    /// Whether so few of them are up that all are used.
    pub panic: bool,
    /// Those that take part, with their share of the subset's traffic.
    pub servers: Vec<ShareNow>,
}

/// A server's share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShareNow {
    /// Where it is.
    pub address: String,
    /// Between 0 and 1, if all are equally busy and quick.
    pub share: f64,
}

/// How often servers were taken out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EjectionsNow {
    /// The reason, in one word.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
}

/// One server as it is at this moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServerNow {
    /// Where it is.
    pub address: String,
    /// As the config writes it, if by a name.
    pub name: Option<String>,
    /// Its share beside the others; 0: no new requests.
    pub weight: u32,
    /// Where it is, if the config says so.
    pub zone: Option<String>,
    /// Its priority group.
    pub priority: u32,
    /// What `subset` looks at.
    pub labels: BTreeMap<String, String>,
    /// Requests it is busy with.
    pub in_flight: u32,
    /// How long it takes to answer, if its upstream's balance asks for it and it is known.
    pub latency_seconds: Option<f64>,
    /// What its health checks say: `unknown`, `up` or `down`.
    pub health: &'static str,
    /// The last answer to a health check.
    pub last_check: Option<String>,
    /// What its answers to requests say.
    pub standing: StandingNow,
    /// What the admin has set it to: `enabled`, `draining` or `disabled`.
    pub switch: &'static str,
    /// Whether it gets requests.
    pub takes_part: bool,
    /// Why, in one word.
    pub state: &'static str,
    /// Why, in words.
    pub verdict: String,
    /// Its share of the traffic, between 0 and 1, if all are equally busy and quick.
    pub share: f64,
}

/// How a server's answers were judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StandingNow {
    /// `in`, `out`, or `probation`: it gets a few requests, to see.
    pub state: &'static str,
    /// Until it is tried again.
    pub out_for_seconds: Option<f64>,
    /// Why it is out.
    pub reason: Option<String>,
    /// Ejections that count against it; each makes the next longer.
    pub ejections: u32,
}

/// What the admin may do with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It finishes what it has begun and gets nothing new.
    Drain,
    /// It is used.
    Enable,
    /// It is not used, whatever becomes of the others.
    Disable,
}

impl Upstream {
    /// As it is now.
    pub(crate) fn view(&self, now: Moment, words: Words) -> UpstreamNow {
        let lineup = self.lineup.load();
        let budget = self.budget.view(now);
        let ejections = self.metrics.ejections().into_iter();
        let gate = self.admission.reading("upstream", &self.config.name, now);
        UpstreamNow {
            circuit: gate.circuit,
            circuit_opened: gate.opened,
            limit: gate.limit,
            panic: lineup.picture.panics(),
            groups: lineup.picture.groups().iter().map(group).collect(),
            subsets: lineup
                .picture
                .subsets()
                .map(|(value, of)| subset(&lineup, value, of))
                .collect(),
            retry_budget_left: budget.share + budget.floor,
            ejections: ejections.map(|(reason, count)| EjectionsNow { reason, count }).collect(),
            servers: with_verdicts(&lineup).map(|of| self.server_view(of, now, words)).collect(),
            unresolved: self.unresolved(&lineup),
        }
    }

    /// What metrics show of it. Two names may stand for one address, which is shown once.
    pub(crate) fn reading(&self, now: Moment) -> UpstreamReading {
        let lineup = self.lineup.load();
        let mut servers = BTreeMap::<&str, ServerReading>::new();
        for (server, verdict) in with_verdicts(&lineup) {
            let read = self.server_reading((server, verdict), now);
            let seen = servers
                .entry(&server.text)
                .or_insert_with(|| ServerReading { in_flight: 0, ..read.clone() });
            seen.in_flight += read.in_flight;
            if read.takes_part && !seen.takes_part {
                (seen.takes_part, seen.state) = (true, read.state);
            }
        }
        let budget = self.budget.view(now);
        UpstreamReading {
            name: self.config.name.clone(),
            panics: lineup.picture.panics(),
            budget_left: budget.share + budget.floor,
            servers: servers.into_values().collect(),
        }
    }

    /// Obeys for the servers at an address, or of a name, as the config writes it; they are told as they are then. None:
    /// there is no such server.
    pub(crate) fn order(
        &self,
        address: &str,
        order: Order,
        now: Moment,
        words: Words,
    ) -> Vec<ServerNow> {
        let lineup = self.lineup.load_full();
        let meant = |server: &Server| {
            *server.text == *address || self.name_of(server).is_some_and(|name| name == address)
        };
        for server in lineup.servers.iter().filter(|server| meant(server)) {
            server.condition.set_switch(match order {
                Order::Drain => Switch::Draining,
                Order::Enable => Switch::Enabled,
                Order::Disable => Switch::Disabled,
            });
        }
        self.redraw(now);
        let lineup = self.lineup.load();
        let meant = with_verdicts(&lineup).filter(|(server, _)| meant(server));
        meant.map(|of| self.server_view(of, now, words)).collect()
    }

    pub(super) fn server_view(
        &self,
        (server, verdict): (&Server, &Verdict),
        now: Moment,
        words: Words,
    ) -> ServerNow {
        let condition = &server.condition;
        let standing = standing(condition.standing(), now, words);
        ServerNow {
            address: server.text.to_string(),
            name: self.name_of(server),
            weight: server.settings.weight,
            zone: server.settings.zone.as_deref().map(str::to_owned),
            priority: server.settings.priority,
            labels: server.settings.labels.clone(),
            in_flight: condition.in_flight(),
            latency_seconds: self.latency(server, now).as_ref().map(Duration::as_secs_f64),
            health: condition.health(),
            last_check: condition.last_check().map(String::from),
            switch: match condition.switch() {
                Switch::Enabled => "enabled",
                Switch::Draining => "draining",
                Switch::Disabled => "disabled",
            },
            takes_part: takes_part(verdict),
            state: state(verdict, condition.standing().0),
            verdict: told(verdict, &standing),
            share: share(verdict),
            standing,
        }
    }

    fn server_reading(&self, (server, verdict): (&Server, &Verdict), now: Moment) -> ServerReading {
        ServerReading {
            address: server.text.to_string(),
            in_flight: server.condition.in_flight(),
            takes_part: takes_part(verdict),
            state: state(verdict, server.condition.standing().0),
            latency: self.latency(server, now),
        }
    }

    /// What the balance by least time knows of a server.
    fn latency(&self, server: &Server, now: Moment) -> Option<Duration> {
        let known = match self.method {
            Method::LeastTime => server.condition.time.read(now),
            Method::RoundRobin
            | Method::LeastRequests
            | Method::TwoChoices
            | Method::Hash { .. } => 0,
        };
        (known > 0).then(|| Duration::from_nanos(known))
    }

    /// As the config writes a server that it calls by a name.
    fn name_of(&self, server: &Server) -> Option<String> {
        self.config.servers.iter().find_map(|configured| match &configured.address {
            ServerAddress::Name(name, port) if server.is_named(Some((name, *port))) => {
                Some(configured.address.to_string())
            }
            ServerAddress::Name(..) | ServerAddress::Ip(_) | ServerAddress::Unix(_) => None,
        })
    }

    fn unresolved(&self, lineup: &Lineup) -> Vec<String> {
        let unresolved =
            self.config.servers.iter().filter(|configured| match &configured.address {
                ServerAddress::Name(name, port) => {
                    !lineup.servers.iter().any(|server| server.is_named(Some((name, *port))))
                }
                ServerAddress::Ip(_) | ServerAddress::Unix(_) => false,
            });
        unresolved.map(|configured| configured.address.to_string()).collect()
    }
}

/// The servers of a lineup with what its picture of all of them says.
fn with_verdicts(lineup: &Lineup) -> impl Iterator<Item = (&Server, &Verdict)> {
    lineup.servers.iter().map(AsRef::as_ref).zip(lineup.picture.verdicts())
}

fn group(group: &picture::Group) -> GroupNow {
    let picture::Group { priority, healthy, share, near, panic } = *group;
    GroupNow { priority, healthy, share, near, panic }
}

fn subset(lineup: &Lineup, value: &str, picture: &Picture) -> SubsetNow {
    let of_subset = lineup.servers.iter().zip(picture.verdicts());
    let servers = of_subset.filter(|(_, verdict)| takes_part(verdict));
    let share = |(server, verdict): (&std::sync::Arc<Server>, &Verdict)| ShareNow {
        address: server.text.to_string(),
        share: share(verdict),
    };
    SubsetNow {
        value: value.to_owned(),
        panic: picture.panics(),
        servers: servers.map(share).collect(),
    }
}

fn standing((standing, ejections): (Standing, u32), now: Moment, words: Words) -> StandingNow {
    let (state, out_for_seconds, reason) = match standing {
        Standing::In => ("in", None, None),
        Standing::Probation { since: _ } => ("probation", None, None),
        Standing::Out { reason, until } => {
            ("out", Some(until.since(now).as_secs_f64()), Some(words(reason)))
        }
    };
    StandingNow { state, out_for_seconds, reason, ejections }
}

pub(super) fn takes_part(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::In { .. } => true,
        Verdict::Spare(_) | Verdict::Out(_) => false,
    }
}

pub(super) fn share(verdict: &Verdict) -> f64 {
    match verdict {
        Verdict::In { share, .. } => *share,
        Verdict::Spare(_) | Verdict::Out(_) => 0.0,
    }
}

/// In one word, for metrics.
fn state(verdict: &Verdict, standing: Standing) -> &'static str {
    match verdict {
        Verdict::In { ground: Ground::Panic, .. } => "panic",
        Verdict::In { .. } if matches!(standing, Standing::Probation { .. }) => "probation",
        Verdict::In { ground: Ground::Starting { .. }, .. } => "starting",
        Verdict::In { ground: Ground::Up, .. } => "up",
        Verdict::Spare(_) => "spare",
        Verdict::Out(OutFor::NoWeight) => "no-weight",
        Verdict::Out(OutFor::OtherSubset) => "other-subset",
        Verdict::Out(OutFor::State(Cause::Unhealthy)) => "unhealthy",
        Verdict::Out(OutFor::State(Cause::Ejected)) => "ejected",
        Verdict::Out(OutFor::State(Cause::Draining)) => "draining",
        Verdict::Out(OutFor::State(Cause::Disabled)) => "disabled",
    }
}

/// The verdict in words, and for how long.
fn told(verdict: &Verdict, standing: &StandingNow) -> String {
    let StandingNow { state: _, out_for_seconds, reason, ejections: _ } = standing;
    match (verdict, reason, out_for_seconds) {
        (Verdict::Out(OutFor::State(Cause::Ejected)), Some(reason), Some(seconds)) => {
            format!("{verdict} ({reason}); tried again in {seconds:.1} s")
        }
        _ => verdict.to_string(),
    }
}
