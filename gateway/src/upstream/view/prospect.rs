//! Which server a request would go to now, and why no other. Nothing changes by asking: no turn is taken.

use std::sync::Arc;

use resilience::Moment;
use resilience::balance::{Call, Method, Picture};
use serde::Serialize;

use super::super::Upstream;
use super::super::choice::{Asked, Choice, Subset};
use super::super::lineup::Lineup;
use super::super::server::Server;
use super::{Words, share, takes_part, with_verdicts};
use crate::config::{Balance, KeyOf};

/// Where chance has a say a pick is tried so often: shares come out within some 2 %.
const TRIALS: u32 = 2_000;

/// Which servers of an upstream a request may go to now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prospect {
    /// The upstream's name.
    pub upstream: String,
    /// What decides, in words.
    pub chosen_by: String,
    /// The value of the subset label that is asked for, if it chooses the servers.
    pub subset: Option<String>,
    /// What would keep the request from all of them: an open circuit breaker, or a limit without a place.
    pub held_by: Option<String>,
    /// The server, where nothing is left to chance.
    pub server: Option<String>,
    /// All servers, in the order of the configuration.
    pub servers: Vec<Candidate>,
}

/// One server, and what speaks for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Where it is.
    pub address: String,
    /// How likely it is to get this request, between 0 and 1.
    pub chance: f64,
    /// Requests it is busy with.
    pub in_flight: u32,
    /// Whether it gets requests.
    pub takes_part: bool,
    /// Why, in words.
    pub verdict: String,
}

/// The servers that come into question, and the value that chose them.
struct Among<'l> {
    picture: &'l Picture,
    subset: Option<&'l str>,
}

impl Upstream {
    /// Where this request would go now.
    pub(crate) fn prospect(&self, asked: &Asked<'_>, now: Moment, words: Words) -> Prospect {
        let lineup = self.lineup.load();
        let choice = self.choice(asked);
        let Some(among) = among(&lineup, &choice.subset) else {
            return self.no_prospect(&lineup, now, words);
        };
        let chances = self.chances(&lineup, among.picture, &choice, now);
        let verdicts = lineup.servers.iter().zip(among.picture.verdicts()).zip(&chances);
        let servers = verdicts.map(|((server, verdict), &chance)| {
            let view = self.server_view((server, verdict), now, words);
            Candidate {
                address: view.address,
                chance,
                in_flight: view.in_flight,
                takes_part: takes_part(verdict),
                verdict: view.verdict,
            }
        });
        let servers: Vec<Candidate> = servers.collect();
        let certain = servers.iter().find(|candidate| candidate.chance >= 1.0);
        Prospect {
            upstream: self.config.name.clone(),
            chosen_by: self.chosen_by(&lineup, among.picture, &choice),
            subset: among.subset.map(str::to_owned),
            held_by: self.admission.held_by(now),
            server: certain.map(|candidate| candidate.address.clone()),
            servers,
        }
    }

    /// The request says too little: it is answered with 503.
    fn no_prospect(&self, lineup: &Lineup, now: Moment, words: Words) -> Prospect {
        let verdicts = with_verdicts(lineup);
        let servers = verdicts.map(|(server, verdict)| {
            let view = self.server_view((server, verdict), now, words);
            Candidate {
                address: view.address,
                chance: 0.0,
                in_flight: view.in_flight,
                takes_part: false,
                verdict: "out: it belongs to another subset".to_owned(),
            }
        });
        let by = self.config.resilience.subset.as_ref().map(|subset| key_words(&subset.by));
        let by = by.unwrap_or_default();
        Prospect {
            upstream: self.config.name.clone(),
            chosen_by: format!("no server: {by} names no subset"),
            subset: None,
            held_by: self.admission.held_by(now),
            server: None,
            servers: servers.collect(),
        }
    }

    /// How likely each server is to get the request.
    fn chances(&self, lineup: &Lineup, of: &Picture, choice: &Choice, now: Moment) -> Vec<f64> {
        let only = |server: &Arc<Server>| -> Vec<f64> {
            let all = lineup.servers.iter();
            all.map(|one| if Arc::ptr_eq(one, server) { 1.0 } else { 0.0 }).collect()
        };
        let sticky = choice.sticky.and_then(|identity| lineup.find_in(of, identity));
        if let Some(server) = sticky {
            return only(server);
        }
        let call = Call { now, key: choice.key };
        let pick = || lineup.pick(of, self.method, call, &[]);
        match (self.method, choice.key) {
            // A pick would take a turn.
            (Method::RoundRobin, _) => of.verdicts().iter().map(share).collect(),
            (Method::Hash { .. }, Some(_)) => pick().map(only).unwrap_or_default(),
            (Method::LeastRequests | Method::TwoChoices | Method::LeastTime, _)
            | (Method::Hash { .. }, None) => {
                let mut chances = vec![0.0; lineup.servers.len()];
                let picked = (0..TRIALS).filter_map(|_| pick());
                let places = picked.filter_map(|server| {
                    lineup.servers.iter().position(|one| Arc::ptr_eq(one, server))
                });
                places.for_each(|place| chances[place] += 1.0 / f64::from(TRIALS));
                // What is added up of parts must be a whole again.
                chances.iter().map(|chance| (chance * 1e6).round() / 1e6).collect()
            }
        }
    }

    /// What decides, in words.
    fn chosen_by(&self, lineup: &Lineup, picture: &Picture, choice: &Choice) -> String {
        let cookie = self.config.resilience.sticky.as_ref().map(|sticky| &sticky.cookie);
        let is_known = |identity| lineup.find_in(picture, identity).is_some();
        let of_balance = by_balance(&self.config.balance, choice);
        match (cookie, choice.sticky) {
            (Some(cookie), Some(identity)) if is_known(identity) => {
                format!("the cookie {cookie}, which names it")
            }
            (Some(cookie), Some(_)) => {
                format!("{of_balance}; the cookie {cookie} names a server that does not take part")
            }
            (Some(_) | None, _) => of_balance,
        }
    }
}

fn by_balance(balance: &Balance, choice: &Choice) -> String {
    match (balance, choice.key) {
        (Balance::RoundRobin, _) => "turns, by weight".to_owned(),
        (Balance::LeastRequests, _) => "the fewest requests in flight at this moment".to_owned(),
        (Balance::TwoChoices, _) => "the less busy of two at this moment".to_owned(),
        (Balance::LeastTime, _) => "the least time at this moment".to_owned(),
        (Balance::ConsistentHash { by, bounded_load: None }, Some(_)) => {
            format!("the hash of {}", key_words(by))
        }
        (Balance::ConsistentHash { by, bounded_load: Some(_) }, Some(_)) => {
            format!("the hash of {}, among servers with room", key_words(by))
        }
        (Balance::ConsistentHash { by, .. }, None) => {
            format!("the less busy of two, because {} is not there", key_words(by))
        }
    }
}

/// As a choice of servers chooses them; `None`: it chooses none.
fn among<'l>(lineup: &'l Lineup, subset: &'l Subset) -> Option<Among<'l>> {
    let picture = subset.among(lineup)?;
    let subset = match subset {
        Subset::Of(value, _) => lineup.picture.subset(value).map(|_| &**value),
        Subset::All | Subset::None => None,
    };
    Some(Among { picture, subset })
}

fn key_words(by: &KeyOf) -> String {
    match by {
        KeyOf::Header(name) => format!("the header {name}"),
        KeyOf::Cookie(name) => format!("the cookie {name}"),
        KeyOf::Path(name) => format!("the path's {name}"),
        KeyOf::Query(name) => format!("the query's {name}"),
        KeyOf::Client => "the client's address".to_owned(),
    }
}
