//! The command side: every version of every article, appended and never changed.

mod postgres;
mod sqlite;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub(crate) use postgres::PostgresEventLog;
pub(crate) use sqlite::SqliteEventLog;

use crate::article::{Article, ArticleId, Moment, Text, Version};
use crate::correlation::CorrelationId;

/// A version that was added, and its place in the log. As JSON it is the message over AMQP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Counts the events of the log, from 1. Readers do not rely on every number being used.
    pub(crate) sequence: i64,
    /// Names the request that added it; text, for what is stored stays even if the rules for ids change.
    pub(crate) correlation_id: Option<String>,
    pub(crate) article: Article,
}

/// The wish to follow up a version.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) id: ArticleId,
    /// The version the client saw, to be the latest still.
    pub(crate) version: Version,
    pub(crate) text: Text,
    pub(crate) created_at: Moment,
    /// `None` keeps that of the version before.
    pub(crate) published_at: Option<Moment>,
}

/// A durable, append-only log. An event that was returned survives the machine, and events become visible in the order
/// of their sequence, so that who has read up to one has missed none before it.
#[async_trait]
pub(crate) trait EventLog: Send + Sync {
    /// Adds the first version of an article.
    async fn begin(&self, article: Article, by: &CorrelationId) -> Result<Event, LogError>;
    /// Adds the version after the one that the client saw. Of several at once, one succeeds.
    async fn append(&self, next: Next, by: &CorrelationId) -> Result<Event, LogError>;
    /// At most `count` events after `sequence`, in order.
    async fn after(&self, sequence: i64, count: u32) -> Result<Vec<Event>, LogError>;
    /// The sequence of the last event; 0 if there is none.
    async fn last_sequence(&self) -> Result<i64, LogError>;
    /// At most `count` versions of an article, newest first, beginning before version `before`.
    async fn history(
        &self,
        id: ArticleId,
        before: Option<Version>,
        count: u32,
    ) -> Result<Vec<Article>, LogError>;
    /// The sequence of the last event that the broker is known to have.
    async fn published(&self) -> Result<i64, LogError>;
    /// Says that the broker has all events up to this one.
    async fn set_published(&self, sequence: i64) -> Result<(), LogError>;
    /// Lets go of the database.
    async fn close(&self);
}

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no such article.
    #[error("no article has this id")]
    UnknownId,
    /// The article has moved on, or never was there.
    #[error("version {given} is not the latest, which is {latest}: read it and try again")]
    Stale {
        /// What the client saw.
        given: u32,
        /// What is there.
        latest: u32,
    },
    /// The schema cannot be brought up to date.
    #[error("event log schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database failed.
    #[error("event log: {0}")]
    Database(#[from] sqlx::Error),
}
