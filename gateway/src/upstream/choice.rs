//! What of a request chooses its server: the key of a consistent hash, the value of a subset, the cookie of a sticky client.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header, request};
use plugins::exchange::Scheme;
use resilience::Moment;
use resilience::balance::{self, Method, Picture, rendezvous};

use super::lineup::Lineup;
use super::server::Server;
use super::{InFlight, Upstream};
use crate::config::{Balance, KeyOf, Otherwise};
use crate::routing::condition::values::first_of_query;

/// What of a request chooses its server. Nothing of it costs anything where the upstream does not ask for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// The hash of the key.
    pub(super) key: Option<u64>,
    /// Which servers.
    pub(super) subset: Subset,
    /// The server that the client had before.
    pub(crate) sticky: Option<u64>,
}

/// Which servers a request may go to.
#[derive(Clone, Debug, Default)]
pub(super) enum Subset {
    /// All.
    #[default]
    All,
    /// Those whose label has this value.
    Of(Box<str>, Otherwise),
    /// None: the request has no value, and needs one.
    None,
}

impl Subset {
    /// The picture of those servers; `None`: there are none.
    pub(super) fn among<'l>(&self, lineup: &'l Lineup) -> Option<&'l Picture> {
        match self {
            Self::All => Some(&lineup.picture),
            Self::Of(value, otherwise) => match (lineup.picture.subset(value), otherwise) {
                (Some(picture), _) => Some(picture),
                (None, Otherwise::Any) => Some(&lineup.picture),
                (None, Otherwise::None) => None,
            },
            Self::None => None,
        }
    }
}

/// Where a request's values are.
pub(crate) struct Asked<'a> {
    pub(crate) parts: &'a request::Parts,
    pub(crate) client: IpAddr,
    /// The value of a parameter of the route's path.
    pub(crate) parameter: &'a dyn Fn(&str) -> Option<&'a str>,
}

impl Upstream {
    /// Whether requests have to be looked at before a server is chosen.
    pub(crate) fn looks_at_requests(&self) -> bool {
        let resilience = &self.config.resilience;
        matches!(self.config.balance, Balance::ConsistentHash { .. })
            || resilience.subset.is_some()
            || resilience.sticky.is_some()
    }

    /// What of this request chooses its server.
    pub(crate) fn choice(&self, asked: &Asked<'_>) -> Choice {
        let resilience = &self.config.resilience;
        let key = match &self.config.balance {
            Balance::ConsistentHash { by, .. } => hash_of(by, asked),
            Balance::RoundRobin
            | Balance::LeastRequests
            | Balance::TwoChoices
            | Balance::LeastTime => None,
        };
        let subset = match &resilience.subset {
            None => Subset::All,
            Some(subset) => match (value(&subset.by, asked), subset.otherwise) {
                (Some(value), otherwise) => Subset::Of(value, otherwise),
                (None, Otherwise::Any) => Subset::All,
                (None, Otherwise::None) => Subset::None,
            },
        };
        let sticky = resilience.sticky.as_ref().and_then(|sticky| {
            u64::from_str_radix(cookie(&asked.parts.headers, &sticky.cookie)?, 16).ok()
        });
        Choice { key, subset, sticky }
    }
}

impl Upstream {
    /// A server for a request; if possible none of `tried`.
    pub(crate) fn choose(&self, choice: &Choice, now: Moment, tried: &[u64]) -> Option<InFlight> {
        let lineup = self.lineup.load();
        let picture = choice.subset.among(&lineup)?;
        if let Some(server) = choice.sticky.and_then(|identity| lineup.find_in(picture, identity))
            && !tried.contains(&server.id)
        {
            return Some(Arc::clone(server).enter());
        }
        let call = balance::Call { now, key: choice.key };
        // A second try takes no turn: of two servers the one that fails would have the first try of every request.
        let method = match self.method {
            Method::RoundRobin if !tried.is_empty() => Method::TwoChoices,
            method => method,
        };
        Some(Arc::clone(lineup.pick(picture, method, call, tried)?).enter())
    }
}

impl Upstream {
    /// Tells the client which server it has, so that it comes back to it (RFC 6265).
    pub(crate) fn stick(&self, headers: &mut HeaderMap, server: &Server, scheme: Scheme) {
        let Some(sticky) = &self.config.resilience.sticky else { return };
        let mut text =
            format!("{}={:016x}; Path=/; HttpOnly; SameSite=Lax", sticky.cookie, server.identity());
        if let Some(ttl) = sticky.ttl {
            text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        if scheme == Scheme::Https {
            text.push_str("; Secure");
        }
        if let Ok(cookie) = HeaderValue::try_from(text) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

fn hash_of(by: &KeyOf, asked: &Asked<'_>) -> Option<u64> {
    match by {
        KeyOf::Client => match asked.client {
            IpAddr::V4(client) => Some(rendezvous::hash(&client.octets())),
            IpAddr::V6(client) => Some(rendezvous::hash(&client.octets())),
        },
        KeyOf::Header(name) => Some(rendezvous::hash(asked.parts.headers.get(name)?.as_bytes())),
        KeyOf::Cookie(_) | KeyOf::Path(_) | KeyOf::Query(_) => {
            Some(rendezvous::hash(value(by, asked)?.as_bytes()))
        }
    }
}

fn value(by: &KeyOf, asked: &Asked<'_>) -> Option<Box<str>> {
    match by {
        KeyOf::Client => Some(asked.client.to_string().into()),
        KeyOf::Header(name) => Some(asked.parts.headers.get(name)?.to_str().ok()?.into()),
        KeyOf::Cookie(name) => Some(cookie(&asked.parts.headers, name)?.into()),
        KeyOf::Path(name) => Some((asked.parameter)(name)?.into()),
        KeyOf::Query(name) => Some(first_of_query(asked.parts.uri.query(), name)?.into()),
    }
}

/// The value of a cookie (RFC 6265, section 4.2.1); the first, where a client sends several of one name.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| known.trim() == name).map(|(_, value)| value.trim())
}
