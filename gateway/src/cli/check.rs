//! `gateway check`: everything that is wrong with a configuration, its own tests included.

use std::path::Path;

use super::tests_in_config;
use crate::certificates;
use crate::config::{Config, Problem, Problems};
use crate::observe::metrics::Metrics;
use crate::snapshot::{Heritage, Snapshot};

/// Builds everything the config says, runs its tests, and tells how much that was.
pub fn check(path: &Path, config: Config) -> Result<String, Problems> {
    let mut problems = certificate_problems(&config);
    let sources = config.sources.clone();
    match Snapshot::build(config, &Heritage::new(None, Metrics::new(1))) {
        Ok(snapshot) => {
            problems.extend(tests_in_config::run(&snapshot.config, &snapshot.router));
            match problems.is_empty() {
                true => Ok(summary(path, &snapshot.config)),
                false => Err(Problems::new(sources, problems)),
            }
        }
        Err(found) => {
            problems.extend(found.list);
            Err(Problems::new(sources, problems))
        }
    }
}

fn certificate_problems(config: &Config) -> Vec<Problem> {
    let tls = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    tls.filter_map(|tls| certificates::server_config(tls).err()).collect()
}

fn summary(path: &Path, config: &Config) -> String {
    let tests = match config.tests.len() {
        0 => "no tests".to_owned(),
        count => format!("{} passed", counted(count, "test")),
    };
    let routes = counted(config.routes.len(), "route");
    let upstreams = counted(config.upstreams.len(), "upstream");
    format!("{}: {routes}, {upstreams}, {tests}", path.display())
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
