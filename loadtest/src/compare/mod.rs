//! `loadtest compare`: the gateway beside its peers, same work, one run, figures as ratios to nginx.

mod settings;

mod scenarios;

mod proxies;

mod configs;

mod rounds;

mod growth;

mod instructions;

mod allocations;
mod certificates;
mod client;
mod document;
mod load;
mod machine;
mod process;
mod procfs;
mod report;
mod statistics;
mod token;
mod wrk;

use configs::{Files, Prepared, Workspace};
use document::{Document, LeftOut};
use load::Amount;
use proxies::{Kind, Proxy};
use rounds::Plan;
use scenarios::Scenario;
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
    process::check(settings.measure(), settings.load)?;
    let (proxies, missing) = installed(settings)?;
    let workspace = Workspace::create(match settings.keep {
        true => Files::Kept,
        false => Files::Removed,
    })?;
    let run = Run { settings, output, proxies: &proxies, workspace: &workspace };
    let mut document = Document::new(settings, &proxies, &missing);
    for scenario in settings.scenarios() {
        run.scenario(&scenario, &mut document)?;
    }
    for &growth in &settings.growth {
        let steps = growth::measure(growth, &run.plan(), &workspace, &proxies)?;
        run.show(&report::growth(growth, &steps));
        document.add_growth(growth, &steps);
    }
    let document = document.into_value();
    if output == Output::Json {
        report::document(&document);
    }
    match &settings.html {
        Some(file) => crate::page::write(&document, file).map_err(|error| error.to_string()),
        None => Ok(()),
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
        let Settings { rounds, seconds, connections, load, .. } = *self.settings;
        Plan {
            rounds,
            amount: Amount { connections, seconds, rate: None },
            generator: load,
            certificates: &self.workspace.certificates,
        }
    }

    fn scenario(&self, scenario: &Scenario, document: &mut Document) -> Result<(), String> {
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
            Measure::Instructions => {
                let profile = self.settings.profile.as_deref();
                let certificates = &self.workspace.certificates;
                let (all, failed) = instructions::measure(profile, certificates, &set)?;
                missing.extend(failed);
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
    ) -> Result<(Vec<Prepared<'_>>, Vec<LeftOut>), String> {
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
fn installed(settings: &Settings) -> Result<(Vec<Proxy>, Vec<LeftOut>), String> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for &kind in &settings.only {
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
        true => Err("nothing to compare: none of the proxies is installed".to_owned()),
        false => Ok((found, missing)),
    }
}
