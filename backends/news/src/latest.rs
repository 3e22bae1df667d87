//! The query side: the latest version of each article, as readers ask for it.

mod sqlite;

use async_trait::async_trait;

pub(crate) use sqlite::SqliteLatest;

use crate::article::{Article, ArticleId};
use crate::event_log::Event;

/// A table made from the event log alone, which knows how far into the log it is.
#[async_trait]
pub(crate) trait Latest: Send + Sync {
    /// The latest version of one article.
    async fn find(&self, id: ArticleId) -> Result<Article, LatestError>;
    /// At most `count` articles after the first `start`, newest published first.
    async fn list(&self, start: u64, count: u32) -> Result<Vec<Article>, LatestError>;
    /// The sequence of the last event that is in.
    async fn position(&self) -> Result<i64, LatestError>;
    /// Takes in events in order, and the position with them: all or none.
    async fn apply(&self, events: &[Event]) -> Result<(), LatestError>;
    /// Forgets everything, to be made again.
    async fn clear(&self) -> Result<(), LatestError>;
    /// Lets go of the database.
    async fn close(&self);
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
