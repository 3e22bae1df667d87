//! The arguments of `loadtest compare`, checked once.

use std::path::PathBuf;

use clap::Args;

use super::configs::Scenario;
use super::proxies::Kind;

/// nginx, HAProxy and the gateway do the same work in turn on core 0; origin and load share core 1.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// Rounds, each proxy once a round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) rounds: u32,
    /// Seconds of load per proxy and round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(super) seconds: u32,
    /// Keep-alive connections of the load.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) connections: u32,
    /// plain: 100 routes, forwarded headers, access log, counters; bare: one route, none of these.
    #[arg(long, value_delimiter = ',', default_value = "plain", value_parser = scenario)]
    pub(super) scenario: Vec<Scenario>,
    /// Of nginx, haproxy, gateway. Default: all.
    #[arg(long, value_delimiter = ',', default_value = "nginx,haproxy,gateway", value_parser = kind)]
    pub(super) only: Vec<Kind>,
    /// The gateway's program (`cargo xtask compare` builds one with the profile `dist`).
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    /// User instructions per request by callgrind instead of time.
    #[arg(long)]
    instructions: bool,
    /// With --instructions: the gateway's functions, instructions per request each, into this file.
    #[arg(long, value_name = "FILE", requires = "instructions")]
    pub(super) profile: Option<PathBuf>,
    /// Print the generated configs.
    #[arg(long)]
    pub(super) show_configs: bool,
    /// Keep the folder of configs and logs, and say where it is.
    #[arg(long)]
    pub(super) keep: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Time,
    Instructions,
}

impl Settings {
    pub(super) fn measure(&self) -> Measure {
        match self.instructions {
            true => Measure::Instructions,
            false => Measure::Time,
        }
    }

    /// The gateway's program, wherever the proxies are started.
    pub(super) fn gateway(&self) -> Result<Option<PathBuf>, String> {
        let Some(path) = &self.gateway else { return Ok(None) };
        let path = std::path::absolute(path).map_err(|error| format!("--gateway: {error}"))?;
        match path.is_file() {
            true => Ok(Some(path)),
            false => Err("--gateway: no such file".to_owned()),
        }
    }
}

fn scenario(name: &str) -> Result<Scenario, String> {
    Scenario::named(name).ok_or_else(|| format!("`{name}` is not known"))
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::named(name).ok_or_else(|| format!("`{name}` is not known"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn parsed(line: &str) -> Result<Settings, String> {
        let words = std::iter::once("compare").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_is_understood() {
        let line = "--rounds 2 --seconds 1 --connections 8 --scenario plain,bare --only nginx,haproxy \
                    --instructions --profile p.txt --keep --show-configs";
        let settings = parsed(line).expect("understood");
        assert_eq!((settings.rounds, settings.seconds, settings.connections), (2, 1, 8));
        assert_eq!(settings.scenario, [Scenario::Plain, Scenario::Bare]);
        assert_eq!(settings.only, [Kind::Nginx, Kind::Haproxy]);
        assert_eq!(settings.measure(), Measure::Instructions);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let cases = [
            ("--round 3", "--round"),
            ("--rounds", "a value is required"),
            ("--rounds 0", "0 is not in 1..=100"),
            ("--scenario plain,bear", "`bear` is not known"),
            ("--only caddy", "`caddy` is not known"),
            ("--profile x", "--instructions"),
        ];
        for (line, expected) in cases {
            let said = parsed(line).map(|_| ()).expect_err(line);
            assert!(said.contains(expected), "{line}: {said}");
        }
    }
}
