//! The arguments of `loadtest compare`, checked once.

use std::io;
use std::path::PathBuf;

use clap::Args;

use super::committed::{Costs, CostsError, FILE};
use super::growth::Growth;
use super::load::Generator;
use super::proxies::Kind;
use super::resilience::{self, Configs, Wanted};
use super::scenarios::{self, Scenario};

/// What is wrong with the arguments.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("`{0}` is not known; there are all, {names}", names = names())]
    Scenario(String),
    #[error("`{0}` is not known")]
    Proxy(String),
    #[error("--profile: the functions of one scenario at a time")]
    Profile,
    #[error("--gateway is needed to count its instructions")]
    NeedsGateway,
    #[error("--gateway: {0}")]
    Gateway(io::Error),
    #[error("--gateway: no such file")]
    NoGateway,
    #[error(transparent)]
    Costs(#[from] CostsError),
}

/// The gateway and its peers do the same work in turn on core 0; origin and load share core 1.
#[derive(Args, Debug)]
pub(crate) struct Settings {
    /// Rounds, each proxy once a round, in a new process. Default: 7; 1 where servers fail.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    /// Seconds of load per proxy and round.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(super) seconds: u32,
    /// Requests at once: keep-alive connections, or an eighth as many with HTTP/2.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) connections: u32,
    /// Of bare, plain, body-16k, body-1m, upload, cached, limited, jwt, tls, tls-new, tls-resumed, http2, grpc,
    /// websocket, aggregate, everything; or `all`. Default: plain.
    #[arg(long, value_delimiter = ',', value_parser = scenario)]
    scenario: Vec<Chosen>,
    /// The same request while these become more, instead of scenarios.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["scenario", "instructions"])]
    pub(super) growth: Vec<Growth>,
    /// Of nginx, haproxy, envoy, varnish, caddy, gateway. Default: all of them; the gateway alone with --hold or --commit; the first two
    /// and the gateway where servers fail.
    #[arg(long, value_delimiter = ',', value_parser = kind)]
    only: Vec<Kind>,
    /// The gateway's program (`cargo xtask compare` builds one with the profile `dist`).
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    /// What asks.
    #[arg(long, value_enum, default_value = "run")]
    pub(super) load: Generator,
    /// User instructions and allocations per request by callgrind instead of time.
    #[arg(long)]
    instructions: bool,
    /// With --instructions: the gateway's functions, instructions per request each, into this file.
    #[arg(long, value_name = "FILE", requires = "instructions")]
    pub(super) profile: Option<PathBuf>,
    /// With --instructions: fail if the gateway's cost of a scenario is more than 3 % off this file's [default:
    /// loadtest/instructions.toml]. Without --scenario: all that it can do.
    #[arg(long, value_name = "FILE", requires = "instructions", num_args = 0..=1, default_missing_value = FILE)]
    pub(super) hold: Option<PathBuf>,
    /// With --instructions: write the gateway's costs into this file [default: loadtest/instructions.toml].
    #[arg(
        long,
        value_name = "FILE",
        requires = "instructions",
        conflicts_with = "hold",
        num_args = 0..=1,
        default_missing_value = FILE
    )]
    pub(super) commit: Option<PathBuf>,
    #[command(flatten)]
    pub(super) resilience: Wanted,
    /// Write a page of everything, with plots, machine, versions and configs.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Print the generated configs.
    #[arg(long)]
    pub(super) show_configs: bool,
    /// Keep the folder of configs and logs, and say where it is.
    #[arg(long)]
    pub(super) keep: bool,
}

/// A word of `--scenario`.
#[derive(Clone, Copy, Debug)]
enum Chosen {
    All,
    One(Scenario),
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Time,
    Instructions,
    /// What becomes of requests when servers fail.
    Resilience,
}

impl Settings {
    pub(super) fn measure(&self) -> Measure {
        match (self.instructions, self.resilience.trials().is_empty()) {
            (true, _) => Measure::Instructions,
            (false, true) => Measure::Time,
            (false, false) => Measure::Resilience,
        }
    }

    pub(super) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(match self.measure() {
            Measure::Time | Measure::Instructions => 7,
            Measure::Resilience => 1,
        })
    }

    pub(super) fn configs(&self) -> Configs {
        match self.show_configs {
            true => Configs::Shown,
            false => Configs::Silent,
        }
    }

    /// What clap cannot tell.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        match &self.profile {
            Some(_) if self.scenarios().len() != 1 => Err(SettingsError::Profile),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether our costs are what this run is for.
    const fn is_about_costs(&self) -> bool {
        self.hold.is_some() || self.commit.is_some()
    }

    /// Where our costs are gathered, if they are to be written or held.
    pub(super) fn costs(&self) -> Result<Option<Costs>, SettingsError> {
        if !self.is_about_costs() {
            return Ok(None);
        }
        let program = self.gateway()?.ok_or(SettingsError::NeedsGateway)?;
        Ok(Some(Costs::of(&program)?))
    }

    pub(super) fn only(&self) -> Vec<Kind> {
        match (self.only.is_empty(), self.is_about_costs(), self.measure()) {
            (true, true, _) => vec![Kind::Gateway],
            (true, false, Measure::Resilience) => resilience::MEASURED.to_vec(),
            (true, false, Measure::Time | Measure::Instructions) => Kind::ALL.to_vec(),
            (false, ..) => self.only.clone(),
        }
    }

    /// What is compared, in the order asked for; nothing where a growth is asked for instead.
    pub(super) fn scenarios(&self) -> Vec<Scenario> {
        let chosen = |chosen: &Chosen| match chosen {
            Chosen::All => scenarios::ALL.to_vec(),
            Chosen::One(scenario) => vec![*scenario],
        };
        let ours = |scenario: &Scenario| Kind::Gateway.cannot(&scenario.job).is_none();
        let others = !self.growth.is_empty() || self.measure() == Measure::Resilience;
        match (self.scenario.is_empty() && !others, self.is_about_costs()) {
            (true, true) => scenarios::ALL.into_iter().filter(ours).collect(),
            (true, false) => Scenario::named("plain").into_iter().collect(),
            (false, _) => self.scenario.iter().flat_map(chosen).collect(),
        }
    }

    /// The gateway's program, wherever the proxies are started.
    pub(super) fn gateway(&self) -> Result<Option<PathBuf>, SettingsError> {
        let Some(path) = &self.gateway else { return Ok(None) };
        let path = std::path::absolute(path).map_err(SettingsError::Gateway)?;
        match path.is_file() {
            true => Ok(Some(path)),
            false => Err(SettingsError::NoGateway),
        }
    }
}

fn scenario(name: &str) -> Result<Chosen, SettingsError> {
    match name {
        "all" => Ok(Chosen::All),
        _ => Scenario::named(name)
            .map(Chosen::One)
            .ok_or_else(|| SettingsError::Scenario(name.to_owned())),
    }
}

fn names() -> String {
    scenarios::ALL.map(|scenario| scenario.name).join(", ")
}

fn kind(name: &str) -> Result<Kind, SettingsError> {
    Kind::named(name).ok_or_else(|| SettingsError::Proxy(name.to_owned()))
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    pub(in super::super) fn parsed(line: &str) -> Result<Settings, String> {
        let words = std::iter::once("compare").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn every_option_is_understood() {
        let line = "--rounds 2 --seconds 1 --connections 8 --scenario plain,bare --only nginx,haproxy \
                    --instructions --profile p.txt --keep --show-configs";
        let settings = parsed(line).expect("understood");
        assert_eq!((settings.rounds(), settings.seconds, settings.connections), (2, 1, 8));
        assert_eq!(
            settings.scenarios().iter().map(|one| one.name).collect::<Vec<_>>(),
            ["plain", "bare"]
        );
        assert_eq!(settings.only(), [Kind::Nginx, Kind::Haproxy]);
        assert_eq!(settings.measure(), Measure::Instructions);
    }

    #[test]
    fn the_scenario_is_plain_unless_others_or_a_growth_are_asked_for() {
        let names = |line: &str| -> Vec<&str> {
            parsed(line).expect(line).scenarios().iter().map(|one| one.name).collect()
        };
        assert_eq!(names(""), ["plain"]);
        assert!(names("--growth routes,plugins").is_empty());
        assert_eq!(names("--scenario all").len(), scenarios::ALL.len());
    }

    #[test]
    fn where_servers_fail_there_are_no_scenarios_and_three_proxies() {
        for (line, trials) in [
            ("--faults", 5),
            ("--faults --fault hangs,dies", 2),
            ("--faults --fault hangs dies --storm", 4),
            ("--overload --once", 2),
            ("--once 5000", 1),
        ] {
            let settings = parsed(line).expect(line);
            assert_eq!(settings.resilience.trials().len(), trials, "{line}");
            assert!(settings.scenarios().is_empty(), "{line}");
            assert_eq!((settings.only().len(), settings.rounds()), (3, 1), "{line}");
        }
    }

    #[test]
    fn our_costs_are_of_everything_that_the_gateway_can_do() {
        let settings = parsed("--instructions --hold --gateway x").expect("understood");
        assert_eq!(settings.only(), [Kind::Gateway]);
        assert!(settings.hold.as_ref().is_some_and(|file| file.ends_with("instructions.toml")));
        let names: Vec<&str> = settings.scenarios().iter().map(|one| one.name).collect();
        assert!(names.contains(&"everything") && !names.contains(&"aggregate"), "{names:?}");
        let settings =
            parsed("--instructions --commit x.toml --scenario bare").expect("understood");
        assert_eq!(settings.commit, Some(PathBuf::from("x.toml")));
        assert_eq!(settings.scenarios().len(), 1);
    }

    #[test]
    fn a_profile_is_of_one_scenario() {
        let check = |line: &str| parsed(line).expect("understood").check();
        assert!(check("--instructions --profile x").is_ok());
        assert!(check("--instructions --profile x --scenario bare,tls").is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let cases = [
            ("--round 3", "--round"),
            ("--rounds", "a value is required"),
            ("--rounds 0", "0 is not in 1..=100"),
            ("--scenario plain,bear", "`bear` is not known"),
            ("--only apache", "`apache` is not known"),
            ("--growth routes --scenario bare", "cannot be used with"),
            ("--load ab", "possible values: run, wrk"),
            ("--profile x", "--instructions"),
            ("--hold", "--instructions"),
            ("--instructions --hold --commit", "cannot be used with"),
            ("--fault hangs", "--faults"),
            ("--faults --fault dances", "possible values: dies, hangs"),
            ("--storm --seconds 3", "cannot be used with"),
            ("--once 5", "5 is not in 1000..="),
        ];
        for (line, expected) in cases {
            let said = parsed(line).map(|_| ()).expect_err(line);
            assert!(said.contains(expected), "{line}: {said}");
        }
    }
}
