//! `cargo xtask compare`: the gateway beside nginx and HAProxy, same work, one run, figures as ratios to nginx.

mod client;
mod configs;
mod instructions;
mod options;
mod process;
mod procfs;
mod proxies;
mod report;
mod rounds;
mod statistics;
mod wrk;

use std::path::PathBuf;

use crate::setup;
use configs::{Scenario, Workspace};
use options::{Options, Output, Task};
use process::Stage;
use proxies::{Kind, Proxy};

/// Runs the comparison; an error means that no figure of this run may be believed.
pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let options = match options::parse(args)? {
        Task::Help => {
            report::say(options::HELP);
            return Ok(());
        }
        Task::Compare(options) => options,
    };
    let stage = Stage::check(options.measure)?;
    let proxies = installed(&options)?;
    let workspace = Workspace::create(options.files)?;
    for &scenario in &options.scenarios {
        let origin = workspace.start_origin()?;
        let set = proxies
            .iter()
            .map(|proxy| workspace.prepare(proxy, scenario, origin.port))
            .collect::<Result<Vec<_>, String>>()?;
        if options.show_configs {
            set.iter().for_each(|prepared| report::show_config(prepared));
        }
        compare_one(&options, &stage, scenario, &set)?;
    }
    Ok(())
}

fn compare_one(
    options: &Options,
    stage: &Stage,
    scenario: Scenario,
    set: &[configs::Prepared<'_>],
) -> Result<(), String> {
    match options.measure {
        options::Measure::Time => {
            let figures = rounds::measure(options, stage, set)?;
            match options.output {
                Output::Table => report::time_table(scenario, options, &figures),
                Output::Json => report::time_json(scenario, options, &figures),
            }
        }
        options::Measure::Instructions => {
            let figures = instructions::measure(options, set)?;
            match options.output {
                Output::Table => report::instructions_table(scenario, &figures),
                Output::Json => report::instructions_json(scenario, &figures),
            }
        }
    }
    Ok(())
}

/// The proxies asked for that are on this machine; what is missing is said by name and left out.
fn installed(options: &Options) -> Result<Vec<Proxy>, String> {
    let mut found = Vec::new();
    for &kind in &options.only {
        let program = match (kind, &options.gateway) {
            (Kind::Gateway, Some(path)) => Some(path.clone()),
            (Kind::Gateway, None) => Some(build_gateway()?),
            (Kind::Nginx | Kind::Haproxy, _) => process::find_program(kind.name()),
        };
        match program.filter(|path| path.is_file()) {
            Some(program) => found.push(Proxy::new(kind, program)),
            None if kind == Kind::Gateway => return Err("--gateway: no such file".to_owned()),
            None => report::note(&format!("{} is not installed: left out", kind.name())),
        }
    }
    if found.is_empty() {
        return Err("nothing to compare: none of the proxies is installed".to_owned());
    }
    Ok(found)
}

/// Builds what is shipped and takes the place of the program from cargo's own words.
fn build_gateway() -> Result<PathBuf, String> {
    report::note("building the gateway (cargo build --profile dist -p gateway)");
    setup::provide(setup::TO_BUILD)?;
    let output = setup::cargo()
        .args(["build", "--profile", "dist", "-p", "gateway", "--bin", "gateway"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err("the gateway does not build".to_owned());
    }
    executable_in(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| "cargo did not say where the gateway's program is".to_owned())
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
}
