//! What it costs to find a route, with 10 to 10,000 of them: `cargo bench -p gateway --bench routing`.
//!
//! A request asks for one host and path of many in a shuffled order, so that the caches see what a large gateway's
//! would see. The last column is the worst number of nodes and comparisons, which does not depend on the machine.

#![allow(clippy::print_stdout, reason = "its output is what a benchmark is for")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a benchmark may end at once")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::IpAddr;

use gateway::config::{self, Config};
use gateway::routing::path::normalise;
use gateway::routing::{Asked, Found, Router};
use http::{HeaderMap, Method};
use tokio::time::Instant;

/// Lookups of one measurement.
const LOOKUPS: usize = 500_000;
/// Measurements, of which the best is printed: the others were disturbed.
const ROUNDS: usize = 5;

fn main() {
    println!("{:>7} {:>12} {:>12} {:>6}", "routes", "ns, hit", "ns, 404", "steps");
    for count in [10, 100, 1_000, 10_000] {
        let config = config(count);
        let router = Router::build(&config.routes, &config.sources).expect("routes that differ");
        let hits = paths(count);
        let misses =
            hits.iter().map(|(_, path)| ("www.example.com".to_owned(), format!("/none{path}")));
        let misses: Vec<_> = misses.collect();
        let steps = hits.iter().map(|(host, path)| router.steps(host, path)).max();
        let (hit, found) = measure(&router, &hits);
        let (miss, not_found) = measure(&router, &misses);
        assert_eq!((found, not_found), (LOOKUPS * ROUNDS, 0), "every hit is one, no miss is");
        println!("{count:>7} {hit:>12.1} {miss:>12.1} {:>6}", steps.unwrap_or_default());
    }
}

/// Services with versions, resources and files, as a large gateway has them.
fn config(count: usize) -> Config {
    let mut text = String::from("[[listeners]]\naddress = \"127.0.0.1:0\"\n");
    for number in 0..count {
        let (host, path) = match number % 4 {
            0 => (String::new(), format!("/service{number}/v1/users/{{id}}")),
            1 => (String::new(), format!("/service{number}/v1/{{*rest}}")),
            2 => (format!("host = \"h{number}.example.com\"\n"), "/{*rest}".to_owned()),
            _ => (String::new(), format!("/files/{{name}}.{number}")),
        };
        write!(text, "[[routes]]\n{host}path = \"{path}\"\nrespond = {{ status = 204 }}\n")
            .unwrap();
    }
    config::from_text("bench.toml", &text).expect("a config that is right")
}

/// A host and a path for each route, shuffled by a stride that is prime to their number.
fn paths(count: usize) -> Vec<(String, String)> {
    let request = |number: usize| match number % 4 {
        0 => ("www.example.com".to_owned(), format!("/service{number}/v1/users/7")),
        1 => ("www.example.com".to_owned(), format!("/service{number}/v1/users/7")),
        2 => (format!("h{number}.example.com"), "/index.html".to_owned()),
        _ => ("www.example.com".to_owned(), format!("/files/report.{number}")),
    };
    (0..count).map(|index| request(index * 7_919 % count)).collect()
}

/// Nanoseconds of one lookup in the best round, and how many in all found a route.
fn measure(router: &Router, requests: &[(String, String)]) -> (f64, usize) {
    let headers = HeaderMap::new();
    let mut best = f64::MAX;
    let mut found = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (host, path) in requests.iter().cycle().take(LOOKUPS) {
            let normalised = normalise(black_box(path)).expect("a plain path");
            let asked = Asked {
                method: &Method::GET,
                scheme: "http",
                host,
                path: &normalised.path,
                query: None,
                headers: &headers,
                client: IpAddr::from([127, 0, 0, 1]),
            };
            found += usize::from(matches!(black_box(router.find(&asked)), Found::Route { .. }));
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / LOOKUPS as f64);
    }
    (best, found)
}
