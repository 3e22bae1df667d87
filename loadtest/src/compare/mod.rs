//! `loadtest compare`: the gateway beside its peers, same work, one run, figures as ratios to nginx.

mod settings;

mod scenarios;

mod proxies;

mod configs;

mod rounds;

mod growth;

mod resilience;

mod instructions;

mod committed;

mod allocations;
mod certificates;
mod client;
mod document;
mod encryption;
mod http2;
mod interruption;
mod load;
pub(crate) mod machine;
mod process;
mod procfs;
mod report;
mod statistics;
mod token;
mod wrk;

use std::process::ExitCode;

use committed::{COMMIT, Costs, CostsError, Held};
use configs::{Files, Prepared, Workspace, WorkspaceError};
use document::{Document, LeftOut};
use growth::GrowthError;
use instructions::InstructionsError;
use load::Amount;
use process::ProcessError;
use proxies::{Kind, Proxy};
use resilience::StageError;
use rounds::{Plan, RoundError};
use scenarios::Scenario;
pub(crate) use settings::Settings;
use settings::{Measure, SettingsError};

use crate::failure::Failure;

/// Why no figure of a run may be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    #[error("nothing to compare: none of the proxies is installed")]
    NothingInstalled,
    #[error("signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    #[error(transparent)]
    Round(#[from] RoundError),
    #[error(transparent)]
    Growth(#[from] GrowthError),
    #[error(transparent)]
    Instructions(#[from] InstructionsError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Costs(#[from] CostsError),
    #[error(transparent)]
    Page(#[from] Failure),
}

/// How the figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Json,
}

/// Runs the comparison; an error means that no figure of this run may be believed.
pub(crate) fn run(settings: &Settings, output: Output) -> Result<ExitCode, CompareError> {
    process::check(settings.measure(), settings.load)?;
    settings.check()?;
    let (proxies, missing) = installed(settings)?;
    let workspace = Workspace::create(match settings.keep {
        true => Files::Kept,
        false => Files::Removed,
    })?;
    interruption::clear_up_on_signals(&workspace).map_err(CompareError::Signals)?;
    let run = Run { settings, output, proxies: &proxies, workspace: &workspace };
    let mut document = Document::new(settings, &proxies, &missing);
    let mut costs = settings.costs()?;
    for scenario in settings.scenarios() {
        run.scenario(&scenario, &mut document, costs.as_mut())?;
    }
    for &growth in &settings.growth {
        let steps = growth::measure(growth, &run.plan(), &workspace, &proxies)?;
        run.show(&report::growth(growth, &steps));
        document.add_growth(growth, &steps);
    }
    let mut is_kept = true;
    for trial in settings.resilience.trials() {
        let set = resilience::Set {
            workspace: &workspace,
            proxies: &proxies,
            rounds: settings.rounds(),
            configs: settings.configs(),
        };
        let tried = resilience::measure(trial, &set)?;
        run.show(&tried.lines());
        document.add("resilience", tried.document());
        is_kept &= tried.is_kept();
    }
    let document = document.into_value();
    if output == Output::Json {
        report::document(&document);
    }
    if let Some(file) = &settings.html {
        crate::page::write(&document, file)?;
    }
    match (costs, is_kept) {
        (Some(costs), _) => settle(settings, costs),
        (None, true) => Ok(ExitCode::SUCCESS),
        (None, false) => Ok(ExitCode::FAILURE),
    }
}

/// Writes our costs, or holds them to what was written.
fn settle(settings: &Settings, costs: Costs) -> Result<ExitCode, CompareError> {
    if let Some(file) = &settings.commit {
        costs.commit(file)?;
        report::note(&format!("written: {}", file.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(file) = &settings.hold else { return Ok(ExitCode::SUCCESS) };
    let Held { lines, broken } = Costs::read(file)?.held(&costs);
    lines.iter().chain(&broken).for_each(|line| report::note(line));
    match broken.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => {
            report::note(&format!("NOT AS {} SAYS; to commit: {COMMIT}", file.display()));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What all parts of one comparison share.
struct Run<'a> {
    settings: &'a Settings,
    output: Output,
    proxies: &'a [Proxy],
    workspace: &'a Workspace,
}

impl Run<'_> {
    fn plan(&self) -> Plan<'_> {
        let Settings { seconds, connections, load, .. } = *self.settings;
        Plan {
            rounds: self.settings.rounds(),
            amount: Amount { connections, seconds, rate: None },
            generator: load,
            certificates: &self.workspace.certificates,
        }
    }

    fn scenario(
        &self,
        scenario: &Scenario,
        document: &mut Document,
        costs: Option<&mut Costs>,
    ) -> Result<(), CompareError> {
        let job = &scenario.job;
        report::note(&format!("--- {}", scenario.name));
        let measure = self.settings.measure();
        if let (Measure::Time, Some(reason)) = (measure, load::cannot(self.settings.load, job)) {
            report::note(&format!("{} left out: {reason}", scenario.name));
            return Ok(());
        }
        let origin = self.workspace.start_origin(job)?;
        let (set, mut missing) = self.prepare(scenario, origin.port)?;
        match measure {
            Measure::Time => {
                let (all, failed) = rounds::measure(&self.plan(), &set)?;
                missing.extend(failed);
                self.show(&report::time(scenario, self.settings, &all, &missing));
                document.add_scenario(scenario, &all, &missing);
            }
            // There are no scenarios then.
            Measure::Resilience => {}
            Measure::Instructions => {
                let profile = self.settings.profile.as_deref();
                let certificates = &self.workspace.certificates;
                let (all, failed) = instructions::measure(profile, certificates, &set)?;
                missing.extend(failed);
                let ours = all.iter().find(|counted| counted.kind == Kind::Gateway);
                if let (Some(costs), Some(ours)) = (costs, ours) {
                    costs.add(scenario.name, ours);
                }
                self.show(&report::instructions(scenario, &all, &missing));
                document.add_instructions(scenario, &all, &missing);
            }
        }
        Ok(())
    }

    /// Everybody who has a part in the scenario, and who has none.
    fn prepare(
        &self,
        scenario: &Scenario,
        origin_port: u16,
    ) -> Result<(Vec<Prepared<'_>>, Vec<LeftOut>), CompareError> {
        let (mut set, mut missing) = (Vec::new(), Vec::new());
        for proxy in self.proxies {
            match proxy.kind.cannot(&scenario.job) {
                Some(reason) => missing.push((proxy.kind, reason)),
                None => set.push(self.workspace.prepare(
                    proxy,
                    scenario.name,
                    &scenario.job,
                    origin_port,
                )?),
            }
        }
        if self.settings.show_configs {
            set.iter().for_each(report::show_config);
        }
        Ok((set, missing))
    }

    fn show(&self, lines: &[String]) {
        if self.output == Output::Table {
            report::table(lines);
        }
    }
}

/// The proxies asked for that are on this machine, and the others with what to type.
fn installed(settings: &Settings) -> Result<(Vec<Proxy>, Vec<LeftOut>), CompareError> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for kind in settings.only() {
        let program = match kind {
            Kind::Gateway => settings.gateway()?,
            Kind::Nginx | Kind::Haproxy | Kind::Envoy | Kind::Varnish | Kind::Caddy => kind.find(),
        };
        match program {
            Some(program) => found.push(Proxy::new(kind, program)),
            None => {
                report::note(&format!("{} left out: {}", kind.name(), kind.install()));
                missing.push((kind, format!("not installed: {}", kind.install())));
            }
        }
    }
    match found.is_empty() {
        true => Err(CompareError::NothingInstalled),
        false => Ok((found, missing)),
    }
}
