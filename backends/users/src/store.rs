//! Where users are kept: what any database has to do for this service.

mod sqlite;

use async_trait::async_trait;

pub(crate) use sqlite::SqliteStore;

use crate::password::PasswordHash;
use crate::user::{User, UserId};

/// A durable set of users in which no two have the same email, upper and lower case being the same.
/// A change that was answered with `Ok` survives the machine.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// At most `count` users in order of registration, after the first `start`.
    async fn list(&self, start: u32, count: u32) -> Result<Vec<User>, StoreError>;
    /// The user with this id.
    async fn find(&self, id: UserId) -> Result<User, StoreError>;
    /// Adds a user.
    async fn insert(&self, user: &User, hash: &PasswordHash) -> Result<(), StoreError>;
    /// Changes the user with `user.id`; without a hash the password stays.
    async fn replace(&self, user: &User, hash: Option<&PasswordHash>) -> Result<(), StoreError>;
    /// Forgets a user.
    async fn remove(&self, id: UserId) -> Result<(), StoreError>;
    /// Asks the database for something small.
    async fn check(&self) -> Result<(), StoreError>;
    /// Lets go of the database.
    async fn close(&self);
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such user.
    #[error("no user has this id")]
    UnknownId,
    /// Another user has this email.
    #[error("this email is taken")]
    EmailTaken,
    /// The schema cannot be brought up to date.
    #[error("database schema: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// What the database holds is not a user.
    #[error("database: the row of user {id} is damaged")]
    Damaged {
        /// The id as it is stored.
        id: String,
    },
}
