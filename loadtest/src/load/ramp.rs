//! Ramp to saturation: the rate rises step by step until the server no longer keeps up.

use std::net::SocketAddr;

use clap::Args;
use serde_json::{Value, json};

use super::once;
use super::outcome::Outcome;
use super::scenario::{Pace, Scenario, ScenarioError};
use crate::report;

#[derive(Args, Debug)]
// Two groups may not have one name, and clap takes it from the type.
#[group(id = "ramp")]
pub(super) struct Settings {
    /// Ramp: the first rate; each step takes the scenario's `seconds`.
    #[arg(long, value_name = "RATE", conflicts_with = "rate")]
    ramp_from: Option<f64>,
    /// Ramp: how much higher each step is, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 25.0)]
    ramp_by: f64,
    /// Ramp: at most so many steps.
    #[arg(long, value_name = "N", default_value_t = 40)]
    ramp_steps: u32,
    /// Ramp: the server keeps up while the 99th percentile is below so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 100.0)]
    ramp_p99: f64,
}

/// A server keeps up when at least this share of what was due was answered in time …
const ANSWERED_LEAST: f64 = 0.97;
/// … and at most this share failed.
const FAILED_MOST: f64 = 0.01;

/// A ramp that can be run.
pub(super) struct Ramp {
    from: f64,
    factor: f64,
    steps: u32,
    p99_ms: f64,
}

impl Settings {
    /// Nothing: no ramp was asked for.
    pub(super) fn ramp(&self, scenario: &Scenario) -> Result<Option<Ramp>, ScenarioError> {
        let &Self { ramp_from, ramp_by, ramp_steps, ramp_p99 } = self;
        let Some(from) = ramp_from else { return Ok(None) };
        if !(ramp_by > 0.0 && from > 0.0) {
            let reason = "the first rate and the rise have to be above 0";
            return Err(ScenarioError::Contradiction { key: "--ramp-from", reason });
        }
        if scenario.think_time.is_some() {
            let reason = "not with think-time-ms: at a constant rate nobody waits for an answer";
            return Err(ScenarioError::Contradiction { key: "--ramp-from", reason });
        }
        let factor = 1.0 + ramp_by / 100.0;
        Ok(Some(Ramp { from, factor, steps: ramp_steps, p99_ms: ramp_p99 }))
    }
}

impl Ramp {
    /// The document of the last step that was kept, with all steps in it; clean if there was one.
    pub(super) async fn run(
        &self,
        scenario: &Scenario,
        target: SocketAddr,
    ) -> anyhow::Result<(Value, Vec<String>, bool)> {
        let mut scenario = scenario.clone();
        let mut steps = Vec::new();
        let mut kept: Option<Value> = None;
        let mut lines = Vec::new();
        let mut rate = self.from;
        for _ in 0..self.steps {
            scenario.pace = Pace::Open(rate);
            let outcome = once(&scenario, target).await?;
            let keeps_up = self.keeps_up(&outcome, &scenario, rate);
            let (answered, p99) =
                (outcome.rate(&scenario), outcome.tally.latencies.percentile_ms(99.0));
            let line = format!(
                "{rate:>10.0}/s due  {answered:>10.0}/s answered  p99 {p99:>8.2} ms  {} failed  {}",
                outcome.tally.failed(),
                if keeps_up { "keeps up" } else { "saturated" }
            );
            report::progress(&line);
            lines.push(line);
            let document = outcome.document(&scenario);
            steps.push(json!({
                "rate": rate,
                "requests_per_second": document["requests_per_second"],
                "latency_ms": document["latency_ms"],
                "failed": document["failed"],
                "keeps_up": keeps_up,
            }));
            if !keeps_up {
                break;
            }
            kept = Some(document);
            rate *= self.factor;
        }
        let found = kept.is_some();
        let mut document = kept.unwrap_or_else(|| json!({ "scenario": scenario.name }));
        lines.push(match document["rate"].as_f64() {
            Some(rate) => format!("kept up to {rate:.0} requests/s"),
            None => "did not keep up at the first rate".to_owned(),
        });
        document["ramp"] = json!({ "saturation": document["rate"], "steps": steps });
        Ok((document, lines, found))
    }

    fn keeps_up(&self, outcome: &Outcome, scenario: &Scenario, rate: f64) -> bool {
        let tally = &outcome.tally;
        let failed = tally.failed() as f64 / tally.requests().max(1) as f64;
        outcome.rate(scenario) >= rate * ANSWERED_LEAST
            && failed <= FAILED_MOST
            && tally.latencies.percentile_ms(99.0) < self.p99_ms
    }
}
