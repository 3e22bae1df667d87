//! The latest versions in a PostgreSQL database: each article one JSON document, as readers get it.

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::types::Json;

use crate::article::{Article, ArticleId};
use crate::event_log::{Event, EventLog};
use crate::latest::{Applied, BATCH_EVENTS_MAX, Latest, LatestError, RemakeError};
use crate::postgres;
use crate::settings::PostgresUrl;

/// The latest versions in a PostgreSQL database.
pub(crate) struct PostgresLatest {
    pool: PgPool,
}

impl PostgresLatest {
    /// Connects, creating the database if it is not there, and brings its schema up to date.
    pub(crate) async fn open(url: &PostgresUrl) -> Result<Self, LatestError> {
        let pool = postgres::open(url).await?;
        sqlx::migrate!("./migrations/postgres/latest").run(&pool).await?;
        Ok(Self { pool })
    }
}

#[async_trait]
impl Latest for PostgresLatest {
    async fn find(&self, id: ArticleId) -> Result<Article, LatestError> {
        let article = sqlx::query_scalar("SELECT article FROM articles WHERE id = $1")
            .bind(id.as_uuid())
            .fetch_optional(&self.pool)
            .await?;
        article.map(|Json(article)| article).ok_or(LatestError::UnknownId)
    }

    async fn list(&self, start: u64, count: u32) -> Result<Vec<Article>, LatestError> {
        let articles: Vec<Json<Article>> = sqlx::query_scalar(
            "SELECT article FROM articles ORDER BY published_at DESC, id LIMIT $1 OFFSET $2",
        )
        .bind(i64::from(count))
        .bind(i64::try_from(start).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        Ok(articles.into_iter().map(|Json(article)| article).collect())
    }

    async fn position(&self) -> Result<i64, LatestError> {
        Ok(sqlx::query_scalar("SELECT sequence FROM position").fetch_one(&self.pool).await?)
    }

    async fn apply(&self, from: i64, events: &[Event]) -> Result<Applied, LatestError> {
        let Some(last) = events.last() else { return Ok(Applied::Yes) };
        let mut transaction = self.pool.begin().await?;
        // Who holds this row is the only one who writes.
        let moved = sqlx::query("UPDATE position SET sequence = $1 WHERE sequence = $2")
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
        sqlx::query("UPDATE position SET sequence = 0").execute(&mut *transaction).await?;
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
        sqlx::query("UPDATE position SET sequence = $1")
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
async fn put(connection: &mut PgConnection, article: &Article) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO articles (id, version, published_at, article) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, \
         published_at = excluded.published_at, article = excluded.article \
         WHERE excluded.version > articles.version",
    )
    .bind(article.id.as_uuid())
    .bind(i64::from(article.version))
    .bind(article.published_at.as_microseconds())
    .bind(Json(article))
    .execute(connection)
    .await?;
    Ok(())
}
