//! A gateway that is only pretended: what the admin endpoint asks is answered, and nothing is served.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::*;
use crate::cli::explain::explain;
use crate::config::{Place, Problem, Sources};
use crate::observe::reading::LimitReading;
use crate::upstream::view::prospect::Candidate;
use crate::upstream::view::{EjectionsNow, GroupNow, ShareNow, StandingNow, SubsetNow};

/// A server of which everything is known.
fn server_now(address: &str) -> ServerNow {
    let standing = StandingNow {
        state: "out",
        out_for_seconds: Some(1.5),
        reason: Some("3 failures in a row".to_owned()),
        ejections: 2,
    };
    ServerNow {
        address: address.to_owned(),
        name: None,
        weight: 1,
        zone: Some("a".to_owned()),
        priority: 0,
        labels: [("region".to_owned(), "eu".to_owned())].into(),
        in_flight: 2,
        latency_seconds: Some(0.02),
        health: "unknown",
        last_check: None,
        standing,
        switch: "draining",
        takes_part: false,
        state: "draining",
        verdict: "out: draining".to_owned(),
        share: 0.0,
    }
}

/// A gateway with a configuration and a mood.
pub(super) struct Pretended {
    pub(super) loaded: Arc<Loaded>,
    pub(super) mood: Mood,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Bad,
}

fn problems(text: &str) -> Problems {
    let mut sources = Sources::default();
    sources.add(&PathBuf::from("config.toml"), text);
    let start = text.find("brust").unwrap_or_default();
    let problem = Problem::at(Place::new(&(start..start + 5)), "unknown key `brust`");
    Problems::new(sources, vec![problem.help("keys are requests, burst")])
}

impl Control for Pretended {
    fn ready(&self) -> Result<(), Vec<String>> {
        match self.mood {
            Mood::Good => Ok(()),
            Mood::Bad => Err(vec!["draining".to_owned()]),
        }
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded)
    }

    fn last_refusal(&self) -> Option<Arc<Refused>> {
        let problems = problems("a = 1\nbrust = 2\n");
        (self.mood == Mood::Bad).then(|| Arc::new(Refused { at: SystemTime::now(), problems }))
    }

    fn upstream(&self, upstream: UpstreamId) -> UpstreamNow {
        let servers = &self.loaded.config.upstreams[upstream.0].servers;
        let group = GroupNow { priority: 0, healthy: 0.5, share: 1.0, near: None, panic: true };
        let share = ShareNow { address: "10.0.0.1:3000".to_owned(), share: 1.0 };
        let subset = SubsetNow { value: "eu".to_owned(), panic: false, servers: vec![share] };
        UpstreamNow {
            panic: true,
            groups: vec![group],
            subsets: vec![subset],
            retry_budget_left: 2.5,
            circuit: Some("half-open"),
            circuit_opened: 4,
            limit: Some(LimitReading { in_flight: 3, limit: 8, waiting: 1 }),
            ejections: vec![EjectionsNow { reason: "slow", count: 3 }],
            servers: servers.iter().map(|server| server_now(&server.address.to_string())).collect(),
            unresolved: vec!["users.internal:3000".to_owned()],
        }
    }

    fn readings(&self) -> Readings {
        Readings::default()
    }

    fn order(&self, upstream: &str, server: &str, order: Order) -> Result<Vec<ServerNow>, Unknown> {
        match (upstream, server, order) {
            ("users", "10.0.0.1:3000", Order::Drain | Order::Disable | Order::Enable) => {
                Ok(vec![server_now(server)])
            }
            ("users", ..) => Err(Unknown::Server),
            _ => Err(Unknown::Upstream),
        }
    }

    fn explain(&self, question: &Question) -> Result<Explained, Problems> {
        let explanation = explain(&self.loaded.config, question)?;
        let candidate = Candidate {
            address: "10.0.0.1:3000".to_owned(),
            chance: 0.5,
            in_flight: 3,
            takes_part: true,
            verdict: "in".to_owned(),
        };
        let live = Prospect {
            upstream: "users".to_owned(),
            chosen_by: "turns, by weight".to_owned(),
            held_by: Some("the circuit breaker".to_owned()),
            subset: None,
            server: None,
            servers: vec![candidate],
        };
        Ok(Explained { generation: 7, explanation, live: Some(live) })
    }

    fn check(&self, text: &str) -> Result<(), Problems> {
        if text.contains("brust") { Err(problems(text)) } else { Ok(()) }
    }

    fn reload(&self) -> Result<Reloaded, Problems> {
        match self.mood {
            Mood::Good => Ok(Reloaded { generation: 8, not_applied: vec!["threads".to_owned()] }),
            Mood::Bad => Err(problems("brust = 2")),
        }
    }
}
