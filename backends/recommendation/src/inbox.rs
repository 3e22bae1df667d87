//! The events that came over HTTP: works on those that are due until each is counted or dead.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument;

use crate::correlation::CorrelationId;
use crate::relate::{RelateError, Relater, Remedy, retry_after};
use crate::store::{StoreError, Waiting};
use crate::viewed::{Message, Viewed};

/// Events taken from the store at once, and how many of them are worked on at the same time.
const BATCH_EVENTS_MAX: u32 = 64;
const TOGETHER_MAX: usize = 8;
/// How often to look for events that have become due, or that another instance left.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Starts to work; `remember` is how long ids of counted events are kept.
pub(crate) fn work(relater: Relater, remember: Duration) -> (Doorbell, Worker) {
    let (stop, stopped) = watch::channel(false);
    let doorbell = Doorbell(Arc::new(Notify::new()));
    let inbox = Inbox { relater, remember, forgotten: None };
    let task = tokio::spawn(inbox.run(doorbell.clone(), stopped));
    (doorbell, Worker { stop, task })
}

/// Says that something was put into the inbox.
#[derive(Clone)]
pub(crate) struct Doorbell(Arc<Notify>);

impl Doorbell {
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

/// The task that works.
pub(crate) struct Worker {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Worker {
    /// Lets it finish what it began. What waits, waits in the store.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        drop(self.task.await);
    }
}

/// Whether there is more that is due.
#[derive(PartialEq, Eq)]
enum Left {
    More,
    Nothing,
}

struct Inbox {
    relater: Relater,
    remember: Duration,
    forgotten: Option<Instant>,
}

impl Inbox {
    async fn run(mut self, doorbell: Doorbell, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            if self.work_off().await == Left::More {
                continue;
            }
            tokio::select! {
                () = doorbell.0.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    async fn work_off(&mut self) -> Left {
        match self.round().await {
            Ok(worked) if worked == BATCH_EVENTS_MAX as usize => Left::More,
            Ok(_) => Left::Nothing,
            Err(error) => {
                tracing::error!(%error, "the inbox waits");
                Left::Nothing
            }
        }
    }

    /// Works on one batch, and says how many events that were.
    async fn round(&mut self) -> Result<usize, StoreError> {
        let Relater { users: _, store, metrics } = &self.relater;
        let size = store.inbox_size().await?;
        metrics.inbox_waiting.set(size.waiting);
        metrics.inbox_dead.set(size.dead);
        if self.forgotten.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            let forgotten = store.forget(ago(self.remember)).await?;
            tracing::debug!(forgotten, "ids of old events forgotten");
            self.forgotten = Some(Instant::now());
        }
        let due = store.due(Timestamp::now(), BATCH_EVENTS_MAX).await?;
        let number = due.len();
        stream::iter(due).for_each_concurrent(TOGETHER_MAX, |waiting| self.take(waiting)).await;
        Ok(number)
    }

    async fn take(&self, waiting: Waiting) {
        let correlation_id =
            waiting.correlation_id.parse().unwrap_or_else(|_| CorrelationId::random());
        let span =
            tracing::info_span!("event", correlation_id = correlation_id.as_str(), id = waiting.id);
        async {
            if let Err(error) = self.settle(&waiting, &correlation_id).await {
                // The event is where it was, and due.
                tracing::error!(%error, "the store lost an attempt");
            }
        }
        .instrument(span)
        .await;
    }

    async fn settle(
        &self,
        waiting: &Waiting,
        correlation_id: &CorrelationId,
    ) -> Result<(), StoreError> {
        let store = &self.relater.store;
        let viewed = match read(&waiting.event) {
            Ok(viewed) => viewed,
            Err(reason) => return store.bury(&waiting.id, Timestamp::now(), &reason).await,
        };
        match self.relater.relate(&viewed, correlation_id).await {
            Ok(()) => Ok(()),
            Err(error) => self.put_aside(waiting, error).await,
        }
    }

    async fn put_aside(&self, waiting: &Waiting, error: RelateError) -> Result<(), StoreError> {
        let Waiting { id, attempts, .. } = waiting;
        let store = &self.relater.store;
        let remedy = error.remedy();
        let reason = match error {
            RelateError::Users(error) => error.to_string(),
            // Writing the attempt would fail as well.
            RelateError::Store(error) => return Err(error),
        };
        tracing::warn!(reason, ?remedy, attempts, "event not counted");
        match remedy {
            Remedy::Never => store.bury(id, Timestamp::now(), &reason).await,
            Remedy::Later => {
                let attempts = u32::try_from(*attempts).unwrap_or(u32::MAX).saturating_add(1);
                store.postpone(id, Timestamp::now() + retry_after(attempts), &reason).await
            }
        }
    }
}

/// It was checked when it came; a newer version of this program may have put it there.
fn read(event: &str) -> Result<Viewed, String> {
    let message: Message = serde_json::from_str(event).map_err(|error| error.to_string())?;
    Viewed::try_from(message).map_err(|error| error.to_string())
}

fn ago(duration: Duration) -> Timestamp {
    Timestamp::now().checked_sub(duration).unwrap_or(Timestamp::MIN)
}
