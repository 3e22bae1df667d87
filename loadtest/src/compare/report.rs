//! What the comparison prints: tables for people, JSON for programs; notes go to stderr.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this file is for")]

use serde_json::Value;

use super::configs::Prepared;
use super::document::{COLUMNS, LeftOut, base, instruction_ratio};
use super::growth::{Growth, Step};
use super::instructions::Counted;
use super::proxies::Kind;
use super::rounds::Measured;
use super::scenarios::{Edge, Scenario};
use super::settings::Settings;

/// A line about the work, kept out of the result.
pub(super) fn note(text: &str) {
    eprintln!("{text}");
}

pub(super) fn show_config(prepared: &Prepared<'_>) {
    note(&format!("--- {}\n{}", prepared.config.display(), prepared.config_text()));
}

/// The document of `--json`.
pub(super) fn document(document: &Value) {
    println!("{document}");
}

/// Lines of a table.
pub(super) fn table(lines: &[String]) {
    lines.iter().for_each(|line| println!("{line}"));
}

/// Width of a column: value, ratio and spread.
const WIDTH: usize = 21;

fn name_of(base: Option<Kind>) -> &'static str {
    base.map_or("nobody", Kind::name)
}

pub(super) fn time(
    scenario: &Scenario,
    settings: &Settings,
    all: &[Measured],
    missing: &[LeftOut],
) -> Vec<String> {
    let Settings { seconds, connections, .. } = settings;
    let rounds = settings.rounds();
    let mut lines = vec![format!(
        "\n{}: {} ({rounds} rounds of {seconds} s, {connections} at once; medians, in brackets ratio to {} \
         ± half of the distance between the quartiles)",
        scenario.name,
        scenario.does,
        name_of(base(all.iter().map(|one| one.kind)))
    )];
    let titles: String =
        COLUMNS.iter().map(|column| format!(" {:>WIDTH$}", column.title)).collect();
    lines.push(format!("{:<9}{titles} {:>8}", "", "logged"));
    for one in all {
        let cells: String = COLUMNS
            .iter()
            .map(|column| {
                let (value, ratio) = column.summary(one, all);
                let value =
                    value.map_or("-".to_owned(), |value| format!("{value:.*}", column.digits));
                let ratio = ratio.map_or(String::new(), |ratio| {
                    format!(" ({:.2} ±{:.2})", ratio.median, ratio.spread)
                });
                format!(" {:>WIDTH$}", format!("{value}{ratio}"))
            })
            .collect();
        lines.push(format!("{:<9}{cells} {:>8}", one.kind.name(), logged(scenario, one)));
    }
    lines.extend(left_out(missing));
    lines
}

fn logged(scenario: &Scenario, one: &Measured) -> String {
    match (scenario.job.edge, one.logged) {
        (_, Some(share)) => format!("{:.1} %", share * 100.0),
        (Edge::Full, None) => "ring".to_owned(),
        (Edge::Bare, None) => "-".to_owned(),
    }
}

fn left_out(missing: &[LeftOut]) -> impl Iterator<Item = String> + '_ {
    missing.iter().map(|(kind, reason)| format!("{:<9} left out: {reason}", kind.name()))
}

pub(super) fn growth(growth: Growth, steps: &[Step]) -> Vec<String> {
    let mut lines = vec![format!(
        "\ncost by growth of {}: CPU µs/request (ratio to {} of the same step)",
        growth.name(),
        steps
            .first()
            .map_or("nobody", |step| name_of(base(step.measured.iter().map(|one| one.kind))))
    )];
    let titles: String = steps.iter().map(|step| format!(" {:>WIDTH$}", step.count)).collect();
    lines.push(format!("{:<9}{titles}", ""));
    for one in steps.first().map_or(&[] as &[Measured], |step| &step.measured) {
        let cells: String = steps
            .iter()
            .filter_map(|step| {
                let own = step.measured.iter().find(|measured| measured.kind == one.kind)?;
                let (value, ratio) = COLUMNS[0].summary(own, &step.measured);
                let ratio = ratio?;
                Some(format!(
                    " {:>WIDTH$}",
                    format!("{:.2} ({:.2} ±{:.2})", value?, ratio.median, ratio.spread)
                ))
            })
            .collect();
        lines.push(format!("{:<9}{cells}", one.kind.name()));
    }
    lines
}

pub(super) fn instructions(
    scenario: &Scenario,
    all: &[Counted],
    missing: &[LeftOut],
) -> Vec<String> {
    let mut lines = vec![
        format!(
            "\n{}: {} (in brackets: ratio to {})",
            scenario.name,
            scenario.does,
            name_of(base(all.iter().map(|one| one.kind)))
        ),
        format!("{:<9} {:>29} {:>20}", "", "user instructions/request", "allocations/request"),
    ];
    for one in all {
        let ratio =
            instruction_ratio(one, all).map_or(String::new(), |ratio| format!(" ({ratio:.2})"));
        let cell = format!("{:.0}{ratio}", one.per_request);
        let allocations =
            one.allocations_per_request.map_or("-".to_owned(), |count| format!("{count:.1}"));
        lines.push(format!("{:<9} {cell:>29} {allocations:>20}", one.kind.name()));
    }
    lines.extend(left_out(missing));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::measured;
    use super::super::scenarios::ALL;
    use super::super::settings::tests::parsed;
    use super::*;

    #[test]
    fn the_table_tells_ratio_spread_and_who_is_left_out() {
        let all = [
            measured(Kind::Nginx, &[10.0, 20.0, 12.0]),
            measured(Kind::Gateway, &[11.0, 40.0, 12.0]),
        ];
        let missing = [(Kind::Caddy, "not installed".to_owned())];
        let lines = time(&ALL[0], &parsed("").expect("defaults"), &all, &missing);
        assert!(lines[0].starts_with("\nbare: one route"), "{}", lines[0]);
        assert!(lines[3].contains("12.00 (1.10 ±0.25)"), "{}", lines[3]);
        assert_eq!(lines[4], "caddy     left out: not installed");
    }
}
