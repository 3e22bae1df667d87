//! The router against a slow one that tries every route: whatever the routes and the request, they agree.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::methods::{AskedMethod, Methods};
use super::sample::{self, Request, conditional, route};
use crate::config::{HostPattern, Route, Segment};

/// How well a route fits a request; the smallest is the best.
type Rank = (Reverse<usize>, Vec<SegmentRank>, (bool, Reverse<i32>, bool, bool));
type SegmentRank = (u8, Reverse<usize>, Reverse<usize>);

fn segment_rank(segment: &Segment) -> SegmentRank {
    match segment {
        Segment::Exact(_) => (0, Reverse(0), Reverse(0)),
        Segment::Parameter { prefix, suffix, .. } if prefix.is_empty() && suffix.is_empty() => {
            (2, Reverse(0), Reverse(0))
        }
        Segment::Parameter { prefix, suffix, .. } => {
            (1, Reverse(prefix.len() + suffix.len()), Reverse(prefix.len()))
        }
        Segment::CatchAll(_) => (3, Reverse(0), Reverse(0)),
    }
}

fn host_rank(route: &Route, host: &str) -> Option<Reverse<usize>> {
    if route.hosts.is_empty() {
        return Some(Reverse(0));
    }
    let rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(exact) => (exact == host).then_some(usize::MAX),
        HostPattern::Wildcard(suffix) => {
            (host.len() > suffix.len() && host.ends_with(suffix.as_str())).then_some(suffix.len())
        }
    };
    route.hosts.iter().filter_map(rank).max().map(Reverse)
}

fn path_fits(segments: &[Segment], path: &str) -> bool {
    let mut parts = path.strip_prefix('/').unwrap().split('/');
    for segment in segments {
        let Some(part) = parts.next() else { return false };
        let fits = match segment {
            Segment::Exact(text) => text == part,
            Segment::Parameter { prefix, suffix, .. } => {
                part.len() > prefix.len() + suffix.len()
                    && part.starts_with(prefix.as_str())
                    && part.ends_with(suffix.as_str())
            }
            Segment::CatchAll(_) => return true,
        };
        if !fits {
            return false;
        }
    }
    parts.next().is_none()
}

/// `when` of these tests is always about this header.
const WHEN: &str = r#""x-beta" in header"#;

fn expected(routes: &[Route], request: &Request) -> String {
    let mut fitting: Vec<(Rank, &Route)> = Vec::new();
    for route in routes {
        let holds = route.when.is_none() || request.headers.contains_key("x-beta");
        let Some(host) = host_rank(route, &request.host) else { continue };
        if holds && path_fits(&route.path.segments, &request.path) {
            let methods = Methods::new(&route.methods);
            let path = route.path.segments.iter().map(segment_rank).collect();
            let own = (
                route.when.is_none(),
                Reverse(route.priority),
                methods.any(),
                !methods.name_head(),
            );
            fitting.push(((host, path, own), route));
        }
    }
    fitting.sort_by(|one, other| one.0.cmp(&other.0));
    let asked = AskedMethod::new(&request.method);
    let mut union = Methods::new(&[]);
    for (position, (_, route)) in fitting.iter().enumerate() {
        let methods = Methods::new(&route.methods);
        if methods.take(asked) {
            return route.name.clone();
        }
        if position == 0 { union = methods } else { union.add(&methods) }
    }
    if fitting.is_empty() {
        "404".to_owned()
    } else {
        format!("405 {}", union.allow().unwrap().to_str().unwrap())
    }
}

/// Whether two routes share a host and a path shape, and nothing says which goes first.
fn alike(one: &Route, other: &Route) -> bool {
    let hosts = one.hosts.iter().any(|host| other.hosts.contains(host))
        || (one.hosts.is_empty() && other.hosts.is_empty());
    let shape = |route: &Route| -> Vec<(u8, String, String)> {
        let segments = route.path.segments.iter();
        let segments = segments.map(|segment| match segment {
            Segment::Exact(text) => (0, text.clone(), String::new()),
            Segment::Parameter { prefix, suffix, .. } => (1, prefix.clone(), suffix.clone()),
            Segment::CatchAll(_) => (2, String::new(), String::new()),
        });
        segments.collect()
    };
    let same_rank = match (&one.when, &other.when) {
        (None, None) => true,
        (Some(_), Some(_)) => one.priority == other.priority,
        _ => false,
    };
    let methods = Methods::new(&one.methods).overlap(&Methods::new(&other.methods));
    hosts && shape(one) == shape(other) && same_rank && methods
}

/// The same pattern with a name of its own for each parameter.
#[expect(clippy::needless_pass_by_value, reason = "proptest maps values")]
fn named(path: String) -> String {
    let parts = path.split("{p}").enumerate();
    let parts = parts.map(|(index, part)| match index {
        0 => part.to_owned(),
        _ => format!("{{p{index}}}{part}"),
    });
    parts.collect()
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let host = prop::sample::select(vec!["-", "a.x", "b.x", "*.x", "*.b.x", "a.x,*.y"]);
    let methods = prop::sample::select(vec!["-", "GET", "HEAD", "POST", "GET,POST", "PURGE"]);
    let segment =
        prop::sample::select(vec!["a", "b", "ab", "{p}", "a{p}", "{p}b", "a{p}b", "aa{p}"]);
    let last = prop::sample::select(vec!["a", "", "{q}", "{*r}"]);
    let path = (prop::collection::vec(segment, 0..3), last)
        .prop_map(|(segments, last)| {
            ["", &segments.join("/"), last].join("/").replacen("//", "/", 1)
        })
        .prop_map(named);
    let one = (methods, host, path, any::<bool>(), 0..3);
    let one = one.prop_map(|(methods, host, path, when, priority)| {
        let line = format!("{methods} {host} {path}");
        if when { conditional(&line, WHEN, priority) } else { route(&line) }
    });
    prop::collection::vec(one, 1..20)
}

fn requests() -> impl Strategy<Value = Request> {
    let host = prop::sample::select(vec!["a.x", "b.x", "a.b.x", "c.y", "z", "-"]);
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "DELETE", "PURGE"]);
    let segment = prop::sample::select(vec!["a", "b", "ab", "aab", "acb", "c", ""]);
    let path = prop::collection::vec(segment, 1..5);
    (host, method, path, any::<bool>()).prop_map(|(host, method, path, beta)| {
        let request = Request::new(&format!("{method} {host} /{}", path.join("/")));
        if beta { request.with("x-beta", "1") } else { request }
    })
}

/// Leaves out each route that cannot be told apart from one before it.
fn distinct(routes: Vec<Route>) -> Vec<Route> {
    let mut kept: Vec<Route> = Vec::new();
    for route in routes {
        if !kept.iter().any(|other| alike(other, &route)) {
            kept.push(route);
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_router_finds_what_trying_every_route_finds(
        routes in routes(),
        requests in prop::collection::vec(requests(), 1..20),
    ) {
        let (router, routes) = sample::build(distinct(routes)).unwrap();
        let (backwards, reversed) = sample::build(routes.iter().rev().cloned().collect()).unwrap();
        for request in &requests {
            let found = sample::found(&router, &routes, request);
            let name = found.split(" | ").next().unwrap();
            prop_assert_eq!(name, expected(&routes, request), "{:?}", request);
            let again = sample::found(&backwards, &reversed, request);
            prop_assert_eq!(found, again, "the order of the file matters for {:?}", request);
        }
        let names = |router: &super::Router, routes: &[Route]| -> Vec<String> {
            router.in_order().into_iter().map(|index| routes[index].name.clone()).collect()
        };
        prop_assert_eq!(names(&router, &routes).len(), routes.len());
        prop_assert_eq!(names(&router, &routes), names(&backwards, &reversed));
    }

    #[test]
    fn exactly_the_routes_that_cannot_be_told_apart_are_refused(routes in routes()) {
        let conflict = (1..routes.len())
            .any(|index| routes[..index].iter().any(|other| alike(other, &routes[index])));
        prop_assert_eq!(sample::build(routes).is_err(), conflict);
    }
}
