//! The config's words in those of the crate `resilience`.

use std::time::Duration;

use resilience::balance::picture;
use resilience::{budget, ejection, quantiles};

use crate::config;

/// For how long a request pays for retries. What was saved up goes at once when all servers fail: linkerd's ten seconds would
/// double their load for as long.
const BUDGET_WINDOW: Duration = Duration::from_secs(2);

/// How long response times are remembered.
const TIMES_WINDOW: Duration = Duration::from_secs(30);

pub(super) fn picture(upstream: &config::Upstream, zone: Option<&str>) -> picture::Settings {
    let resilience = &upstream.resilience;
    picture::Settings {
        panic_below: resilience.panic_below,
        failover_below: resilience.failover_below,
        zone: zone.map(Into::into),
        subset_label: resilience.subset.as_ref().map(|subset| subset.label.as_str().into()),
    }
}

/// What is not looked at gets a threshold that nothing reaches.
pub(super) fn ejection(ejection: &config::Ejection) -> ejection::Settings {
    ejection::Settings {
        consecutive_failures: ejection.consecutive_failures.unwrap_or(0),
        error_rate: ejection.error_rate.unwrap_or(f64::INFINITY),
        minimum: ejection.minimum,
        slower_than: ejection.slower_than.unwrap_or(f64::INFINITY),
        stalled: ejection.stalled.unwrap_or(Duration::MAX),
        window: ejection.window,
        base: ejection.base,
        max: ejection.max,
        at_most: ejection.at_most,
    }
}

pub(super) fn budget(budget: &config::RetryBudget) -> budget::Settings {
    budget::Settings { share: budget.share, floor: budget.floor, window: BUDGET_WINDOW }
}

/// Only hedges by a share of the responses need to know their times.
pub(super) fn times(hedge: Option<&config::Hedge>) -> Option<quantiles::Settings> {
    match hedge?.after {
        config::HedgeAfter::Quantile(quantile) => Some(quantiles::Settings {
            quantile,
            window: TIMES_WINDOW,
            minimum: (20.0 / (1.0 - quantile)) as u32,
        }),
        config::HedgeAfter::Time(_) => None,
    }
}
