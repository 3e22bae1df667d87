//! What is said to every SQL database: one text for all, since SQLite too knows `$1` and `ON CONFLICT`.

use crate::database::{DatabaseError, Registered};
use crate::intake::{Sequence, Versioned};
use crate::password::PasswordHash;
use crate::user::{Account, Email, Name, User};

/// Also locks the row, so that only one worker at a time applies jobs.
pub(super) const PROGRESS_LOCKED: &str =
    "UPDATE progress SET sequence = sequence WHERE one = 1 RETURNING sequence";
pub(super) const PROGRESS: &str = "SELECT sequence FROM progress WHERE one = 1";
pub(super) const SET_PROGRESS: &str = "UPDATE progress SET sequence = $1 WHERE one = 1";
pub(super) const KEEP: &str = "\
    INSERT INTO users (id, name, email, password_hash, sequence) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, \
    password_hash = excluded.password_hash, sequence = excluded.sequence";
pub(super) const REMOVE: &str = "DELETE FROM users WHERE id = $1";
pub(super) const FIND: &str =
    "SELECT id, name, email, password_hash, sequence FROM users WHERE id = $1";
pub(super) const PAGE: &str =
    "SELECT id, name, email FROM users ORDER BY number LIMIT $1 OFFSET $2";
pub(super) const EMAILS: &str =
    "SELECT number, id, email FROM users WHERE number > $1 ORDER BY number LIMIT $2";
pub(super) const CHECK: &str = "SELECT 1 FROM users LIMIT 1";

#[derive(sqlx::FromRow)]
pub(super) struct AccountRow {
    id: String,
    name: String,
    email: String,
    password_hash: String,
    sequence: i64,
}

impl TryFrom<AccountRow> for Versioned {
    type Error = DatabaseError;

    fn try_from(row: AccountRow) -> Result<Self, DatabaseError> {
        let AccountRow { id, name, email, password_hash, sequence } = row;
        let user = User::try_from(UserRow { id, name, email })?;
        let hash = PasswordHash::stored(password_hash);
        Ok(Self { account: Account { user, hash }, version: Sequence::from(sequence) })
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct UserRow {
    id: String,
    name: String,
    email: String,
}

impl TryFrom<UserRow> for User {
    type Error = DatabaseError;

    fn try_from(row: UserRow) -> Result<Self, DatabaseError> {
        let UserRow { id, name, email } = row;
        match (id.parse(), Name::parse(name), Email::parse(email)) {
            (Ok(id), Ok(name), Ok(email)) => Ok(Self { id, name, email }),
            _ => Err(DatabaseError::Damaged { id }),
        }
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct EmailRow {
    number: i64,
    id: String,
    email: String,
}

impl TryFrom<EmailRow> for Registered {
    type Error = DatabaseError;

    fn try_from(row: EmailRow) -> Result<Self, DatabaseError> {
        let EmailRow { number, id, email } = row;
        match (id.parse(), Email::parse(email)) {
            (Ok(id), Ok(email)) => Ok(Self { number, id, email }),
            _ => Err(DatabaseError::Damaged { id }),
        }
    }
}

/// Writes the methods of `Database` for a type with a `pool` and a function `classified`: sqlx gives each kind of
/// database types of its own, and a function generic over them would have more bounds than lines.
macro_rules! impl_database {
    ($database:ty, begin with $begin:literal) => {
        #[async_trait::async_trait]
        impl Database for $database {
            async fn apply(&self, jobs: &[(Sequence, Change)]) -> Result<(), DatabaseError> {
                let mut transaction = self.pool.begin_with($begin).await.map_err(classified)?;
                let done: i64 = sqlx::query_scalar(PROGRESS_LOCKED)
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(classified)?;
                let mut last = Sequence::from(done);
                for (sequence, change) in jobs.iter().filter(|(it, _)| *it > Sequence::from(done)) {
                    let statement = match change {
                        Change::Keep(Account { user, hash }) => sqlx::query(KEEP)
                            .bind(user.id.to_string())
                            .bind(user.name.as_str())
                            .bind(user.email.as_str())
                            .bind(hash.as_str())
                            .bind(i64::from(*sequence)),
                        Change::Remove(id) => sqlx::query(REMOVE).bind(id.to_string()),
                    };
                    statement.execute(&mut *transaction).await.map_err(classified)?;
                    last = *sequence;
                }
                sqlx::query(SET_PROGRESS)
                    .bind(i64::from(last))
                    .execute(&mut *transaction)
                    .await
                    .map_err(classified)?;
                transaction.commit().await.map_err(classified)
            }

            async fn find(&self, id: UserId) -> Result<Option<Versioned>, DatabaseError> {
                let row: Option<AccountRow> = sqlx::query_as(FIND)
                    .bind(id.to_string())
                    .fetch_optional(&self.pool)
                    .await
                    .map_err(classified)?;
                row.map(Versioned::try_from).transpose()
            }

            async fn page(&self, start: u32, count: u32) -> Result<Vec<User>, DatabaseError> {
                let rows: Vec<UserRow> = sqlx::query_as(PAGE)
                    .bind(i64::from(count))
                    .bind(i64::from(start))
                    .fetch_all(&self.pool)
                    .await
                    .map_err(classified)?;
                rows.into_iter().map(User::try_from).collect()
            }

            async fn emails(
                &self,
                after: i64,
                count: u32,
            ) -> Result<Vec<Registered>, DatabaseError> {
                let rows: Vec<EmailRow> = sqlx::query_as(EMAILS)
                    .bind(after)
                    .bind(i64::from(count))
                    .fetch_all(&self.pool)
                    .await
                    .map_err(classified)?;
                rows.into_iter().map(Registered::try_from).collect()
            }

            async fn progress(&self) -> Result<Sequence, DatabaseError> {
                let sequence: i64 =
                    sqlx::query_scalar(PROGRESS).fetch_one(&self.pool).await.map_err(classified)?;
                Ok(Sequence::from(sequence))
            }

            async fn check(&self) -> Result<(), DatabaseError> {
                sqlx::query(CHECK).fetch_optional(&self.pool).await.map_err(classified)?;
                Ok(())
            }

            async fn close(&self) {
                self.pool.close().await;
            }
        }
    };
}

pub(super) use impl_database;
