//! The comparison as one JSON document: for programs, and for the page.

use serde_json::{Map, Value, json};

use super::growth::{Growth, Step};
use super::instructions::Counted;
use super::load::Generator;
use super::machine;
use super::proxies::{Kind, Proxy};
use super::rounds::{Figures, Measured};
use super::scenarios::Scenario;
use super::settings::Settings;
use super::statistics::{Ratio, median, ratio};

/// One column: its names, its value in a round, how many digits after the point.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) key: &'static str,
    value: fn(&Figures) -> Option<f64>,
    pub(super) digits: usize,
}

pub(super) const COLUMNS: [Column; 6] = [
    Column {
        title: "CPU µs/request",
        key: "cpu_us_per_request",
        value: |figures| Some(figures.cpu_us_per_request),
        digits: 2,
    },
    Column {
        title: "requests/s",
        key: "requests_per_second",
        value: |figures| Some(figures.requests_per_second),
        digits: 0,
    },
    Column { title: "p50 ms", key: "p50_ms", value: |figures| Some(figures.p50_ms), digits: 2 },
    Column { title: "p99 ms", key: "p99_ms", value: |figures| Some(figures.p99_ms), digits: 2 },
    Column { title: "p99.9 ms", key: "p99_9_ms", value: |figures| figures.p99_9_ms, digits: 2 },
    Column {
        title: "RSS MB",
        key: "rss_mb",
        value: |figures| Some(figures.resident_mb),
        digits: 1,
    },
];

impl Column {
    pub(super) fn values(&self, one: &Measured) -> Vec<f64> {
        one.rounds.iter().filter_map(self.value).collect()
    }

    /// The median, and the ratio to the base round by round.
    pub(super) fn summary(&self, one: &Measured, all: &[Measured]) -> (Option<f64>, Option<Ratio>) {
        let own = self.values(one);
        let base = base(all.iter().map(|measured| measured.kind));
        let base = all.iter().find(|measured| Some(measured.kind) == base);
        (median(&own), base.and_then(|base| ratio(&own, &self.values(base))))
    }
}

/// Whom the others are measured by: nginx, or where it has no part HAProxy.
pub(super) fn base(mut kinds: impl Iterator<Item = Kind> + Clone) -> Option<Kind> {
    [Kind::Nginx, Kind::Haproxy]
        .into_iter()
        .find(|wanted| kinds.clone().any(|kind| kind == *wanted))
        .or_else(|| kinds.next())
}

/// Who has no part in something, and why.
pub(super) type LeftOut = (Kind, String);

/// The whole comparison; grows by a part at a time.
pub(super) struct Document(Map<String, Value>);

impl Document {
    pub(super) fn new(settings: &Settings, proxies: &[Proxy], missing: &[LeftOut]) -> Self {
        let Value::Object(members) = json!({
            "date": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "command": machine::command(),
            "machine": machine::document(),
            "settings": {
                "rounds": settings.rounds(),
                "seconds": settings.seconds,
                "connections": settings.connections,
                "load": match settings.load {
                    Generator::Run => "loadtest run",
                    Generator::Wrk => "wrk",
                },
            },
            "proxies": machine::versions(proxies),
            "not_installed": left_out(missing),
            "scenarios": [],
            "growth": [],
            "instructions": [],
            "resilience": [],
        }) else {
            unreachable!("an object was written above");
        };
        Self(members)
    }

    /// Adds to one of the lists above.
    pub(super) fn add(&mut self, part: &str, value: Value) {
        if let Some(Value::Array(parts)) = self.0.get_mut(part) {
            parts.push(value);
        }
    }

    pub(super) fn add_scenario(
        &mut self,
        scenario: &Scenario,
        all: &[Measured],
        missing: &[LeftOut],
    ) {
        let proxies: Vec<Value> = all.iter().map(|one| proxy(one, all)).collect();
        self.add(
            "scenarios",
            json!({
                "name": scenario.name,
                "does": scenario.does,
                "base": base(all.iter().map(|one| one.kind)).map(Kind::name),
                "proxies": proxies,
                "left_out": left_out(missing),
            }),
        );
    }

    pub(super) fn add_growth(&mut self, growth: Growth, steps: &[Step]) {
        let kinds: Vec<Kind> = steps
            .first()
            .map_or(Vec::new(), |step| step.measured.iter().map(|one| one.kind).collect());
        let proxies: Vec<Value> = kinds
            .iter()
            .map(|kind| {
                let of_steps = |column: &Column| -> Vec<Value> {
                    steps.iter().map(|step| figure_of(column, *kind, step)).collect()
                };
                let figures: Map<String, Value> = COLUMNS
                    .iter()
                    .map(|column| (column.key.to_owned(), Value::Array(of_steps(column))))
                    .collect();
                json!({ "name": kind.name(), "figures": figures })
            })
            .collect();
        self.add(
            "growth",
            json!({
                "by": growth.name(),
                "base": base(kinds.iter().copied()).map(Kind::name),
                "counts": steps.iter().map(|step| step.count).collect::<Vec<_>>(),
                "proxies": proxies,
            }),
        );
    }

    pub(super) fn add_instructions(
        &mut self,
        scenario: &Scenario,
        all: &[Counted],
        missing: &[LeftOut],
    ) {
        let proxies: Vec<Value> = all
            .iter()
            .map(|one| {
                json!({
                    "name": one.kind.name(),
                    "instructions_per_request": one.per_request.round(),
                    "ratio": instruction_ratio(one, all),
                    "allocations_per_request": one.allocations_per_request.map(|count| rounded(count, 2)),
                })
            })
            .collect();
        self.add(
            "instructions",
            json!({
                "name": scenario.name,
                "does": scenario.does,
                "base": base(all.iter().map(|one| one.kind)).map(Kind::name),
                "proxies": proxies,
                "left_out": left_out(missing),
            }),
        );
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

pub(super) fn instruction_ratio(one: &Counted, all: &[Counted]) -> Option<f64> {
    let base = base(all.iter().map(|counted| counted.kind))?;
    let base = all.iter().find(|counted| counted.kind == base)?;
    Some(rounded(one.per_request / base.per_request, 4))
}

pub(super) fn left_out(missing: &[LeftOut]) -> Value {
    missing.iter().map(|(kind, reason)| json!({ "name": kind.name(), "reason": reason })).collect()
}

fn proxy(one: &Measured, all: &[Measured]) -> Value {
    let figures: Map<String, Value> =
        COLUMNS.iter().map(|column| (column.key.to_owned(), figure(column, one, all))).collect();
    let rounds = one.rounds.iter();
    json!({
        "name": one.kind.name(),
        "figures": figures,
        "logged": one.logged,
        "percentiles": middle(one).map_or(Value::Null, |round| round.percentiles.clone()),
        "timeline": rounds.map(|round| round.timeline.clone()).collect::<Vec<_>>(),
        "config": one.config,
    })
}

/// The round whose p99 is the median: percentiles of several rounds cannot be added up.
fn middle(one: &Measured) -> Option<&Figures> {
    let mut rounds: Vec<&Figures> = one.rounds.iter().collect();
    rounds.sort_by(|left, right| left.p99_ms.total_cmp(&right.p99_ms));
    rounds.get(rounds.len() / 2).copied()
}

fn figure(column: &Column, one: &Measured, all: &[Measured]) -> Value {
    let (median, ratio) = column.summary(one, all);
    let rounds: Vec<f64> = column.values(one).iter().map(|value| rounded(*value, 4)).collect();
    json!({
        "median": median.map(|value| rounded(value, 4)),
        "ratio": ratio.as_ref().map(|ratio| rounded(ratio.median, 4)),
        "spread": ratio.as_ref().map(|ratio| rounded(ratio.spread, 4)),
        "least": ratio.as_ref().map(|ratio| rounded(ratio.least, 4)),
        "most": ratio.as_ref().map(|ratio| rounded(ratio.most, 4)),
        "rounds": rounds,
    })
}

fn figure_of(column: &Column, kind: Kind, step: &Step) -> Value {
    let one = step.measured.iter().find(|one| one.kind == kind);
    one.map_or(Value::Null, |one| figure(column, one, &step.measured))
}

pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::scenarios::ALL;
    use super::super::settings::tests::parsed;
    use super::*;

    pub(in super::super) fn measured(kind: Kind, cpu: &[f64]) -> Measured {
        let rounds = cpu.iter().map(|&cpu_us_per_request| Figures {
            cpu_us_per_request,
            requests_per_second: 1_000.0,
            p50_ms: 1.0,
            p99_ms: 2.0,
            p99_9_ms: None,
            resident_mb: 10.0,
            percentiles: json!([[50.0, 1.0]]),
            timeline: json!([]),
        });
        Measured { kind, config: "config".to_owned(), rounds: rounds.collect(), logged: None }
    }

    fn document() -> Document {
        Document::new(&parsed("").expect("defaults"), &[], &[])
    }

    #[test]
    fn the_document_has_medians_and_ratios_to_nginx() {
        let all = [
            measured(Kind::Nginx, &[10.0, 20.0, 12.0]),
            measured(Kind::Gateway, &[11.0, 40.0, 12.0]),
        ];
        let mut document = document();
        document.add_scenario(&ALL[0], &all, &[(Kind::Caddy, "not installed".to_owned())]);
        let value = document.into_value();
        let scenario = &value["scenarios"][0];
        assert_eq!(scenario["base"], "nginx");
        assert_eq!(scenario["left_out"][0]["reason"], "not installed");
        let gateway = &scenario["proxies"][1];
        let cpu = &gateway["figures"]["cpu_us_per_request"];
        assert_eq!((&cpu["median"], &cpu["ratio"]), (&json!(12.0), &json!(1.1)));
        assert_eq!((&cpu["least"], &cpu["most"]), (&json!(1.0), &json!(2.0)));
        assert_eq!(gateway["figures"]["p99_9_ms"]["median"], Value::Null);
        assert_eq!((&gateway["logged"], &gateway["config"]), (&Value::Null, &json!("config")));
    }

    #[test]
    fn without_nginx_haproxy_is_the_base() {
        let kinds = [Kind::Envoy, Kind::Haproxy, Kind::Gateway];
        assert_eq!(base(kinds.into_iter()), Some(Kind::Haproxy));
        assert_eq!(base([Kind::Gateway].into_iter()), Some(Kind::Gateway));
        assert_eq!(base([].into_iter()), None);
    }

    #[test]
    fn growth_has_a_figure_for_each_step() {
        let step = |count, cpu| Step {
            count,
            measured: vec![measured(Kind::Nginx, &[10.0]), measured(Kind::Gateway, &[cpu])],
        };
        let mut document = document();
        document.add_growth(Growth::Routes, &[step(10, 10.0), step(100, 12.0)]);
        let value = document.into_value();
        let growth = &value["growth"][0];
        assert_eq!(growth["counts"], json!([10, 100]));
        let steps = &growth["proxies"][1]["figures"]["cpu_us_per_request"];
        assert_eq!((&steps[0]["ratio"], &steps[1]["ratio"]), (&json!(1.0), &json!(1.2)));
    }
}
