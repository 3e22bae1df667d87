//! The latest versions in one SQLite file.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{FromRow, Row};

use crate::article::{Article, ArticleId, Moment, Text};
use crate::event_log::{Event, EventLog};
use crate::latest::{Applied, BATCH_EVENTS_MAX, Latest, LatestError, RemakeError};

/// One writes, the projector; the others read.
const CONNECTIONS_MAX: u32 = 5;
/// How long a request waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The latest versions in one SQLite file.
pub(crate) struct SqliteLatest {
    pool: SqlitePool,
}

impl SqliteLatest {
    /// Opens or creates the file and brings its schema up to date.
    pub(crate) async fn open(file: &Path) -> Result<Self, LatestError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What a power failure takes, the log gives back: the position goes with the rows.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(WAIT_MAX);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(WAIT_MAX)
            .connect_with(options)
            .await?;
        sqlx::migrate!("./migrations/sqlite/latest").run(&pool).await?;
        Ok(Self { pool })
    }
}

/// Both tables name an article's columns alike.
impl FromRow<'_, SqliteRow> for Article {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let damaged = |column: &str, source: Box<dyn std::error::Error + Send + Sync>| {
            sqlx::Error::ColumnDecode { index: column.to_owned(), source }
        };
        let moment = |column: &str| {
            Moment::from_microseconds(row.try_get(column)?)
                .map_err(|error| damaged(column, error.into()))
        };
        let id: String = row.try_get("id")?;
        let sqlx::types::Json(tags) = row.try_get("tags")?;
        Ok(Self {
            id: id.parse().map_err(|error: uuid::Error| damaged("id", error.into()))?,
            version: row.try_get("version")?,
            text: Text {
                title: row.try_get("title")?,
                content: row.try_get("content")?,
                author: row.try_get("author")?,
                tags,
            },
            created_at: moment("created_at")?,
            published_at: moment("published_at")?,
            news_type: row.try_get("news_type")?,
        })
    }
}

#[async_trait]
impl Latest for SqliteLatest {
    async fn find(&self, id: ArticleId) -> Result<Article, LatestError> {
        let article = sqlx::query_as("SELECT * FROM articles WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        article.ok_or(LatestError::UnknownId)
    }

    async fn list(&self, start: u64, count: u32) -> Result<Vec<Article>, LatestError> {
        Ok(sqlx::query_as("SELECT * FROM articles ORDER BY published_at DESC, id LIMIT ? OFFSET ?")
            .bind(count)
            .bind(i64::try_from(start).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?)
    }

    async fn position(&self) -> Result<i64, LatestError> {
        Ok(sqlx::query_scalar("SELECT sequence FROM position").fetch_one(&self.pool).await?)
    }

    async fn apply(&self, from: i64, events: &[Event]) -> Result<Applied, LatestError> {
        let Some(last) = events.last() else { return Ok(Applied::Yes) };
        // The first statement writes, so that the transaction has SQLite's one lock from its beginning.
        let mut transaction = self.pool.begin().await?;
        let moved = sqlx::query("UPDATE position SET sequence = ? WHERE sequence = ?")
            .bind(last.sequence)
            .bind(from)
            .execute(&mut *transaction)
            .await?;
        if moved.rows_affected() == 0 {
            return Ok(Applied::MovedOn);
        }
        for event in events {
            put(&mut transaction, &event.article).await?;
        }
        transaction.commit().await?;
        Ok(Applied::Yes)
    }

    async fn remake(&self, log: &dyn EventLog) -> Result<i64, RemakeError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("DELETE FROM articles").execute(&mut *transaction).await?;
        let mut position = 0;
        loop {
            let events = log.after(position, BATCH_EVENTS_MAX).await?;
            let Some(last) = events.last() else { break };
            position = last.sequence;
            for event in events {
                put(&mut transaction, &event.article).await?;
            }
        }
        sqlx::query("UPDATE position SET sequence = ?")
            .bind(position)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(position)
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Puts a version where readers find it, unless a later one is there.
async fn put(connection: &mut SqliteConnection, article: &Article) -> Result<(), sqlx::Error> {
    let Article { id, version, text, created_at, published_at, news_type } = article;
    sqlx::query(
        "INSERT INTO articles \
         (id, version, title, content, author, tags, created_at, published_at, news_type) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, \
         title = excluded.title, content = excluded.content, author = excluded.author, \
         tags = excluded.tags, created_at = excluded.created_at, \
         published_at = excluded.published_at, news_type = excluded.news_type \
         WHERE excluded.version > articles.version",
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
    .execute(connection)
    .await?;
    Ok(())
}
