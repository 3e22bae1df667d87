//! The routes beside the one that takes a request, and why each of them does not.

use std::fmt;

use serde::Serialize;

use super::decide::{Decision, Question, asked};
use crate::config::{Config, HostPattern, Route, Segment};
use crate::routing::methods::{AskedMethod, Methods};
use crate::routing::{Parameters, Router};

/// A route and why it does or does not take a request.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Rival {
    /// Its name.
    pub(super) name: String,
    /// Its line in the config.
    pub(super) place: String,
    /// What decided: `taken`, `method`, `condition`, `rank`, `host` or `path`.
    decided_by: &'static str,
    /// The same in words.
    because: String,
    #[serde(skip)]
    index: usize,
}

/// The routes whose host and path fit, in the order in which they are tried.
pub(super) fn candidates(
    config: &Config,
    router: &Router,
    question: &Question,
    decision: &Decision,
) -> Vec<Rival> {
    let Some(path) = &decision.path else { return Vec::new() };
    let winner = decision.route.map(|(index, _)| index);
    let mut after = false;
    let mut rivals: Vec<Rival> = Vec::new();
    for (index, parameters) in router.candidates(&decision.host, path) {
        if rivals.iter().any(|rival| rival.index == index) {
            continue;
        }
        let (decided_by, because) = if winner == Some(index) {
            ("taken", "takes it".to_owned())
        } else if let Some(methods) = other_methods(question, &config.routes[index]) {
            ("method", methods)
        } else if let (true, Some(winner)) = (after, winner) {
            ("rank", rank(&config.routes[winner], &config.routes[index]))
        } else {
            refusal(config, router, question, (decision, index, &parameters))
        };
        after |= winner == Some(index);
        rivals.push(rival(config, index, decided_by, because));
    }
    rivals
}

/// The other routes with what does not fit, the nearest first.
pub(super) fn missed(config: &Config, decision: &Decision, candidates: &[Rival]) -> Vec<Rival> {
    let Some(path) = &decision.path else { return Vec::new() };
    let mut missed: Vec<(usize, Rival)> = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        if candidates.iter().any(|candidate| candidate.index == index) {
            continue;
        }
        let (fitting, path_problem) = compare_path(&route.path.segments, path);
        let (decided_by, because) = match path_problem {
            Some(problem) => ("path", problem),
            None => ("host", format!("host: it answers to {}", hosts(&route.hosts))),
        };
        missed.push((fitting, rival(config, index, decided_by, because)));
    }
    missed.sort_by(|one, other| {
        (std::cmp::Reverse(one.0), &one.1.name).cmp(&(std::cmp::Reverse(other.0), &other.1.name))
    });
    missed.into_iter().map(|(_, rival)| rival).collect()
}

fn rival(config: &Config, index: usize, decided_by: &'static str, because: String) -> Rival {
    let route = &config.routes[index];
    let place = config.sources.at(route.place).to_string();
    Rival { name: route.name.clone(), place, decided_by, because, index }
}

/// What a route takes, if it is not the method.
fn other_methods(question: &Question, route: &Route) -> Option<String> {
    let methods = Methods::new(&route.methods);
    if methods.take(AskedMethod::new(&question.method)) {
        return None;
    }
    let allow = methods.allow()?;
    Some(format!("method: it takes {}", allow.to_str().unwrap_or_default()))
}

/// Why a route that was tried, and takes the method, does not take the request.
fn refusal(
    config: &Config,
    router: &Router,
    question: &Question,
    (decision, index, parameters): (&Decision, usize, &Parameters),
) -> (&'static str, String) {
    let route = &config.routes[index];
    let path = decision.path.as_deref().unwrap_or_default();
    let (Some(condition), Some(when)) = (router.condition(index), &route.when) else {
        return ("path", "path: its encoded slashes are refused".to_owned());
    };
    let verdict = condition.explain(&asked(question, &decision.host, path), parameters);
    let text = when.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut because = match &verdict.holds {
        Ok(_) => format!("condition: `{text}` does not hold"),
        Err(why) => format!("condition: `{text}` cannot be evaluated: {why}"),
    };
    let seen = verdict.looked_at.iter().map(|(name, value)| match value {
        Some(value) => format!("{name} is {value:?}"),
        None => format!("{name} is not there"),
    });
    let seen = seen.collect::<Vec<_>>().join(", ");
    if !seen.is_empty() {
        because.push_str(&format!("; {seen}"));
    }
    ("condition", because)
}

/// Why a route is tried after the one that takes the request.
fn rank(winner: &Route, other: &Route) -> String {
    let reason = if winner.hosts != other.hosts && specific(&winner.hosts) != specific(&other.hosts)
    {
        "its host is less specific than that of"
    } else if !same_shape(winner, other) {
        "its path is less specific than that of"
    } else if winner.when.is_some() != other.when.is_some() {
        "it has no condition, unlike"
    } else if winner.priority != other.priority {
        "its priority is lower than that of"
    } else {
        "it takes any method, unlike"
    };
    format!("rank: {reason} the route that takes it")
}

/// 2 for exact hosts, 1 for wildcards, 0 for any.
fn specific(hosts: &[HostPattern]) -> u8 {
    let kind = |host: &HostPattern| match host {
        HostPattern::Exact(_) => 2,
        HostPattern::Wildcard(_) => 1,
    };
    hosts.iter().map(kind).max().unwrap_or(0)
}

fn same_shape(one: &Route, other: &Route) -> bool {
    let same = |pair: (&Segment, &Segment)| match pair {
        (Segment::Exact(one), Segment::Exact(other)) => one == other,
        (
            Segment::Parameter { prefix: one, suffix: end, .. },
            Segment::Parameter { prefix: other, suffix: other_end, .. },
        ) => one == other && end == other_end,
        (Segment::CatchAll(_), Segment::CatchAll(_)) => true,
        _ => false,
    };
    let (one, other) = (&one.path.segments, &other.path.segments);
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// How many segments of a pattern fit a path, and the first that does not.
fn compare_path(segments: &[Segment], path: &str) -> (usize, Option<String>) {
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    for (index, segment) in segments.iter().enumerate() {
        let number = index + 1;
        let (fits, wanted) = match (segment, parts.next()) {
            (Segment::CatchAll(_), Some(_)) => return (number, None),
            (segment, None) => {
                let wanted = words(segment);
                return (
                    index,
                    Some(format!("path: it goes on with {wanted} as segment {number}")),
                );
            }
            (Segment::Exact(text), Some(part)) => (text == part, part),
            (Segment::Parameter { prefix, suffix, .. }, Some(part)) => {
                let long = part.len() > prefix.len() + suffix.len();
                (long && part.starts_with(prefix) && part.ends_with(suffix), part)
            }
        };
        if !fits {
            let problem = format!("path: segment {number} is {wanted:?}, not {}", words(segment));
            return (index, Some(problem));
        }
    }
    match parts.next() {
        Some(part) => (segments.len(), Some(format!("path: it ends before {part:?}"))),
        None => (segments.len() + 1, None),
    }
}

fn words(segment: &Segment) -> String {
    match segment {
        Segment::Exact(text) => format!("{text:?}"),
        Segment::Parameter { prefix, name, suffix } => format!("{prefix}{{{name}}}{suffix}"),
        Segment::CatchAll(name) => format!("{{*{name}}}"),
    }
}

/// Hosts as they are written in the config.
fn hosts(hosts: &[HostPattern]) -> String {
    if hosts.is_empty() {
        return "any".to_owned();
    }
    let host = |host: &HostPattern| match host {
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Wildcard(suffix) => format!("*{suffix}"),
    };
    hosts.iter().map(host).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, place, because, .. } = self;
        write!(f, "{name} ({place}) {because}")
    }
}
