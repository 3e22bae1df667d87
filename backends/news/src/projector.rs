//! From the command side to the query side: brings the latest versions up to the event log.
//!
//! The log itself is the queue: what is told of an event, in the process or over the broker, only says that there is
//! something new. How far the read side is, the read side knows; what it has missed it takes from the log. So an event may
//! be told twice, late, in the wrong order or not at all, and is taken in once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::event_log::{Event, EventLog, LogError};
use crate::latest::{Applied, BATCH_EVENTS_MAX, Latest, LatestError, RemakeError};
use crate::settings::ReadSide;

/// How often to look for events that another instance appended to the same log.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after a failure before trying again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Brings [`Latest`] up to [`EventLog`].
pub(crate) struct Projector {
    log: Arc<dyn EventLog>,
    latest: Arc<dyn Latest>,
    reached: watch::Sender<i64>,
}

impl Projector {
    pub(crate) fn new(log: Arc<dyn EventLog>, latest: Arc<dyn Latest>) -> Self {
        Self { log, latest, reached: watch::Sender::new(0) }
    }

    /// Makes the read side fit to be read: up to the log, and made again if that is wanted, or if it holds more than the
    /// log, as when the log was put back from a copy: then it is not to be believed.
    pub(crate) async fn prepare(&self, read_side: ReadSide) -> Result<(), ProjectionError> {
        let is_ahead = self.latest.position().await? > self.log.last_sequence().await?;
        if read_side == ReadSide::Rebuild || is_ahead {
            tracing::info!(is_ahead, "rebuilding the read side");
            self.remake().await?;
        }
        self.catch_up().await
    }

    /// Takes in what is new in the log until there is nothing.
    pub(crate) async fn catch_up(&self) -> Result<(), ProjectionError> {
        loop {
            let position = self.latest.position().await?;
            let events = self.log.after(position, BATCH_EVENTS_MAX).await?;
            if events.is_empty() {
                self.reached.send_replace(position);
                return Ok(());
            }
            self.apply(position, &events).await?;
        }
    }

    /// Takes in events that were told, and from the log what should have been told before them.
    pub(crate) async fn take(&self, told: &[Event]) -> Result<(), ProjectionError> {
        let position = self.latest.position().await?;
        let known = told.iter().take_while(|event| event.sequence <= position).count();
        let new = told.get(known..).unwrap_or_default();
        let follow = (position + 1..).zip(new).all(|(next, event)| event.sequence == next);
        if follow && self.apply(position, new).await? == Applied::Yes {
            return Ok(());
        }
        self.catch_up().await
    }

    /// Makes the read side again from the whole log, and says how far that is.
    pub(crate) async fn remake(&self) -> Result<i64, ProjectionError> {
        let position = self.latest.remake(&*self.log).await?;
        self.reached.send_replace(position);
        Ok(position)
    }

    async fn apply(&self, position: i64, events: &[Event]) -> Result<Applied, ProjectionError> {
        let applied = self.latest.apply(position, events).await?;
        if let (Applied::Yes, Some(last)) = (applied, events.last()) {
            self.reached.send_replace(last.sequence);
            for Event { sequence, correlation_id, article } in events {
                let correlation_id = correlation_id.as_deref();
                let (id, version) = (article.id, article.version);
                tracing::info!(correlation_id, sequence, %id, version, "readers see a version");
            }
        }
        Ok(applied)
    }
}

/// Catches up whenever something is appended, until `stopped`: events within the process.
pub(crate) async fn follow(
    projector: Arc<Projector>,
    appended: Arc<Notify>,
    mut stopped: watch::Receiver<bool>,
) {
    while !*stopped.borrow() {
        let pause = pause_after(projector.catch_up().await);
        tokio::select! {
            () = appended.notified() => {}
            () = tokio::time::sleep(pause) => {}
            _ = stopped.changed() => {}
        }
    }
}

fn pause_after(caught_up: Result<(), ProjectionError>) -> Duration {
    let Err(error) = caught_up else { return LOOK_EVERY };
    tracing::error!(%error, "the read side stays behind");
    RETRY_AFTER
}

/// A writer's end.
#[derive(Clone)]
pub(crate) struct Feed {
    appended: Arc<Notify>,
    position: watch::Receiver<i64>,
}

impl Feed {
    /// `appended` wakes whoever tells of events.
    pub(crate) fn new(projector: &Projector, appended: Arc<Notify>) -> Self {
        Self { appended, position: projector.reached.subscribe() }
    }

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

/// Why the read side did not come further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectionError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Latest(#[from] LatestError),
}

impl From<RemakeError> for ProjectionError {
    fn from(error: RemakeError) -> Self {
        match error {
            RemakeError::Log(error) => Self::Log(error),
            RemakeError::Latest(error) => Self::Latest(error),
        }
    }
}
