//! Where users are kept for good: what any database has to do for this service.

mod postgres;
mod sqlite;

mod statements;

use std::sync::Arc;

use async_trait::async_trait;

use crate::intake::{Change, Sequence, Versioned};
use crate::settings::Database as Location;
use crate::user::{Email, User, UserId};

/// A durable set of users in which no two have the same email, upper and lower case being the same, and the sequence
/// of the last job that is in it.
#[async_trait]
pub(crate) trait Database: Send + Sync {
    /// Applies jobs in their order, all or none, and durably; those that were applied before are passed over.
    async fn apply(&self, jobs: &[(Sequence, Change)]) -> Result<(), DatabaseError>;
    /// The user with this id.
    async fn find(&self, id: UserId) -> Result<Option<Versioned>, DatabaseError>;
    /// At most `count` users in order of registration, after the first `start`.
    async fn page(&self, start: u32, count: u32) -> Result<Vec<User>, DatabaseError>;
    /// At most `count` emails in order of registration, after the one with the number `after`.
    async fn emails(&self, after: i64, count: u32) -> Result<Vec<Registered>, DatabaseError>;
    /// The last job that is in it.
    async fn progress(&self) -> Result<Sequence, DatabaseError>;
    /// Asks for something small.
    async fn check(&self) -> Result<(), DatabaseError>;
    /// Lets go of the database.
    async fn close(&self);
}

/// An email and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    /// The order of registration.
    pub(crate) number: i64,
    pub(crate) id: UserId,
    pub(crate) email: Email,
}

/// Connects to a database, creates it if it is a file, and brings its schema up to date.
pub(crate) async fn open(location: &Location) -> Result<Arc<dyn Database>, DatabaseError> {
    Ok(match location {
        Location::Sqlite(file) => Arc::new(sqlite::SqliteDatabase::open(file).await?),
        Location::Postgres(url) => Arc::new(postgres::PostgresDatabase::open(url.as_str()).await?),
    })
}

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The schema cannot be brought up to date.
    #[error("database schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database failed or cannot be reached.
    #[error("database: {0}")]
    Failed(sqlx::Error),
    /// The database refuses what it was given and would refuse it again.
    #[error("database refuses: {0}")]
    Refused(sqlx::Error),
    /// What the database holds is not a user.
    #[error("database: the row of user {id} is damaged")]
    Damaged {
        /// The id as it is stored.
        id: String,
    },
}
