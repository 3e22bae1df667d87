//! The event log in a PostgreSQL database, to which several instances may append.

use async_trait::async_trait;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::types::{Json, Uuid};
use sqlx::{FromRow, Row};

use crate::article::{Article, ArticleId, Moment, Text, Version};
use crate::correlation::CorrelationId;
use crate::event_log::{Event, EventLog, LogError, Next};
use crate::postgres;
use crate::settings::PostgresUrl;

/// The event log in a PostgreSQL database. Who appends holds the row `log_end` until the commit, which keeps the promise
/// about order and costs that appends wait for each other's sync.
pub(crate) struct PostgresEventLog {
    pool: PgPool,
}

impl PostgresEventLog {
    /// Connects, creating the database if it is not there, and brings its schema up to date.
    pub(crate) async fn open(url: &PostgresUrl) -> Result<Self, LogError> {
        let pool = postgres::open(url).await?;
        sqlx::migrate!("./migrations/postgres/event_log").run(&pool).await?;
        Ok(Self { pool })
    }

    /// Says what a version should have followed. There may be a newer one by now; it is no less true.
    async fn not_latest(&self, id: ArticleId, given: Version) -> LogError {
        let latest: Result<Option<i64>, sqlx::Error> =
            sqlx::query_scalar("SELECT max(version) FROM events WHERE id = $1")
                .bind(id.as_uuid())
                .fetch_one(&self.pool)
                .await;
        match latest.map(|latest| latest.map(Version::try_from)) {
            Ok(Some(Ok(latest))) => LogError::Stale { given, latest },
            Ok(Some(Err(error))) => sqlx::Error::Decode(error.into()).into(),
            Ok(None) => LogError::UnknownId,
            Err(error) => error.into(),
        }
    }
}

impl FromRow<'_, PgRow> for Event {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let damaged = |column: &str, source: Box<dyn std::error::Error + Send + Sync>| {
            sqlx::Error::ColumnDecode { index: column.to_owned(), source }
        };
        let moment = |column: &str| {
            Moment::from_microseconds(row.try_get(column)?)
                .map_err(|error| damaged(column, error.into()))
        };
        let version = Version::try_from(row.try_get::<i64, _>("version")?);
        let Json(tags) = row.try_get("tags")?;
        let article = Article {
            id: row.try_get::<Uuid, _>("id")?.into(),
            version: version.map_err(|error| damaged("version", error.into()))?,
            text: Text {
                title: row.try_get("title")?,
                content: row.try_get("content")?,
                author: row.try_get("author")?,
                tags,
            },
            created_at: moment("created_at")?,
            published_at: moment("published_at")?,
            news_type: row.try_get("news_type")?,
        };
        Ok(Self {
            sequence: row.try_get("sequence")?,
            correlation_id: row.try_get("correlation_id")?,
            article,
        })
    }
}

#[async_trait]
impl EventLog for PostgresEventLog {
    async fn begin(&self, article: Article, by: &CorrelationId) -> Result<Event, LogError> {
        let Article { id, version, text, created_at, published_at, news_type } = &article;
        let sequence = sqlx::query_scalar(
            "WITH next AS (UPDATE log_end SET sequence = sequence + 1 RETURNING sequence) \
             INSERT INTO events (sequence, id, version, title, content, author, tags, created_at, \
             published_at, news_type, correlation_id) \
             SELECT sequence, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM next RETURNING sequence",
        )
        .bind(id.as_uuid())
        .bind(i64::from(*version))
        .bind(&text.title)
        .bind(&text.content)
        .bind(&text.author)
        .bind(Json(&text.tags))
        .bind(created_at.as_microseconds())
        .bind(published_at.as_microseconds())
        .bind(news_type)
        .bind(by.as_str())
        .fetch_one(&self.pool)
        .await?;
        Ok(Event { sequence, correlation_id: Some(by.as_str().to_owned()), article })
    }

    /// One statement; of two that follow the same version the second meets UNIQUE (id, version), and the number it took
    /// goes back.
    async fn append(&self, next: Next, by: &CorrelationId) -> Result<Event, LogError> {
        let Next { id, version, text, created_at, published_at } = next;
        let added = sqlx::query_as(
            "WITH next AS (UPDATE log_end SET sequence = sequence + 1 \
             WHERE EXISTS (SELECT FROM events WHERE id = $1 AND version = $2) RETURNING sequence) \
             INSERT INTO events (sequence, id, version, title, content, author, tags, created_at, \
             published_at, news_type, correlation_id) \
             SELECT next.sequence, before.id, before.version + 1, $3, $4, $5, $6, $7, \
             coalesce($8, before.published_at), before.news_type, $9 \
             FROM next, events AS before WHERE before.id = $1 AND before.version = $2 RETURNING *",
        )
        .bind(id.as_uuid())
        .bind(i64::from(version))
        .bind(text.title)
        .bind(text.content)
        .bind(text.author)
        .bind(Json(text.tags))
        .bind(created_at.as_microseconds())
        .bind(published_at.map(Moment::as_microseconds))
        .bind(by.as_str())
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
        Ok(sqlx::query_as("SELECT * FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2")
            .bind(sequence)
            .bind(i64::from(count))
            .fetch_all(&self.pool)
            .await?)
    }

    async fn last_sequence(&self) -> Result<i64, LogError> {
        Ok(sqlx::query_scalar("SELECT sequence FROM log_end").fetch_one(&self.pool).await?)
    }

    async fn history(
        &self,
        id: ArticleId,
        before: Option<Version>,
        count: u32,
    ) -> Result<Vec<Article>, LogError> {
        let events: Vec<Event> = sqlx::query_as(
            "SELECT * FROM events WHERE id = $1 AND version < $2 ORDER BY version DESC LIMIT $3",
        )
        .bind(id.as_uuid())
        .bind(before.map_or(i64::MAX, i64::from))
        .bind(i64::from(count))
        .fetch_all(&self.pool)
        .await?;
        Ok(events.into_iter().map(|event| event.article).collect())
    }

    async fn published(&self) -> Result<i64, LogError> {
        Ok(sqlx::query_scalar("SELECT sequence FROM published").fetch_one(&self.pool).await?)
    }

    async fn set_published(&self, sequence: i64) -> Result<(), LogError> {
        sqlx::query("UPDATE published SET sequence = greatest(sequence, $1)")
            .bind(sequence)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
