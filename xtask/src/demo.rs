//! `cargo xtask demo`: sets up, builds, and becomes the demo program.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::setup;

/// Returns only if something went wrong: else this process has become the demo, and signals reach it directly.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    setup::provide(setup::TO_BUILD)?;
    let program = build()?;
    let error = Command::new(&program).args(args).current_dir(setup::root()).exec();
    Err(format!("cannot run {}: {error}", program.display()))
}

/// Builds the gateway and the demo, and takes the demo's place from cargo's own words.
fn build() -> Result<PathBuf, String> {
    crate::say("building (the first time takes some minutes)");
    let output = setup::cargo()
        .args(["build", "--release", "--locked", "-p", "gateway", "-p", "demo"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err("the build failed".to_owned());
    }
    demo_in(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| "cargo did not say where the demo program is".to_owned())
}

/// The `"executable":"…/demo"` of cargo's messages.
fn demo_in(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| line.rsplit_once(r#""executable":""#))
        .filter_map(|(_, rest)| rest.split_once('"'))
        .map(|(path, _)| PathBuf::from(path))
        .find(|path| path.file_name().is_some_and(|name| name == "demo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_taken_from_cargos_messages() {
        let messages = [
            r#"{"reason":"compiler-artifact","executable":null,"fresh":true}"#,
            r#"{"reason":"compiler-artifact","executable":"/t/release/demo","fresh":true}"#,
            r#"{"reason":"compiler-artifact","executable":"/t/release/gateway","fresh":true}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ];
        assert_eq!(demo_in(&messages.join("\n")), Some(PathBuf::from("/t/release/demo")));
        assert_eq!(demo_in(messages[0]), None);
    }
}
