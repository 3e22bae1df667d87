//! One event: ask users who the reader is, then have the store count, once.

use std::sync::Arc;

use tokio::time::Duration;

use crate::correlation::CorrelationId;
use crate::metrics::Metrics;
use crate::store::{Counted, Store, StoreError};
use crate::users::{Users, UsersError};
use crate::viewed::Viewed;

/// The first wait after a failure; each one after is twice as long.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
/// The longest wait: so long at most an event stays once users is back.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// What both ways of arriving hand their events to.
#[derive(Clone)]
pub(crate) struct Relater {
    pub(crate) users: Users,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Relater {
    /// Counts an event. When this returns `Ok` it is durable, and telling the event again changes nothing.
    pub(crate) async fn relate(
        &self,
        event: &Viewed,
        correlation_id: &CorrelationId,
    ) -> Result<(), RelateError> {
        let done = self.ask_and_count(event, correlation_id).await;
        let outcome = match &done {
            Ok(Counted::Now) => "counted",
            Ok(Counted::Before) => "repeated",
            Err(RelateError::Users(UsersError::Unknown)) => "dead",
            Err(RelateError::Users(_) | RelateError::Store(_)) => "postponed",
        };
        self.metrics.events.with_label_values(&[outcome]).inc();
        done.map(|_| ())
    }

    async fn ask_and_count(
        &self,
        event: &Viewed,
        correlation_id: &CorrelationId,
    ) -> Result<Counted, RelateError> {
        let reader = self.users.find(&event.user_id, correlation_id).await?;
        let counted = self.store.count(event, &reader).await?;
        tracing::info!(event = event.id, counted = ?counted, "event done");
        Ok(counted)
    }
}

/// How long to wait after so many failed attempts.
pub(crate) fn retry_after(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    RETRY_AFTER_MIN.saturating_mul(1 << doublings).min(RETRY_AFTER_MAX)
}

/// Why an event is not counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelateError {
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to do with an event that is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Try again: what was missing comes back.
    Later,
    /// Put it with the dead letters: trying again changes nothing.
    Never,
}

impl RelateError {
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Users(UsersError::Unknown) => Remedy::Never,
            Self::Users(UsersError::TooSlow | UsersError::Failed(_)) | Self::Store(_) => {
                Remedy::Later
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let waits = [1, 2, 3, 100].map(|attempts| retry_after(attempts).as_millis());
        assert_eq!(waits, [100, 200, 400, 5000]);
    }
}
