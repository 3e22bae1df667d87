//! Holds config.toml to the services' documents: of every operation it is said here whether it may leave the house.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gateway::cli::check;
use gateway::config;
use serde_json::Value;

/// A service's document, its upstreams with their place at the edge, and what clients may ask; all else stays inside.
struct Service {
    document: &'static str,
    edges: &'static [(&'static str, &'static str)],
    open: &'static [&'static str],
    inside: &'static [&'static str],
}

const SERVICES: &[Service] = &[
    Service {
        document: "users",
        edges: &[("users", "/users/v1")],
        open: &[
            "DELETE /user/{id}",
            "GET /user/{id}",
            "GET /users",
            "POST /user",
            "PUT /user/{id}",
        ],
        inside: &[
            "DELETE /dead-letters/{id}",
            "GET /dead-letters",
            "POST /dead-letters/retry",
            "POST /user/verify",
        ],
    },
    Service {
        document: "news",
        edges: &[
            ("famous-news", "/news/v1/famous"),
            ("politics-news", "/news/v1/politics"),
            ("sports-news", "/news/v1/sports"),
        ],
        open: &["GET /{id}", "GET /{id}/history", "GET /{page}/{limit}", "POST /", "PUT /"],
        inside: &["POST /rebuild"],
    },
    Service {
        document: "recommendation",
        edges: &[("recommendation", "/recommendation/v1")],
        open: &["GET /label/{label}", "GET /user/{id}"],
        inside: &["GET /dead-letters", "POST /dead-letters/retry", "POST /events/viewed"],
    },
    Service {
        document: "auth",
        edges: &[("auth", "/auth/v1")],
        open: &[
            "GET /.well-known/jwks.json",
            "GET /.well-known/openid-configuration",
            "GET /authorize",
            "GET /end_session",
            "GET /jwks",
            "GET /userinfo",
            "POST /authorize",
            "POST /authorize/login",
            "POST /end_session",
            "POST /end_session/confirm",
            "POST /login",
            "POST /logout",
            "POST /refresh",
            "POST /token",
            "POST /userinfo",
        ],
        inside: &[],
    },
];

/// Every service has these, whether or not its document tells of them.
const ALWAYS_INSIDE: &[&str] = &["GET /health", "GET /metrics", "GET /openapi.json"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `POST /user/verify` and its like, of one document.
fn operations(document: &str) -> BTreeSet<String> {
    let path = repository().join(format!("proto/openapi/{document}.json"));
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let named = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    named.collect()
}

#[test]
fn of_every_operation_it_is_said_whether_clients_may_ask_it() {
    for Service { document, edges: _, open, inside } in SERVICES {
        let said = [open, inside, ALWAYS_INSIDE].into_iter().flatten();
        let said: BTreeSet<String> = said.map(|&operation| operation.to_owned()).collect();
        let always: BTreeSet<String> = ALWAYS_INSIDE.iter().map(|&it| it.to_owned()).collect();
        let there = operations(document).union(&always).cloned().collect::<BTreeSet<_>>();
        assert_eq!(said, there, "{document}: add what is new to `open` or to `inside`");
    }
}

#[test]
fn what_is_open_reaches_its_service_and_nothing_else_does() {
    let path = repository().join("config.toml");
    let mut text = std::fs::read_to_string(&path).unwrap();
    for Service { document: _, edges, open, inside } in SERVICES {
        for (upstream, edge) in *edges {
            for operation in *open {
                let inner = operation.split_once(' ').unwrap().1;
                let expected = format!("upstream = \"{upstream}\", path = \"{}\"", example(inner));
                ask(&mut text, operation, edge, &expected);
            }
            for operation in inside.iter().chain(ALWAYS_INSIDE) {
                ask(&mut text, operation, edge, &format!("status = {}", refusal(edge, operation)));
                // Some join two slashes to one, which must not lead around a closed path.
                let twice = operation.replacen('/', "//", 1);
                ask(&mut text, &twice, edge, &format!("status = {}", refusal(edge, &twice)));
            }
        }
    }
    let config = config::from_text("config.toml", &text).unwrap_or_else(|it| panic!("{it}"));
    check::check(Path::new("config.toml"), config).unwrap_or_else(|it| panic!("{it}"));
}

/// With what the edge itself answers.
fn refusal(edge: &str, operation: &str) -> u16 {
    match (edge.starts_with("/news/"), operation) {
        // Types of news are known by a path that only GET has.
        (true, "POST /rebuild" | "POST //rebuild") => 405,
        (true, twice) if twice.contains("//") => 400,
        (true | false, _) => 404,
    }
}

/// Adds a test to the config.
fn ask(text: &mut String, operation: &str, edge: &str, expected: &str) {
    let (method, inner) = operation.split_once(' ').unwrap();
    let path = format!("{edge}{}", example(inner));
    let path = path.trim_end_matches('/');
    writeln!(text, "\n[[tests]]\nrequest = \"{method} {path}\"\nexpect = {{ {expected} }}")
        .unwrap();
}

/// A path with something in place of each parameter.
fn example(path: &str) -> String {
    let segments = path.split('/').map(|it| if it.starts_with('{') { "7" } else { it });
    segments.collect::<Vec<_>>().join("/")
}
