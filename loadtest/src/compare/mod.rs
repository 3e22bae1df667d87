//! `loadtest compare`: the gateway beside nginx and HAProxy, same work, one run, figures as ratios to nginx.

mod client;
mod configs;
mod instructions;
mod process;
mod procfs;
mod proxies;
mod report;
mod rounds;
mod settings;
mod statistics;
mod wrk;

use configs::{Files, Scenario, Workspace};
use process::Stage;
use proxies::{Kind, Proxy};
use settings::Measure;
pub(crate) use settings::Settings;

/// How the figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Json,
}

/// Runs the comparison; an error means that no figure of this run may be believed.
pub(crate) fn run(settings: &Settings, output: Output) -> Result<(), String> {
    let stage = Stage::check(settings.measure())?;
    let proxies = installed(settings)?;
    let workspace = Workspace::create(match settings.keep {
        true => Files::Kept,
        false => Files::Removed,
    })?;
    for &scenario in &settings.scenario {
        let origin = workspace.start_origin()?;
        let set = proxies
            .iter()
            .map(|proxy| workspace.prepare(proxy, scenario, origin.port))
            .collect::<Result<Vec<_>, String>>()?;
        if settings.show_configs {
            set.iter().for_each(|prepared| report::show_config(prepared));
        }
        compare_one(settings, output, scenario, &set, &stage)?;
    }
    Ok(())
}

fn compare_one(
    settings: &Settings,
    output: Output,
    scenario: Scenario,
    set: &[configs::Prepared<'_>],
    stage: &Stage,
) -> Result<(), String> {
    match settings.measure() {
        Measure::Time => {
            let figures = rounds::measure(settings, stage, set)?;
            match output {
                Output::Table => report::time_table(scenario, settings, &figures),
                Output::Json => report::time_json(scenario, settings, &figures),
            }
        }
        Measure::Instructions => {
            let figures = instructions::measure(settings, set)?;
            match output {
                Output::Table => report::instructions_table(scenario, &figures),
                Output::Json => report::instructions_json(scenario, &figures),
            }
        }
    }
    Ok(())
}

/// The proxies asked for that are on this machine; what is missing is said by name and left out.
fn installed(settings: &Settings) -> Result<Vec<Proxy>, String> {
    let mut found = Vec::new();
    for &kind in &settings.only {
        let program = match kind {
            Kind::Gateway => settings.gateway()?,
            Kind::Nginx | Kind::Haproxy => process::find_program(kind.name()),
        };
        match program {
            Some(program) => found.push(Proxy::new(kind, program)),
            None if kind == Kind::Gateway => report::note("no --gateway PATH: left out"),
            None => report::note(&format!("{} is not installed: left out", kind.name())),
        }
    }
    if found.is_empty() {
        return Err("nothing to compare: none of the proxies is installed".to_owned());
    }
    Ok(found)
}
