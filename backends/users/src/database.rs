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

#[cfg(test)]
mod tests {
    use servers::PostgreSql;
    use uuid::Uuid;

    use super::*;
    use crate::password::PasswordHash;
    use crate::user::{Account, Name};

    fn keep(id: UserId, email: &str) -> Change {
        let name = Name::parse("ann".to_owned()).unwrap();
        let user = User { id, name, email: Email::parse(email.to_owned()).unwrap() };
        Change::Keep(Account { user, hash: PasswordHash::stored("hash".to_owned()) })
    }

    async fn jobs_are_applied_once_and_all_or_none(database: Arc<dyn Database>) {
        let (ann, bob): (UserId, UserId) = (
            Uuid::new_v4().to_string().parse().unwrap(),
            Uuid::new_v4().to_string().parse().unwrap(),
        );
        let first = [(Sequence::from(5), keep(ann, "ann@example.org"))];
        database.apply(&first).await.unwrap();
        let found = database.find(ann).await.unwrap().unwrap();
        assert_eq!(found.version, Sequence::from(5));

        let second = [
            (Sequence::from(6), Change::Remove(ann)),
            (Sequence::from(7), keep(bob, "Ann@example.org")),
        ];
        database.apply(&second).await.unwrap();
        for again in [first.as_slice(), second.as_slice()] {
            database.apply(again).await.unwrap();
            assert_eq!(database.find(ann).await.unwrap(), None, "what was removed stays away");
            assert_eq!(database.progress().await.unwrap(), Sequence::from(7));
        }

        a_refused_batch_changes_nothing(&*database, ann, bob).await;
        database.close().await;
    }

    async fn a_refused_batch_changes_nothing(database: &dyn Database, ann: UserId, bob: UserId) {
        let refused = [
            (Sequence::from(8), Change::Remove(bob)),
            (Sequence::from(9), keep(ann, "ann@example.org")),
            (Sequence::from(10), keep(bob, "ANN@example.org")),
        ];
        let refusal = database.apply(&refused).await.unwrap_err();
        assert!(matches!(refusal, DatabaseError::Refused(_)), "{refusal}");
        assert_eq!(database.progress().await.unwrap(), Sequence::from(7));
        let page = database.page(0, 10).await.unwrap();
        assert_eq!(
            page.iter().map(|it| it.id).collect::<Vec<_>>(),
            [bob],
            "nothing of it was done"
        );
        let emails = database.emails(0, 10).await.unwrap();
        assert_eq!(
            emails.iter().map(|it| it.email.as_str()).collect::<Vec<_>>(),
            ["Ann@example.org"]
        );
    }

    #[tokio::test]
    async fn sqlite_applies_jobs_once_and_all_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(folder.path().join("users.sqlite"));
        jobs_are_applied_once_and_all_or_none(open(&location).await.unwrap()).await;
    }

    #[tokio::test]
    async fn postgresql_applies_jobs_once_and_all_or_none() {
        let postgresql = PostgreSql::start().await.unwrap();
        let location = postgresql.url().parse().unwrap();
        jobs_are_applied_once_and_all_or_none(open(&location).await.unwrap()).await;
    }

    #[tokio::test]
    async fn a_database_of_the_time_before_the_queue_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users.sqlite");
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let mut old = sqlx::migrate!("migrations/sqlite");
        old.migrations.to_mut().truncate(1);
        old.run(&pool).await.unwrap();
        let id = Uuid::new_v4().to_string();
        sqlx::query(
            "INSERT INTO users (id, name, email, password_hash) VALUES (?, 'ann', 'ann@x', 'h')",
        )
        .bind(&id)
        .execute(&pool)
        .await
        .unwrap();
        pool.close().await;
        let database = open(&Location::Sqlite(file)).await.unwrap();
        let found = database.find(id.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.account.user.name.as_str(), found.version), ("ann", Sequence::from(0)));
    }
}
