//! Scenarios as they are read: from files, the command line and the documentation.

use super::*;

#[test]
fn what_is_no_scenario_is_refused_with_a_reason() {
    let requests = "[[requests]]\npath = '/x'\n";
    for (text, expected) in [
        ("[[request]]\npath = '/'", "unknown field `request`"),
        ("url = 'http://a'\nrequests = []", "at least one [[requests]]"),
        (&format!("url = 'a:80'\n{requests}"), "is not a URL like"),
        (&format!("url = 'http://a/path'\n{requests}"), "paths belong into [[requests]]"),
        (&format!("url = 'http://a'\nrate = 0\n{requests}"), "rate: 0 is not within 0.01 to"),
        (&format!("url = 'http://a'\nstreams = 2\n{requests}"), "only with protocol"),
        (&format!("url = 'http://a'\nrate = 1\nthink-time-ms = [1, 2]\n{requests}"), "think-time"),
        (&format!("url = 'http://a'\n{requests}weight = 0"), "all are 0"),
        (&format!("url = 'http://a'\n{requests}body = 'a'\nbody-bytes = 1"), "one of them"),
        (&format!("url = 'http://a'\n{requests}grpc = true"), "grpc: only with protocol"),
        (&format!("url = 'http://a'\n{requests}headers = {{ a = '{{{{b}}}}' }}"), "`{{b}}` is not"),
        (&format!("url = 'http://a'\n{requests}expect = {{ statu = 1 }}"), "unknown field `statu`"),
        (&format!("url = 'http://a'\nprotocol = 'http/3'\n{requests}"), "unknown variant"),
        (&format!("url = 'http://a'\nthreads = 65\n{requests}"), "1 to connections"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bad.toml");
        std::fs::write(&file, text).expect("written");
        let refused = scenario::read(&file, &Instead::default());
        let said = refused.expect_err(text).to_string();
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn the_examples_are_scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = std::fs::read_dir(folder).expect("there").map(|entry| entry.expect("read").path());
    let read = files.map(|file| {
        scenario::read(&file, &Instead::default()).unwrap_or_else(|error| panic!("{error}"))
    });
    assert!(read.count() > 1);
}

#[test]
fn the_document_shows_a_scenario() {
    let document = include_str!("../../../../docs/loadtest.md");
    let (_, rest) = document.split_once("```text\n").expect("a block");
    let (block, _) = rest.split_once("```").expect("its end");
    // Those that contradict each other stand there to be chosen from.
    let drop = ["think-time-ms", "body = \"…\""];
    let lines = block.lines().filter(|line| !drop.iter().any(|key| line.starts_with(key)));
    let scenario = scenario(&lines.collect::<Vec<_>>().join("\n"));
    assert_eq!((scenario.login.len(), scenario.requests.len()), (1, 1));
}

#[test]
fn the_command_line_goes_before_the_file() {
    let url = "http://localhost:8080/a?b=c";
    let instead = Instead {
        url: None,
        rate: Some(5.0),
        connections: Some(3),
        seconds: Some(2.0),
        threads: Some(2),
    };
    let scenario = scenario::of_url(url, &instead).expect("a scenario");
    assert_eq!(scenario.requests[0].path.constant(), Some("/a?b=c"));
    assert_eq!((scenario.origin.host.as_str(), scenario.origin.port), ("localhost", 8080));
    assert_eq!((scenario.connections, scenario.threads), (3, 2));
    assert_eq!(scenario.pace, scenario::Pace::Open(5.0));
}
