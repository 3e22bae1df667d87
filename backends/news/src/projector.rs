//! From the command side to the query side: follows the event log and keeps the latest versions up to it.
//!
//! The log itself is the queue: nothing is handed over that could be lost or grow. A writer only says that there is
//! something new; how far the read side is, the read side knows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::event_log::{EventLog, LogError};
use crate::latest::{Latest, LatestError};

/// Events taken in by one transaction; at the longest articles some 20 MB.
const BATCH_EVENTS_MAX: u32 = 50;
/// How long to wait after a failure before trying again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Brings [`Latest`] up to [`EventLog`].
pub(crate) struct Projector {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) latest: Arc<dyn Latest>,
}

impl Projector {
    /// Whether the read side holds more than the log, as when the log was put back from a copy: then it is not to be
    /// believed.
    pub(crate) async fn is_ahead(&self) -> Result<bool, ProjectionError> {
        Ok(self.latest.position().await? > self.log.last_sequence().await?)
    }

    /// Takes in what is new until there is nothing, and says how far that was.
    pub(crate) async fn catch_up(&self) -> Result<i64, ProjectionError> {
        let mut position = self.latest.position().await?;
        loop {
            let events = self.log.after(position, BATCH_EVENTS_MAX).await?;
            let Some(last) = events.last() else { return Ok(position) };
            self.latest.apply(&events).await?;
            position = last.sequence;
        }
    }
}

/// Catches up whenever something is appended, beginning from `position`, until [`Follower::stop`].
pub(crate) fn follow(projector: Projector, position: i64) -> (Feed, Follower) {
    let (reached, position) = watch::channel(position);
    let appended = Arc::new(Notify::new());
    let wake = Arc::clone(&appended);
    let task = tokio::spawn(async move {
        loop {
            match projector.catch_up().await {
                Ok(position) => {
                    reached.send_replace(position);
                    wake.notified().await;
                }
                Err(error) => {
                    tracing::error!(%error, "the read side stays behind");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    });
    (Feed { appended, position }, Follower { task })
}

/// A writer's end.
#[derive(Clone)]
pub(crate) struct Feed {
    appended: Arc<Notify>,
    position: watch::Receiver<i64>,
}

impl Feed {
    /// Says that the log has grown.
    pub(crate) fn appended(&self) {
        self.appended.notify_one();
    }

    /// Resolves when readers see the event with this sequence.
    pub(crate) async fn reached(&self, sequence: i64) {
        let mut position = self.position.clone();
        // An error means that the service ends: nobody will read any more.
        drop(position.wait_for(|position| *position >= sequence).await);
    }
}

/// The task that follows.
pub(crate) struct Follower {
    task: JoinHandle<()>,
}

impl Follower {
    /// Ends it. What it was taking in is taken in again at the next start.
    pub(crate) async fn stop(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

/// Why the read side did not come further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectionError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Latest(#[from] LatestError),
}
