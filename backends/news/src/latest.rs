//! The query side: the latest version of each article, as readers ask for it.

mod postgres;
mod sqlite;

use async_trait::async_trait;

pub(crate) use postgres::PostgresLatest;
pub(crate) use sqlite::SqliteLatest;

use crate::article::{Article, ArticleId};
use crate::event_log::{Event, EventLog, LogError};

/// Events taken in at once; at the longest articles some 20 MB.
pub(crate) const BATCH_EVENTS_MAX: u32 = 50;

/// A table made from the event log alone, which knows how far into the log it is.
#[async_trait]
pub(crate) trait Latest: Send + Sync {
    /// The latest version of one article.
    async fn find(&self, id: ArticleId) -> Result<Article, LatestError>;
    /// At most `count` articles after the first `start`, newest published first.
    async fn list(&self, start: u64, count: u32) -> Result<Vec<Article>, LatestError>;
    /// The sequence of the last event that is in.
    async fn position(&self) -> Result<i64, LatestError>;
    /// Takes in the events that follow position `from`, in order, and the position with them: all or none. None if the
    /// position is another by now, because another instance shares the table or it was made again.
    async fn apply(&self, from: i64, events: &[Event]) -> Result<Applied, LatestError>;
    /// Forgets everything and makes it again from the whole log, and says how far that was. Readers see what was there
    /// until all of it is done.
    async fn remake(&self, log: &dyn EventLog) -> Result<i64, RemakeError>;
    /// Lets go of the database.
    async fn close(&self);
}

/// Whether events were taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    Yes,
    /// The table is not where the caller thought.
    MovedOn,
}

/// Why the read side was not made again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemakeError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Latest(#[from] LatestError),
}

impl From<sqlx::Error> for RemakeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Latest(error.into())
    }
}

/// Why the read side did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LatestError {
    /// There is no such article, or not yet.
    #[error("no article has this id")]
    UnknownId,
    /// The schema cannot be brought up to date.
    #[error("latest versions schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database failed.
    #[error("latest versions: {0}")]
    Database(#[from] sqlx::Error),
}
