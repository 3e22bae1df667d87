//! Brings jobs from the queue to the database, in order, and lets the queue forget those that are there.
//!
//! Any number of workers may run, in this process or others: the database applies a job once whoever brings it, and
//! a job leaves the queue only when it is in the database. So nothing has to be done for a worker that died.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::database::{Database, DatabaseError};
use crate::intake::{Change, Intake, IntakeError, Job, Sequence};
use crate::metrics::Metrics;
use crate::user::UserId;

/// Jobs in one transaction: enough to make syncing cheap, few enough to hold for milliseconds.
const BATCH_JOBS: usize = 100;
/// Who takes a write rings; this finds what an instance left behind that died.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// See the file's own words.
pub(crate) struct Worker {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) intake: Arc<dyn Intake>,
    pub(crate) metrics: Arc<Metrics>,
    /// Rung when a job was queued.
    pub(crate) bell: Arc<Notify>,
}

/// What a look at the queue came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Jobs were brought; there may be more.
    Worked,
    /// The queue is empty.
    Idle,
}

impl Worker {
    /// Works until it is told to stop; never in the middle of a batch.
    pub(crate) async fn run(&self, mut stop: watch::Receiver<()>) {
        let mut pause = RETRY_PAUSE_MIN;
        // Nothing is ever sent: that the sender is gone is the sign.
        while stop.has_changed().is_ok() {
            match self.step().await {
                Ok(Step::Worked) => pause = RETRY_PAUSE_MIN,
                Ok(Step::Idle) => {
                    unless_stopped(&mut stop, timeout(LOOK_ANYWAY, self.bell.notified())).await;
                }
                Err(error) => {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "jobs wait");
                    unless_stopped(&mut stop, sleep(pause)).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
            }
        }
    }

    /// Brings what is in the queue until it is empty or something fails. What is left is not lost.
    pub(crate) async fn drain(&self) -> Result<(), WorkError> {
        while self.step().await? == Step::Worked {}
        Ok(())
    }

    /// Brings one batch.
    pub(crate) async fn step(&self) -> Result<Step, WorkError> {
        let jobs = self.intake.jobs(BATCH_JOBS).await?;
        if jobs.is_empty() {
            return Ok(Step::Idle);
        }
        let mut readable = Vec::with_capacity(jobs.len());
        for job in &jobs {
            match &job.change {
                Ok(change) => readable.push((job, change)),
                Err(unreadable) => self.bury(job, &unreadable.to_string()).await?,
            }
        }
        match self.bring(&readable).await {
            Err(WorkError::Database(DatabaseError::Refused(_))) => self.one_by_one(&readable).await,
            brought => brought,
        }?;
        Ok(Step::Worked)
    }

    /// One of them is refused: it goes to the dead letters and the others go on.
    async fn one_by_one(&self, jobs: &[(&Job, &Change)]) -> Result<(), WorkError> {
        for (job, change) in jobs {
            match self.bring(&[(job, change)]).await {
                Err(WorkError::Database(DatabaseError::Refused(error))) => {
                    self.bury(job, &error.to_string()).await?;
                }
                brought => brought?,
            }
        }
        Ok(())
    }

    async fn bring(&self, jobs: &[(&Job, &Change)]) -> Result<(), WorkError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let changes: Vec<(Sequence, Change)> =
            jobs.iter().map(|(job, change)| (job.sequence, (*change).clone())).collect();
        self.database.apply(&changes).await?;
        for (job, change) in jobs {
            let Job { sequence: _, correlation_id, change: _ } = job;
            tracing::debug!(correlation_id, user_id = %change.user_id(), "job is in the database");
        }
        let applied: Vec<(Sequence, UserId)> =
            jobs.iter().map(|(job, change)| (job.sequence, change.user_id())).collect();
        self.metrics.jobs_applied(applied.len());
        Ok(self.intake.settle(&applied).await?)
    }

    async fn bury(&self, job: &Job, reason: &str) -> Result<(), WorkError> {
        let Job { sequence: _, correlation_id, change } = job;
        let found = match change {
            Ok(change) => self.database.find(change.user_id()).await?,
            Err(_) => None,
        };
        tracing::error!(correlation_id, reason, "the database refuses a job for good");
        self.metrics.job_buried();
        Ok(self.intake.bury(job, reason, found.as_ref()).await?)
    }
}

async fn unless_stopped<T>(stop: &mut watch::Receiver<()>, rest: impl Future<Output = T>) {
    tokio::select! {
        _ = rest => {}
        _ = stop.changed() => {}
    }
}

/// Why jobs stay in the queue for now.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The queue cannot be read or changed.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The database does not take them.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}
