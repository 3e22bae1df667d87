//! Faults that were injected on purpose, as metrics.

use plugins::fault::switch::{Injected, Switch};
use prometheus::proto::{MetricFamily, MetricType};

use super::exposition::{counted, family, gauge};

/// Whether faults are on, and what was injected.
pub(super) fn families() -> [MetricFamily; 2] {
    let switch = Switch::of_process();
    let on = f64::from(u8::from(switch.remaining().is_some()));
    let Injected { delayed, aborted, spared: _ } = switch.injected().into_values().sum();
    let injected = [("delay", delayed), ("abort", aborted)];
    let injected = injected.map(|(kind, count)| counted(&[("kind", kind)], count)).into();
    [
        gauge("gateway_faults_on", "1 while the admin has switched faults on.", on),
        family(
            "gateway_faults_injected_total",
            "Requests that were delayed or refused on purpose.",
            MetricType::COUNTER,
            injected,
        ),
    ]
}
