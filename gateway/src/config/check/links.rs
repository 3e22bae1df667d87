//! Checks what upstreams ask of others: fallbacks that lead back, and path parameters that routes do not have.

use std::collections::BTreeMap;

use super::Checking;
use super::resilience::key_of;
use crate::config::at::At;
use crate::config::source::Place;
use crate::config::{KeyOf, PathPattern, file};

/// What an upstream asks of others, by its name.
pub(super) struct Links {
    /// The upstream that answers when it cannot.
    fallbacks: BTreeMap<String, At<String>>,
    /// Parameters of the path it looks at.
    parameters: BTreeMap<String, Vec<At<String>>>,
}

impl Links {
    pub(super) fn of(upstreams: &BTreeMap<String, At<file::Upstream>>) -> Self {
        let fallback =
            |upstream: &file::Upstream| upstream.fallback.as_ref()?.value.upstream.clone();
        let fallbacks = upstreams
            .iter()
            .filter_map(|(name, upstream)| Some((name.clone(), fallback(&upstream.value)?)));
        let parameters =
            upstreams.iter().map(|(name, upstream)| (name.clone(), parameters(&upstream.value)));
        Self { fallbacks: fallbacks.collect(), parameters: parameters.collect() }
    }

    /// An upstream and those that stand in for it, one for the other; the last is among them before if it leads back.
    fn chain<'l>(&'l self, first: &'l str) -> Vec<&'l str> {
        let mut chain = vec![first];
        let mut last = first;
        while let Some(next) = self.fallbacks.get(last) {
            last = &next.value;
            let leads_back = chain.contains(&last);
            chain.push(last);
            if leads_back {
                break;
            }
        }
        chain
    }
}

/// The path parameters that `balance` and `subset` name.
fn parameters(upstream: &file::Upstream) -> Vec<At<String>> {
    let hash = match &upstream.balance {
        file::Balance::ConsistentHash(hash) => Some(&hash.value.by),
        file::Balance::RoundRobin
        | file::Balance::LeastRequests
        | file::Balance::TwoChoices
        | file::Balance::LeastTime => None,
    };
    let subset = upstream.subset.as_ref().map(|subset| &subset.value.by);
    let parameter = |by: &At<String>| match key_of(&by.value) {
        Ok(KeyOf::Path(name)) => Some(At { value: name, ..*by }),
        Ok(KeyOf::Header(_) | KeyOf::Cookie(_) | KeyOf::Query(_) | KeyOf::Client) | Err(_) => None,
    };
    hash.into_iter().chain(subset).filter_map(parameter).collect()
}

impl Checking {
    /// Refuses fallbacks of upstreams that lead back; each circle is told once.
    pub(super) fn no_circles(&mut self, links: &Links) {
        for (name, fallback) in &links.fallbacks {
            let chain = links.chain(name);
            let is_circle = chain.len() > 1 && chain.last() == chain.first();
            let is_its_first = chain.iter().min() == chain.first();
            if is_circle && is_its_first {
                self.leads_back(fallback.place, &chain);
            }
        }
    }

    /// Checks what the upstreams that a route can come to ask of it.
    pub(super) fn route_links(
        &mut self,
        route: &file::Route,
        path: Option<&PathPattern>,
        links: &Links,
    ) {
        let Some(upstream) = &route.upstream else { return };
        let fallback = route.fallback.as_ref().and_then(|at| at.value.upstream.as_ref());
        // A route's own fallback goes before that of its upstream.
        let first = match &route.fallback {
            None => links.chain(&upstream.value),
            Some(_) => vec![upstream.value.as_str()],
        };
        let mut reached: Vec<_> = first.into_iter().map(|name| (name, upstream.place)).collect();
        if let Some(fallback) = fallback {
            let chain = links.chain(&fallback.value);
            if let Some(end) = chain.iter().position(|name| *name == upstream.value) {
                let from_own = std::iter::once(upstream.value.as_str());
                let circle = from_own.chain(chain[..=end].iter().copied()).collect::<Vec<_>>();
                self.leads_back(fallback.place, &circle);
            }
            reached.extend(chain.into_iter().map(|name| (name, fallback.place)));
        }
        let mut seen = Vec::new();
        for (name, place) in reached {
            if !seen.contains(&name) {
                seen.push(name);
                self.has_parameters(name, place, path, links);
            }
        }
    }

    fn leads_back(&mut self, place: Place, chain: &[&str]) {
        let what = format!("the fallback leads back: {}", chain.join(" → "));
        let help = "let the last one be an answer, such as { status = 503, body = \"…\" }";
        self.refuse(place, what, help);
    }

    fn has_parameters(
        &mut self,
        upstream: &str,
        place: Place,
        path: Option<&PathPattern>,
        links: &Links,
    ) {
        let Some(path) = path else { return };
        for parameter in links.parameters.get(upstream).into_iter().flatten() {
            if path.parameters().all(|known| known != parameter.value) {
                let name = &parameter.value;
                let what = format!(
                    "the upstream `{upstream}` chooses by `path:{name}`, which {:?} does not have",
                    path.text
                );
                let by = self.sources.at(parameter.place);
                let help =
                    format!("call a parameter of the path {{{name}}}, or change `by` at {by}");
                self.refuse(place, what, help);
            }
        }
    }
}
