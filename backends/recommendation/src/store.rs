//! What is kept: the counts, the ids of counted events, and the events that wait or are dead.

mod postgres;
mod sql;
mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use postgres::PostgresStore;
pub(crate) use sqlite::SqliteStore;

use crate::users::Reader;
use crate::viewed::Viewed;

/// How long a request waits for a connection or for another's write.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A durable store: what a call has done survives the machine once the call returns.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Relates the reader and the event's labels, each way, once for each event however often it is told; takes it out of
    /// the inbox. All of it or nothing.
    async fn count(&self, event: &Viewed, reader: &Reader) -> Result<Counted, StoreError>;
    /// The labels of a user, most read first.
    async fn labels(&self, user_id: &str, page: Page) -> Result<Vec<LabelCount>, StoreError>;
    /// The readers of a label, keenest first.
    async fn readers(&self, label: &str, page: Page) -> Result<Vec<ReaderCount>, StoreError>;

    /// Puts an event into the inbox; one that is there already stays as it is.
    async fn keep(&self, letter: &Letter) -> Result<(), StoreError>;
    /// At most `count` kept events whose time has come, the longest due first.
    async fn due(&self, now: Timestamp, count: u32) -> Result<Vec<Waiting>, StoreError>;
    /// Leaves an event in the inbox until `until`, one attempt richer.
    async fn postpone(&self, id: &str, until: Timestamp, reason: &str) -> Result<(), StoreError>;
    /// Puts an event with the dead letters.
    async fn bury(&self, id: &str, now: Timestamp, reason: &str) -> Result<(), StoreError>;
    /// At most `count` dead letters, the latest first.
    async fn dead(&self, count: u32) -> Result<Vec<DeadLetter>, StoreError>;
    /// Makes all dead letters due, and says how many those are.
    async fn revive(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Forgets the ids of events that were counted before `before`, and says how many those are.
    async fn forget(&self, before: Timestamp) -> Result<u64, StoreError>;
    /// How many events wait, and how many are dead.
    async fn inbox_size(&self) -> Result<InboxSize, StoreError>;
    /// Lets go of the database.
    async fn close(&self);
}

/// Whether an event was in the counts already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    Now,
    Before,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) start: u32,
    pub(crate) count: u32,
}

/// A label and how often it was read.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct LabelCount {
    label: String,
    count: i64,
}

/// A user and how often they read a label.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct ReaderCount {
    id: String,
    /// As users told it when this user last read something.
    name: String,
    count: i64,
}

/// An event as it arrived.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) id: String,
    /// The message as JSON.
    pub(crate) event: String,
    pub(crate) correlation_id: String,
    pub(crate) due_at: Timestamp,
}

/// An event in the inbox.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Waiting {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) correlation_id: String,
    pub(crate) attempts: i64,
}

/// An event that cannot be counted, and why.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct DeadLetter {
    pub(crate) event: String,
    pub(crate) reason: String,
}

/// How many events are in the inbox.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(crate) struct InboxSize {
    pub(crate) waiting: i64,
    pub(crate) dead: i64,
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The schema cannot be brought up to date.
    #[error("database schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
}
