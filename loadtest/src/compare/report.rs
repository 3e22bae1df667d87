//! What the comparison prints: a table for people, JSON for programs; notes go to stderr.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this file is for")]

use super::configs::{Prepared, Scenario};
use super::instructions::Counted;
use super::proxies::Kind;
use super::rounds::{Figures, Measured};
use super::settings::Settings;
use super::statistics::{median, median_ratio};

/// A line about the work, kept out of the result.
pub(super) fn note(text: &str) {
    eprintln!("{text}");
}

pub(super) fn show_config(prepared: &Prepared<'_>) {
    let text = std::fs::read_to_string(&prepared.config).unwrap_or_default();
    note(&format!("--- {}\n{text}", prepared.config.display()));
}

/// One column: its names, its value in a round, how many digits after the point.
struct Column {
    title: &'static str,
    key: &'static str,
    value: fn(&Figures) -> f64,
    digits: usize,
}

const COLUMNS: [Column; 5] = [
    Column {
        title: "CPU µs/request",
        key: "cpu_us_per_request",
        value: |figures| figures.cpu_us_per_request,
        digits: 2,
    },
    Column {
        title: "requests/s",
        key: "requests_per_second",
        value: |figures| figures.requests_per_second,
        digits: 0,
    },
    Column { title: "p50 ms", key: "p50_ms", value: |figures| figures.p50_ms, digits: 2 },
    Column { title: "p99 ms", key: "p99_ms", value: |figures| figures.p99_ms, digits: 2 },
    Column { title: "RSS MB", key: "rss_mb", value: |figures| figures.resident_mb, digits: 1 },
];

/// A column's median, and the median of its ratios to nginx round by round.
fn summary(column: &Column, one: &Measured, all: &[Measured]) -> (f64, Option<f64>) {
    let values = |measured: &Measured| measured.rounds.iter().map(column.value).collect::<Vec<_>>();
    let own = values(one);
    let nginx = all.iter().find(|measured| measured.kind == Kind::Nginx);
    let ratio = nginx.and_then(|nginx| median_ratio(&own, &values(nginx)));
    (median(&own).unwrap_or(f64::NAN), ratio)
}

pub(super) fn time_table(scenario: Scenario, settings: &Settings, all: &[Measured]) {
    let Settings { rounds, seconds, connections, .. } = settings;
    println!(
        "scenario {}: medians of {rounds} rounds of {seconds} s, {connections} connections; in brackets: \
         median ratio to nginx",
        scenario.name()
    );
    print!("{:<9}", "");
    COLUMNS.iter().for_each(|column| print!(" {:>19}", column.title));
    println!(" {:>11}", "logged");
    for one in all {
        print!("{:<9}", one.kind.name());
        for column in &COLUMNS {
            let (value, ratio) = summary(column, one, all);
            let ratio = ratio.map_or(String::new(), |ratio| format!(" ({ratio:.2})"));
            print!(" {:>19}", format!("{value:.*}{ratio}", column.digits));
        }
        println!(" {:>11}", logged(scenario, one));
    }
}

fn logged(scenario: Scenario, one: &Measured) -> String {
    match (scenario, one.logged) {
        (_, Some(share)) => format!("{:.1} %", share * 100.0),
        (Scenario::Plain, None) => "ring".to_owned(),
        (Scenario::Bare, None) => "-".to_owned(),
    }
}

pub(super) fn time_json(scenario: Scenario, settings: &Settings, all: &[Measured]) {
    println!("{}", time_document(scenario, settings, all));
}

fn time_document(scenario: Scenario, settings: &Settings, all: &[Measured]) -> String {
    let proxies: Vec<String> = all.iter().map(|one| proxy_document(one, all)).collect();
    format!(
        r#"{{"scenario":"{}","rounds":{},"seconds":{},"connections":{},"proxies":{{{}}}}}"#,
        scenario.name(),
        settings.rounds,
        settings.seconds,
        settings.connections,
        proxies.join(",")
    )
}

fn proxy_document(one: &Measured, all: &[Measured]) -> String {
    let mut members: Vec<String> = COLUMNS
        .iter()
        .map(|column| {
            let (value, ratio) = summary(column, one, all);
            let rounds: Vec<String> =
                one.rounds.iter().map(|figures| number(Some((column.value)(figures)))).collect();
            format!(
                r#""{}":{{"median":{},"ratio":{},"rounds":[{}]}}"#,
                column.key,
                number(Some(value)),
                number(ratio),
                rounds.join(",")
            )
        })
        .collect();
    members.push(format!(r#""logged":{}"#, number(one.logged)));
    format!(r#""{}":{{{}}}"#, one.kind.name(), members.join(","))
}

/// JSON knows no NaN and no infinity.
fn number(value: Option<f64>) -> String {
    value
        .filter(|value| value.is_finite())
        .map_or_else(|| "null".to_owned(), |value| format!("{value:.4}"))
}

fn instruction_ratio(one: &Counted, all: &[Counted]) -> Option<f64> {
    let nginx = all.iter().find(|counted| counted.kind == Kind::Nginx)?;
    Some(one.per_request / nginx.per_request)
}

pub(super) fn instructions_table(scenario: Scenario, all: &[Counted]) {
    println!(
        "scenario {}: user instructions per request; in brackets: ratio to nginx",
        scenario.name()
    );
    for one in all {
        let ratio =
            instruction_ratio(one, all).map_or(String::new(), |ratio| format!(" ({ratio:.2})"));
        println!("{:<9} {:>10.0}{ratio}", one.kind.name(), one.per_request);
    }
}

pub(super) fn instructions_json(scenario: Scenario, all: &[Counted]) {
    let proxies: Vec<String> = all
        .iter()
        .map(|one| {
            format!(
                r#""{}":{{"instructions_per_request":{},"ratio":{}}}"#,
                one.kind.name(),
                number(Some(one.per_request)),
                number(instruction_ratio(one, all))
            )
        })
        .collect();
    println!(r#"{{"scenario":"{}","proxies":{{{}}}}}"#, scenario.name(), proxies.join(","));
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

    fn settings() -> Settings {
        Line::parse_from(["compare"]).settings
    }

    fn measured(kind: Kind, cpu: &[f64]) -> Measured {
        let rounds = cpu.iter().map(|&cpu_us_per_request| Figures {
            cpu_us_per_request,
            requests_per_second: 1_000.0,
            p50_ms: 1.0,
            p99_ms: 2.0,
            resident_mb: 10.0,
        });
        Measured { kind, rounds: rounds.collect(), logged: None }
    }

    #[test]
    fn the_document_has_medians_and_ratios_to_nginx() {
        let all = [
            measured(Kind::Nginx, &[10.0, 20.0, 12.0]),
            measured(Kind::Gateway, &[11.0, 40.0, 12.0]),
        ];
        let text = time_document(Scenario::Plain, &settings(), &all);
        let gateway = r#""gateway":{"cpu_us_per_request":{"median":12.0000,"ratio":1.1000,"rounds":[11.0000,40.0000,12.0000]}"#;
        assert!(text.contains(gateway), "{text}");
        assert!(text.contains(r#""logged":null"#), "{text}");
    }

    #[test]
    fn without_nginx_there_is_no_ratio() {
        let all = [measured(Kind::Haproxy, &[10.0])];
        let text = time_document(Scenario::Bare, &settings(), &all);
        assert!(text.contains(r#""ratio":null"#), "{text}");
        assert_eq!(number(Some(f64::NAN)), "null");
    }
}
