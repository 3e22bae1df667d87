//! The table of grants: families of refresh tokens, of which one is current.

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::secret::{RefreshToken, SecretHash};

/// What a user let a client have.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) user_id: String,
    /// Empty for a login without a browser.
    pub(crate) session_id: String,
    pub(crate) scope: String,
    /// When the password was given: seconds since 1970.
    pub(crate) authenticated_at: i64,
    /// When its refresh tokens end, however often they were changed: seconds since 1970.
    pub(crate) expires_at: i64,
}

/// What came of changing a refresh token for the next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rotated {
    /// The next one is current.
    Done,
    /// It was not the current one, or not this client's: somebody else has a copy, and the whole grant has ended
    /// (RFC 9700, 4.14.2).
    Reused,
    /// There is no such grant, or its time is over.
    Unknown,
}

impl Store {
    /// Begins a grant; a user with too many loses the oldest.
    pub(crate) async fn begin_grant(
        &self,
        refresh: &RefreshToken,
        grant: &Grant,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        self.insert_grant(&mut transaction, refresh, grant).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn insert_grant(
        &self,
        transaction: &mut sqlx::Transaction<'_, sqlx::Any>,
        refresh: &RefreshToken,
        grant: &Grant,
    ) -> Result<(), StoreError> {
        let Grant { client_id, user_id, session_id, scope, authenticated_at, expires_at } = grant;
        self.make_room(transaction, "grants", user_id).await?;
        let query = "INSERT INTO grants (id, refresh_hash, client_id, user_id, session_id, scope, \
                     authenticated_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        sqlx::query(query)
            .bind(refresh.grant.hash().as_str())
            .bind(refresh.current.hash().as_str())
            .bind(client_id)
            .bind(user_id)
            .bind(session_id)
            .bind(scope)
            .bind(authenticated_at)
            .bind(expires_at)
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }

    /// The grant whose current refresh token this is, presented by the client that it was given to.
    pub(crate) async fn current_grant(
        &self,
        refresh: &RefreshToken,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError> {
        let query = "SELECT client_id, user_id, session_id, scope, authenticated_at, expires_at \
                     FROM grants \
                     WHERE id = $1 AND refresh_hash = $2 AND client_id = $3 AND expires_at > $4";
        Ok(sqlx::query_as(query)
            .bind(refresh.grant.hash().as_str())
            .bind(refresh.current.hash().as_str())
            .bind(client_id)
            .bind(now.0)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// Changes a refresh token for the next. Of two who come with the same token one is the first; the other's
    /// coming ends the grant.
    pub(crate) async fn rotate(
        &self,
        refresh: &RefreshToken,
        next: &RefreshToken,
        client_id: &str,
    ) -> Result<Rotated, StoreError> {
        let (id, current) = (refresh.grant.hash(), refresh.current.hash());
        let query = "UPDATE grants SET refresh_hash = $1 \
                     WHERE id = $2 AND refresh_hash = $3 AND client_id = $4";
        let changed = sqlx::query(query)
            .bind(next.current.hash().as_str())
            .bind(id.as_str())
            .bind(current.as_str())
            .bind(client_id)
            .execute(&self.pool)
            .await?;
        if changed.rows_affected() > 0 {
            return Ok(Rotated::Done);
        }
        self.end_reused(refresh, client_id).await
    }

    /// Ends the grant of a refresh token that is not its current one, or not this client's.
    pub(crate) async fn end_reused(
        &self,
        refresh: &RefreshToken,
        client_id: &str,
    ) -> Result<Rotated, StoreError> {
        let query = "DELETE FROM grants WHERE id = $1 AND (refresh_hash <> $2 OR client_id <> $3)";
        let ended = sqlx::query(query)
            .bind(refresh.grant.hash().as_str())
            .bind(refresh.current.hash().as_str())
            .bind(client_id)
            .execute(&self.pool)
            .await?;
        Ok(if ended.rows_affected() > 0 { Rotated::Reused } else { Rotated::Unknown })
    }

    /// Ends a grant: none of its refresh tokens is good any more.
    pub(crate) async fn end_grant(&self, id: &SecretHash) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM grants WHERE id = $1")
            .bind(id.as_str())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
