//! The tests inside a config (`[[tests]]`): each request is routed and passed through the plugins, but not sent, and
//! what came is compared with what was expected. Run by `gateway check` and before every reload.

use http::HeaderMap;

use super::explain::decide::{Decision, Outcome, Question, decide};
use super::explain::ending;
use crate::config::{Config, Expectation, Problem, Test};
use crate::routing::Router;

/// A problem for each expectation that was not met, at the place of its test.
pub fn run(config: &Config, router: &Router) -> Vec<Problem> {
    if config.tests.is_empty() {
        return Vec::new();
    }
    let questions: Vec<_> = config.tests.iter().map(question).collect();
    let decisions = decide(config, router, &questions);
    if decisions.len() < questions.len() {
        return vec![Problem::nowhere("the tests in the config cannot be run: a plugin failed")];
    }
    let tests = config.tests.iter().zip(&decisions);
    tests.flat_map(|(test, decision)| check(config, test, decision)).collect()
}

fn question(test: &Test) -> Question {
    let mut headers = HeaderMap::new();
    for (name, value) in &test.headers {
        headers.append(name, value.clone());
    }
    let Test { method, uri, client, .. } = test;
    Question { method: method.clone(), uri: uri.clone(), headers, client: *client }
}

fn check(config: &Config, test: &Test, decision: &Decision) -> Vec<Problem> {
    let came = Came::new(config, decision);
    let Expectation { route, status, upstream, path } = &test.expect;
    // An expected path without a query says nothing about the query.
    let came_path = match path {
        Some(path) if !path.contains('?') => came.target.map(before_query),
        Some(_) | None => came.target,
    };
    let status = status.map(|status| status.as_u16().to_string());
    let compared = [
        ("route", route.as_deref(), came.route),
        ("status", status.as_deref(), came.status.as_deref()),
        ("upstream", upstream.as_deref(), came.upstream),
        ("path", path.as_deref(), came_path),
    ];
    let differ = compared.into_iter().filter_map(|(name, expected, came)| {
        let expected = expected?;
        (came != Some(expected)).then_some((name, expected, came))
    });
    let request = format!("{} {}", test.method, test.uri);
    differ
        .map(|(name, expected, value)| {
            let value = value
                .map_or_else(|| format!("there is no {name}"), |value| format!("it is {value}"));
            let what = format!("test {request}: {name} {expected} was expected, but {value}");
            Problem::at(test.place, what).help(format!("the request {}", ending(config, decision)))
        })
        .collect()
}

fn before_query(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

/// What came, as it is compared.
struct Came<'a> {
    route: Option<&'a str>,
    status: Option<String>,
    upstream: Option<&'a str>,
    target: Option<&'a str>,
}

impl<'a> Came<'a> {
    fn new(config: &'a Config, decision: &'a Decision) -> Self {
        let route = decision.route.map(|(index, _)| config.routes[index].name.as_str());
        let status = decision.outcome.status().map(|status| status.as_u16().to_string());
        let (upstream, target) = match &decision.outcome {
            Outcome::Proxy { upstream, target } => {
                (Some(config.upstreams[upstream.0].name.as_str()), Some(target.as_str()))
            }
            _ => (None, None),
        };
        Self { route, status, upstream, target }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const ROUTES: &str = r#"
[[listeners]]
address = "127.0.0.1:8080"

[upstreams.users]
servers = ["127.0.0.1:3000"]

[[routes]]
name = "users"
path = "/users/v1/{*rest}"
methods = ["GET"]
upstream = "users"
rewrite = "/{rest}"
plugins = [{ ip = { deny = ["192.0.2.0/24"] } }]

[[routes]]
name = "old"
path = "/old/{id}"
redirect = { to = "/users/v1/{id}", status = 308 }
"#;

    /// What the tests in a config say.
    fn said(tests: &str) -> Vec<(String, Option<String>)> {
        let text = format!("{ROUTES}{tests}");
        let config = config::from_text("gateway.toml", &text).unwrap_or_else(|all| panic!("{all}"));
        let router = Router::build(&config.routes, &config.sources).unwrap();
        run(&config, &router).into_iter().map(|problem| (problem.what, problem.help)).collect()
    }

    #[test]
    fn expectations_that_are_met_say_nothing() {
        let tests = r#"
[[tests]]
request = "GET /users/v1/7?all=1"
expect = { route = "users", upstream = "users", path = "/7" }
[[tests]]
request = "GET /users/v1/7?all=1"
expect = { path = "/7?all=1" }
[[tests]]
request = "GET /users/v1/7"
client = "192.0.2.1"
expect = { route = "users", status = 403 }
[[tests]]
request = "POST /users/v1/7"
expect = { status = 405 }
[[tests]]
request = "GET /nowhere"
expect = { status = 404 }
[[tests]]
request = "GET /users/v1/a%2Fb"
expect = { status = 400 }
[[tests]]
request = "GET http://www.example.com/old/7"
expect = { route = "old", status = 308 }
"#;
        assert_eq!(said(tests), []);
    }

    #[test]
    fn an_expectation_that_is_not_met_says_what_came_instead() {
        let tests = r#"
[[tests]]
request = "GET /users/v1/7"
expect = { route = "old", status = 401, path = "/v1/7" }
[[tests]]
request = "DELETE /users/v1/7"
expect = { route = "users", upstream = "users" }
[[tests]]
request = "GET /users/v1/7"
client = "192.0.2.1"
expect = { path = "/7" }
"#;
        let passes = "the request goes to the upstream users as /7";
        let refused = "the request is answered with 405: the path takes GET, HEAD";
        let denied = "the request is answered with 403 by the plugin ip";
        let get = "test GET http://localhost/users/v1/7";
        let delete = "test DELETE http://localhost/users/v1/7";
        let expected = [
            (format!("{get}: route old was expected, but it is users"), passes),
            (format!("{get}: status 401 was expected, but there is no status"), passes),
            (format!("{get}: path /v1/7 was expected, but it is /7"), passes),
            (format!("{delete}: route users was expected, but there is no route"), refused),
            (format!("{delete}: upstream users was expected, but there is no upstream"), refused),
            (format!("{get}: path /7 was expected, but there is no path"), denied),
        ];
        let said = said(tests);
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        for ((what, help), (expected, ends)) in said.iter().zip(&expected) {
            assert_eq!(what, expected);
            assert!(help.as_ref().is_some_and(|help| help.starts_with(ends)), "{help:?}");
        }
    }

    #[tokio::test]
    async fn tests_run_within_a_runtime_too() {
        let tests = "[[tests]]\nrequest = \"GET /x\"\nexpect = { status = 404 }";
        assert_eq!(said(tests), []);
    }
}
