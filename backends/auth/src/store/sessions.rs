//! The table of browsers that are logged in.

use super::{OF_ONE_USER_MAX, Store, StoreError};
use crate::clock::Timestamp;
use crate::secret::SecretHash;

/// A browser that is logged in.
#[derive(Debug)]
pub(crate) struct Session {
    /// The hash of its cookie. It tells nobody the cookie, so tokens may carry it as `sid`.
    pub(crate) id: SecretHash,
    pub(crate) user_id: String,
    /// When the password was last given.
    pub(crate) authenticated_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    user_id: String,
    authenticated_at: i64,
    expires_at: i64,
}

impl From<Row> for Session {
    fn from(row: Row) -> Self {
        let Row { id, user_id, authenticated_at, expires_at } = row;
        Self {
            id: SecretHash::stored(id),
            user_id,
            authenticated_at: Timestamp(authenticated_at),
            expires_at: Timestamp(expires_at),
        }
    }
}

impl Store {
    /// Begins a session; a user with too many loses the oldest.
    pub(crate) async fn begin_session(&self, session: &Session) -> Result<(), StoreError> {
        let Session { id, user_id, authenticated_at, expires_at } = session;
        let mut transaction = self.pool.begin().await?;
        self.make_room(&mut transaction, "sessions", user_id).await?;
        let query = "INSERT INTO sessions (id, user_id, authenticated_at, expires_at) \
                     VALUES ($1, $2, $3, $4)";
        sqlx::query(query)
            .bind(id.as_str())
            .bind(user_id)
            .bind(authenticated_at.0)
            .bind(expires_at.0)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    /// The session of a cookie, if it has one that has not ended.
    pub(crate) async fn session(
        &self,
        id: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        let query = "SELECT id, user_id, authenticated_at, expires_at FROM sessions \
                     WHERE id = $1 AND expires_at > $2";
        let row: Option<Row> =
            sqlx::query_as(query).bind(id.as_str()).bind(now.0).fetch_optional(&self.pool).await?;
        Ok(row.map(Session::from))
    }

    /// Ends a session with all that was granted in it.
    pub(crate) async fn end_session(&self, id: &SecretHash) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for query in [
            "DELETE FROM sessions WHERE id = $1",
            "DELETE FROM codes WHERE session_id = $1",
            "DELETE FROM grants WHERE session_id = $1",
        ] {
            sqlx::query(query).bind(id.as_str()).execute(&mut *transaction).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Deletes what one user has too much of in a table of theirs, so that one row more fits.
    pub(super) async fn make_room(
        &self,
        transaction: &mut sqlx::Transaction<'_, sqlx::Any>,
        table: &'static str,
        user_id: &str,
    ) -> Result<(), StoreError> {
        let query = format!(
            "DELETE FROM {table} WHERE user_id = $1 AND number NOT IN (SELECT number FROM {table} \
             WHERE user_id = $1 ORDER BY number DESC LIMIT {})",
            OF_ONE_USER_MAX - 1
        );
        sqlx::query(&query).bind(user_id).execute(&mut **transaction).await?;
        Ok(())
    }
}
