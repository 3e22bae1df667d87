//! The event log in one SQLite file.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{FromRow, Row};

use crate::article::{Article, ArticleId, Moment, Version};
use crate::correlation::CorrelationId;
use crate::event_log::{Event, EventLog, LogError, Next};

/// SQLite writes one at a time whatever we do; the others are readers.
const CONNECTIONS_MAX: u32 = 4;
/// How long a request waits for a connection or for another's write.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The event log in one SQLite file. SQLite has one writer at a time, which keeps the promise about order.
pub(crate) struct SqliteEventLog {
    pool: SqlitePool,
}

impl SqliteEventLog {
    /// Opens or creates the file and brings its schema up to date.
    pub(crate) async fn open(file: &Path) -> Result<Self, LogError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With WAL the default would lose the last answered writes when the power fails.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(WAIT_MAX);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(WAIT_MAX)
            .connect_with(options)
            .await?;
        sqlx::migrate!("./migrations/sqlite/event_log").run(&pool).await?;
        Ok(Self { pool })
    }

    /// Says what a version should have followed. There may be a newer one by now; it is no less true.
    async fn not_latest(&self, id: ArticleId, given: Version) -> LogError {
        let latest = sqlx::query_scalar("SELECT max(version) FROM events WHERE id = ?")
            .bind(id.to_string())
            .fetch_one(&self.pool)
            .await;
        match latest {
            Ok(Some(latest)) => LogError::Stale { given, latest },
            Ok(None) => LogError::UnknownId,
            Err(error) => error.into(),
        }
    }
}

impl FromRow<'_, SqliteRow> for Event {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            sequence: row.try_get("sequence")?,
            correlation_id: row.try_get("correlation_id")?,
            article: Article::from_row(row)?,
        })
    }
}

#[async_trait]
impl EventLog for SqliteEventLog {
    async fn begin(&self, article: Article, by: &CorrelationId) -> Result<Event, LogError> {
        let Article { id, version, text, created_at, published_at, news_type } = &article;
        let sequence = sqlx::query_scalar(
            "INSERT INTO events \
             (id, version, title, content, author, tags, created_at, published_at, news_type, \
             correlation_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING sequence",
        )
        .bind(id.to_string())
        .bind(version)
        .bind(&text.title)
        .bind(&text.content)
        .bind(&text.author)
        .bind(sqlx::types::Json(&text.tags))
        .bind(created_at.as_microseconds())
        .bind(published_at.as_microseconds())
        .bind(news_type)
        .bind(by.as_str())
        .fetch_one(&self.pool)
        .await?;
        Ok(Event { sequence, correlation_id: Some(by.as_str().to_owned()), article })
    }

    /// One statement, so that nothing comes between looking and adding; of two that follow the same version the second
    /// meets UNIQUE (id, version).
    async fn append(&self, next: Next, by: &CorrelationId) -> Result<Event, LogError> {
        let Next { id, version, text, created_at, published_at } = next;
        let added = sqlx::query_as(
            "INSERT INTO events \
             (id, version, title, content, author, tags, created_at, published_at, news_type, \
             correlation_id) \
             SELECT id, version + 1, ?, ?, ?, ?, ?, coalesce(?, published_at), news_type, ? \
             FROM events WHERE id = ? AND version = ? RETURNING *",
        )
        .bind(text.title)
        .bind(text.content)
        .bind(text.author)
        .bind(sqlx::types::Json(text.tags))
        .bind(created_at.as_microseconds())
        .bind(published_at.map(Moment::as_microseconds))
        .bind(by.as_str())
        .bind(id.to_string())
        .bind(version)
        .fetch_optional(&self.pool)
        .await;
        match added {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(self.not_latest(id, version).await),
            Err(sqlx::Error::Database(refused)) if refused.is_unique_violation() => {
                Err(self.not_latest(id, version).await)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn after(&self, sequence: i64, count: u32) -> Result<Vec<Event>, LogError> {
        Ok(sqlx::query_as("SELECT * FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?")
            .bind(sequence)
            .bind(count)
            .fetch_all(&self.pool)
            .await?)
    }

    async fn last_sequence(&self) -> Result<i64, LogError> {
        Ok(sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM events")
            .fetch_one(&self.pool)
            .await?)
    }

    async fn history(
        &self,
        id: ArticleId,
        before: Option<Version>,
        count: u32,
    ) -> Result<Vec<Article>, LogError> {
        Ok(sqlx::query_as(
            "SELECT * FROM events WHERE id = ? AND version < ? ORDER BY version DESC LIMIT ?",
        )
        .bind(id.to_string())
        .bind(before.map_or(i64::MAX, i64::from))
        .bind(count)
        .fetch_all(&self.pool)
        .await?)
    }

    async fn published(&self) -> Result<i64, LogError> {
        Ok(sqlx::query_scalar("SELECT sequence FROM published").fetch_one(&self.pool).await?)
    }

    async fn set_published(&self, sequence: i64) -> Result<(), LogError> {
        sqlx::query("UPDATE published SET sequence = max(sequence, ?)")
            .bind(sequence)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
