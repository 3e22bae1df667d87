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
const OTHERS: [&str; 6] = ["scenario", "growth", "instructions", "load", "seconds", "connections"];

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

/// One proxy's, a round each.
pub(super) struct Row {
    kind: Kind,
    config: String,
    rounds: Vec<Taken>,
}

/// With whom a thing is tried, and how often.
pub(super) struct Set<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) proxies: &'a [Proxy],
    pub(super) rounds: u32,
    pub(super) configs: Configs,
}

/// Whether the generated configs are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Configs {
    Shown,
    Silent,
}

/// Tries one thing with every proxy in turn, round by round.
pub(super) fn measure(trial: Trial, set: &Set<'_>) -> Result<Tried, StageError> {
    let mut tried = Tried { trial, rows: Vec::new(), missing: Vec::new() };
    for round in 1..=set.rounds {
        for proxy in set.proxies {
            tried.one(proxy, round, set)?;
        }
    }
    Ok(tried)
}

impl Tried {
    /// One round of one proxy; who fails once is left out.
    fn one(&mut self, proxy: &Proxy, round: u32, set: &Set<'_>) -> Result<(), StageError> {
        let kind = proxy.kind;
        if self.missing.iter().any(|(left_out, _)| *left_out == kind) {
            return Ok(());
        }
        if !MEASURED.contains(&kind) {
            self.missing.push((kind, "there is no config for it".to_owned()));
            return Ok(());
        }
        report::note(&format!("{} {}, round {round}", self.trial.name(), kind.name()));
        let taken = Stage::start(set.workspace, proxy, self.trial).and_then(|stage| {
            if set.configs == Configs::Shown && round == 1 {
                report::note(&stage.config);
            }
            Ok((self.trial.run(&stage)?, stage.config))
        });
        match (taken, self.rows.iter_mut().find(|row| row.kind == kind)) {
            (Ok((taken, _)), Some(row)) => row.rounds.push(taken),
            (Ok((taken, config)), None) => {
                self.rows.push(Row { kind, config, rounds: vec![taken] })
            }
            (Err(error), _) if kind == Kind::Gateway => return Err(error),
            (Err(error), _) => {
                self.rows.retain(|row| row.kind != kind);
                self.missing.push((kind, error.to_string()));
            }
        }
        Ok(())
    }

    /// A row's figures over its rounds, one for each column, and whether they keep the promise.
    fn verdict(&self, row: &Row) -> (Vec<Option<f64>>, bool) {
        let column = |place| -> Vec<f64> {
            row.rounds.iter().filter_map(|taken| taken.values[place]).collect()
        };
        let columns = 0..self.trial.columns().len();
        let values: Vec<Option<f64>> =
            columns.map(|place| self.trial.joined(&column(place))).collect();
        let is_kept = self.trial.is_kept(&values);
        (values, is_kept)
    }

    /// Whether the gateway kept what is promised of it; true where it had no part.
    pub(super) fn is_kept(&self) -> bool {
        self.rows.iter().all(|row| row.kind != Kind::Gateway || self.verdict(row).1)
    }

    pub(super) fn document(&self) -> Value {
        let Self { trial, rows, missing } = self;
        let columns = trial.columns();
        let named =
            columns.iter().map(|column| json!({ "key": column.key, "title": column.title }));
        json!({
            "part": trial.part(),
            "name": trial.name(),
            "does": trial.does(),
            "promise": trial.promise(),
            "columns": named.collect::<Vec<_>>(),
            "proxies": rows.iter().map(|row| self.row_document(row)).collect::<Vec<_>>(),
            "left_out": left_out(missing),
        })
    }

    fn row_document(&self, row: &Row) -> Value {
        let (values, is_kept) = self.verdict(row);
        let figures = |values: &[Option<f64>]| -> Map<String, Value> {
            let columns = self.trial.columns().iter().zip(values);
            let figure = |value: &Option<f64>| json!(value.map(|value| rounded(value, 4)));
            columns.map(|(column, value)| (column.key.to_owned(), figure(value))).collect()
        };
        // Kinds of errors and what happened in which second, of one round: they are read, not compared.
        let last = row.rounds.last().map(|taken| &taken.run);
        json!({
            "name": row.kind.name(),
            "figures": figures(&values),
            "rounds": row.rounds.iter().map(|taken| figures(&taken.values)).collect::<Vec<_>>(),
            "kept": is_kept,
            "errors": last.and_then(|run| run.get("errors")),
            "timeline": last.and_then(|run| run.get("timeline")),
            "config": row.config,
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
        for row in rows {
            let (values, is_kept) = self.verdict(row);
            let cells = columns.iter().zip(values).map(|(column, value)| {
                let text =
                    value.map_or("-".to_owned(), |value| format!("{value:.*}", column.digits));
                format!("  {text:>0$}", width(column.title))
            });
            let kept = if is_kept { "kept" } else { "broken" };
            lines.push(format!("{:<9}{}  {kept}", row.kind.name(), cells.collect::<String>()));
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

    fn tried(errors: [&[f64]; 2]) -> Tried {
        let taken = |&errors: &f64| Taken {
            values: vec![Some(errors), Some(1_500.0), Some(1.0), Some(1.2), Some(1.2)],
            run: json!({ "errors": { "timeout": 3 }, "timeline": [] }),
        };
        let row = |(kind, errors): (Kind, &[f64])| Row {
            kind,
            config: "config".to_owned(),
            rounds: errors.iter().map(taken).collect(),
        };
        Tried {
            trial: Trial::Fault(Fault::Hangs),
            rows: [Kind::Nginx, Kind::Gateway].into_iter().zip(errors).map(row).collect(),
            missing: vec![(Kind::Haproxy, "not installed".to_owned())],
        }
    }

    #[test]
    fn the_table_tells_every_figure_and_who_kept_the_promise() {
        let mut tried = tried([&[24.99], &[0.0]]);
        tried.rows[0].rounds[0].values[4] = None;
        let lines = tried.lines();
        assert!(lines[0].starts_with("\nhangs: "), "{}", lines[0]);
        assert!(lines[2].contains("24.99") && lines[2].ends_with("broken"), "{}", lines[2]);
        assert!(lines[2].contains(" - ") && lines[3].ends_with("kept"), "{}", lines[3]);
        assert_eq!(lines[4], "haproxy   left out: not installed");
        assert_eq!(lines[1].chars().count() + "  broken".len(), lines[2].chars().count());
    }

    #[test]
    fn only_our_own_promise_counts() {
        assert!(tried([&[25.0], &[0.0]]).is_kept());
        assert!(!tried([&[0.0], &[25.0]]).is_kept());
    }

    #[test]
    fn one_disturbed_round_of_three_does_not_decide_but_one_request_sent_twice_does() {
        assert!(tried([&[0.0], &[0.0, 9.0, 0.0]]).is_kept());
        assert!(!tried([&[0.0], &[9.0, 9.0, 0.0]]).is_kept());
        let once = |twice: f64| Taken {
            values: [10.0, 10.0, 10.0, twice, 0.0, 0.0].map(Some).to_vec(),
            run: Value::Null,
        };
        let mut tried = tried([&[], &[]]);
        tried.trial = Trial::Once(1_000);
        tried.rows[1].rounds = vec![once(0.0), once(0.0), once(0.0)];
        assert!(tried.is_kept());
        tried.rows[1].rounds.push(once(1.0));
        assert!(!tried.is_kept());
        assert_eq!(tried.verdict(&tried.rows[1]).0[0], Some(40.0), "requests add up");
    }

    #[test]
    fn the_document_names_columns_figures_and_errors() {
        let document = tried([&[24.99, 24.0, 26.0], &[0.0]]).document();
        assert_eq!(document["columns"][0]["key"], "errors_percent");
        assert_eq!(document["proxies"][0]["figures"]["errors_percent"], 24.99);
        assert_eq!(document["proxies"][0]["rounds"][2]["errors_percent"], 26.0);
        assert_eq!(document["proxies"][0]["errors"]["timeout"], 3);
        assert_eq!(document["left_out"][0]["name"], "haproxy");
    }
}
