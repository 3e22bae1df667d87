//! `cargo xtask compare`: builds the gateway and loadtest, and becomes `loadtest compare`.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::setup;

/// Ends with an error or not at all: the program that compares takes our place.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    setup::provide(setup::TO_BUILD)?;
    let error = compare(args)?.exec();
    Err(format!("loadtest: {error}"))
}

/// Holds what a request of ours costs to what was committed.
pub(crate) fn hold() -> Result<(), String> {
    let args = ["--instructions", "--hold"].map(str::to_owned);
    let status = compare(&args)?.status().map_err(|error| format!("loadtest: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("`cargo xtask compare {}` failed", args.join(" "))),
    }
}

fn compare(args: &[String]) -> Result<Command, String> {
    let mut compare = Command::new(build(LOADTEST)?);
    compare.arg("compare");
    if needs_gateway(args) {
        compare.arg("--gateway").arg(build(GATEWAY)?);
    }
    compare.args(args);
    Ok(compare)
}

/// The load has to be cheap. Also where only instructions are counted: an origin that is slower sends its answer in more
/// pieces, which cost 3 % more to pass on.
const LOADTEST: &str = "build --release --locked -p loadtest --bin loadtest";
/// What is measured is what is shipped, built by itself: with the services it would share their allocator's settings.
const GATEWAY: &str = "build --profile dist --locked -p gateway --bin gateway";

/// Not when another program is given, when only others are compared, or for the help.
fn needs_gateway(args: &[String]) -> bool {
    let given = |name: &str| {
        let with_sign = format!("{name}=");
        args.iter().any(|arg| arg == name || arg.starts_with(&with_sign))
    };
    let only = args.iter().zip(args.iter().skip(1)).find(|(name, _)| *name == "--only");
    let only = only
        .map(|(_, value)| value.as_str())
        .or_else(|| args.iter().find_map(|arg| arg.strip_prefix("--only=")));
    let help = given("--help") || given("-h");
    !help && !given("--gateway") && only.is_none_or(|names| names.contains("gateway"))
}

/// Builds and takes the program's place from cargo's own words.
fn build(what: &str) -> Result<PathBuf, String> {
    crate::complain(&format!("cargo {what}"));
    let output = setup::cargo()
        .args(what.split(' '))
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("`cargo {what}` failed"));
    }
    executable_in(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| format!("`cargo {what}` did not say where the program is"))
}

/// The last `"executable":"…"` of cargo's messages: the one binary that was asked for.
fn executable_in(messages: &str) -> Option<PathBuf> {
    let (_, rest) = messages.rsplit_once(r#""executable":""#)?;
    rest.split_once('"').map(|(path, _)| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_program_is_taken_from_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","executable":null,"fresh":true}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/dist/gateway","fresh":true}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable_in(messages), Some(PathBuf::from("/t/dist/gateway")));
        assert_eq!(executable_in(r#"{"executable":null}"#), None);
    }

    #[test]
    fn a_gateway_is_built_only_when_one_is_measured() {
        for (line, built) in [
            ("", true),
            ("--json --only nginx,gateway", true),
            ("--only nginx,haproxy", false),
            ("--only=nginx", false),
            ("--gateway /t/gateway", false),
            ("--gateway=/t/gateway", false),
            ("--help", false),
        ] {
            let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(needs_gateway(&args), built, "{line}");
        }
    }
}
