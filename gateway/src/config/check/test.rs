//! Checks `[[tests]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use http::{Method, Uri};

use super::route::method;
use super::{Checking, Names};
use crate::config::at::At;
use crate::config::error::Problem;
use crate::config::fault::quoted;
use crate::config::{Expectation, Test, file};

impl Checking {
    /// The tests; `routes` are the names of all routes, if all are known.
    pub(super) fn tests(
        &mut self,
        tests: Vec<At<file::Test>>,
        names: &Names,
        routes: Option<BTreeSet<String>>,
    ) -> Vec<Test> {
        let routes = routes
            .map(|routes| routes.into_iter().map(|name| (name, ())).collect::<BTreeMap<_, _>>());
        tests.into_iter().filter_map(|test| self.test(test, names, routes.as_ref())).collect()
    }

    fn test(
        &mut self,
        test: At<file::Test>,
        names: &Names,
        routes: Option<&BTreeMap<String, ()>>,
    ) -> Option<Test> {
        let file::Test { request, headers, client, expect } = test.value;
        let asked = self.take(request.place, parse_request(&request.value));
        let headers = self.headers(&headers);
        let client = match client {
            None => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Some(client) => self.take(client.place, parse_client(&client.value)),
        };
        let expect = self.expectation(expect, names, routes);
        let (method, uri) = asked?;
        Some(Test { place: test.place, method, uri, headers, client: client?, expect: expect? })
    }

    fn expectation(
        &mut self,
        expect: At<file::Expectation>,
        names: &Names,
        routes: Option<&BTreeMap<String, ()>>,
    ) -> Option<Expectation> {
        let At { place, whole, value: file::Expectation { route, status, upstream, path } } =
            expect;
        if let (Some(route), Some(routes)) = (&route, routes) {
            self.named("route", route, routes);
        }
        if let Some(upstream) = &upstream {
            self.named("upstream", upstream, &names.upstreams);
        }
        if whole && route.is_none() && status.is_none() && upstream.is_none() && path.is_none() {
            self.refuse(
                place,
                "a test that expects nothing",
                "keys are route, status, upstream, path",
            );
        }
        let code = match &status {
            None => None,
            Some(status) => Some(self.status(status)?),
        };
        let text = |at: Option<At<String>>| at.map(|at| at.value);
        Some(Expectation {
            route: text(route),
            status: code,
            upstream: text(upstream),
            path: text(path),
        })
    }
}

fn parse_request(text: &str) -> Result<(Method, Uri), Problem> {
    let wrong = |why: &str| {
        Problem::nowhere(format!("the request {} {why}", quoted(text)))
            .help("write method and path or URL, such as \"GET /users/v1/7\"")
    };
    let Some((verb, target)) = text.split_once(' ') else {
        return Err(wrong("is not a method and a path"));
    };
    let method = method(verb)?;
    let whole = match target.starts_with('/') {
        true => format!("http://localhost{target}"),
        false => target.to_owned(),
    };
    let uri = whole.parse::<Uri>().map_err(|_| wrong("has no well-formed path or URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some() => Ok((method, uri)),
        _ => Err(wrong("has neither a path nor an http or https URL")),
    }
}

fn parse_client(text: &str) -> Result<IpAddr, Problem> {
    text.parse().map_err(|_| {
        Problem::nowhere(format!("{} is no IP address", quoted(text)))
            .help("write it without a port, such as \"10.1.2.3\"")
    })
}
