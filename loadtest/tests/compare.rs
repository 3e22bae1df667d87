//! `loadtest compare` from its arguments to its document: nginx and the gateway, a round of a second, and a fault.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a test that is skipped has to say so")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

/// Tests of the whole workspace build the gateway beside loadtest; of this package alone maybe not.
fn gateway() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("gateway");
    program.is_file().then_some(program)
}

#[test]
fn a_round_ends_with_ratios_and_with_whoever_is_left_out() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let Some(gateway) = gateway().filter(|_| is_installed("nginx") && cores > 1) else {
        eprintln!("NOT TESTED: the comparison needs nginx, a built gateway and two cores");
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["compare", "--json", "--rounds", "1", "--seconds", "1", "--connections", "8"])
        .args(["--scenario", "bare,cached", "--only", "nginx,gateway", "--gateway"])
        .arg(gateway)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [bare, cached] = [&document["scenarios"][0], &document["scenarios"][1]];
    for (place, name) in [(0, "nginx"), (1, "gateway")] {
        let proxy = &bare["proxies"][place];
        assert_eq!(proxy["name"], name);
        let cpu = &proxy["figures"]["cpu_us_per_request"];
        assert!(cpu["median"].as_f64().is_some_and(|cpu| cpu > 1.0), "{proxy}");
        assert!(cpu["ratio"].as_f64().is_some(), "{proxy}");
    }
    assert_eq!(cached["proxies"].as_array().map(Vec::len), Some(1));
    assert_eq!(cached["left_out"][0]["reason"], "it has no cache yet");
}

#[test]
fn a_server_that_fails_shows_through_nginx_and_nothing_arrives_twice() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if !is_installed("nginx") || cores < 2 {
        eprintln!("NOT TESTED: the faults need nginx and two cores");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["compare", "--json", "--faults", "--fault", "fails", "--once", "20000"])
        .args(["--only", "nginx"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "what the gateway has no part in breaks no promise: {said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [fails, once] = [0, 1].map(|trial| &document["resilience"][trial]["proxies"][0]);
    // Half of what one of four answers, and nginx passes a 500 on; on a busy machine some time out beside them.
    let errors = fails["figures"]["errors_percent"].as_f64().unwrap();
    assert!(errors > 8.0, "{fails}");
    assert!(fails["errors"]["status 500"].as_u64().is_some_and(|times| times > 100), "{fails}");
    assert_eq!(fails["kept"], false);
    let figure = |key: &str| once["figures"][key].as_f64().unwrap();
    assert_eq!((figure("sent"), figure("twice")), (20_000.0, 0.0), "{once}");
    // How many are answered in time is the machine's affair; some met a server that failed.
    assert!((1.0..20_000.0).contains(&figure("answered")), "{once}");
    assert!(figure("arrived") >= figure("answered"), "{once}");
}
