//! User instructions and allocations per request by callgrind: repeatable to about 1 %, where time on a shared machine is
//! not.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::allocations;
use super::certificates::Certificates;
use super::client::{Client, ClientError};
use super::configs::Prepared;
use super::document::LeftOut;
use super::process::{PROXY_CORE, ProcessError, Started, find_program, pinned};
use super::proxies::Kind;
use crate::failure::FileError;

/// Why instructions were not counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstructionsError {
    #[error("{name}: {source}")]
    Of { name: &'static str, source: Box<Self> },
    #[error("valgrind is not installed")]
    NoValgrind,
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}: more for fewer requests")]
    Fewer(&'static str),
    #[error("{}: no totals", .0.display())]
    NoTotals(PathBuf),
    #[error("callgrind_annotate: {0}")]
    Annotate(io::Error),
    #[error("callgrind_annotate: {0}")]
    Annotated(String),
}

/// Two processes get different numbers of requests; start, warm-up and end cancel out in the difference, or nearly: with
/// TLS the start is 400 million instructions, and gathers randomness until there is enough of it.
const FEW: usize = 500;
const MANY: usize = 4_500;

/// The same where each request has a handshake, which costs as much as forty requests.
const FEW_HANDSHAKES: usize = 50;
const MANY_HANDSHAKES: usize = 250;

/// Requests before the counted ones: connections, pools and caches are in place afterwards.
const WARM_UP: usize = 100;

/// How many functions a profile lists.
const PROFILE_FUNCTIONS: usize = 60;

/// Under valgrind everything takes some fifty times as long.
const START_TIME: Duration = Duration::from_secs(60);
const END_TIME: Duration = Duration::from_secs(60);

pub(super) struct Counted {
    pub(super) kind: Kind,
    pub(super) per_request: f64,
    /// Calls of the allocator that hand out memory; none where its names cannot be seen.
    pub(super) allocations_per_request: Option<f64>,
}

/// What one run under callgrind left behind.
struct Run {
    requests: usize,
    counts: PathBuf,
    text: String,
}

/// Counts each; who does not run under valgrind is left out with the reason.
pub(super) fn measure(
    profile_file: Option<&Path>,
    certificates: &Certificates,
    set: &[Prepared<'_>],
) -> Result<(Vec<Counted>, Vec<LeftOut>), InstructionsError> {
    let (mut all, mut left_out) = (Vec::new(), Vec::new());
    for prepared in set {
        let kind = prepared.kind();
        super::report::note(&format!("{} under callgrind", kind.name()));
        if let Some(reason) = kind.cannot_be_counted() {
            left_out.push((kind, reason.to_owned()));
            continue;
        }
        let runs = both_runs(prepared, certificates);
        let (few, many) = match runs {
            Ok(runs) => runs,
            Err(error) if matches!(kind, Kind::Nginx | Kind::Gateway) => {
                return Err(InstructionsError::Of { name: kind.name(), source: Box::new(error) });
            }
            Err(error) => {
                left_out.push((kind, error.to_string()));
                continue;
            }
        };
        let counted = difference(kind, &few, &many)?;
        if let (Kind::Gateway, Some(file)) = (kind, profile_file) {
            let text = profile(&few, &many, counted.per_request)?;
            fs::write(file, text).map_err(FileError::at(file))?;
        }
        all.push(counted);
    }
    Ok((all, left_out))
}

fn both_runs(
    prepared: &Prepared<'_>,
    certificates: &Certificates,
) -> Result<(Run, Run), InstructionsError> {
    let (few, many) = match prepared.job.wire.is_new() {
        true => (FEW_HANDSHAKES, MANY_HANDSHAKES),
        false => (FEW, MANY),
    };
    Ok((one_run(prepared, certificates, few)?, one_run(prepared, certificates, many)?))
}

fn difference(kind: Kind, few: &Run, many: &Run) -> Result<Counted, InstructionsError> {
    let wrong = || InstructionsError::Fewer(kind.name());
    let requests = many.requests.checked_sub(few.requests).filter(|&more| more > 0);
    let requests = requests.ok_or_else(wrong)? as f64;
    let instructions = total(many)?.checked_sub(total(few)?).ok_or_else(wrong)?;
    let calls = allocations::calls(&many.text).saturating_sub(allocations::calls(&few.text));
    Ok(Counted {
        kind,
        per_request: instructions as f64 / requests,
        allocations_per_request: kind.shows_allocations().then(|| calls as f64 / requests),
    })
}

/// One process under callgrind from start to end.
fn one_run(
    prepared: &Prepared<'_>,
    certificates: &Certificates,
    requests: usize,
) -> Result<Run, InstructionsError> {
    let counts = prepared.folder.join(format!("callgrind.{requests}"));
    let valgrind = find_program("valgrind").ok_or(InstructionsError::NoValgrind)?;
    let mut command = pinned(PROXY_CORE, &valgrind);
    command
        .args(["--tool=callgrind", "--trace-children=no"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(&prepared.proxy.program);
    prepared.add_arguments(&mut command, &prepared.single_process_config);
    let messages = prepared.folder.join(format!("messages.{requests}"));
    let mut process = Started::start("valgrind", &mut command, messages)?;
    process.wait_for_port(prepared.port, START_TIME)?;
    let mut client = Client::connect(prepared.port, &prepared.job, certificates)?;
    client.send(WARM_UP + requests)?;
    drop(client);
    process.end(END_TIME)?;
    let text = fs::read_to_string(&counts).map_err(FileError::at(&counts))?;
    Ok(Run { requests, counts, text })
}

fn total(run: &Run) -> Result<u64, InstructionsError> {
    parse_total(&run.text).ok_or_else(|| InstructionsError::NoTotals(run.counts.clone()))
}

/// callgrind ends its file with `totals: N`; older ones begin it with `summary: N`.
fn parse_total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The functions by instructions per request: again the difference of the two runs.
fn profile(few: &Run, many: &Run, per_request: f64) -> Result<String, InstructionsError> {
    let requests = (many.requests - few.requests) as f64;
    let before = parse_functions(&annotate(&few.counts)?);
    let after = parse_functions(&annotate(&many.counts)?);
    let mut functions: Vec<(f64, String)> = after
        .into_iter()
        .map(|(name, count)| {
            let before = before.get(&name).copied().unwrap_or(0);
            ((count as f64 - before as f64) / requests, name)
        })
        .collect();
    functions.sort_by(|left, right| right.0.total_cmp(&left.0));
    let mut text = format!(
        "Instructions per request of the gateway, self cost of the {PROFILE_FUNCTIONS} dearest functions\n\
         (callgrind, {} against {} requests). All: {per_request:.0}\n\n",
        few.requests, many.requests
    );
    for (count, name) in functions.iter().take(PROFILE_FUNCTIONS) {
        text.push_str(&format!("{count:>9.1} {:>5.1} %  {name}\n", 100.0 * count / per_request));
    }
    Ok(text)
}

fn annotate(counts: &Path) -> Result<String, InstructionsError> {
    let output = Command::new("callgrind_annotate")
        .args(["--inclusive=no", "--auto=no", "--threshold=100"])
        .arg(counts)
        .output()
        .map_err(InstructionsError::Annotate)?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            Err(InstructionsError::Annotated(String::from_utf8_lossy(&output.stderr).into_owned()))
        }
    }
}

/// Lines are `1,234 ( 5.67%)  file:function [object]`; inlined parts of one function come apart by file and are joined.
fn parse_functions(text: &str) -> HashMap<String, u64> {
    let mut functions = HashMap::new();
    for line in text.lines() {
        let Some((count, rest)) = line.trim_start().split_once(' ') else { continue };
        let Ok(count) = count.replace(',', "").parse::<u64>() else { continue };
        let Some((_, place)) = rest.split_once("%)") else { continue };
        let place = place.split(" [").next().unwrap_or(place).trim();
        if place == "PROGRAM TOTALS" {
            continue;
        }
        let name = place.split_once(':').map_or(place, |(_, name)| name);
        *functions.entry(name.to_owned()).or_default() += count;
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        assert_eq!(parse_total("events: Ir\nfn=(1)\n1 2\ntotals: 66871342\n"), Some(66_871_342));
        assert_eq!(parse_total("summary: 12 3\n"), Some(12));
        assert_eq!(parse_total("events: Ir\n"), None);
    }

    #[test]
    fn functions_are_joined_over_their_files() {
        let text = "\
--------------------------------------------------------------------------------
66,871,342 (100.0%)  PROGRAM TOTALS

Ir                   file:function
 4,000,000 ( 5.98%)  /rust/core/src/slice.rs:gateway::proxy::answer [/t/gateway]
 1,000,000 ( 1.50%)  src/proxy.rs:gateway::proxy::answer [/t/gateway]
       200 ( 0.00%)  ???:memcpy [/lib/libc.so.6]
";
        let functions = parse_functions(text);
        assert_eq!(functions.get("gateway::proxy::answer"), Some(&5_000_000));
        assert_eq!(functions.get("memcpy"), Some(&200));
        assert_eq!(functions.len(), 2);
    }
}
