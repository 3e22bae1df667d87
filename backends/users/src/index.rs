//! Fills the index of emails from the database, when the queue is new or was emptied by somebody.

use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;

use crate::intake::{Begun, IntakeError};
use crate::worker::{WorkError, Worker};

const PAGE_EMAILS: u32 = 1000;
/// Between two looks at the index that somebody else fills.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes sure that the index is complete, whoever fills it.
pub(crate) async fn complete(worker: &Worker) -> Result<(), WorkError> {
    let token = Uuid::new_v4();
    loop {
        match worker.intake.begin_index(token).await? {
            Begun::Complete => return Ok(()),
            Begun::QueueNotEmpty => worker.drain().await?,
            Begun::SomebodyElse => sleep(PAUSE).await,
            Begun::Empty => match fill(worker, token).await {
                Err(WorkError::Intake(IntakeError::Superseded)) => sleep(PAUSE).await,
                filled => return filled,
            },
        }
    }
}

async fn fill(worker: &Worker, token: Uuid) -> Result<(), WorkError> {
    let mut after = 0;
    let mut count = 0;
    loop {
        let emails = worker.database.emails(after, PAGE_EMAILS).await?;
        let Some(last) = emails.last() else { break };
        after = last.number;
        count += emails.len();
        worker.intake.extend_index(token, &emails).await?;
    }
    worker.intake.finish_index(token, worker.database.progress().await?).await?;
    tracing::info!(count, "the index of emails is complete");
    Ok(())
}
