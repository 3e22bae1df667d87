//! `loadtest compare` from its arguments to its document: nginx and the gateway, one round of one second.
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
