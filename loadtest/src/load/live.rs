//! The live view: how far the run is, the rate, percentiles and troubles so far.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::tally::Tally;
use super::trouble::Trouble;
use crate::latency::Latencies;

/// What one thread has counted until now.
pub(super) struct Glance {
    requests: u64,
    latencies: Latencies,
    troubles: BTreeMap<Trouble, u64>,
}

impl Glance {
    pub(super) fn of(tally: &Tally) -> Self {
        Self {
            requests: tally.requests(),
            latencies: tally.latencies.clone(),
            troubles: tally.troubles.clone(),
        }
    }
}

/// Draws on the terminal until all threads have gone; draws nothing where there is no terminal.
pub(super) async fn watch(
    mut glances: UnboundedReceiver<(usize, Glance)>,
    time: Duration,
    name: &str,
) {
    if !std::io::stderr().is_terminal() {
        while glances.recv().await.is_some() {}
        return;
    }
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(Some(time.as_millis() as u64), target);
    let style = "{prefix} {bar:24} {elapsed} of {msg}";
    bar.set_style(ProgressStyle::with_template(style).expect("a constant template"));
    bar.set_prefix(name.to_owned());
    let start = Instant::now();
    let mut view = View { latest: BTreeMap::new(), before: (start, 0) };
    while let Some((thread, glance)) = glances.recv().await {
        bar.set_position(start.elapsed().as_millis() as u64);
        view.latest.insert(thread, glance);
        if thread == 0 {
            bar.set_message(format!("{} s  {}", time.as_secs(), view.line()));
        }
    }
    bar.finish_and_clear();
}

/// The latest glance of every thread, and what was counted at the last look.
struct View {
    latest: BTreeMap<usize, Glance>,
    before: (Instant, u64),
}

impl View {
    /// Percentiles with every figure: an average hides what hurts.
    fn line(&mut self) -> String {
        let mut latencies = Latencies::default();
        let mut troubles: BTreeMap<&Trouble, u64> = BTreeMap::new();
        let mut requests = 0;
        for glance in self.latest.values() {
            requests += glance.requests;
            latencies.merge(&glance.latencies);
            for (trouble, times) in &glance.troubles {
                *troubles.entry(trouble).or_default() += times;
            }
        }
        let now = Instant::now();
        let (then, before) = std::mem::replace(&mut self.before, (now, requests));
        let rate = requests.saturating_sub(before) as f64 / (now - then).as_secs_f64().max(0.001);
        let mut text = format!(
            "{rate:.0}/s  p50 {:.2}  p99 {:.2}  max {:.1} ms",
            latencies.percentile_ms(50.0),
            latencies.percentile_ms(99.0),
            latencies.percentile_ms(100.0)
        );
        for (trouble, times) in troubles {
            text.push_str(&format!("  {trouble}: {times}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_all_threads_percentiles_and_troubles() {
        let glance = |ms| {
            let mut latencies = Latencies::default();
            (0..100).for_each(|_| latencies.add(Duration::from_millis(ms)));
            Glance { requests: 100, latencies, troubles: BTreeMap::from([(Trouble::Timeout, 2)]) }
        };
        let latest = BTreeMap::from([(0, glance(1)), (1, glance(30))]);
        let line = View { latest, before: (Instant::now(), 0) }.line();
        assert!(line.contains("p50 1.00  p99 30.0"), "{line}");
        assert!(line.contains("timeout: 4"), "{line}");
    }
}
