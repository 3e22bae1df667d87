//! Config messages as files: a config, a line of dashes, what we say of it. `UPDATE=1` rewrites the lower half.
#![allow(clippy::unwrap_used, reason = "a test file")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway::config::{
    self, Balance, CircuitBreaker, Ejection, Fallback, Guards, HealthCheck, Hedge, HedgeAfter,
    InFlightLimit, KeyOf, Limit, Overload, Probe, Resilience, Retry, RetryBudget, RetryOn,
};
use proptest::{prop_assert, proptest};

/// What stands between the config and what we say of it.
const DASHES: &str = "\n----------\n";

/// `good` for a config that is taken, else every problem.
fn said(text: &str) -> String {
    match config::from_text("config.toml", text) {
        Ok(_) => "good\n".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

/// A config of a listener and this.
fn taken(text: &str) -> config::Config {
    let taken = config::from_text("config.toml", &format!("{LISTENER}{text}"));
    taken.map_err(|problems| problems.to_string()).unwrap()
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[test]
fn every_case_says_what_its_file_expects() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut paths = fs::read_dir(here())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect::<Vec<_>>();
    paths.sort();
    assert!(paths.len() >= 40, "only {} cases", paths.len());
    let mut wrong = Vec::new();
    for path in &paths {
        let case = fs::read_to_string(path).unwrap();
        let (text, expected) = case.split_once(DASHES).unwrap_or((case.trim_end(), ""));
        let found = said(text);
        if update {
            fs::write(path, format!("{text}{DASHES}{found}")).unwrap();
        } else if found != expected {
            wrong.push(format!("{}\nexpected:\n{expected}found:\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 rewrites them", wrong.join("\n"));
}

#[test]
fn the_example_that_runs_is_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.toml");
    let config = config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    let names = config.upstreams.iter().map(|upstream| upstream.name.as_str());
    let portal = ["auth", "famous-news", "politics-news", "recommendation", "sports-news", "users"];
    assert_eq!(names.collect::<Vec<_>>(), portal);
    assert!(config.tests.len() >= 5);
}

#[test]
fn a_directory_is_one_clear_line() {
    let problems = config::load(&here()).unwrap_err();
    let expected =
        format!("{} is a directory; name the file in it, such as config.toml\n", here().display());
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn a_file_that_is_not_there_is_one_clear_line() {
    let problems = config::load(Path::new("no/such/config.toml")).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "no/such/config.toml is not there; name a file with --config\n"
    );
}

const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n";

#[test]
fn included_files_are_laid_together_and_keep_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let main = write("config.toml", &format!("include = [\"routes/*.toml\"]\n{LISTENER}"));
    write("routes/a.toml", "[upstreams.users]\nservers = [\"127.0.0.1:1\"]\n");
    let b = write("routes/b.toml", "[[routes]]\npath = \"/b\"\nupstream = \"users\"\n");
    let config = config::load(&main).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.upstreams.len(), config.routes.len()), (1, 1));
    assert_eq!(
        config.sources.at(config.routes[0].place).to_string(),
        format!("{}:1:1", b.display())
    );

    let b = write("routes/b.toml", "\n[upstreams.users]\nservers = [\"127.0.0.1:1\"]\n[limits]\n");
    let problems = config::load(&main).unwrap_err().to_string();
    let a = folder.path().join("routes/a.toml");
    let expected = format!(
        "{b}:2:1: the upstream `users` is there already; it is at {a}:1:1\n{b}:4:2: unknown key `limits` at the top; \
         keys are upstreams, plugins, routes, tests\n",
        b = b.display(),
        a = a.display()
    );
    assert_eq!(problems, expected);
}

#[test]
fn defaults_come_before_what_a_route_says_itself() {
    let text = format!(
        "{LISTENER}[limits]\nbody = \"1MiB\"\n[defaults]\nserver-timing = true\n\
         plugins = [{{ ip = {{ deny = [\"10.0.0.1\"] }} }}]\n\
         [[routes]]\npath = \"/a\"\nrespond = {{}}\n\
         [[routes]]\npath = \"/b\"\nrespond = {{}}\nbody-limit = \"none\"\nserver-timing = false\n\
         plugins = [{{ correlation-id = {{}} }}]\n"
    );
    let config =
        config::from_text("config.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let [a, b] = &config.routes[..] else { panic!("two routes") };
    let plugins = |route: &config::Route| {
        route.plugins.iter().map(|used| used.settings.name()).collect::<Vec<_>>()
    };
    assert_eq!((plugins(a), plugins(b)), (vec!["ip"], vec!["ip", "correlation-id"]));
    assert_eq!((a.body_bytes, b.body_bytes), (Some(1 << 20), None));
    assert_eq!((a.server_timing, b.server_timing), (true, false));
}

#[test]
fn what_is_not_said_of_resilience_has_safe_defaults() {
    let config = taken("[upstreams.users]\nservers = [\"127.0.0.1:1\"]\n");
    let (share, time) = (Some(0.9), Duration::from_millis);
    let overload = Overload {
        loop_delay: Some(time(500)),
        memory: share,
        connections: share,
        descriptors: share,
    };
    assert_eq!((config.overload, config.server.zone), (overload, None));
    let upstream = &config.upstreams[0];
    assert_eq!((&upstream.balance, &upstream.guards), (&Balance::RoundRobin, &Guards::default()));
    let status = |code| RetryOn::Status(http::StatusCode::from_u16(code).unwrap());
    let expected = Resilience {
        sticky: None,
        subset: None,
        failover_below: 0.7,
        panic_below: 0.5,
        slow_start: time(10_000),
        health_check: None,
        ejection: Some(Ejection {
            consecutive_failures: Some(5),
            error_rate: Some(0.3),
            minimum: 20,
            slower_than: Some(5.0),
            stalled: Some(time(1_000)),
            window: time(5_000),
            base: time(5_000),
            max: time(300_000),
            at_most: 0.5,
        }),
        retry: Some(Retry {
            attempts: 3,
            on: vec![RetryOn::Connect, RetryOn::Reset, status(502), status(503), status(504)],
            backoff: time(25),
            backoff_max: time(250),
            body_bytes: 64 << 10,
        }),
        hedge: None,
        budget: RetryBudget { share: 0.15, floor: 10.0 },
    };
    assert_eq!(upstream.resilience, expected);
}

#[test]
fn an_empty_table_of_resilience_has_its_defaults() {
    let config = taken(
        "[upstreams.users]\nservers = [\"127.0.0.1:1\"]\nhedge = {}\nlimit = {}\ncircuit-breaker = {}\n\
         balance = { consistent-hash = { by = \"client\" } }\nhealth-check = { path = \"/health\" }\n\
         fallback = { body = \"sorry\" }\n[upstreams.news]\nservers = [\"127.0.0.1:2\"]\n\
         limit = { adaptive = true }\nejection = { at-most = 0 }\nretry = { attempts = 1 }\n",
    );
    let [news, users] = &config.upstreams[..] else { panic!("two upstreams") };
    let time = Duration::from_secs;
    let hash = Balance::ConsistentHash { by: KeyOf::Client, bounded_load: Some(1.25) };
    assert_eq!(users.balance, hash);
    assert_eq!(users.resilience.hedge, Some(Hedge { after: HedgeAfter::Quantile(0.95) }));
    let path = http::uri::PathAndQuery::from_static("/health");
    let probe = Probe::Http { path, status: vec![http::StatusCode::OK], body: None, host: None };
    let check =
        HealthCheck { probe, interval: time(5), timeout: time(1), up: 2, down: 3, port: None };
    assert_eq!(users.resilience.health_check, Some(check));
    let breaker = CircuitBreaker {
        error_rate: Some(0.5),
        slow_rate: Some(0.8),
        slow: time(2),
        window: time(10),
        minimum: 20,
        open_for: time(5),
        probes: 3,
    };
    let limit = |in_flight| Limit { in_flight, queue: 128, queue_time: Duration::from_millis(100) };
    let fallback = Fallback::Answer {
        status: http::StatusCode::SERVICE_UNAVAILABLE,
        content_type: Some(http::HeaderValue::from_static("text/plain; charset=utf-8")),
        body: "sorry".to_owned(),
    };
    let guards = Guards {
        circuit_breaker: Some(breaker),
        limit: Some(limit(InFlightLimit::Fixed(512))),
        fallback: Some(fallback),
    };
    assert_eq!(users.guards, guards);
    let adaptive = InFlightLimit::Adaptive { min: 8, max: 1_024 };
    assert_eq!(news.guards.limit, Some(limit(adaptive)));
    assert_eq!((&news.resilience.ejection, &news.resilience.retry), (&None, &None));
}

#[test]
fn an_upstream_is_equal_to_itself_beside_others() {
    let users = "[upstreams.users]\nservers = [\"127.0.0.1:1\"]\nfallback = { upstream = \"zoo\" }\n\
                 [upstreams.zoo]\nservers = [\"127.0.0.1:2\"]\n";
    let before = taken(users);
    let after = taken(&format!("[upstreams.animals]\nservers = [\"127.0.0.1:3\"]\n{users}"));
    let (old, new) = (&before.upstreams[0], &after.upstreams[1]);
    assert_eq!(*old, config::Upstream { place: old.place, ..new.clone() });
    assert_eq!(new.guards.fallback, Some(Fallback::Upstream("zoo".to_owned())));
    let ids = ["animals", "users", "zoo", "zebras"].map(|name| after.upstream_id(name));
    assert_eq!(ids.map(|id| id.map(|id| id.0)), [Some(0), Some(1), Some(2), None]);
}

#[test]
fn routes_without_a_name_are_called_by_what_tells_them_apart() {
    let text = format!(
        "{LISTENER}\
         [[routes]]\npath = \"/a\"\nrespond = {{}}\n\
         [[routes]]\npath = \"/b\"\nmethods = [\"GET\", \"PUT\"]\nrespond = {{}}\n\
         [[routes]]\npath = \"/b\"\nmethods = [\"DELETE\"]\nhost = \"*.example.com\"\nrespond = {{}}\n\
         [[routes]]\npath = \"/c\"\nwhen = \"true\"\nrespond = {{}}\n\
         [[routes]]\npath = \"/c\"\nrespond = {{}}\n"
    );
    let config =
        config::from_text("config.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let names = config.routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["/a", "GET,PUT /b", "DELETE *.example.com/b", "/c", "/c #2"]);
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
        let [cert, key] = ["pem", "key"].map(|end| folder.path().join(format!("{name}.{end}")));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        [cert, key]
    };
    let ([cert, key], [_, other]) = (pair("a"), pair("b"));
    let text = |key: &Path| {
        format!("{LISTENER}tls = {{ certificates = [{{ cert = {cert:?}, key = {key:?} }}] }}\n")
    };
    assert_eq!(said(&text(&key)), "good\n");
    let refused = said(&text(&other));
    assert!(refused.contains("the key does not belong to the certificate"), "{refused}");
}

#[test]
fn no_message_repeats_a_secret() {
    for token in ["\"hush\"", "{ text = 7654321 }", "{ hush = 1 }", "[\"hush\"]"] {
        let refused =
            said(&format!("{LISTENER}[admin]\naddress = \"127.0.0.1:1\"\ntoken = {token}\n"));
        assert_ne!(refused, "good\n");
        assert!(!refused.contains("7654321") && !refused.contains("\"hush"), "{refused}");
    }
}

#[test]
fn the_schema_knows_every_table_and_describes_every_key() {
    let schema = config::schema::schema();
    let properties = |schema: &serde_json::Value| schema["properties"].as_object().unwrap().clone();
    let top = properties(&schema);
    for table in ["listeners", "upstreams", "routes", "limits", "tests", "plugins", "defaults"] {
        assert!(top.contains_key(table), "{table}");
    }
    for (name, table) in schema["$defs"].as_object().unwrap() {
        let keys = table["properties"].as_object().cloned().unwrap_or_default();
        for (key, value) in keys {
            assert!(value["description"].is_string(), "{name}.{key} has no description");
        }
    }
}

#[test]
fn a_file_full_of_faults_is_told_in_part_and_at_once() {
    let text: String = (0..5_000).map(|index| format!("[[routes]]\npth{index} = 1\n")).collect();
    let refused = said(&format!("{LISTENER}{text}"));
    assert!(refused.starts_with("only the first 100 are told\n"), "{refused}");
    assert_eq!(refused.lines().count(), 101);
}

proptest! {
    /// Whatever stands in a file, it is taken or refused with places that are in it.
    #[test]
    fn no_text_stops_the_program(
        cut in 0_usize..8_000,
        length in 0_usize..40,
        put in "[\\[\\]{}=\"'$,.a-z0-9é\n -]{0,12}",
    ) {
        let case = fs::read_to_string(here().join("good-everything.txt")).unwrap();
        let text = case.split_once(DASHES).unwrap().0;
        let start = text.floor_char_boundary(cut % text.len());
        let end = text.floor_char_boundary((start + length).min(text.len()));
        let changed = [&text[..start], &put, &text[end..]].concat();
        if let Err(problems) = config::from_text("config.toml", &changed) {
            let lines = changed.lines().count() + 1;
            for place in problems.list.iter().filter_map(|problem| problem.place) {
                prop_assert!(problems.sources.at(place).line <= lines);
            }
            prop_assert!(!problems.list.is_empty());
        }
    }
}
