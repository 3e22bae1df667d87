//! The cache and the durable queue of writes: what any place for them has to do for this service.
//!
//! A write is taken in one atomic step: the email is reserved, the job is queued, the cache shows the new state; then
//! the client is answered. Jobs stay in the queue until the database has committed them, in the order in which they
//! were taken, so that a worker or a database that dies loses nothing and the next one begins where it stopped.
//!
//! | rule | why |
//! |---|---|
//! | a user with jobs in the queue is in the cache and cannot be evicted | a read after a write sees the write |
//! | the index of emails is complete, whoever is in the cache | a taken email is refused without asking the database |
//! | a job's sequence is greater than all before, also after the queue was lost | the database can tell what it has |
//! | a write names the version it was made from | one that arrives late or twice changes nothing |
//! | a dead letter is the last word on its user | a later write takes its place, so that none can be undone by it |

mod memory;
mod redis;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use uuid::Uuid;

use crate::database::Registered;
use crate::settings::{Configuration, Queue};
use crate::user::{Account, Email, Name, User, UserId};

/// Jobs and dead letters together: what clients can make grow while the database is away. Then writes get 503.
pub(crate) const JOBS_MAX: usize = 10_000;
/// How long a user stays in the cache whose last write is in the database.
const CACHED_FOR: Duration = Duration::from_secs(3600);

/// See the file's own words.
#[async_trait]
pub(crate) trait Intake: Send + Sync {
    /// Takes a write. It is durable once this says [`Outcome::Queued`].
    async fn take(&self, write: Write) -> Result<Outcome, IntakeError>;
    /// What is known of a user without the database.
    async fn recall(&self, id: UserId) -> Result<Recalled, IntakeError>;
    /// Keeps what the database said, unless the user was written to since the lease was given.
    async fn remember(&self, found: &Versioned, lease: Lease) -> Result<(), IntakeError>;
    /// Whose an email is, also if the database does not know it yet.
    async fn owner(&self, email: &Email) -> Result<Option<UserId>, IntakeError>;

    /// The first jobs of the queue, in order. They stay there.
    async fn jobs(&self, count: usize) -> Result<Vec<Job>, IntakeError>;
    /// Drops jobs that are in the database.
    async fn settle(&self, jobs: &[(Sequence, UserId)]) -> Result<(), IntakeError>;
    /// Moves a job to the dead letters. What it said of its user no longer holds: `found` is what the database says.
    /// If a later job of the user is in the queue, that one has the last word and this one is dropped.
    async fn bury(
        &self,
        job: &Job,
        reason: &str,
        found: Option<&Versioned>,
    ) -> Result<(), IntakeError>;
    /// At most `count` dead letters, the latest first.
    async fn letters(&self, count: usize) -> Result<Vec<Letter>, IntakeError>;
    /// Drops a dead letter, and says whether there was one.
    async fn discard(&self, letter: &LetterId) -> Result<bool, IntakeError>;

    /// Begins to fill the index of emails, if it is not complete and the queue is empty.
    async fn begin_index(&self, token: Uuid) -> Result<Begun, IntakeError>;
    /// Adds emails to an index that was begun with this token.
    async fn extend_index(&self, token: Uuid, emails: &[Registered]) -> Result<(), IntakeError>;
    /// Declares an index complete. Jobs from now on have a greater sequence than `floor`.
    async fn finish_index(&self, token: Uuid, floor: Sequence) -> Result<(), IntakeError>;

    /// How much is waiting.
    async fn backlog(&self) -> Result<Backlog, IntakeError>;
    /// Lets go of it.
    async fn close(&self);
}

/// Connects to the place that was configured.
pub(crate) async fn open(configuration: &Configuration) -> Result<Arc<dyn Intake>, IntakeError> {
    Ok(match &configuration.queue {
        Queue::Memory(file) => {
            let file = configuration.queue_file(file.as_ref());
            Arc::new(memory::MemoryIntake::open(&file).await?)
        }
        Queue::Redis(url) => Arc::new(redis::RedisIntake::open(url.as_str()).await?),
    })
}

/// The place of a job in the order of all, and so the version of the user it writes: milliseconds since 1970 and a
/// counter of 20 bits, as Redis numbers the entries of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sequence(i64);

const COUNTER_BITS: u32 = 20;

impl Sequence {
    /// The least one of this moment.
    fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let milliseconds = since_1970.unwrap_or_default().as_millis();
        // Fits for the next two hundred years, after which sequences go on by one.
        Self(i64::try_from(milliseconds << COUNTER_BITS).unwrap_or(0))
    }

    /// As Redis writes it.
    fn from_stream_id(id: &str) -> Option<Self> {
        let (milliseconds, counter) = id.split_once('-')?;
        let milliseconds: i64 = milliseconds.parse().ok()?;
        let counter: i64 = counter.parse().ok()?;
        let fits = milliseconds < 1 << (62 - COUNTER_BITS) && counter < 1 << COUNTER_BITS;
        fits.then_some(Self(milliseconds << COUNTER_BITS | counter))
    }

    fn to_stream_id(self) -> String {
        let counter = self.0 & ((1 << COUNTER_BITS) - 1);
        format!("{}-{counter}", self.0 >> COUNTER_BITS)
    }
}

impl From<i64> for Sequence {
    fn from(number: i64) -> Self {
        Self(number)
    }
}

impl From<Sequence> for i64 {
    fn from(sequence: Sequence) -> Self {
        sequence.0
    }
}

/// What a job does to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// This is what the user is now.
    Keep(Account),
    /// There is no such user any more.
    Remove(UserId),
}

impl Change {
    pub(crate) fn user_id(&self) -> UserId {
        match self {
            Self::Keep(account) => account.user.id,
            Self::Remove(id) => *id,
        }
    }
}

/// A change that a client asks for.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) change: Change,
    /// The version the client's change was made from; none for a user who was not there.
    pub(crate) from: Option<Sequence>,
    /// Of the request, for the log of the worker.
    pub(crate) correlation_id: String,
    /// The dead letter that this takes out and tries again. If it is no longer there, the write is outdated.
    pub(crate) letter: Option<LetterId>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the queue.
    Queued,
    /// Another user has the email. Nothing has changed.
    EmailTaken,
    /// The user is no longer what the write was made from. Nothing has changed.
    Outdated,
}

/// A user as of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub(crate) account: Account,
    pub(crate) version: Sequence,
}

/// What the cache knows of a user.
#[derive(Debug)]
pub(crate) enum Recalled {
    /// Everything.
    Known(Versioned),
    /// That the user was removed.
    Gone,
    /// Nothing: ask the database, and give the lease back with the answer.
    Unknown(Lease),
}

/// The right to fill the cache with what the database says. A write to the user takes it away: what the database
/// said before is then no longer true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease(Uuid);

/// A write in the queue.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) sequence: Sequence,
    pub(crate) correlation_id: String,
    pub(crate) change: Result<Change, Unreadable>,
}

/// A job that the database refused.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) id: LetterId,
    pub(crate) correlation_id: String,
    /// What the database said.
    pub(crate) reason: String,
    pub(crate) change: Result<Change, Unreadable>,
}

/// What one dead letter is told apart by; each kind of queue has its own form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LetterId(pub(crate) String);

/// A job that this program cannot read: written by another version, or by hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job is unreadable")]
pub(crate) struct Unreadable;

/// A job as any queue stores it.
struct StoredJob {
    kind: String,
    user_id: String,
    name: String,
    email: String,
    password_hash: String,
}

const KEEP: &str = "keep";
const REMOVE: &str = "remove";

impl From<&Change> for StoredJob {
    fn from(change: &Change) -> Self {
        match change {
            Change::Keep(Account { user, hash }) => Self {
                kind: KEEP.to_owned(),
                user_id: user.id.to_string(),
                name: user.name.as_str().to_owned(),
                email: user.email.as_str().to_owned(),
                password_hash: hash.as_str().to_owned(),
            },
            Change::Remove(id) => Self {
                kind: REMOVE.to_owned(),
                user_id: id.to_string(),
                name: String::new(),
                email: String::new(),
                password_hash: String::new(),
            },
        }
    }
}

impl TryFrom<StoredJob> for Change {
    type Error = Unreadable;

    fn try_from(job: StoredJob) -> Result<Self, Unreadable> {
        let StoredJob { kind, user_id, name, email, password_hash } = job;
        let id = user_id.parse().map_err(|_| Unreadable)?;
        match kind.as_str() {
            REMOVE => Ok(Self::Remove(id)),
            KEEP => Ok(Self::Keep(account(id, name, email, password_hash)?)),
            _ => Err(Unreadable),
        }
    }
}

fn account(
    id: UserId,
    name: String,
    email: String,
    password_hash: String,
) -> Result<Account, Unreadable> {
    let name = Name::parse(name).map_err(|_| Unreadable)?;
    let email = Email::parse(email).map_err(|_| Unreadable)?;
    let hash = crate::password::PasswordHash::stored(password_hash);
    Ok(Account { user: User { id, name, email }, hash })
}

/// Whether the index of emails may be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is complete; there is nothing to do.
    Complete,
    /// It is empty and waits to be filled.
    Empty,
    /// Jobs are in the queue, which have to be in the database first.
    QueueNotEmpty,
    /// Somebody else is filling it.
    SomebodyElse,
}

/// How much is waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) jobs: usize,
    pub(crate) dead_letters: usize,
    /// The first and the last job of the queue.
    pub(crate) span: Option<(Sequence, Sequence)>,
}

/// Why cache and queue did not do what they were asked.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The index of emails is not complete, so nobody can tell which are taken.
    #[error("queue: the index of emails is being filled")]
    NotReady,
    /// Somebody else fills the index of emails now.
    #[error("queue: another instance fills the index of emails")]
    Superseded,
    /// The database has not kept up, or dead letters were not looked after.
    #[error("queue: full, with {JOBS_MAX} jobs and dead letters")]
    Full,
    /// Redis failed or cannot be reached.
    #[error("queue: Redis: {0}")]
    Redis(#[from] fred::error::Error),
    /// The queue's file failed.
    #[error("queue: {0}")]
    File(#[from] sqlx::Error),
    /// Another process has the queue's file open. Two would not see each other's writes.
    #[error("queue: {} is in use by another process", file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// The schema of the queue's file cannot be brought up to date.
    #[error("queue's schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// What is in the cache is not what was put there.
    #[error("queue: the entry of user {id} is damaged")]
    Damaged {
        /// The user's id.
        id: String,
    },
    /// A write's task panicked.
    #[error("queue: {0}")]
    Task(#[from] tokio::task::JoinError),
}

#[cfg(test)]
mod tests {
    use servers::Redis;

    use super::*;

    /// An empty one whose index of emails is complete.
    async fn ready(intake: impl Intake) -> impl Intake {
        let token = Uuid::new_v4();
        assert_eq!(intake.begin_index(token).await.unwrap(), Begun::Empty);
        intake.finish_index(token, Sequence(0)).await.unwrap();
        intake
    }

    async fn a_refused_job_is_dropped_if_a_later_one_waits(intake: impl Intake) {
        let intake = ready(intake).await;
        let id = Uuid::new_v4().to_string().parse().unwrap();
        let mut from = None;
        for name in ["first", "last"] {
            let email = format!("{name}@example.org");
            let account = account(id, name.to_owned(), email, "hash".to_owned()).unwrap();
            let change = Change::Keep(account);
            let write = Write { change, from, correlation_id: String::new(), letter: None };
            assert_eq!(intake.take(write).await.unwrap(), Outcome::Queued);
            let Recalled::Known(found) = intake.recall(id).await.unwrap() else { panic!() };
            from = Some(found.version);
        }
        for (job, letters) in intake.jobs(100).await.unwrap().iter().zip([0, 1]) {
            intake.bury(job, "refused", None).await.unwrap();
            intake.bury(job, "refused again, by another worker", None).await.unwrap();
            assert_eq!(intake.letters(100).await.unwrap().len(), letters);
        }
        let letters = intake.letters(100).await.unwrap();
        let Ok(Change::Keep(account)) = &letters[0].change else { panic!("{letters:?}") };
        assert_eq!((account.user.name.as_str(), letters[0].reason.as_str()), ("last", "refused"));
        intake.close().await;
    }

    #[tokio::test]
    async fn in_memory_a_refused_job_is_dropped_if_a_later_one_waits() {
        let folder = tempfile::tempdir().unwrap();
        let intake = memory::MemoryIntake::open(&folder.path().join("queue.sqlite")).await;
        a_refused_job_is_dropped_if_a_later_one_waits(intake.unwrap()).await;
    }

    #[tokio::test]
    async fn in_redis_a_refused_job_is_dropped_if_a_later_one_waits() {
        let redis = Redis::start().await.unwrap();
        let intake = redis::RedisIntake::open(&redis.url()).await.unwrap();
        a_refused_job_is_dropped_if_a_later_one_waits(intake).await;
    }

    #[test]
    fn a_sequence_is_the_id_of_a_stream_entry() {
        let now = Sequence::now();
        assert_eq!(Sequence::from_stream_id(&now.to_stream_id()), Some(now));
        let first = Sequence::from_stream_id("1700000000000-0").unwrap();
        let second = Sequence::from_stream_id("1700000000000-1").unwrap();
        let later = Sequence::from_stream_id("1700000000001-0").unwrap();
        assert!(first < second && second < later && later < now);
        for id in ["", "1", "a-0", "1-1048576", "9223372036854775807-0"] {
            assert_eq!(Sequence::from_stream_id(id), None, "{id}");
        }
    }
}
