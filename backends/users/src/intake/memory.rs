//! Cache and queue of one process: the cache in memory, the queue and the index of emails in a SQLite file.

mod cache;
mod statements;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    Sqlite, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode,
    SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Acquire, Connection};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::database::Registered;
use crate::intake::memory::cache::{Cache, Forgotten};
use crate::intake::memory::statements::{
    BURY, LetterRow, backlog, drop_job, drop_letter_of, enqueue, owner, queued, release, reserve,
};
use crate::intake::{
    Backlog, Begun, Change, Intake, IntakeError, JOBS_MAX, Job, Lease, Letter, LetterId, Outcome,
    Recalled, Sequence, Versioned, Write,
};
use crate::user::{Email, UserId};

/// How long whoever had the file before may take to let go of it.
const OPEN_WAIT_MAX: Duration = Duration::from_secs(1);
/// Between two tries: SQLite itself does not wait for a lock of this kind.
const OPEN_WAIT_STEP: Duration = Duration::from_millis(20);
/// How long a request waits for the writes before it.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Somebody else has the file open (sqlite.org/rescode.html).
const SQLITE_BUSY: i32 = 5;

/// See the file's own words.
pub(super) struct MemoryIntake {
    shared: Arc<Shared>,
}

/// What a write takes along into a task of its own.
struct Shared {
    /// Has one connection. Whoever holds it is the only one to change file and cache.
    pool: SqlitePool,
    cache: Mutex<Cache>,
}

impl MemoryIntake {
    /// Opens or creates the file, which no other process may have open, and recalls what is in the queue.
    pub(super) async fn open(file: &Path) -> Result<Self, IntakeError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With WAL the default would lose the last answered writes when the power fails.
            .synchronous(SqliteSynchronous::Full)
            // Another process would have another cache.
            .locking_mode(SqliteLockingMode::Exclusive);
        // Of a file that is in use the pool would only say that it has waited.
        wait_until_free(&options, file).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(WAIT_MAX)
            .connect_with(options)
            .await?;
        sqlx::migrate!("migrations/queue").run(&pool).await?;
        let shared = Shared { pool, cache: Mutex::default() };
        shared.recall_queue().await?;
        Ok(Self { shared: Arc::new(shared) })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.shared.cache()
    }

    async fn connection(&self) -> Result<PoolConnection<Sqlite>, IntakeError> {
        Ok(self.shared.pool.acquire().await?)
    }
}

async fn wait_until_free(options: &SqliteConnectOptions, file: &Path) -> Result<(), IntakeError> {
    let until = Instant::now() + OPEN_WAIT_MAX;
    loop {
        let error = match SqliteConnection::connect_with(options).await {
            Ok(connection) => return Ok(connection.close().await?),
            Err(error) => error,
        };
        let code = error.as_database_error().and_then(|it| it.code()?.parse::<i32>().ok());
        // The low byte is the code, the rest tells more of it.
        if code.map(|code| code & 0xff) != Some(SQLITE_BUSY) {
            return Err(error.into());
        }
        if Instant::now() >= until {
            return Err(IntakeError::InUse { file: file.to_owned() });
        }
        sleep(OPEN_WAIT_STEP).await;
    }
}

impl Shared {
    /// What is in the cache is whole between two calls, so that a panic elsewhere does not make it wrong.
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn recall_queue(&self) -> Result<(), IntakeError> {
        let jobs = queued(&mut *self.pool.acquire().await?, JOBS_MAX).await?;
        let mut cache = self.cache();
        for job in jobs {
            match job.change {
                Ok(Change::Keep(account)) => {
                    cache.write(Versioned { account, version: job.sequence });
                }
                Ok(Change::Remove(id)) => cache.remove(id, job.sequence),
                // The worker will find it.
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn take(&self, write: Write) -> Result<Outcome, IntakeError> {
        let mut connection = self.pool.acquire().await?;
        let id = write.change.user_id();
        let known = self.cache().known(id).cloned();
        if known.as_ref().map(|it| it.version) != write.from {
            return Ok(Outcome::Outdated);
        }
        let mut transaction = connection.begin().await?;
        if write.letter.is_none() && backlog(&mut transaction).await?.is_full() {
            return Err(IntakeError::Full);
        }
        if let Change::Keep(account) = &write.change
            && let Some(owner) = owner(&mut transaction, &account.user.email).await?
            && owner != id.to_string()
        {
            return Ok(Outcome::EmailTaken);
        }
        // Tried again or replaced by this write: in both cases it has nothing more to say.
        let letter = drop_letter_of(&mut transaction, id).await?;
        if write.letter.is_some() && write.letter != letter {
            return Ok(Outcome::Outdated);
        }
        if let Some(known) = known {
            release(&mut transaction, &known.account.user.email, id).await?;
        }
        if let Change::Keep(account) = &write.change {
            reserve(&mut transaction, &account.user.email, id).await?;
        }
        let sequence = enqueue(&mut transaction, &write).await?;
        transaction.commit().await?;
        match write.change {
            Change::Keep(account) => self.cache().write(Versioned { account, version: sequence }),
            Change::Remove(id) => self.cache().remove(id, sequence),
        }
        Ok(Outcome::Queued)
    }
}

#[async_trait]
impl Intake for MemoryIntake {
    async fn take(&self, write: Write) -> Result<Outcome, IntakeError> {
        let shared = Arc::clone(&self.shared);
        // In a task of its own: a client that leaves must not part the queue from the cache.
        tokio::spawn(async move { shared.take(write).await }).await?
    }

    async fn recall(&self, id: UserId) -> Result<Recalled, IntakeError> {
        Ok(self.cache().recall(id, Lease(Uuid::new_v4())))
    }

    async fn remember(&self, found: &Versioned, lease: Lease) -> Result<(), IntakeError> {
        self.cache().remember(found.clone(), lease);
        Ok(())
    }

    async fn owner(&self, email: &Email) -> Result<Option<UserId>, IntakeError> {
        let owner = owner(&mut *self.connection().await?, email).await?;
        owner.map(|id| id.parse().map_err(|_| IntakeError::Damaged { id })).transpose()
    }

    async fn jobs(&self, count: usize) -> Result<Vec<Job>, IntakeError> {
        queued(&mut *self.connection().await?, count).await
    }

    async fn settle(&self, jobs: &[(Sequence, UserId)]) -> Result<(), IntakeError> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin().await?;
        for (sequence, _) in jobs {
            drop_job(&mut transaction, *sequence).await?;
        }
        transaction.commit().await?;
        let mut cache = self.cache();
        for (sequence, id) in jobs {
            cache.settle(*id, *sequence);
        }
        Ok(())
    }

    async fn bury(
        &self,
        job: &Job,
        reason: &str,
        found: Option<&Versioned>,
    ) -> Result<(), IntakeError> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin().await?;
        sqlx::query(BURY).bind(reason).bind(job.sequence.0).execute(&mut *transaction).await?;
        drop_job(&mut transaction, job.sequence).await?;
        if let Ok(change) = &job.change {
            let id = change.user_id();
            // Should the rest fail, a user who is asked of the database is only slower.
            if self.cache().forget(id, job.sequence) == Forgotten::Yes {
                if let Change::Keep(account) = change {
                    release(&mut transaction, &account.user.email, id).await?;
                }
                if let Some(found) = found {
                    reserve(&mut transaction, &found.account.user.email, id).await?;
                }
            }
        }
        Ok(transaction.commit().await?)
    }

    async fn letters(&self, count: usize) -> Result<Vec<Letter>, IntakeError> {
        let rows: Vec<LetterRow> =
            sqlx::query_as("SELECT * FROM dead_letters ORDER BY sequence DESC LIMIT ?")
                .bind(i64::try_from(count).unwrap_or(i64::MAX))
                .fetch_all(&mut *self.connection().await?)
                .await?;
        Ok(rows.into_iter().map(Letter::from).collect())
    }

    async fn discard(&self, letter: &LetterId) -> Result<bool, IntakeError> {
        let LetterId(id) = letter;
        let Ok(sequence) = id.parse::<i64>() else { return Ok(false) };
        let done = sqlx::query("DELETE FROM dead_letters WHERE sequence = ?")
            .bind(sequence)
            .execute(&mut *self.connection().await?)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn begin_index(&self, _token: Uuid) -> Result<Begun, IntakeError> {
        let mut connection = self.connection().await?;
        let complete: i64 = sqlx::query_scalar("SELECT count(*) FROM emails_complete")
            .fetch_one(&mut *connection)
            .await?;
        if complete > 0 {
            return Ok(Begun::Complete);
        }
        if backlog(&mut connection).await?.jobs > 0 {
            return Ok(Begun::QueueNotEmpty);
        }
        sqlx::query("DELETE FROM emails").execute(&mut *connection).await?;
        Ok(Begun::Empty)
    }

    async fn extend_index(&self, _token: Uuid, emails: &[Registered]) -> Result<(), IntakeError> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin().await?;
        for Registered { number: _, id, email } in emails {
            reserve(&mut transaction, email, *id).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn finish_index(&self, _token: Uuid, floor: Sequence) -> Result<(), IntakeError> {
        let mut connection = self.connection().await?;
        let mut transaction = connection.begin().await?;
        // A job that comes and goes leaves its number behind.
        sqlx::query("INSERT INTO jobs VALUES (?, '', '', '', '', '', '')")
            .bind(floor.0)
            .execute(&mut *transaction)
            .await?;
        drop_job(&mut transaction, floor).await?;
        sqlx::query("INSERT INTO emails_complete VALUES (1)").execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn backlog(&self) -> Result<Backlog, IntakeError> {
        backlog(&mut *self.connection().await?).await
    }

    async fn close(&self) {
        // sqlx overlooks a connection that is given back while it closes.
        while self.shared.pool.size() > 0 {
            self.shared.pool.close().await;
        }
    }
}

impl Backlog {
    fn is_full(&self) -> bool {
        self.jobs + self.dead_letters >= JOBS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::account;

    #[tokio::test]
    async fn what_is_in_the_queue_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("queue.sqlite");
        let intake = MemoryIntake::open(&file).await.unwrap();
        let id = Uuid::new_v4().to_string().parse().unwrap();
        let email = "ann@example.org".to_owned();
        let ann = account(id, "ann".to_owned(), email, "hash".to_owned()).unwrap();
        let change = Change::Keep(ann.clone());
        let correlation_id = "abc-123".to_owned();
        let write = Write { change, from: None, correlation_id, letter: None };
        assert_eq!(intake.take(write.clone()).await.unwrap(), Outcome::Queued);
        assert_eq!(intake.take(write).await.unwrap(), Outcome::Outdated, "a second time");
        intake.close().await;

        let intake = MemoryIntake::open(&file).await.unwrap();
        let jobs = intake.jobs(100).await.unwrap();
        assert_eq!((jobs.len(), jobs[0].correlation_id.as_str()), (1, "abc-123"));
        let Recalled::Known(found) = intake.recall(id).await.unwrap() else { panic!() };
        assert_eq!((found.account, found.version), (ann, jobs[0].sequence));
        let leave = Write {
            change: Change::Remove(id),
            from: Some(found.version),
            correlation_id: String::new(),
            letter: None,
        };
        assert_eq!(intake.take(leave).await.unwrap(), Outcome::Queued);
        let jobs = intake.jobs(100).await.unwrap();
        assert!(jobs[0].sequence < jobs[1].sequence, "{jobs:?}");
        intake.close().await;

        let intake = MemoryIntake::open(&file).await.unwrap();
        for job in &jobs {
            assert!(matches!(intake.recall(id).await.unwrap(), Recalled::Gone));
            intake.settle(&[(job.sequence, id)]).await.unwrap();
        }
        assert!(
            matches!(intake.recall(id).await.unwrap(), Recalled::Unknown(_)),
            "ask the database"
        );
        assert_eq!(intake.backlog().await.unwrap().span, None);
    }
}
