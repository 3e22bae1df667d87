//! Times of the runtime's clock as the crate `resilience` counts them.

use std::sync::LazyLock;

use resilience::Moment;
use tokio::time::Instant;

/// Where moments are counted from. One for the process, so that workers and the control side mean the same.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// This time as a moment.
pub(crate) fn moment(at: Instant) -> Moment {
    Moment::after(at.saturating_duration_since(*START))
}

/// Now. Asks the system, so not more often than needed.
pub(crate) fn now() -> Moment {
    moment(Instant::now())
}
