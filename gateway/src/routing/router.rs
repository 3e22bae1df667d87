//! The router: built once from the routes of a configuration, asked once per request.

use std::net::IpAddr;
use std::ops::ControlFlow;

use http::{HeaderMap, HeaderValue, Method};
use smallvec::SmallVec;

use super::condition::Condition;
use super::hosts::Hosts;
use super::methods::{AskedMethod, Methods};
use super::parameters::{PARAMETERS_MAX, Parameters};
use super::trie::Trie;
use crate::config::{Problem, Route, Segment, Sources};

/// The most segments one path pattern may have; a search goes no deeper.
pub const SEGMENTS_MAX: usize = 128;

/// What routing looks at.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// `http` or `https`, as the client used it.
    pub scheme: &'a str,
    /// The host without its port, in lower case; empty if there is none.
    pub host: &'a str,
    /// The path as [`normalise`](super::path::normalise) gives it.
    pub path: &'a str,
    /// The query without its question mark, for conditions.
    pub query: Option<&'a str>,
    /// The headers, for conditions.
    pub headers: &'a HeaderMap,
    /// The client's address, for conditions.
    pub client: IpAddr,
}

/// What routing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A route takes the request.
    Route {
        /// Its index in the routes the router was built from.
        index: usize,
        /// Where its parameters stand in the path.
        parameters: Parameters,
    },
    /// The path is known, but not with this method.
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: HeaderValue,
    },
    /// No route knows the path.
    NotFound,
}

/// All routes of a configuration, ready to be asked.
#[derive(Debug)]
pub struct Router {
    hosts: Hosts,
    tries: Vec<Trie>,
    leaves: Vec<Leaf>,
    /// By the index of the route.
    conditions: Vec<Option<Condition>>,
}

/// The routes of one host and path.
#[derive(Debug, Default)]
struct Leaf {
    /// In the order in which they are tried.
    candidates: SmallVec<[Candidate; 1]>,
    /// The value of `Allow` for all of them, unless it depends on conditions.
    allow: Option<HeaderValue>,
}

#[derive(Debug)]
struct Candidate {
    route: u32,
    methods: Methods,
    conditional: bool,
}

impl Router {
    /// Builds the router. Problems are conditions that do not compile, patterns that are too long, and routes that
    /// cannot be told apart.
    pub fn build(routes: &[Route], sources: &Sources) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut conditions = Vec::with_capacity(routes.len());
        for route in routes {
            problems.extend(too_much(route));
            conditions.push(condition(route, &mut problems));
        }
        let mut router =
            Self { hosts: Hosts::default(), tries: Vec::new(), leaves: Vec::new(), conditions };
        for (index, route) in routes.iter().enumerate() {
            router.insert(index, route);
        }
        for leaf in &mut router.leaves {
            leaf.finish(routes);
            problems.extend(leaf.indistinguishable(routes, sources));
        }
        problems.sort_by_key(|problem| problem.place);
        problems.dedup();
        if problems.is_empty() { Ok(router) } else { Err(problems) }
    }

    /// Finds the route that takes a request.
    pub fn find(&self, asked: &Asked<'_>) -> Found {
        let method = AskedMethod::new(asked.method);
        let mut path_is_known = false;
        let mut taken = None;
        let end = self.visit(asked.host, asked.path, &mut 0, |leaf, parameters| {
            path_is_known = true;
            let candidate = leaf.candidates.iter().find(|candidate| {
                candidate.methods.take(method) && self.holds(candidate, asked, parameters)
            });
            let Some(candidate) = candidate else { return ControlFlow::Continue(()) };
            taken = Some((candidate.route, *parameters));
            ControlFlow::Break(())
        });
        match (end, taken) {
            (ControlFlow::Break(()), Some((route, parameters))) => {
                Found::Route { index: route as usize, parameters }
            }
            _ if path_is_known => self.not_allowed(asked),
            _ => Found::NotFound,
        }
    }

    /// The condition of a route, by the route's index.
    pub fn condition(&self, route: usize) -> Option<&Condition> {
        self.conditions.get(route)?.as_ref()
    }

    /// How many conditions could not be evaluated so far; each counts as one that does not hold.
    pub fn condition_errors(&self) -> u64 {
        self.conditions.iter().flatten().map(Condition::errors).sum()
    }

    /// Every route whose host and path fit, in the order in which they are tried, with its parameters. A route that
    /// fits in several ways comes once for each.
    pub fn candidates(&self, host: &str, path: &str) -> Vec<(usize, Parameters)> {
        let mut candidates = Vec::new();
        let _end = self.visit(host, path, &mut 0, |leaf, parameters| {
            let routes = leaf.candidates.iter().map(|candidate| candidate.route as usize);
            candidates.extend(routes.map(|route| (route, *parameters)));
            ControlFlow::Continue(())
        });
        candidates
    }

    /// The indices of all routes in the order in which they are tried, hosts and paths that exclude each other sorted
    /// by their text.
    pub fn in_order(&self) -> Vec<usize> {
        let tries = self.hosts.in_order().into_iter().map(|trie| &self.tries[trie as usize]);
        let leaves = tries.flat_map(Trie::in_order).map(|leaf| &self.leaves[leaf as usize]);
        let mut seen = vec![false; self.conditions.len()];
        leaves
            .flat_map(|leaf| leaf.candidates.iter().map(|candidate| candidate.route as usize))
            .filter(|route| !std::mem::replace(&mut seen[*route], true))
            .collect()
    }

    /// How many nodes and comparisons it takes to find all candidates of a request: the cost of the worst case.
    pub fn steps(&self, host: &str, path: &str) -> u32 {
        let mut steps = 0;
        let _end = self.visit(host, path, &mut steps, |_, _| ControlFlow::Continue(()));
        steps
    }

    fn insert(&mut self, index: usize, route: &Route) {
        let mut hosts: Vec<_> = route.hosts.iter().map(Some).collect();
        if hosts.is_empty() {
            hosts.push(None);
        }
        let whole = [Segment::Exact(String::new())];
        let segments = if route.path.segments.is_empty() { &whole } else { &*route.path.segments };
        for host in hosts {
            let next = self.tries.len() as u32;
            let trie = self.hosts.find_or_insert(host, || next);
            if trie == next {
                self.tries.push(Trie::default());
            }
            let next = self.leaves.len() as u32;
            let leaf = self.tries[trie as usize].find_or_insert(segments, || next);
            if leaf == next {
                self.leaves.push(Leaf::default());
            }
            let candidates = &mut self.leaves[leaf as usize].candidates;
            // A host that is named twice in one route is one host.
            if candidates.last().is_none_or(|last| last.route as usize != index) {
                let methods = Methods::new(&route.methods);
                let conditional = route.when.is_some();
                candidates.push(Candidate { route: index as u32, methods, conditional });
            }
        }
    }

    fn visit(
        &self,
        host: &str,
        path: &str,
        steps: &mut u32,
        mut visit: impl FnMut(&Leaf, &Parameters) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.hosts.each(host, |trie| {
            let trie = &self.tries[trie as usize];
            trie.walk(path, steps, |leaf, parameters| {
                visit(&self.leaves[leaf as usize], parameters)
            })
        })
    }

    fn holds(&self, candidate: &Candidate, asked: &Asked<'_>, parameters: &Parameters) -> bool {
        !candidate.conditional
            || self
                .condition(candidate.route as usize)
                .is_some_and(|condition| condition.holds(asked, parameters))
    }

    /// The answer when no candidate takes the method: 405 with the methods of the routes that are there for this
    /// request, which are none if no condition holds.
    fn not_allowed(&self, asked: &Asked<'_>) -> Found {
        let mut leaves = 0;
        let mut ready = None;
        let mut methods: Option<Methods> = None;
        let _end = self.visit(asked.host, asked.path, &mut 0, |leaf, parameters| {
            leaves += 1;
            ready.clone_from(&leaf.allow);
            let there = leaf.candidates.iter();
            let there = there.filter(|candidate| self.holds(candidate, asked, parameters));
            there.for_each(|candidate| {
                methods.get_or_insert_default().add(&candidate.methods);
            });
            ControlFlow::Continue(())
        });
        let ready = ready.filter(|_| leaves == 1);
        match ready.or_else(|| methods.and_then(|methods| methods.allow())) {
            Some(allow) => Found::MethodNotAllowed { allow },
            None => Found::NotFound,
        }
    }
}

impl Leaf {
    /// Puts the candidates in order. What is still equal afterwards takes different methods or is refused.
    fn finish(&mut self, routes: &[Route]) {
        self.candidates.sort_by_cached_key(|candidate| {
            let Candidate { route, methods, conditional } = candidate;
            let rank = (
                !conditional,
                std::cmp::Reverse(routes[*route as usize].priority),
                methods.any(),
                !methods.name_head(),
            );
            // Whatever is left excludes each other; it is only listed in this order.
            (rank, methods.allow().map(|allow| allow.as_bytes().to_vec()))
        });
        if self.candidates.iter().all(|candidate| !candidate.conditional) {
            let mut all = Methods::default();
            self.candidates.iter().for_each(|candidate| all.add(&candidate.methods));
            self.allow = all.allow();
        }
    }

    /// A problem for each route that takes the same requests as an earlier one.
    fn indistinguishable(&self, routes: &[Route], sources: &Sources) -> Vec<Problem> {
        let alike = |one: &Candidate, other: &Candidate| {
            let same_rank = one.conditional == other.conditional
                && (!one.conditional
                    || routes[one.route as usize].priority
                        == routes[other.route as usize].priority);
            same_rank && one.methods.overlap(&other.methods)
        };
        let mut problems = Vec::new();
        for (position, candidate) in self.candidates.iter().enumerate() {
            let before = &self.candidates[..position];
            let Some(other) = before.iter().find(|other| alike(other, candidate)) else { continue };
            let mut places =
                [routes[other.route as usize].place, routes[candidate.route as usize].place];
            places.sort_unstable();
            let [earlier, later] = places;
            let what = format!(
                "this route takes the same requests as the route at {}",
                sources.at(earlier)
            );
            let help = if candidate.conditional {
                "give them different priorities, or a different host, path or methods"
            } else {
                "give one of them another host, path or methods, or a condition (`when`)"
            };
            problems.push(Problem::at(later, what).help(help));
        }
        problems
    }
}

fn condition(route: &Route, problems: &mut Vec<Problem>) -> Option<Condition> {
    let when = route.when.as_ref()?;
    Condition::compile(when, &route.path).map_err(|problem| problems.push(problem)).ok()
}

fn too_much(route: &Route) -> Option<Problem> {
    let segments = &route.path.segments;
    let parameters =
        segments.iter().filter(|segment| !matches!(segment, Segment::Exact(_))).count();
    if parameters > PARAMETERS_MAX {
        let what = format!("the path has {parameters} parameters");
        return Some(Problem::at(route.place, what).help(format!("at most {PARAMETERS_MAX} do")));
    }
    if segments.len() > SEGMENTS_MAX {
        let what = format!("the path has {} segments", segments.len());
        return Some(Problem::at(route.place, what).help(format!("at most {SEGMENTS_MAX} do")));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, Request, conditional, found, route};
    use super::*;

    /// Asks a router of these routes each request and compares what it finds.
    fn check(routes: Vec<Route>, cases: &[(&str, &str)]) {
        let (router, routes) = sample::build(routes).unwrap();
        for (request, expected) in cases {
            assert_eq!(found(&router, &routes, &Request::new(request)), *expected, "{request}");
        }
    }

    fn lines(lines: &[&str]) -> Vec<Route> {
        lines.iter().map(|line| route(line)).collect()
    }

    #[test]
    fn exact_goes_before_affixed_before_parameter_before_catch_all() {
        let routes = lines(&[
            "- - /{*rest}",
            "- - /{name}",
            "- - /v{version}",
            "- - /v{version}.json",
            "- - /users",
            "- - /users/{id}",
            "- - /users/{id}/{*rest}",
            "- - /",
        ]);
        check(
            routes,
            &[
                ("GET h /", "- - /"),
                ("GET h /users", "- - /users"),
                ("GET h /v2.json", "- - /v{version}.json | 2"),
                ("GET h /v.json", "- - /v{version} | .json"),
                ("GET h /v2", "- - /v{version} | 2"),
                ("GET h /v", "- - /{name} | v"),
                ("GET h /users/7", "- - /users/{id} | 7"),
                ("GET h /users/7/", "- - /users/{id}/{*rest} | 7 | "),
                ("GET h /users/7/a/b", "- - /users/{id}/{*rest} | 7 | a/b"),
                ("GET h /users/", "- - /{*rest} | users/"),
                ("GET h //", "- - /{*rest} | /"),
            ],
        );
    }

    #[test]
    fn a_catch_all_takes_an_empty_rest_but_not_a_missing_slash() {
        check(
            lines(&["- - /users/v1/{*rest}"]),
            &[
                ("GET h /users/v1/", "- - /users/v1/{*rest} | "),
                ("GET h /users/v1", "404"),
                ("GET h /users/v1/7", "- - /users/v1/{*rest} | 7"),
                ("OPTIONS h *", "404"),
            ],
        );
    }

    #[test]
    fn a_beginning_that_leads_nowhere_is_taken_back() {
        check(
            lines(&["- - /a/{x}/c/d", "- - /a/b/{y}/e", "- - /{*all}"]),
            &[
                ("GET h /a/b/c/d", "- - /a/{x}/c/d | b"),
                ("GET h /a/b/c/e", "- - /a/b/{y}/e | c"),
                ("GET h /a/b/c/f", "- - /{*all} | a/b/c/f"),
            ],
        );
    }

    #[test]
    fn a_host_falls_through_to_its_wildcards_and_to_any_host() {
        check(
            lines(&["- api.example.com /a", "- *.example.com /b", "- - /c", "POST *.com /b"]),
            &[
                ("GET api.example.com /a", "- api.example.com /a"),
                ("GET api.example.com /b", "- *.example.com /b"),
                ("GET api.example.com /c", "- - /c"),
                ("GET www.example.com /a", "404"),
                ("GET other.com /b", "405 POST"),
                ("GET other.org /c", "- - /c"),
            ],
        );
    }

    #[test]
    fn head_is_taken_by_get_unless_a_route_names_it() {
        check(
            lines(&["GET - /a", "GET - /b", "HEAD - /b", "POST - /c", "- - /c"]),
            &[
                ("HEAD h /a", "GET - /a"),
                ("HEAD h /b", "HEAD - /b"),
                ("OPTIONS h /a", "405 GET, HEAD"),
                ("POST h /c", "POST - /c"),
                ("PURGE h /c", "- - /c"),
            ],
        );
    }

    #[test]
    fn a_known_path_with_another_method_is_405_with_every_method_that_would_do() {
        check(
            lines(&["GET,PUT - /users/{id}", "POST - /users/{*rest}", "DELETE - /users/7"]),
            &[
                ("PATCH h /users/7", "405 GET, HEAD, POST, PUT, DELETE"),
                ("PATCH h /users/8", "405 GET, HEAD, POST, PUT"),
                ("GET h /users/8/9", "405 POST"),
                ("GET h /user", "404"),
            ],
        );
    }

    #[test]
    fn conditions_and_priorities_order_routes_of_one_path() {
        let routes = vec![
            route("GET - /a"),
            conditional("GET - /a", "header['x-beta'] == '1'", 0),
            conditional("- - /a", "'x-beta' in header", 5),
        ];
        let (router, routes) = sample::build(routes).unwrap();
        let names = |request: &Request| match router.find(&request.asked()) {
            Found::Route { index, .. } => index,
            other => panic!("{other:?}"),
        };
        assert_eq!(names(&Request::new("GET h /a")), 0);
        assert_eq!(names(&Request::new("GET h /a").with("x-beta", "1")), 2);
        assert_eq!(router.in_order(), [2, 1, 0]);
        assert_eq!(routes.len(), 3);
    }

    #[test]
    fn a_route_whose_condition_does_not_hold_is_not_there() {
        let when = "has(header.secret)";
        let (router, routes) = sample::build(vec![conditional("POST - /a", when, 0)]).unwrap();
        assert_eq!(found(&router, &routes, &Request::new("GET h /a")), "404");
        assert_eq!(found(&router, &routes, &Request::new("POST h /a")), "404");
        let known = Request::new("GET h /a").with("secret", "1");
        assert_eq!(found(&router, &routes, &known), "405 POST");
    }

    #[test]
    fn routes_that_cannot_be_told_apart_are_refused_with_both_places() {
        for (one, other) in [
            ("- - /users/{id}", "- - /users/{name}"),
            ("GET a.x,b.x /a", "POST,GET b.x /a"),
            ("- *.x /{*a}", "- *.x /{*b}"),
            ("- - /~a", "- - /%7ea"),
        ] {
            let problems = sample::build(lines(&["- - /other", one, other])).unwrap_err();
            let said: Vec<_> = problems.iter().map(|problem| problem.what.as_str()).collect();
            assert_eq!(
                said,
                ["this route takes the same requests as the route at routes.toml:2:1"]
            );
        }
        let twice = vec![
            conditional("GET - /a", "has(header.a)", 1),
            conditional("GET - /a", "has(header.b)", 1),
        ];
        assert!(sample::build(twice).is_err());
    }

    #[test]
    fn what_differs_in_host_method_condition_or_priority_is_told_apart() {
        for (one, other) in [
            ("- - /a", "- a.x /a"),
            ("- *.x /a", "- a.x /a"),
            ("GET - /a", "POST - /a"),
            ("GET - /a", "- - /a"),
            ("GET - /a", "HEAD - /a"),
            ("- - /a{x}", "- - /{x}a"),
        ] {
            assert!(sample::build(lines(&[one, other])).is_ok(), "{one} and {other}");
        }
        assert!(sample::build(lines(&["GET a.x,a.x /a"])).is_ok(), "a host named twice");
    }

    #[test]
    fn patterns_that_are_too_long_are_refused() {
        let named = |count| (0..count).map(|number| format!("/{{p{number}}}")).collect::<String>();
        let parameters = named(PARAMETERS_MAX + 1);
        let segments = "/a".repeat(SEGMENTS_MAX + 1);
        for (path, what) in
            [(parameters, "the path has 17 parameters"), (segments, "the path has 129 segments")]
        {
            let problems = sample::build(lines(&[&format!("- - {path}")])).unwrap_err();
            assert_eq!(problems[0].what, what);
        }
        assert!(sample::build(lines(&[&format!("- - {}", named(PARAMETERS_MAX))])).is_ok());
    }

    /// So many services with a resource each, as a large gateway has them.
    fn many(count: usize) -> Vec<Route> {
        let line = |number: usize| match number % 4 {
            0 => format!("GET - /service{number}/v1/users/{{id}}"),
            1 => format!("- - /service{number}/{{*rest}}"),
            2 => format!("- h{number}.example.com /{{*rest}}"),
            _ => format!("GET - /files/{{name}}.{number}"),
        };
        (0..count).map(|number| route(&line(number))).collect()
    }

    #[test]
    fn routing_cost_does_not_grow() {
        let worst = |count: usize| {
            let (router, _) = sample::build(many(count)).unwrap();
            let steps = (0..count).map(|number| {
                [
                    router.steps("h", &format!("/service{number}/v1/users/7")),
                    router.steps(&format!("h{number}.example.com"), "/a/b/c"),
                    router.steps("h", &format!("/files/a.{number}")),
                ]
            });
            steps.flatten().max().unwrap()
        };
        let few = worst(10);
        let most = worst(10_000);
        // A crowded hash table takes some more comparisons; a scan would take thousands.
        assert!(most <= few + 30, "{few} steps with 10 routes, {most} with 10,000");
    }
}
