//! The arguments of `cargo xtask compare`, checked once.

use std::path::PathBuf;

use super::configs::{Files, Scenario};
use super::proxies::Kind;

pub(super) const HELP: &str = "\
cargo xtask compare: nginx, HAProxy and the gateway do the same work in turn on core 0; origin and load on core 1.

  --rounds N          rounds, each proxy once a round (default 5)
  --seconds N         seconds of load per proxy and round (default 3)
  --connections N     keep-alive connections of the load (default 64)
  --scenario A,B      plain: 100 routes, forwarded headers, access log, counters (default)
                      bare:  one route, none of these
  --only A,B          of nginx, haproxy, gateway (default: all)
  --gateway PATH      this program instead of building one with the profile `dist`
  --instructions      user instructions per request by callgrind instead of time
  --profile FILE      with --instructions: the gateway's functions, instructions per request each
  --json              figures as JSON on stdout, one document a scenario
  --show-configs      print the generated configs
  --keep              keep the folder of configs and logs, and say where it is";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    Help,
    Compare(Options),
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Time,
    Instructions,
}

/// How the figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Table,
    Json,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    pub(super) connections: u32,
    pub(super) scenarios: Vec<Scenario>,
    pub(super) only: Vec<Kind>,
    pub(super) gateway: Option<PathBuf>,
    pub(super) measure: Measure,
    pub(super) profile: Option<PathBuf>,
    pub(super) output: Output,
    pub(super) show_configs: bool,
    pub(super) files: Files,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 5,
            seconds: 3,
            connections: 64,
            scenarios: vec![Scenario::Plain],
            only: Kind::ALL.to_vec(),
            gateway: None,
            measure: Measure::Time,
            profile: None,
            output: Output::Table,
            show_configs: false,
            files: Files::Removed,
        }
    }
}

pub(super) fn parse(args: &[String]) -> Result<Task, String> {
    let mut options = Options::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(Task::Help),
            "--json" => options.output = Output::Json,
            "--instructions" => options.measure = Measure::Instructions,
            "--show-configs" => options.show_configs = true,
            "--keep" => options.files = Files::Kept,
            _ => {
                let value = words.next().ok_or_else(|| match KEYS.contains(&word.as_str()) {
                    true => format!("{word}: a value is missing"),
                    false => unknown(word),
                })?;
                set(&mut options, word, value)?;
            }
        }
    }
    if options.profile.is_some() && options.measure == Measure::Time {
        return Err("--profile: only with --instructions".to_owned());
    }
    Ok(Task::Compare(options))
}

const KEYS: [&str; 7] =
    ["--rounds", "--seconds", "--connections", "--scenario", "--only", "--gateway", "--profile"];

fn unknown(word: &str) -> String {
    format!("{word}: unknown option; see cargo xtask compare --help")
}

fn set(options: &mut Options, key: &str, value: &str) -> Result<(), String> {
    match key {
        "--rounds" => options.rounds = count(key, value, 100)?,
        "--seconds" => options.seconds = count(key, value, 600)?,
        "--connections" => options.connections = count(key, value, 1_000)?,
        "--scenario" => options.scenarios = list(key, value, Scenario::named)?,
        "--only" => options.only = list(key, value, Kind::named)?,
        "--gateway" => {
            let path = std::path::absolute(value).map_err(|error| format!("{key}: {error}"))?;
            options.gateway = Some(path);
        }
        "--profile" => options.profile = Some(PathBuf::from(value)),
        _ => return Err(unknown(key)),
    }
    Ok(())
}

fn count(key: &str, value: &str, most: u32) -> Result<u32, String> {
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("{key}: `{value}` is not a number from 1 to {most}")),
    }
}

fn list<T>(key: &str, value: &str, named: fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    value
        .split(',')
        .map(|name| named(name).ok_or_else(|| format!("{key}: `{name}` is not known")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_option_is_understood() {
        let line = "--rounds 2 --seconds 1 --connections 8 --scenario plain,bare --only nginx,haproxy \
                    --instructions --profile p.txt --json --keep --show-configs";
        let Ok(Task::Compare(options)) = parsed(line) else { panic!("refused") };
        assert_eq!((options.rounds, options.seconds, options.connections), (2, 1, 8));
        assert_eq!(options.scenarios, [Scenario::Plain, Scenario::Bare]);
        assert_eq!(options.only, [Kind::Nginx, Kind::Haproxy]);
        assert_eq!(options.measure, Measure::Instructions);
        assert_eq!(options.output, Output::Json);
        assert_eq!(options.files, Files::Kept);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let cases = [
            ("--round 3", "--round: unknown option"),
            ("--bogus", "--bogus: unknown option"),
            ("--rounds", "--rounds: a value is missing"),
            ("--rounds 0", "`0` is not a number from 1"),
            ("--scenario plain,bear", "`bear` is not known"),
            ("--only caddy", "`caddy` is not known"),
            ("--profile x", "only with --instructions"),
        ];
        for (line, expected) in cases {
            let said = parsed(line).expect_err(line);
            assert!(said.contains(expected), "{line}: {said}");
        }
    }
}
