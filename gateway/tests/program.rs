//! The program by its binary: what it prints where, and its three exit codes.
#![allow(clippy::unwrap_used, reason = "a test file")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

const LISTENER: &str = "[[listeners]]\naddress = \"127.0.0.1:0\"\n";

/// Runs the program in a folder with this config.toml.
fn gateway(config: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), config).unwrap();
    in_folder(folder.path(), arguments)
}

fn in_folder(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("GATEWAY_ADMIN_TOKEN")
        .output()
        .unwrap()
}

/// Exit code, what went to standard output, what went to standard error.
fn seen(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_good_config_is_summed_up_in_one_line() {
    let config = format!(
        "{LISTENER}[[routes]]\npath = \"/\"\nrespond = {{ body = \"hello\" }}\n\
         [[tests]]\nrequest = \"GET /\"\nexpect = {{ status = 200 }}\n"
    );
    let expected = "config.toml: 1 route, 0 upstreams, 1 test passed\n";
    assert_eq!(seen(&gateway(&config, &["check"])), (0, expected.to_owned(), String::new()));
}

#[test]
fn a_bad_config_is_refused_with_every_problem() {
    let config = format!("{LISTENER}prox-protocol = true\n[limits]\nbody = 3\n");
    let (code, out, err) = seen(&gateway(&config, &["check"]));
    assert_eq!((code, out.as_str()), (1, ""));
    let lines = err.lines().collect::<Vec<_>>();
    assert!(lines[0].starts_with("config.toml:3:1: unknown key `prox-protocol` in `listeners`; did you mean `proxy-protocol`?"), "{err}");
    assert!(lines[1].starts_with("config.toml:5:8: `body` must be a size"), "{err}");
    assert_eq!(lines.len(), 2, "{err}");
}

#[test]
fn a_test_in_the_config_that_fails_is_refused() {
    let config = format!("{LISTENER}[[tests]]\nrequest = \"GET /\"\nexpect = {{ status = 200 }}\n");
    let (code, _, err) = seen(&gateway(&config, &["check"]));
    assert_eq!(code, 1);
    assert!(err.starts_with("config.toml:3:1: test GET "), "{err}");
}

#[test]
fn routes_that_cannot_be_told_apart_are_refused() {
    let route = "[[routes]]\npath = \"/a\"\nrespond = {}\n";
    let (code, _, err) = seen(&gateway(&format!("{LISTENER}{route}{route}"), &["check"]));
    assert_eq!(code, 1);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.starts_with("config.toml:"), "{err}");
}

#[test]
fn what_cannot_be_read_is_refused_before_anything_starts() {
    for (arguments, expected) in [
        (["run", "--config", "no-such.toml"], "no-such.toml is not there"),
        (["run", "--config", "."], ". is a directory"),
    ] {
        let (code, out, err) = seen(&gateway(LISTENER, &arguments));
        assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
        assert!(err.starts_with(expected), "{err}");
    }
}

#[test]
fn an_address_in_use_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = format!("[[listeners]]\naddress = \"{address}\"\n");
    let (code, _, err) = seen(&gateway(&config, &["run"]));
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(err.contains(&address.to_string()), "{err}");
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in
        [&["chekc"][..], &["check", "--jsno"], &["explain"], &["explain", "GET", "no url"]]
    {
        let (code, out, err) = seen(&gateway(LISTENER, arguments));
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_goes_to_standard_output() {
    let (code, out, err) = seen(&gateway("", &["--help"]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("explain") && out.contains("Exit codes: 0 well"), "{out}");
}

#[test]
fn a_gateway_that_does_not_run_is_a_failure_of_the_system() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!("{LISTENER}[admin]\naddress = \"{free}\"\ntoken = {{ text = \"t\" }}\n");
    let (code, _, err) = seen(&gateway(&config, &["status"]));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("is the gateway running?"), "{err}");
}

#[test]
fn routes_and_schema_are_json_on_request() {
    for arguments in [&["routes", "--json"][..], &["schema"], &["explain", "GET", "/", "--json"]] {
        let (code, out, err) = seen(&gateway(LISTENER, arguments));
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap();
    }
}
