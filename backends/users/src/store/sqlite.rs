//! Users in one SQLite file.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::password::PasswordHash;
use crate::store::{Store, StoreError};
use crate::user::{Email, Name, User, UserId};

/// SQLite writes one at a time whatever we do; the others are readers.
const CONNECTIONS_MAX: u32 = 4;
/// How long a request waits for a connection or for another's write.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Users in one SQLite file.
pub(crate) struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens or creates the file and brings its schema up to date.
    pub(crate) async fn open(file: &Path) -> Result<Self, StoreError> {
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
        sqlx::migrate!().run(&pool).await?;
        Ok(Self { pool })
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    email: String,
}

impl TryFrom<Row> for User {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let Row { id, name, email } = row;
        match (id.parse(), Name::parse(name), Email::parse(email)) {
            (Ok(id), Ok(name), Ok(email)) => Ok(Self { id, name, email }),
            _ => Err(StoreError::Damaged { id }),
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn list(&self, start: u32, count: u32) -> Result<Vec<User>, StoreError> {
        let rows: Vec<Row> =
            sqlx::query_as("SELECT id, name, email FROM users ORDER BY number LIMIT ? OFFSET ?")
                .bind(count)
                .bind(start)
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter().map(User::try_from).collect()
    }

    async fn find(&self, id: UserId) -> Result<User, StoreError> {
        let row: Option<Row> = sqlx::query_as("SELECT id, name, email FROM users WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.ok_or(StoreError::UnknownId)?.try_into()
    }

    async fn insert(&self, user: &User, hash: &PasswordHash) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO users (id, name, email, password_hash) VALUES (?, ?, ?, ?)")
            .bind(user.id.to_string())
            .bind(user.name.as_str())
            .bind(user.email.as_str())
            .bind(hash.as_str())
            .execute(&self.pool)
            .await
            .map_err(taken_or_failed)?;
        Ok(())
    }

    async fn replace(&self, user: &User, hash: Option<&PasswordHash>) -> Result<(), StoreError> {
        let changed = sqlx::query(
            "UPDATE users SET name = ?, email = ?, password_hash = coalesce(?, password_hash) \
             WHERE id = ?",
        )
        .bind(user.name.as_str())
        .bind(user.email.as_str())
        .bind(hash.map(PasswordHash::as_str))
        .bind(user.id.to_string())
        .execute(&self.pool)
        .await
        .map_err(taken_or_failed)?;
        if changed.rows_affected() == 0 { Err(StoreError::UnknownId) } else { Ok(()) }
    }

    async fn remove(&self, id: UserId) -> Result<(), StoreError> {
        let gone = sqlx::query("DELETE FROM users WHERE id = ?")
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        if gone.rows_affected() == 0 { Err(StoreError::UnknownId) } else { Ok(()) }
    }

    async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM users LIMIT 1").fetch_optional(&self.pool).await?;
        Ok(())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Two users may not have one email; two random ids never meet.
fn taken_or_failed(error: sqlx::Error) -> StoreError {
    match error.as_database_error() {
        Some(refused) if refused.is_unique_violation() => StoreError::EmailTaken,
        _ => StoreError::Database(error),
    }
}
