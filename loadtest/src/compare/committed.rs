//! What a request of ours costs, as a committed file: no change makes it dearer unnoticed, and none cheaper unwritten.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::instructions::Counted;
use super::scenarios::{MIB, Scenario, Task};
use crate::failure::FileError;

/// Why costs cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CostsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}; it is written by: {COMMIT}")]
    NotWritten(FileError),
    #[error("{path}: {source}", path = path.display())]
    Toml { path: PathBuf, source: Box<toml::de::Error> },
}

/// Where the file is, as long as the workspace is where this was built.
pub(super) const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml");

/// What a figure may be off, in percent: counts repeat within one.
const PERCENT_MOST: f64 = 3.0;

/// The same for bodies of 1 MiB: in how many pieces one comes is the kernel's affair, and differs by 10 % from run to run.
const PERCENT_MOST_OF_PIECES: f64 = 25.0;

/// Allocations are few: three percent of six would be less than what a buffer that grows in between is worth.
const ALLOCATIONS_MOST: f64 = 0.25;

/// The figures of all scenarios.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Costs {
    /// What built the gateway, in its own words.
    compiler: String,
    scenarios: BTreeMap<String, Cost>,
}

/// One scenario's, for each request.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Cost {
    instructions: u64,
    allocations: f64,
}

impl Costs {
    /// Nothing counted yet for this program.
    pub(super) fn of(program: &Path) -> Result<Self, CostsError> {
        let bytes = fs::read(program).map_err(FileError::at(program))?;
        let compiler = compiler(&bytes).unwrap_or_else(|| "unknown".to_owned());
        Ok(Self { compiler, scenarios: BTreeMap::new() })
    }

    pub(super) fn read(file: &Path) -> Result<Self, CostsError> {
        let text = fs::read_to_string(file)
            .map_err(|error| CostsError::NotWritten(FileError::at(file)(error)))?;
        toml::from_str(&text)
            .map_err(|source| CostsError::Toml { path: file.to_owned(), source: Box::new(source) })
    }

    pub(super) fn add(&mut self, scenario: &str, counted: &Counted) {
        let cost = Cost {
            instructions: counted.per_request.round() as u64,
            allocations: (counted.allocations_per_request.unwrap_or(0.0) * 10.0).round() / 10.0,
        };
        self.scenarios.insert(scenario.to_owned(), cost);
    }

    /// Writes these figures; those of scenarios that were not measured stay, unless another compiler made them.
    pub(super) fn commit(mut self, file: &Path) -> Result<(), CostsError> {
        let before = file.is_file().then(|| Self::read(file)).transpose()?;
        if let Some(mut before) = before.filter(|before| before.compiler == self.compiler) {
            before.scenarios.append(&mut self.scenarios);
            self = before;
        }
        Ok(fs::write(file, self.text()).map_err(FileError::at(file))?)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# What a request costs the gateway (profile dist): user instructions and allocations, by callgrind. `cargo xtask test`\n\
             # fails where one is more than {PERCENT_MOST} % off ({PERCENT_MOST_OF_PIECES} % with bodies of 1 MiB), either way.\n\
             # A lower figure is committed with the change that earned it, a higher one with its reason:\n\
             # {COMMIT}\n\
             compiler = {:?}\n\n[scenarios]\n",
            self.compiler
        );
        for (scenario, Cost { instructions, allocations }) in &self.scenarios {
            text.push_str(&format!(
                "{scenario} = {{ instructions = {instructions}, allocations = {allocations:.1} }}\n"
            ));
        }
        text
    }

    /// A line for each scenario, and for each that does not hold what is wrong with it.
    pub(super) fn held(&self, measured: &Self) -> Held {
        let mut held = Held { lines: Vec::new(), broken: Vec::new() };
        for (scenario, now) in &measured.scenarios {
            let Some(before) = self.scenarios.get(scenario) else {
                held.broken
                    .push(format!("{scenario}: {} instructions, none committed", now.instructions));
                continue;
            };
            held.lines.push(format!(
                "{scenario:<12} {:>9} instructions ({:+.1} % of {}), {:>5.1} allocations ({:.1})",
                now.instructions,
                percent(*before, *now),
                before.instructions,
                now.allocations,
                before.allocations
            ));
            held.broken.extend(broken(scenario, *before, *now));
        }
        if !held.broken.is_empty() && self.compiler != measured.compiler {
            held.broken.push(format!(
                "the committed figures are of {}, this gateway was built by {}",
                self.compiler, measured.compiler
            ));
        }
        held
    }
}

/// What came of holding the figures to the file.
pub(super) struct Held {
    pub(super) lines: Vec<String>,
    pub(super) broken: Vec<String>,
}

/// What writes the file.
pub(super) const COMMIT: &str = "cargo xtask compare --instructions --commit";

fn percent(before: Cost, now: Cost) -> f64 {
    (now.instructions as f64 / before.instructions as f64 - 1.0) * 100.0
}

fn percent_most(scenario: &str) -> f64 {
    match Scenario::named(scenario).map(|scenario| scenario.job.task) {
        Some(Task::Down(MIB) | Task::Up(MIB)) => PERCENT_MOST_OF_PIECES,
        Some(_) | None => PERCENT_MOST,
    }
}

fn broken(scenario: &str, before: Cost, now: Cost) -> Vec<String> {
    let mut broken = Vec::new();
    let percent = percent(before, now);
    if percent.abs() > percent_most(scenario) {
        let (more, advice) = match percent > 0.0 {
            true => ("dearer", "find out why with --profile, or commit it with its reason"),
            false => ("cheaper", "well done: commit it with the change that earned it"),
        };
        broken.push(format!(
            "{scenario}: {:.1} % {more}: {} instructions a request, committed are {}; {advice}",
            percent.abs(),
            now.instructions,
            before.instructions
        ));
    }
    if (now.allocations - before.allocations).abs() > ALLOCATIONS_MOST {
        broken.push(format!(
            "{scenario}: {:.1} allocations a request, committed are {:.1}",
            now.allocations, before.allocations
        ));
    }
    broken
}

/// rustc leaves its version in every program, as `rustc version 1.95.0 (59807616e 2026-04-14)` with a zero behind it.
fn compiler(program: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"rustc version ";
    let place = program.windows(BEFORE.len()).position(|window| window == BEFORE)?;
    let version = &program[place + BEFORE.len()..];
    let end = version.iter().position(|&byte| byte == 0)?;
    Some(format!("rustc {}", String::from_utf8_lossy(&version[..end])))
}

#[cfg(test)]
mod tests {
    use super::super::proxies::Kind;
    use super::*;

    fn costs(compiler: &str, instructions: f64, allocations: f64) -> Costs {
        let mut costs = Costs { compiler: compiler.to_owned(), scenarios: BTreeMap::new() };
        costs.add(
            "bare",
            &Counted {
                kind: Kind::Gateway,
                per_request: instructions,
                allocations_per_request: Some(allocations),
            },
        );
        costs
    }

    #[test]
    fn three_percent_hold_and_more_does_not_in_either_direction() {
        let committed = costs("rustc 1", 10_000.0, 6.0);
        for (instructions, said) in [
            (10_290.0, None),
            (9_710.0, None),
            (
                10_310.0,
                Some("bare: 3.1 % dearer: 10310 instructions a request, committed are 10000"),
            ),
            (
                9_600.0,
                Some("bare: 4.0 % cheaper: 9600 instructions a request, committed are 10000"),
            ),
        ] {
            let Held { lines, broken } = committed.held(&costs("rustc 1", instructions, 6.0));
            assert_eq!(lines.len(), 1);
            assert_eq!(broken.len(), usize::from(said.is_some()), "{broken:?}");
            assert!(broken.iter().all(|line| line.starts_with(said.expect("said"))), "{broken:?}");
        }
    }

    #[test]
    fn bodies_of_a_mebibyte_have_more_room_than_others() {
        let most = ["bare", "body-16k", "body-1m", "upload", "gone"].map(percent_most);
        assert_eq!(most, [3.0, 3.0, 25.0, 25.0, 3.0]);
    }

    #[test]
    fn an_allocation_more_is_seen_and_so_is_another_compiler() {
        let committed = costs("rustc 1", 10_000.0, 6.0);
        let Held { broken, .. } = committed.held(&costs("rustc 2", 10_000.0, 7.0));
        assert_eq!(broken[0], "bare: 7.0 allocations a request, committed are 6.0");
        assert!(broken[1].contains("rustc 1, this gateway was built by rustc 2"), "{}", broken[1]);
        let none = Costs { compiler: "rustc 1".to_owned(), scenarios: BTreeMap::new() };
        let Held { broken, .. } = none.held(&committed);
        assert_eq!(broken, ["bare: 10000 instructions, none committed"]);
    }

    #[test]
    fn what_is_committed_is_read_again_and_keeps_what_was_not_measured() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("instructions.toml");
        costs("rustc 1", 10_000.0, 6.04).commit(&file).expect("written");
        assert_eq!(Costs::read(&file).expect("understood"), costs("rustc 1", 10_000.0, 6.0));
        let mut another = costs("rustc 1", 1.0, 1.0);
        another.scenarios = BTreeMap::from([("plain".to_owned(), another.scenarios["bare"])]);
        another.commit(&file).expect("written");
        let both: Vec<String> = Costs::read(&file).expect("read").scenarios.into_keys().collect();
        assert_eq!(both, ["bare", "plain"]);
        costs("rustc 2", 1.0, 1.0).commit(&file).expect("written");
        assert_eq!(Costs::read(&file).expect("understood"), costs("rustc 2", 1.0, 1.0));
        assert!(Costs::read(folder.path()).is_err());
    }

    #[test]
    fn the_compiler_is_read_from_the_program() {
        let bytes = b"\x7fELF..rustc version 1.95.0 (5980)\0more";
        assert_eq!(compiler(bytes).as_deref(), Some("rustc 1.95.0 (5980)"));
        assert_eq!(compiler(b"none"), None);
    }
}
