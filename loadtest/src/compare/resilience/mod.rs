//! What becomes of requests when servers fail or too much is asked of them: the gateway beside its peers.

mod trial;

mod faults;
mod once;
mod overload;
mod storm;

mod configs;
mod stage;

use clap::Args;
use serde_json::{Map, Value, json};

use super::configs::Workspace;
use super::document::{LeftOut, left_out, rounded};
use super::proxies::{Kind, Proxy};
use super::report;
pub(crate) use faults::Fault;
use stage::Stage;
pub(crate) use stage::StageError;
use trial::{Taken, Trial};

/// What else can be measured instead of scenarios.
#[derive(Args, Debug)]
pub(crate) struct Wanted {
    /// One of four servers fails in the middle of 2,000 requests/s: errors and p99, before and after.
    #[arg(long, conflicts_with_all = OTHERS)]
    faults: bool,
    /// With --faults: only these.
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', requires = "faults")]
    fault: Vec<Fault>,
    /// All four servers fail: how many requests reach them for each of a client.
    #[arg(long, conflicts_with_all = OTHERS)]
    storm: bool,
    /// Four times what a server can do, on routes of three criticalities: what is answered, how fast, memory.
    #[arg(long, conflicts_with_all = OTHERS)]
    overload: bool,
    /// N requests that may not be sent twice [default: 1000000] while servers die and come back: how many were.
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        default_missing_value = "1000000",
        value_parser = clap::value_parser!(u32).range(1_000..=30_000_000),
        conflicts_with_all = OTHERS
    )]
    once: Option<u32>,
}

/// What is about scenarios.
const OTHERS: [&str; 7] =
    ["scenario", "growth", "instructions", "load", "rounds", "seconds", "connections"];

impl Wanted {
    /// Everything that was asked for, in this order.
    pub(super) fn trials(&self) -> Vec<Trial> {
        let faults = match (self.faults, self.fault.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => Fault::ALL.to_vec(),
            (true, false) => self.fault.clone(),
        };
        let mut trials: Vec<Trial> = faults.into_iter().map(Trial::Fault).collect();
        if self.storm {
            trials.extend(storm::Storm::ALL.map(Trial::Storm));
        }
        if self.overload {
            trials.push(Trial::Overload);
        }
        trials.extend(self.once.map(Trial::Once));
        trials
    }
}

/// Who has a config for all this.
pub(super) const MEASURED: [Kind; 3] = [Kind::Nginx, Kind::Haproxy, Kind::Gateway];

/// What all proxies made of one trial.
pub(super) struct Tried {
    pub(super) trial: Trial,
    pub(super) rows: Vec<Row>,
    pub(super) missing: Vec<LeftOut>,
}

/// One proxy's.
pub(super) struct Row {
    pub(super) kind: Kind,
    config: String,
    pub(super) taken: Taken,
}

/// Whether the generated configs are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Configs {
    Shown,
    Silent,
}

/// Tries one thing with every proxy in turn.
pub(super) fn measure(
    trial: Trial,
    workspace: &Workspace,
    proxies: &[Proxy],
    configs: Configs,
) -> Result<Tried, StageError> {
    let mut tried = Tried { trial, rows: Vec::new(), missing: Vec::new() };
    for proxy in proxies {
        let kind = proxy.kind;
        if !MEASURED.contains(&kind) {
            tried.missing.push((kind, "there is no config for it".to_owned()));
            continue;
        }
        report::note(&format!("--- {} {}", trial.name(), kind.name()));
        let taken = Stage::start(workspace, proxy, trial).and_then(|stage| {
            if configs == Configs::Shown {
                report::note(&stage.config);
            }
            Ok((trial.run(&stage)?, stage.config))
        });
        match taken {
            Ok((taken, config)) => tried.rows.push(Row { kind, config, taken }),
            Err(error) if kind == Kind::Gateway => return Err(error),
            Err(error) => tried.missing.push((kind, error.to_string())),
        }
    }
    Ok(tried)
}

impl Tried {
    /// Whether the gateway kept what is promised of it; true where it had no part.
    pub(super) fn is_kept(&self) -> bool {
        self.rows.iter().all(|row| row.kind != Kind::Gateway || row.taken.is_kept)
    }

    pub(super) fn document(&self) -> Value {
        let Self { trial, rows, missing } = self;
        let columns = trial.columns();
        let named =
            columns.iter().map(|column| json!({ "key": column.key, "title": column.title }));
        let proxies = rows.iter().map(|Row { kind, config, taken }| {
            let figures = columns.iter().zip(&taken.values);
            let figures: Map<String, Value> = figures
                .map(|(column, value)| {
                    (column.key.to_owned(), json!(value.map(|it| rounded(it, 4))))
                })
                .collect();
            json!({
                "name": kind.name(),
                "figures": figures,
                "kept": taken.is_kept,
                "errors": taken.run.get("errors"),
                "timeline": taken.run.get("timeline"),
                "config": config,
            })
        });
        json!({
            "part": trial.part(),
            "name": trial.name(),
            "does": trial.does(),
            "promise": trial.promise(),
            "columns": named.collect::<Vec<_>>(),
            "proxies": proxies.collect::<Vec<_>>(),
            "left_out": left_out(missing),
        })
    }

    /// The table for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { trial, rows, missing } = self;
        let columns = trial.columns();
        let width = |title: &str| title.chars().count().max(8);
        let titles: String = columns
            .iter()
            .map(|column| format!("  {:>1$}", column.title, width(column.title)))
            .collect();
        let mut lines = vec![
            format!("\n{}: {} (promise: {})", trial.name(), trial.does(), trial.promise()),
            format!("{:<9}{titles}", ""),
        ];
        for Row { kind, config: _, taken } in rows {
            let cells = columns.iter().zip(&taken.values).map(|(column, value)| {
                let text =
                    value.map_or("-".to_owned(), |value| format!("{value:.*}", column.digits));
                format!("  {text:>0$}", width(column.title))
            });
            let kept = if taken.is_kept { "kept" } else { "broken" };
            lines.push(format!("{:<9}{}  {kept}", kind.name(), cells.collect::<String>()));
        }
        lines.extend(
            missing.iter().map(|(kind, reason)| format!("{:<9} left out: {reason}", kind.name())),
        );
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(kept: [bool; 2]) -> Tried {
        let row = |(kind, is_kept)| Row {
            kind,
            config: "config".to_owned(),
            taken: Taken {
                values: vec![Some(24.99), Some(1_500.0), Some(1.0), None, None],
                is_kept,
                run: json!({ "errors": { "timeout": 3 }, "timeline": [] }),
            },
        };
        Tried {
            trial: Trial::Fault(Fault::Hangs),
            rows: [Kind::Nginx, Kind::Gateway].into_iter().zip(kept).map(row).collect(),
            missing: vec![(Kind::Haproxy, "not installed".to_owned())],
        }
    }

    #[test]
    fn the_table_tells_every_figure_and_who_kept_the_promise() {
        let lines = tried([false, true]).lines();
        assert!(lines[0].starts_with("\nhangs: "), "{}", lines[0]);
        assert!(lines[2].contains("24.99") && lines[2].ends_with("broken"), "{}", lines[2]);
        assert!(lines[2].contains(" - ") && lines[3].ends_with("kept"), "{}", lines[3]);
        assert_eq!(lines[4], "haproxy   left out: not installed");
        assert_eq!(lines[1].chars().count() + "  broken".len(), lines[2].chars().count());
    }

    #[test]
    fn only_our_own_promise_counts() {
        assert!(tried([false, true]).is_kept());
        assert!(!tried([true, false]).is_kept());
    }

    #[test]
    fn the_document_names_columns_figures_and_errors() {
        let document = tried([false, true]).document();
        assert_eq!(document["columns"][0]["key"], "errors_percent");
        assert_eq!(document["proxies"][0]["figures"]["errors_percent"], 24.99);
        assert_eq!(document["proxies"][0]["errors"]["timeout"], 3);
        assert_eq!(document["left_out"][0]["name"], "haproxy");
    }
}
